//! `blipmq backup`: a copy of everything that a broker has committed, while it runs or when it does not.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use blipmq::model::{LogId, Lsn};
use blipmq::runtime::data_dir::{DataDir, Visit};
use blipmq::runtime::log_folder;
use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};

use super::copy;
use super::failure::Failure;
use super::http::{Call, Listener, encoded};
use super::output::Output;

/// Copy everything that a broker has committed; run it on the broker's machine, as its user
///
/// A running broker is asked to cut its logs: what was acknowledged before is in the copy, with every cursor as it was.
/// It keeps what is cut until it is copied, and goes on working. Every checksum of the copy is checked before it is
/// called good.
#[derive(Args)]
pub struct Arguments {
    /// A directory that is not there yet, or empty
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// The data directory of a broker that does not run; without it, the broker at --admin-addr is asked
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
    #[command(flatten)]
    listener: Listener,
}

/// In every finished backup; what has none is not one.
pub const MANIFEST: &str = "backup.json";
/// Files beside the logs that a broker needs to be the same one. The key is there only if the broker made it itself.
pub const BESIDE: [&str; 2] = ["version", "api-key"];

/// The broker gives up on whoever has not said a word for a minute.
const RENEW_EVERY: Duration = Duration::from_secs(10);

/// What the broker says of a cut.
#[derive(Deserialize)]
struct Cut {
    data_dir: PathBuf,
    logs: Vec<CutLog>,
}

#[derive(Deserialize)]
struct CutLog {
    log: u16,
    end: u64,
    segment_size: u64,
    segments: Vec<u64>,
    checkpoint: String,
}

pub fn run(arguments: &Arguments, output: &mut Output) -> Result<(), Failure> {
    let to = &arguments.to;
    copy::make_empty(to)?;
    let logs = match &arguments.from {
        Some(from) => of_stopped(from, to)?,
        None => of_running(&arguments.listener, to)?,
    };
    finish(to, &logs, output)
}

/// Nobody runs it, and nobody can start it meanwhile: everything is copied as it is.
fn of_stopped(from: &Path, to: &Path) -> Result<Vec<LogId>, Failure> {
    let directory = DataDir::visit(from, Visit::Mend).map_err(|failure| Failure::Local(failure.to_string()))?;
    let logs: Vec<LogId> = (0..directory.logs()).map(LogId).collect();
    copy_beside(from, to)?;
    for log in &logs {
        let (source, target) = (copy::folder(from, *log), copy::folder(to, *log));
        copy_log(&source, &target)?;
    }
    Ok(logs)
}

/// The checkpoint and every segment.
pub fn copy_log(from: &Path, to: &Path) -> Result<(), Failure> {
    copy::make_folder(to)?;
    let found = log_folder::look(from).map_err(copy::failed(from))?;
    for (segment, size) in found.segments {
        let name = |folder| log_folder::segment(folder, segment);
        copy::copy(&name(from), &name(to), size, size, &mut || Ok(()))?;
    }
    if let Some(checkpoint) = found.checkpoint {
        copy::write(&log_folder::checkpoint(to), &checkpoint)?;
    }
    copy::sync_folder(to)
}

/// Those of [`BESIDE`] that are there.
fn copy_beside(from: &Path, to: &Path) -> Result<(), Failure> {
    for name in BESIDE {
        let source = from.join(name);
        if source.is_file() {
            let bytes = fs::read(&source).map_err(copy::failed(&source))?;
            copy::write(&to.join(name), &bytes)?;
        }
    }
    Ok(())
}

fn of_running(listener: &Listener, to: &Path) -> Result<Vec<LogId>, Failure> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let path = format!("/api/v1/backups/{}", encoded(&format!("{}-{}", now.as_millis(), std::process::id())));
    let answer = listener.ask(&Call::with("PUT", &path, &json!({})))?;
    let copied = copy_cut(listener, &path, &answer, to);
    // Only if the broker still knows it has everything been kept until now.
    let ended = listener.ask(&Call { method: "DELETE", path, body: String::new() });
    let logs = copied?;
    ended?;
    Ok(logs)
}

fn copy_cut(listener: &Listener, path: &str, answer: &str, to: &Path) -> Result<Vec<LogId>, Failure> {
    let unknown = |error: serde_json::Error| Failure::Local(format!("the broker's answer is not understood: {error}"));
    let cut: Cut = serde_json::from_str(answer).map_err(unknown)?;
    if cut.logs.is_empty() {
        return Err(Failure::Local("this broker keeps no log: there is nothing to back up".into()));
    }
    let mut renewed = Instant::now();
    let mut alive = || {
        if renewed.elapsed() < RENEW_EVERY {
            return Ok(());
        }
        renewed = Instant::now();
        listener.ask(&Call::with("POST", format!("{path}/renew"), &json!({}))).map(drop)
    };
    copy_beside(&cut.data_dir, to)?;
    for log in &cut.logs {
        log.copy(&cut.data_dir, to, &mut alive)?;
    }
    Ok(cut.logs.iter().map(|log| LogId(log.log)).collect())
}

impl CutLog {
    /// Nothing from behind the cut.
    fn copy(&self, from: &Path, to: &Path, alive: &mut dyn FnMut() -> Result<(), Failure>) -> Result<(), Failure> {
        let (from, to) = (copy::folder(from, LogId(self.log)), copy::folder(to, LogId(self.log)));
        copy::make_folder(&to)?;
        for first in &self.segments {
            let len = self.end.saturating_sub(*first).min(self.segment_size);
            let name = |folder| log_folder::segment(folder, Lsn(*first));
            copy::copy(&name(&from), &name(&to), len, self.segment_size, alive)?;
        }
        let wrong = |error| Failure::Local(format!("the broker's answer is not understood: {error}"));
        let checkpoint = STANDARD.decode(&self.checkpoint).map_err(wrong)?;
        copy::write(&log_folder::checkpoint(&to), &checkpoint)?;
        copy::sync_folder(&to)
    }
}

/// Checks the copy, and says in its manifest that it is good.
fn finish(to: &Path, logs: &[LogId], output: &mut Output) -> Result<(), Failure> {
    let (mut rows, mut records, mut bytes) = (Vec::new(), 0, 0);
    for log in logs {
        let found = copy::verify(*log, &copy::folder(to, *log))?;
        records += found.records;
        bytes += found.bytes;
        rows.push(json!({ "log": log.0, "end": found.end, "entries": found.entries, "records": found.records }));
    }
    let taken = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
    let manifest = json!({ "blipmq": env!("CARGO_PKG_VERSION"), "taken_ms": taken, "logs": rows });
    copy::sync_folder(to)?;
    copy::replace(&to.join(MANIFEST), format!("{manifest:#}\n").as_bytes())?;
    say(output, "backup", to, &manifest, records, bytes)
}

/// One line for people, or all of it.
pub fn say(
    output: &mut Output,
    what: &str,
    to: &Path,
    manifest: &Value,
    records: u64,
    bytes: u64,
) -> Result<(), Failure> {
    let logs = manifest["logs"].as_array().map_or(0, Vec::len);
    let text = format!("{what} in {}: good, {logs} logs, {records} messages, {bytes} bytes", to.display());
    output.say(&text, &json!({ "good": true, "to": to, "messages": records, "bytes": bytes, "logs": manifest["logs"] }))
}
