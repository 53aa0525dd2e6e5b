//! Subscriptions: list, describe, move, delete.

use super::paging;
use super::plan::Plan;
use super::public::Planned;
use super::response::{Problem, Response};
use super::route::Call;
use super::topics::done;
use crate::model::{Offset, StartAt, Timestamp};
use crate::shard::AdminQuestion;

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

pub(super) fn delete(call: &Call<'_>) -> Planned {
    let (topic, owner) = call.topic()?;
    let (name, force) = (call.names[1].to_owned(), call.query_flag("force")?);
    Ok(Plan::one(owner, AdminQuestion::DeleteSubscription { topic, name, force }, |_| done()))
}
