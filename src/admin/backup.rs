//! Backups: begin, go on, end.

use serde_json::{Value, json};

use super::plan::Plan;
use super::public::Planned;
use super::response::{Problem, Response};
use super::route::Call;
use super::topics::done;
use crate::shard::{AdminQuestion, BackupStep, Row};

/// What whoever makes a backup may call it.
const NAME_MAX: usize = 64;

/// First every shard holds still what ties it to others, then every shard cuts its logs.
pub(super) fn begin(call: &Call<'_>) -> Planned {
    let id = id(call)?;
    let data_dir = call.context.data_dir.to_owned();
    let cut = AdminQuestion::Backup { id: id.clone(), step: BackupStep::Cut };
    Ok(Plan::all(AdminQuestion::Backup { id, step: BackupStep::Hold }, move |_| {
        Plan::all(cut, move |rows| Plan::Respond(Response::ok(&told(&data_dir, rows))))
    }))
}

fn told(data_dir: &str, rows: Vec<Row>) -> Value {
    let logs = |row: Row| row.value["logs"].as_array().cloned().unwrap_or_default();
    let mut logs: Vec<Value> = rows.into_iter().flat_map(logs).collect();
    logs.sort_by_key(|log| log["log"].as_u64());
    json!({ "data_dir": data_dir, "logs": logs })
}

pub(super) fn renew(call: &Call<'_>) -> Planned {
    to_all(call, BackupStep::Renew)
}

pub(super) fn end(call: &Call<'_>) -> Planned {
    to_all(call, BackupStep::End)
}

fn to_all(call: &Call<'_>, step: BackupStep) -> Planned {
    Ok(Plan::all(AdminQuestion::Backup { id: id(call)?, step }, |_| done()))
}

fn id(call: &Call<'_>) -> Result<String, Problem> {
    call.serving()?;
    let id = call.names[0];
    match id.len() <= NAME_MAX {
        true => Ok(id.to_owned()),
        false => Err(Problem::bad(format!("a backup's name has at most {NAME_MAX} bytes"))),
    }
}
