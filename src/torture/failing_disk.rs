//! `blipmq torture failing-disk`: the n-th write or the n-th sync of the log's device fails.
//!
//! That log is not trusted any more: nothing more is acknowledged, no sync is tried a second time (kernels answer it with
//! success, and the data is gone), and the process ends by itself with the exit code for it. What the device still held
//! is lost with the process ([`super::faults`]). The next daemon, on a device that works, has everything acknowledged;
//! under `every_n:N` all but N at most.

use std::path::PathBuf;
use std::process::Command;

use clap::Args;

use super::cli::Common;
use super::crowd::book::Promises;
use super::crowd::publisher::Style;
use super::crowd::{Cast, Crowd, lock};
use super::daemon::{Daemon, Workspace};
use super::faults;
use super::killing::{Ended, Killing, Plan, configuration};
use super::losses::Losses;
use super::verdict::Verdict;
use crate::bench::failure::Failure;
use crate::model::FsyncPolicy;

/// `blipmqd`'s exit code when the device of a log failed while it ran.
const LOG_FAILED: i32 = 6;
/// Operations that the device takes before it fails: the first few are the start's.
const TAKES_MAX: u64 = 300;
/// Cores of the daemon, and logs of its directory.
const CORES: u16 = 2;
/// Publishers of each topic.
const STYLES: &[Style] = &[Style::Idempotent, Style::Careless, Style::Volatile, Style::Old];

const STOPS: &str = "a daemon whose log's device failed ends with its exit code";
const SAYS: &str = "it says which log failed, and how";
const ONCE: &str = "a failed sync is not tried again";

/// Let the log's device fail; the daemon stops, and nothing acknowledged is lost. Needs a daemon with the feature `faults`
#[derive(Args, Clone, Debug)]
pub struct Arguments {
    #[command(flatten)]
    pub common: Common,
    /// How often the device fails: in turn a write and a sync
    #[arg(long, value_name = "N", default_value = "20")]
    pub failures: u32,
    /// When the daemon syncs: always, every_n:N or none
    #[arg(long, value_name = "POLICY", default_value = "always")]
    pub fsync: FsyncPolicy,
}

struct Failing {
    losses: Losses,
    dice: fastrand::Rng,
    next: Option<String>,
    again: PathBuf,
}

/// Runs it; answers with the seed.
pub fn run(arguments: &Arguments) -> Result<(u64, Verdict), Failure> {
    let seed = arguments.common.seed();
    let workspace = Workspace::make(&arguments.common)?;
    faults::require(&workspace)?;
    let always = arguments.fsync == FsyncPolicy::Always;
    let crowd = Crowd::gather(&Cast {
        seed,
        topics: 1,
        logs: CORES,
        promises: Promises { cursors: always },
        may_lose: !always,
        may_refuse: true,
        styles: STYLES,
    })?;
    let losses = Losses::new(arguments.fsync, &workspace);
    let again = losses.report.with_extension("again");
    let failing = Failing { losses, dice: fastrand::Rng::with_seed(seed), next: None, again };
    let mut killing = Killing::new(failing, workspace, crowd, configuration(arguments.fsync, CORES));
    killing.open()?;
    for nth in 0..arguments.failures {
        killing.plan.fail(["fail_write_after", "fail_sync_after"][nth as usize % 2]);
        let ended = killing.until_it_ends()?;
        judge(&killing, ended);
        killing.plan.next = None;
        if !lock(&killing.crowd.room.book).holds() {
            break;
        }
    }
    let (mut verdict, failing) = killing.close()?;
    verdict.figure("failures of the device", arguments.failures);
    failing.losses.tell(&mut verdict);
    Ok((seed, verdict))
}

fn judge(killing: &Killing<Failing>, ended: Option<(i32, String)>) {
    let mut book = lock(&killing.crowd.room.book);
    let what = killing.plan.next.clone().unwrap_or_default();
    let (code, log) = ended.unwrap_or((-1, "it goes on".into()));
    if code != LOG_FAILED {
        book.accuse(STOPS, format!("{what}: exit code {code}\n{log}"));
    }
    if !(log.contains("log ") && log.contains(" failed: ")) {
        book.accuse(SAYS, format!("{what}:\n{log}"));
    }
    if killing.plan.again.exists() {
        book.accuse(ONCE, what);
    }
}

impl Failing {
    fn fail(&mut self, what: &str) {
        let (seed, takes) = (self.dice.u32(..), self.dice.u64(..TAKES_MAX));
        self.next = Some(format!("hold=1,seed={seed},{what}={takes},report={}", self.losses.report.display()));
    }
}

impl Plan for Failing {
    fn prepare(&mut self, command: &mut Command) {
        if let Some(faults) = &self.next {
            command.env(faults::VARIABLE, faults);
        }
    }

    fn examine(&mut self, daemon: &Daemon, crowd: &Crowd, ended: Ended) -> Result<(), Failure> {
        self.losses.examine(daemon, crowd, ended)
    }
}
