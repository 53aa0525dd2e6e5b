//! Subscriptions: list, describe, move, delete.

use super::paging;
use super::plan::{Plan, Reply};
use super::public::Planned;
use super::response::{Problem, Response};
use super::route::Call;
use super::topics::done;
use crate::model::{Offset, Pattern, ShardId, StartAt, Timestamp, TopicName};
use crate::protocol::ErrorCode;
use crate::shard::{AdminQuestion, Answer, Row};

pub(super) fn list(call: &Call<'_>) -> Planned {
    call.serving()?;
    let page = paging::page(call.request)?;
    let question = AdminQuestion::Subscriptions { page: paging::with_one_more(&page), topic: None };
    Ok(Plan::all(question, move |rows| Plan::Respond(paging::list(rows, page.most))))
}

pub(super) fn of_topic(call: &Call<'_>) -> Planned {
    let (topic, _) = call.topic()?;
    let page = paging::page(call.request)?;
    let question = AdminQuestion::Subscriptions { page: paging::with_one_more(&page), topic: Some(topic) };
    Ok(Plan::all(question, move |rows| Plan::Respond(paging::list(rows, page.most))))
}

pub(super) fn describe(call: &Call<'_>) -> Planned {
    let (topic, owner) = call.topic()?;
    let question = AdminQuestion::Subscription { topic, name: call.names[1].to_owned() };
    Ok(Plan::one(owner, question, |row| Plan::Respond(Response::ok(&row))))
}

pub(super) fn reset(call: &Call<'_>) -> Planned {
    let (topic, owner) = call.topic()?;
    let question = AdminQuestion::ResetSubscription { topic, name: call.names[1].to_owned(), to: place(call)? };
    Ok(Plan::one(owner, question, |row| Plan::Respond(Response::ok(&row))))
}

fn place(call: &Call<'_>) -> Result<StartAt, Problem> {
    match (call.body_text("to"), call.body_number("offset"), call.body_number("time_ms")) {
        (Some("earliest"), None, None) => Ok(StartAt::Earliest),
        (Some("latest"), None, None) => Ok(StartAt::Latest),
        (None, Some(offset), None) => Ok(StartAt::Offset(Offset(offset))),
        (None, None, Some(ms)) => Ok(StartAt::Time(Timestamp(i64::try_from(ms).unwrap_or(i64::MAX)))),
        _ => Err(Problem::bad("expected one of to (earliest or latest), offset, time_ms")),
    }
}

/// Those to patterns: every shard has the same ones, and says who of its own holds them.
pub(super) fn patterns(call: &Call<'_>) -> Planned {
    call.serving()?;
    let page = paging::page(call.request)?;
    let question = AdminQuestion::Patterns { page: paging::with_one_more(&page) };
    Ok(Plan::all(question, move |rows| Plan::Respond(paging::list(once(rows), page.most))))
}

/// Sorted rows, the first of each key.
fn once(mut rows: Vec<Row>) -> Vec<Row> {
    rows.dedup_by(|one, other| one.key == other.key);
    rows
}

pub(super) fn delete(call: &Call<'_>) -> Planned {
    let (name, force) = (call.names[1].to_owned(), call.query_flag("force")?);
    if let Some(pattern) = wild(call.names[0]) {
        call.serving()?;
        return Ok(delete_everywhere(AdminQuestion::DeletePattern { pattern, name, force }, false));
    }
    let (topic, owner) = call.topic()?;
    Ok(delete_of_topic(owner, topic, name, force))
}

fn wild(text: &str) -> Option<Pattern> {
    Pattern::parse(text.as_bytes()).ok().filter(|pattern| pattern.exact().is_none())
}

/// The topic's cursor goes, and then what the logs know of patterns that would give it, or another, a new one. An order
/// of which only a part was done can be given again.
fn delete_of_topic(owner: ShardId, topic: TopicName, name: String, force: bool) -> Plan {
    let cursor = AdminQuestion::DeleteSubscription { topic: topic.clone(), name: name.clone(), force };
    let patterns = AdminQuestion::ForgetPatterns { topic, name, force };
    Plan::ask_one(owner, cursor, |replies| match found(replies) {
        Ok(found) => delete_everywhere(patterns, found),
        Err(problem) => Plan::Respond(problem.into()),
    })
}

/// It is done if `found` before, or if a shard finds something.
fn delete_everywhere(question: AdminQuestion, found_before: bool) -> Plan {
    Plan::ask_all(question, move |replies| match found(replies) {
        Ok(found) if found || found_before => done(),
        Ok(_) => Plan::Respond(Problem::new(404, "no such subscription").into()),
        Err(problem) => Plan::Respond(problem.into()),
    })
}

/// Whether a shard found what it was to delete.
fn found(replies: Vec<Reply>) -> Result<bool, Problem> {
    let mut found = false;
    for Reply { shard, answer } in replies {
        match answer {
            Some(Answer::Done) => found = true,
            Some(Answer::Refused { code: ErrorCode::Unknown, .. }) => {}
            Some(Answer::Refused { code, text }) => return Err(Problem::refused(code, text)),
            _ => return Err(Problem::silent(shard)),
        }
    }
    Ok(found)
}
