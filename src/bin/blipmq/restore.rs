//! `blipmq restore`: a data directory made of a backup, and checked before it is called good.

use std::fs;
use std::path::{Path, PathBuf};

use blipmq::model::LogId;
use blipmq::runtime::data_dir::{DataDir, Visit};
use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};

use super::backup::{BESIDE, MANIFEST, copy_log, say};
use super::copy;
use super::failure::Failure;
use super::output::Output;

/// Make a data directory of a backup; run it as the broker's user
///
/// Every checksum is checked before it is called good. Until then a broker does not start there.
#[derive(Args)]
pub struct Arguments {
    /// A backup that `blipmq backup` has made
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// A directory that is not there yet, or empty: the `wal_path` of the broker that is to start
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
}

/// What stands in the version file until everything is there: no broker takes it.
const UNFINISHED: &[u8] = b"being restored\n";

#[derive(Deserialize)]
struct Manifest {
    logs: Vec<Log>,
}

#[derive(Deserialize)]
struct Log {
    log: u16,
    end: u64,
}

pub fn run(arguments: &Arguments, output: &mut Output) -> Result<(), Failure> {
    let Arguments { from, to } = arguments;
    let (manifest, said) = read_manifest(from)?;
    let version_of = from.join("version");
    let version = fs::read(&version_of).map_err(copy::failed(&version_of))?;
    // A format that this program cannot read is refused here.
    let logs = DataDir::visit(from, Visit::Look).map_err(|failure| Failure::Local(failure.to_string()))?.logs();
    if usize::from(logs) != manifest.logs.len() {
        let text = format!("{}: {} of its {logs} logs are in the backup", from.display(), manifest.logs.len());
        return Err(Failure::Local(text));
    }
    copy::make_empty(to)?;
    let version_file = to.join("version");
    copy::write(&version_file, UNFINISHED)?;
    let (mut records, mut bytes) = (0, 0);
    for log in &manifest.logs {
        let id = LogId(log.log);
        let folder = copy::folder(to, id);
        copy_log(&copy::folder(from, id), &folder)?;
        let found = copy::verify(id, &folder)?;
        if found.end != log.end {
            let text = format!("log {} ends at {}, the backup's at {}: it is not whole", log.log, found.end, log.end);
            return Err(Failure::Local(text));
        }
        records += found.records;
        bytes += found.bytes;
    }
    for name in BESIDE.iter().filter(|name| **name != "version") {
        copy_if_there(&from.join(name), &to.join(name))?;
    }
    copy::sync_folder(to)?;
    copy::replace(&version_file, &version)?;
    say(output, "data directory", to, &json!({ "logs": said["logs"] }), records, bytes)
}

fn read_manifest(from: &Path) -> Result<(Manifest, Value), Failure> {
    let file = from.join(MANIFEST);
    let text = fs::read_to_string(&file).map_err(|error| {
        Failure::Local(format!("{}: {error}; this is no backup, or one that was not finished", file.display()))
    })?;
    let wrong = |error: serde_json::Error| Failure::Local(format!("{}: {error}", file.display()));
    Ok((serde_json::from_str(&text).map_err(wrong)?, serde_json::from_str(&text).map_err(wrong)?))
}

fn copy_if_there(from: &Path, to: &Path) -> Result<(), Failure> {
    if !from.is_file() {
        return Ok(());
    }
    copy::write(to, &fs::read(from).map_err(copy::failed(from))?)
}
