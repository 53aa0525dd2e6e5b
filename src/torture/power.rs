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
//! longest pause that the trial itself suffered is added, and told.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::Value;

use super::cli::Common;
use super::crowd::book::Promises;
use super::crowd::publisher::Style;
use super::crowd::{Cast, Crowd, lock};
use super::daemon::{Daemon, KEY, Workspace};
use super::faults;
use super::killing::{Ended, Killing, Plan, configuration};
use super::verdict::Verdict;
use crate::bench::failure::Failure;
use crate::client::blocking::{Client, ConnectOptions};
use crate::model::FsyncPolicy;
use crate::protocol::native::request::What;

/// Publishers of each topic. Those who say again what was not answered are told from the others by the sequence numbers
/// in their batches; a plain repetition would be a second record.
const STYLES: &[Style] = &[Style::Idempotent, Style::Idempotent, Style::Careless, Style::Volatile, Style::Old];
/// More rows than there are topics.
const ROWS: u32 = 10_000;
/// How long the one sleeps who measures how late the machine is.
const TICK: Duration = Duration::from_millis(2);

/// Of a thousand writes, so many let a part of what is held through: some devices write at once, some late.
const EARLY: [u32; 4] = [0, 50, 300, 1000];
/// What a daemon logs that found a torn tail.
const CUT: &str = " unfinished entries, ";

const SAFE: &str = "power loss takes no more than the policy says";

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
    fsync: FsyncPolicy,
    dice: fastrand::Rng,
    /// Where the device tells its slowest sync.
    report: PathBuf,
    /// What the daemons logged.
    log: PathBuf,
    late: Arc<AtomicU64>,
    lost: u64,
    most: u64,
    oldest: Duration,
    cuts_with_loss: u64,
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
        styles: STYLES,
    })?;
    let set = configuration(arguments.fsync, arguments.cores);
    let power = Power {
        fsync: arguments.fsync,
        dice: fastrand::Rng::with_seed(seed),
        report: workspace.path().join("slowest-sync"),
        log: workspace.log(),
        late: measure_lateness(),
        lost: 0,
        most: 0,
        oldest: Duration::ZERO,
        cuts_with_loss: 0,
        torn: 0,
    };
    let mut killing = Killing::new(power, workspace, crowd, set);
    killing.open()?;
    killing.kill(arguments.cuts)?;
    let (mut verdict, power) = killing.close()?;
    power.tell(&mut verdict);
    Ok((seed, verdict))
}

impl Plan for Power {
    fn prepare(&mut self, command: &mut Command) {
        let (report, seed) = (self.report.display(), self.dice.u32(..));
        let early = EARLY[self.dice.usize(..EARLY.len())];
        let text = format!("hold=1,seed={seed},early={early},report={report}");
        command.env(faults::VARIABLE, text);
    }

    fn examine(&mut self, daemon: &Daemon, crowd: &Crowd, ended: Ended) -> Result<(), Failure> {
        self.torn = fs::read_to_string(&self.log)?.matches(CUT).count() as u64;
        let ends = ends(daemon)?;
        let mut lost: BTreeMap<usize, Vec<Instant>> = BTreeMap::new();
        let mut book = lock(&crowd.room.book);
        for (topic, name) in crowd.topics.iter().enumerate() {
            let gone = book.forget_from(topic, ends.get(name).copied().unwrap_or(0));
            lost.entry(crowd.log_of(topic)).or_default().extend(gone.iter().map(|gone| gone.at));
        }
        let all: usize = lost.values().map(Vec::len).sum();
        self.lost += all as u64;
        self.cuts_with_loss += u64::from(all > 0);
        for (log, gone) in lost {
            self.most = self.most.max(gone.len() as u64);
            let age = |at: &Instant| ended.at.saturating_duration_since(*at);
            let oldest = gone.iter().map(age).max().unwrap_or_default();
            self.oldest = self.oldest.max(oldest);
            if let Some(most) = self.broken(&gone, oldest, ended.clean) {
                let count = gone.len();
                book.accuse(SAFE, format!("log {log} lost {count} acknowledged, the oldest {oldest:?} old; {most}"));
            }
        }
        Ok(())
    }
}

impl Power {
    /// What the policy says, if that was broken.
    fn broken(&self, gone: &[Instant], oldest: Duration, clean: bool) -> Option<String> {
        let (held, most) = match self.fsync {
            _ if clean => (gone.is_empty(), "it had closed its logs".to_owned()),
            FsyncPolicy::Always => (gone.is_empty(), "nothing is to be lost".to_owned()),
            FsyncPolicy::EveryN(most) => (gone.len() <= most as usize, format!("{most} at most")),
            FsyncPolicy::Interval(every) => {
                let most = self.window(every);
                (oldest <= most, format!("{most:?} at most"))
            }
            FsyncPolicy::None => (true, String::new()),
        };
        (!held).then_some(most)
    }

    fn window(&self, every: Duration) -> Duration {
        let slowest = fs::read_to_string(&self.report).ok().and_then(|text| text.trim().parse().ok());
        let slowest = Duration::from_micros(slowest.unwrap_or(0));
        let sync = if slowest * 2 > every { slowest * 2 } else { Duration::ZERO };
        every + sync + Duration::from_micros(self.late.load(Ordering::Relaxed))
    }

    fn tell(&self, verdict: &mut Verdict) {
        verdict.figure("policy", self.fsync.to_string());
        verdict.figure("torn tails cut off", self.torn);
        verdict.figure("cuts that lost something", self.cuts_with_loss);
        verdict.figure("acknowledged, lost by cuts", self.lost);
        verdict.figure("most lost of a log by one", self.most);
        verdict.figure("oldest lost, ms before", self.oldest.as_millis() as u64);
        if let FsyncPolicy::Interval(every) = self.fsync {
            verdict.figure("window, ms", self.window(every).as_millis() as u64);
            verdict.figure("of it machine late, ms", self.late.load(Ordering::Relaxed) / 1000);
        }
    }
}

/// The next offset of each topic.
fn ends(daemon: &Daemon) -> Result<BTreeMap<String, u64>, Failure> {
    let unsaid = |error: &dyn std::fmt::Display| Failure::Broker(format!("topics cannot be asked for: {error}"));
    let client = Client::connect(&ConnectOptions::new(&daemon.addr).api_key(KEY)).map_err(|error| unsaid(&error))?;
    let text = client.query(What::Topics, ROWS).map_err(|error| unsaid(&error))?;
    let rows: Vec<Value> = serde_json::from_str(&text).map_err(|error| unsaid(&error))?;
    let row = |row: &Value| Some((row["topic"].as_str()?.to_owned(), row["next"].as_u64()?));
    Ok(rows.iter().filter_map(row).collect())
}

/// The longest that a short sleep was too long: how late this machine is with everything.
fn measure_lateness() -> Arc<AtomicU64> {
    let late = Arc::new(AtomicU64::new(0));
    let told = Arc::downgrade(&late);
    thread::spawn(move || {
        while let Some(late) = told.upgrade() {
            let began = Instant::now();
            thread::sleep(TICK);
            late.fetch_max((began.elapsed() - TICK).as_micros() as u64, Ordering::Relaxed);
        }
    });
    late
}
