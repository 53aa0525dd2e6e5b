//! `blipmq wal truncate` and `skip`: what recovery would do at a start, done beforehand, with a backup.
//!
//! All logs are planned before the first byte is written, and all are backed up before the first one is changed. A log
//! is changed in one step: its checkpoint is replaced by one that remembers what was decided. Segments of the log stay as
//! they are until the next start writes over what was cut; files that are not part of it are removed.

use blipmq::model::RecoveryMode;
use blipmq::runtime::data_dir::Visit;
use blipmq::runtime::stopped_log::{self, Plan, StoppedLog};
use blipmq::wal::{Corruption, Loss};
use serde_json::json;

use super::super::failure::Failure;
use super::super::output::Output;
use super::{How, Of, unreadable};

pub fn run(of: &Of, how: &How, mode: RecoveryMode, output: &mut Output) -> Result<(), Failure> {
    let logs = of.open(if how.dry_run { Visit::Look } else { Visit::Mend })?;
    let mut plans = Vec::new();
    for log in &logs.logs {
        plans.push((log, plan(log, mode)?));
    }
    for (log, plan) in &plans {
        tell(log, plan, how, output)?;
    }
    plans.retain(|(_, plan)| !plan.is_empty());
    if how.dry_run || plans.is_empty() {
        return Ok(());
    }
    back_up(&plans, how, output)?;
    for (log, plan) in &plans {
        log.save(plan).map_err(unreadable(&log.folder))?;
        output.say(&format!("log {}: done", log.id), &json!({ "log": log.id.0, "done": true }))?;
    }
    Ok(())
}

fn plan(log: &StoppedLog, mode: RecoveryMode) -> Result<Plan, Failure> {
    let plan = log.plan(mode).map_err(unreadable(&log.folder))?;
    plan.map_err(|corruption| Failure::Corrupt(format!("{corruption}: nothing was done")))
}

fn back_up(plans: &[(&StoppedLog, Plan)], how: &How, output: &mut Output) -> Result<(), Failure> {
    let Some(backup) = &how.backup else { return Ok(()) };
    stopped_log::make_backup(backup).map_err(unreadable(backup))?;
    let mut files = 0;
    for (log, plan) in plans {
        files += log.back_up(plan, backup).map_err(unreadable(backup))?;
    }
    let place = backup.display().to_string();
    output.say(&format!("backup: {files} files in {place}, synced"), &json!({ "backup": place, "files": files }))
}

fn tell(log: &StoppedLog, plan: &Plan, how: &How, output: &mut Output) -> Result<(), Failure> {
    let id = log.id;
    if plan.is_empty() {
        return output.say(&format!("log {id}: good, stays as it is"), &json!({ "log": id.0, "good": true }));
    }
    for corruption in &plan.corruptions {
        let Corruption { segment, position, what, .. } = corruption;
        output.say(
            &format!("corrupt: {corruption}"),
            &json!({ "corrupt": { "log": id.0, "segment": segment.0, "position": position, "what": what } }),
        )?;
    }
    let cut = plan.report.losses.last().filter(|_| plan.report.cut_entries > 0);
    for loss in &plan.losses {
        let Loss { segment, position, bytes, entries, records } = *loss;
        let is_cut = cut == Some(loss);
        let done = if is_cut { "cut off" } else { "left out" };
        let would = if how.dry_run { "would be " } else { "" };
        output.say(
            &format!(
                "log {id}, segment {segment}, byte {position}: {would}{done}: {bytes} bytes, {entries} entries, {records} \
                 records, as far as they can be told"
            ),
            &json!({
                "log": id.0, "segment": segment.0, "position": position, "cut": is_cut, "dry_run": how.dry_run,
                "bytes": bytes, "entries": entries, "records": records,
            }),
        )?;
    }
    Ok(())
}
