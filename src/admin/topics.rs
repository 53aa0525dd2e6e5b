//! Topics: list, describe, make, change, delete, purge, look into.

use serde_json::json;

use super::paging;
use super::plan::Plan;
use super::public::Planned;
use super::response::{Problem, Response};
use super::route::Call;
use crate::model::{Offset, Pattern};
use crate::shard::AdminQuestion;

pub(super) fn list(call: &Call<'_>) -> Planned {
    call.serving()?;
    let page = paging::page(call.request)?;
    let pattern = match call.request.query("pattern") {
        Some(text) => Some(Pattern::parse(text.as_bytes()).map_err(|error| Problem::bad(error.to_string()))?),
        None => None,
    };
    let question = AdminQuestion::Topics { page: paging::with_one_more(&page), pattern };
    Ok(Plan::all(question, move |rows| Plan::Respond(paging::list(rows, page.most))))
}

pub(super) fn describe(call: &Call<'_>) -> Planned {
    let (topic, owner) = call.topic()?;
    Ok(Plan::one(owner, AdminQuestion::Topic { topic }, |row| Plan::Respond(Response::ok(&row))))
}

pub(super) fn put(call: &Call<'_>) -> Planned {
    let (topic, owner) = call.topic()?;
    let question = AdminQuestion::SetTopic { topic, ttl_ms: call.body_number("ttl_ms") };
    Ok(Plan::one(owner, question, |row| {
        let status = if row["created"] == true { 201 } else { 200 };
        Plan::Respond(Response::json(status, &row))
    }))
}

pub(super) fn delete(call: &Call<'_>) -> Planned {
    let (topic, owner) = call.topic()?;
    let question = AdminQuestion::DeleteTopic { topic, force: call.query_flag("force")? };
    Ok(Plan::one(owner, question, |_| done()))
}

pub(super) fn purge(call: &Call<'_>) -> Planned {
    let (topic, owner) = call.topic()?;
    let question = AdminQuestion::Purge { topic, before: call.body_number("before").map(Offset) };
    Ok(Plan::one(owner, question, |row| Plan::Respond(Response::ok(&row))))
}

pub(super) fn messages(call: &Call<'_>) -> Planned {
    let (topic, owner) = call.topic()?;
    let most = paging::limit(call.request)? as u32;
    let question = AdminQuestion::Messages { topic, first: call.query_offset("from")?, most };
    Ok(Plan::one(owner, question, |row| Plan::Respond(Response::ok(&row))))
}

/// It is done, and there is nothing more to say of it.
pub(super) fn done() -> Plan {
    Plan::Respond(Response::ok(&json!({ "done": true })))
}
