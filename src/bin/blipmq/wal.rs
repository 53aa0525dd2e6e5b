//! `blipmq wal`: looks at the logs of a broker that is not running. Writes nothing.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use blipmq::model::{FsyncPolicy, LogId, RecoveryMode};
use blipmq::runtime::log_folder;
use blipmq::wal::{LogOptions, Recovered, Recovery, RecoveryReport, RecoveryStep};
use bytes::Bytes;
use clap::{Args, Subcommand};
use serde_json::json;

use super::failure::Failure;
use super::output::Output;

/// Look at the logs of a broker that is not running
#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Read every entry and check every checksum; exit 1 at the first that is bad
    Check {
        /// The data directory
        directory: PathBuf,
    },
    /// One line for each entry
    Dump {
        /// The data directory
        directory: PathBuf,
    },
}

pub fn run(arguments: &Arguments, output: &mut Output) -> Result<(), Failure> {
    let (directory, dump) = match &arguments.what {
        What::Check { directory } => (directory, false),
        What::Dump { directory } => (directory, true),
    };
    let folders = log_folders(directory).map_err(|error| cannot_read(directory, &error))?;
    if folders.is_empty() {
        return Err(Failure::Local(format!("{}: no logs in it", directory.display())));
    }
    for (log, folder) in folders {
        look_at(log, &folder, dump, output)?;
    }
    Ok(())
}

fn log_folders(directory: &Path) -> io::Result<Vec<(LogId, PathBuf)>> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if let Some(log) = name.strip_prefix("shard-").and_then(|number| number.parse().ok()) {
            folders.push((LogId(log), path));
        }
    }
    folders.sort();
    Ok(folders)
}

fn look_at(log: LogId, folder: &Path, dump: bool, output: &mut Output) -> Result<(), Failure> {
    let unreadable = |error: io::Error| cannot_read(folder, &error);
    let (recovered, report) = recover(log, folder).map_err(unreadable)??;
    let (mut entries, mut bytes) = (0u64, 0u64);
    for segment in recovered.segments() {
        let file = fs::read(log_folder::segment(folder, *segment)).map_err(unreadable)?;
        for found in recovered.entries(log, *segment, Bytes::from(file)) {
            let found = found.map_err(|corruption| Failure::Local(corruption.to_string()))?;
            entries += 1;
            bytes += found.body.len() as u64;
            if dump {
                let (header, body) = (format!("{:?}", found.header), found.body.len());
                output.say(&format!("{header} body {body} bytes"), &json!({ "header": header, "body_bytes": body }))?;
            }
        }
    }
    let (records, cut) = (report.records, report.cut_bytes);
    output.say(
        &format!("log {log}: good, {entries} entries, {bytes} bytes; {cut} unfinished bytes at its end"),
        &json!({ "log": log.0, "good": true, "entries": entries, "bytes": bytes, "records": records, "cut_bytes": cut }),
    )
}

type Checked = Result<(Recovered, RecoveryReport), Failure>;

/// As the broker would at its start, with `recovery = "refuse"`.
fn recover(log: LogId, folder: &Path) -> io::Result<Checked> {
    let found = log_folder::look(folder)?;
    let options = LogOptions {
        log,
        segment_size: 64 << 20,
        fsync: FsyncPolicy::None,
        retention_ms: 0,
        retention_bytes: 0,
        low_water: 0,
    };
    let mut recovery = Recovery::new(&options, RecoveryMode::Refuse, found.checkpoint, found.segments);
    while let RecoveryStep::Read { segment, position, len } = recovery.poll() {
        let file = fs::File::open(log_folder::segment(folder, segment))?;
        let mut bytes = vec![0; len];
        let read = read_up_to(&file, &mut bytes, position)?;
        bytes.truncate(read);
        recovery.handle(Bytes::from(bytes));
    }
    Ok(recovery.finish().map_err(|corruption| Failure::Local(corruption.to_string())))
}

fn read_up_to(file: &fs::File, bytes: &mut [u8], position: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < bytes.len() {
        match file.read_at(&mut bytes[done..], position + done as u64)? {
            0 => break,
            read => done += read,
        }
    }
    Ok(done)
}

fn cannot_read(path: &Path, error: &io::Error) -> Failure {
    Failure::Local(format!("{}: {error}", path.display()))
}
