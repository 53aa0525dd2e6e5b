//! `blipmq wal check` and `dump`: what is there, and whether it is what was written. Writes nothing.

use blipmq::model::RecoveryMode;
use blipmq::runtime::stopped_log::StoppedLog;
use blipmq::wal::{Corruption, Recovered, RecoveryReport};
use serde_json::json;

use super::super::failure::Failure;
use super::super::output::Output;
use super::{Logs, unreadable};

/// What one log came to.
#[derive(Default)]
struct Found {
    corruptions: u64,
    entries: u64,
    bytes: u64,
    unfinished: bool,
}

/// Every log is looked at, also behind a bad one.
pub fn check(logs: &Logs, strict: bool, output: &mut Output) -> Result<(), Failure> {
    let (mut corrupt, mut unfinished) = (0, 0);
    for log in &logs.logs {
        let found = look_at(log, false, output)?;
        corrupt += u64::from(found.corruptions > 0);
        unfinished += u64::from(found.unfinished);
    }
    match (corrupt, unfinished) {
        (0, count) if strict && count > 0 => {
            Err(Failure::Unfinished("unfinished bytes at the end of a log (--strict)".into()))
        }
        (0, _) => Ok(()),
        _ => Err(Failure::Corrupt(
            "corrupt. `blipmq wal truncate --dry-run` and `blipmq wal skip --dry-run` tell what each would lose".into(),
        )),
    }
}

pub fn dump(logs: &Logs, output: &mut Output) -> Result<(), Failure> {
    let mut corrupt = false;
    for log in &logs.logs {
        corrupt |= look_at(log, true, output)?.corruptions > 0;
    }
    if corrupt { Err(Failure::Corrupt("corrupt".into())) } else { Ok(()) }
}

/// As the broker would at its start; where that refuses, bad places are gone round to see what else there is.
fn look_at(log: &StoppedLog, dump: bool, output: &mut Output) -> Result<Found, Failure> {
    let unreadable = unreadable(&log.folder);
    let outcome = match log.recover(RecoveryMode::Refuse).map_err(&unreadable)? {
        Err(_) => log.recover(RecoveryMode::Skip).map_err(&unreadable)?,
        good => good,
    };
    let mut found = Found::default();
    let (recovered, report) = match outcome {
        Ok(outcome) => outcome,
        // A format that nobody here can read.
        Err(corruption) => {
            tell_corruption(&corruption, &mut found, output)?;
            return Ok(found);
        }
    };
    for corruption in &report.corruptions {
        tell_corruption(corruption, &mut found, output)?;
    }
    walk(log, &recovered, dump, &mut found, output)?;
    summarize(log, &report, &mut found, output)?;
    Ok(found)
}

fn walk(
    log: &StoppedLog,
    recovered: &Recovered,
    dump: bool,
    found: &mut Found,
    output: &mut Output,
) -> Result<(), Failure> {
    for segment in recovered.segments() {
        let file = log.read(*segment).map_err(unreadable(&log.folder))?;
        for step in recovered.entries(log.id, *segment, file) {
            let entry = match step {
                Ok(entry) => entry,
                Err(corruption) => {
                    tell_corruption(&corruption, found, output)?;
                    continue;
                }
            };
            found.entries += 1;
            found.bytes += entry.body.len() as u64;
            if dump {
                let (header, body) = (format!("{:?}", entry.header), entry.body.len());
                output.say(&format!("{header} body {body} bytes"), &json!({ "header": header, "body_bytes": body }))?;
            }
        }
    }
    Ok(())
}

fn tell_corruption(corruption: &Corruption, found: &mut Found, output: &mut Output) -> Result<(), Failure> {
    found.corruptions += 1;
    let Corruption { log, segment, position, what } = corruption;
    output.say(
        &format!("corrupt: {corruption}"),
        &json!({ "corrupt": { "log": log.0, "segment": segment.0, "position": position, "what": what } }),
    )
}

fn summarize(log: &StoppedLog, report: &RecoveryReport, found: &mut Found, output: &mut Output) -> Result<(), Failure> {
    let (id, Found { corruptions, entries, bytes, .. }) = (log.id, &*found);
    let good = *corruptions == 0;
    let cut = report.losses.last().filter(|_| good).copied();
    let state = if good { "good".into() } else { format!("CORRUPT, {corruptions} bad places") };
    let mut text = format!("log {id}: {state}, {entries} entries, {bytes} bytes");
    if let Some(cut) = cut {
        text += &format!(
            "; unfinished after segment {}, byte {}: {} bytes, {} entries, {} records, never known to be synced, will be \
             cut off at the start; the last acknowledged messages may be among them if this is damage and not a crash",
            cut.segment, cut.position, cut.bytes, cut.entries, cut.records
        );
    }
    for (segment, what) in &report.unusable {
        text += &format!("; segment {segment} is not used: {what}");
    }
    if report.orphans > 0 {
        text += &format!("; {} batches belong to no topic that is known", report.orphans);
    }
    let (cut_bytes, cut_records) = cut.map_or((0, 0), |cut| (cut.bytes, cut.records));
    output.say(
        &text,
        &json!({
            "log": id.0, "good": good, "corruptions": corruptions, "entries": entries, "bytes": bytes,
            "cut_entries": cut.map_or(0, |cut| cut.entries), "cut_bytes": cut_bytes, "cut_records": cut_records,
            "orphans": report.orphans,
        }),
    )?;
    found.unfinished = cut.is_some();
    Ok(())
}
