//! Orders for the process: drain, reload, what is logged.

use serde_json::json;

use super::plan::{Order, Plan};
use super::public::Planned;
use super::response::{Problem, Response};
use super::route::Call;

pub(super) fn drain(_: &Call<'_>) -> Planned {
    Ok(Plan::order(Order::Drain, |_| Response::json(202, &json!({ "done": true }))))
}

/// All or nothing: the answer names what changed, or why nothing did.
pub(super) fn reload(_: &Call<'_>) -> Planned {
    Ok(Plan::order(Order::Reload, |changed| Response::ok(&json!({ "changed": changed }))))
}

pub(super) fn log_filter(_: &Call<'_>) -> Planned {
    Ok(Plan::order(Order::ShowLogFilter, |filter| Response::ok(&json!({ "filter": filter }))))
}

pub(super) fn set_log_filter(call: &Call<'_>) -> Planned {
    let filter = call.body_text("filter").ok_or_else(|| Problem::bad("expected filter"))?;
    Ok(Plan::order(Order::LogFilter(filter.to_owned()), |filter| Response::ok(&json!({ "filter": filter }))))
}
