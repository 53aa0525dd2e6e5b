//! Dead letters: which topics hold them, and back to where they came from.

use serde_json::Value;

use super::paging;
use super::plan::Plan;
use super::public::Planned;
use super::response::{Problem, Response};
use super::route::Call;
use crate::model::{Offset, ShardId, TopicName};
use crate::shard::{AdminQuestion, Page, Row};

/// First every shard for the names, then every shard for those of them that it owns.
pub(super) fn list(call: &Call<'_>) -> Planned {
    call.serving()?;
    let page = paging::page(call.request)?;
    Ok(Plan::all(AdminQuestion::DeadLetterTopics, move |rows| {
        let topics = names(rows, &page);
        Plan::all(AdminQuestion::TopicsNamed { topics }, move |rows| Plan::Respond(paging::list(rows, page.most)))
    }))
}

/// The names of one page and one more, from sorted rows that may repeat.
fn names(mut rows: Vec<Row>, page: &Page) -> Vec<TopicName> {
    rows.dedup_by(|one, other| one.key == other.key);
    let after = rows.into_iter().filter(|row| row.key > page.after);
    after.filter_map(|row| TopicName::parse(row.key.as_bytes()).ok()).take(page.most + 1).collect()
}

pub(super) fn replay(call: &Call<'_>) -> Planned {
    let (topic, owner) = call.topic()?;
    let first = call.body_number("first").map(Offset);
    let end = call.body_number("end").map_or(Offset::MAX, Offset);
    let most = call.body_number("limit").unwrap_or(paging::LIMIT as u64);
    let purge = call.body_flag("purge");
    if !(1..=paging::LIMIT_MAX as u64).contains(&most) {
        return Err(Problem::bad(format!("limit is not a number from 1 to {}", paging::LIMIT_MAX)));
    }
    if purge && first.is_some() {
        return Err(Problem::bad("purge is for replays from the oldest on: leave first out"));
    }
    let question =
        AdminQuestion::Replay { topic: topic.clone(), first: first.unwrap_or(Offset::ZERO), end, most: most as u32 };
    Ok(Plan::one(owner, question, move |row| {
        let whole = row["refused"] == 0 && row["skipped"] == 0;
        if purge && whole { purged(owner, topic, row) } else { Plan::Respond(Response::ok(&row)) }
    }))
}

/// Purges what a replay has brought to safety.
fn purged(owner: ShardId, topic: TopicName, mut row: Value) -> Plan {
    let before = row["next"].as_u64().map_or(Offset::ZERO, Offset);
    Plan::one(owner, AdminQuestion::Purge { topic, before: Some(before) }, move |done| {
        row["purged"] = done["purged"].clone();
        Plan::Respond(Response::ok(&row))
    })
}
