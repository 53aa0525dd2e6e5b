//! `blipmq wal`: the logs of a broker that is not running: checked, told, mended.

mod check;
mod mend;

use std::io;
use std::path::{Path, PathBuf};

use blipmq::model::{LogId, RecoveryMode};
use blipmq::runtime::data_dir::{DataDir, Visit};
use blipmq::runtime::stopped_log::StoppedLog;
use clap::{Args, Subcommand};

use super::failure::Failure;
use super::output::Output;

/// Look at the logs of a broker that is not running, and mend them
#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

const EXIT_CODES: &str = "\
Exit codes:
  0  the logs are good, or have been mended
  1  a broker runs on them, they cannot be read or written, or the directory itself is damaged
  2  wrong arguments
  8  a log is corrupt; truncate and skip: cannot be mended, as it has another format version
  9  check --strict: there are unfinished bytes at a log's end";

#[derive(Subcommand)]
enum What {
    /// Read every entry and check every checksum; exit 8 if a log is corrupt
    ///
    /// Unfinished bytes at a log's end are no corruption: they are what a crash leaves, written and not known to be
    /// synced, and the next start cuts them off. Damage to the very last writes looks the same, and those may have
    /// been acknowledged: under fsync_policy = "always" what the last syncs covered, under the others what their loss
    /// window allows. --strict makes them a failure.
    Check {
        #[command(flatten)]
        of: Of,
        /// Exit 9 if there are unfinished bytes at a log's end
        #[arg(long)]
        strict: bool,
    },
    /// One line for each entry
    Dump {
        #[command(flatten)]
        of: Of,
    },
    /// Cut a corrupt log at its first bad place, as recovery = "truncate" does
    ///
    /// What stands behind that place is lost. Damage before the last checkpoint is left out by itself: what the
    /// checkpoint knows to be good stays. A log that is good stays as it is.
    Truncate {
        #[command(flatten)]
        of: Of,
        #[command(flatten)]
        how: How,
    },
    /// Leave bad places out of a corrupt log, as recovery = "skip" does
    ///
    /// What stands behind them stays. An unfinished end is cut off. A log that is good stays as it is.
    Skip {
        #[command(flatten)]
        of: Of,
        #[command(flatten)]
        how: How,
    },
}

#[derive(Args)]
struct Of {
    /// The data directory: what wal_path names
    directory: PathBuf,
    /// Only this shard's log
    #[arg(long, value_name = "N")]
    shard: Option<u16>,
}

/// One of the three has to be said.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct How {
    /// First copy what is affected into a new directory
    #[arg(long, value_name = "DIR")]
    backup: Option<PathBuf>,
    /// Do it without a copy
    #[arg(long)]
    no_backup: bool,
    /// Tell what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

/// The logs of an open directory.
struct Logs {
    logs: Vec<StoppedLog>,
    _directory: DataDir,
}

pub fn run(arguments: &Arguments, output: &mut Output) -> Result<(), Failure> {
    match &arguments.what {
        What::Check { of, strict } => check::check(&of.open(Visit::Look)?, *strict, output),
        What::Dump { of } => check::dump(&of.open(Visit::Look)?, output),
        What::Truncate { of, how } => mend::run(of, how, RecoveryMode::Truncate, output),
        What::Skip { of, how } => mend::run(of, how, RecoveryMode::Skip, output),
    }
}

impl Of {
    fn open(&self, visit: Visit) -> Result<Logs, Failure> {
        let directory = DataDir::visit(&self.directory, visit)
            .map_err(|failure| Failure::Local(format!("{}\n  {}", failure.what, failure.remedy)))?;
        let wanted = |log: &LogId| self.shard.is_none_or(|shard| log.0 == shard);
        let ids: Vec<LogId> = (0..directory.logs()).map(LogId).filter(wanted).collect();
        if ids.is_empty() {
            return Err(Failure::Usage(format!("there are only the shards 0 to {}", directory.logs() - 1)));
        }
        let logs = ids.into_iter().map(|id| StoppedLog { id, folder: directory.log_folder(id) }).collect();
        Ok(Logs { logs, _directory: directory })
    }
}

fn unreadable(path: &Path) -> impl Fn(io::Error) -> Failure + '_ {
    move |error| Failure::Local(format!("{}: {error}", path.display()))
}
