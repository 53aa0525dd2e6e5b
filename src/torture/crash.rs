//! `blipmq torture crash`: SIGKILL at any moment, over and over, on one data directory.
//!
//! A killed process loses none of what was written ([`crate::manual`], durability): under every policy, everything
//! acknowledged must be there. The moments are random: while it serves, while it starts and recovers, and while it
//! stops ([`super::killing`]). What is checked of every delivery stands in [`super::crowd::book`].

use clap::Args;

use super::cli::Common;
use super::crowd::book::Promises;
use super::crowd::publisher::Style;
use super::crowd::{Cast, Crowd};
use super::daemon::Workspace;
use super::killing::{Killing, Plan, configuration};
use super::verdict::Verdict;
use crate::bench::failure::Failure;
use crate::model::FsyncPolicy;

/// Publishers of each topic.
const STYLES: &[Style] =
    &[Style::Idempotent, Style::Again, Style::Careless, Style::Volatile, Style::Old, Style::OldVolatile];

/// Kill the daemon at random moments; nothing acknowledged may be lost
#[derive(Args, Clone, Debug)]
pub struct Arguments {
    #[command(flatten)]
    pub common: Common,
    /// How often it is killed
    #[arg(long, value_name = "N", default_value = "200")]
    pub kills: u32,
    /// When the daemon syncs: always, every_n:N, interval_ms:T or none
    #[arg(long, value_name = "POLICY", default_value = "every_n:64")]
    pub fsync: FsyncPolicy,
    /// Cores of the daemon, and logs of its directory
    #[arg(long, value_name = "N", default_value = "2")]
    pub cores: u16,
    /// Topics of each log
    #[arg(long, value_name = "N", default_value = "2")]
    pub topics: usize,
}

struct Crash;

impl Plan for Crash {}

/// Runs it; answers with the seed.
pub fn run(arguments: &Arguments) -> Result<(u64, Verdict), Failure> {
    let seed = arguments.common.seed();
    let workspace = Workspace::make(&arguments.common)?;
    let crowd = Crowd::gather(&Cast {
        seed,
        topics: arguments.topics,
        logs: arguments.cores,
        promises: Promises { cursors: true },
        may_lose: false,
        may_refuse: false,
        styles: STYLES,
    })?;
    let set = configuration(arguments.fsync, arguments.cores);
    let mut killing = Killing::new(Crash, workspace, crowd, set);
    killing.open()?;
    killing.kill(arguments.kills)?;
    let (verdict, _) = killing.close()?;
    Ok((seed, verdict))
}
