//! `blipmq torture power`: the power goes at any moment, over and over, on one data directory.
//!
//! The daemon runs on a device that holds what is not synced in the daemon's own memory ([`super::faults`]), so SIGKILL
//! takes with it what a power cut takes. After each cut the logs' ends are compared with what was acknowledged:
//!
//! | policy          | lost of each log by one cut                                                                |
//! |-----------------|--------------------------------------------------------------------------------------------|
//! | `always`        | nothing                                                                                    |
//! | `every_n:N`     | at most N acknowledged records                                                             |
//! | `interval_ms:T` | nothing acknowledged more than T ms before; where a sync takes longer than T/2, T and twice that |
//! | `none`          | counted                                                                                    |
//!
//! An interval is a promise about time, and a machine that is busy with something else is late with everything: the
//! longest pause that the trial itself suffered is added, and how long the daemon's shards waited for a processor since
//! the oldest that was lost ([`super::lateness`]). Both are told.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use clap::Args;

use super::cli::Common;
use super::crowd::book::Promises;
use super::crowd::publisher::Style;
use super::crowd::{Cast, Crowd};
use super::daemon::{Daemon, Workspace};
use super::faults;
use super::killing::{Ended, Killing, Plan, configuration};
use super::losses::Losses;
use super::verdict::Verdict;
use crate::bench::failure::Failure;
use crate::model::FsyncPolicy;
use crate::wal::recovery::report::UNSYNCED;

/// Publishers of each topic. Those who say again what was not answered are told from the others by the sequence numbers
/// in their batches; a plain repetition would be a second record.
const STYLES: &[Style] = &[Style::Idempotent, Style::Idempotent, Style::Careless, Style::Volatile, Style::Old];

/// Of a thousand writes, so many let a part of what is held through: some devices write at once, some late.
const EARLY: [u32; 4] = [0, 50, 300, 1000];

/// Cut the power at random moments; no more is lost than the policy says. Needs a daemon with the feature `faults`
#[derive(Args, Clone, Debug)]
pub struct Arguments {
    #[command(flatten)]
    pub common: Common,
    /// How often the power goes
    #[arg(long, value_name = "N", default_value = "100")]
    pub cuts: u32,
    /// When the daemon syncs: always, every_n:N, interval_ms:T or none
    #[arg(long, value_name = "POLICY", default_value = "always")]
    pub fsync: FsyncPolicy,
    /// Cores of the daemon, and logs of its directory
    #[arg(long, value_name = "N", default_value = "2")]
    pub cores: u16,
    /// Topics of each log
    #[arg(long, value_name = "N", default_value = "2")]
    pub topics: usize,
}

struct Power {
    losses: Losses,
    dice: fastrand::Rng,
    /// What the daemons logged.
    log: PathBuf,
    torn: u64,
}

/// Runs it; answers with the seed.
pub fn run(arguments: &Arguments) -> Result<(u64, Verdict), Failure> {
    let seed = arguments.common.seed();
    let workspace = Workspace::make(&arguments.common)?;
    faults::require(&workspace)?;
    let always = arguments.fsync == FsyncPolicy::Always;
    let crowd = Crowd::gather(&Cast {
        seed,
        topics: arguments.topics,
        logs: arguments.cores,
        promises: Promises { cursors: always },
        may_lose: !always,
        may_refuse: false,
        styles: STYLES,
    })?;
    let set = configuration(arguments.fsync, arguments.cores);
    let losses = Losses::new(arguments.fsync, &workspace);
    let power = Power { losses, dice: fastrand::Rng::with_seed(seed), log: workspace.log(), torn: 0 };
    let mut killing = Killing::new(power, workspace, crowd, set);
    killing.open()?;
    killing.kill(arguments.cuts)?;
    let (mut verdict, power) = killing.close()?;
    verdict.figure("torn tails cut off", power.torn);
    power.losses.tell(&mut verdict);
    Ok((seed, verdict))
}

impl Plan for Power {
    fn prepare(&mut self, command: &mut Command) {
        let (report, seed) = (self.losses.report.display(), self.dice.u32(..));
        let early = EARLY[self.dice.usize(..EARLY.len())];
        let text = format!("hold=1,seed={seed},early={early},report={report}");
        command.env(faults::VARIABLE, text);
    }

    fn examine(&mut self, daemon: &Daemon, crowd: &Crowd, ended: Ended) -> Result<(), Failure> {
        self.torn = fs::read_to_string(&self.log)?.matches(UNSYNCED).count() as u64;
        self.losses.examine(daemon, crowd, ended)
    }
}
