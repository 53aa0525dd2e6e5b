//! What everybody who reaches the port may see.

use super::plan::{Depth, Plan};
use super::response::{Problem, Response};
use super::route::Call;
use super::{exposition, health};

pub(super) type Planned = Result<Plan, Problem>;

/// Stands where the table names nothing better.
pub(super) fn nothing(_: &Call<'_>) -> Planned {
    Err(Problem::new(404, "there is nothing here"))
}

pub(super) fn metrics(call: &Call<'_>) -> Planned {
    let depth = Depth::All { topics: call.context.metrics_per_topic };
    Ok(Plan::measure(depth, |figures| Response::text(exposition::CONTENT_TYPE, exposition::write(figures))))
}

/// Asks no shard: what is asked every second by an orchestrator must cost nothing, and not wait for who hangs.
pub(super) fn live(_: &Call<'_>) -> Planned {
    Ok(Plan::measure(Depth::Vitals, health::live))
}

pub(super) fn startup(_: &Call<'_>) -> Planned {
    Ok(Plan::measure(Depth::Vitals, health::startup))
}

pub(super) fn ready(_: &Call<'_>) -> Planned {
    Ok(Plan::measure(Depth::Stats, health::ready))
}

pub(super) fn health(_: &Call<'_>) -> Planned {
    Ok(Plan::measure(Depth::Stats, health::detail))
}

pub(super) fn openapi(_: &Call<'_>) -> Planned {
    Ok(Plan::Respond(Response::text("application/json", include_str!("openapi.json").to_owned())))
}
