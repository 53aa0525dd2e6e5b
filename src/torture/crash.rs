//! `blipmq torture crash`: SIGKILL at any moment, over and over, on one data directory.
//!
//! A killed process loses none of what was written ([`crate::manual`], durability): under every policy, everything
//! acknowledged must be there. The moments are random: while it serves, while it starts and recovers, and while it
//! stops. What is checked of every delivery stands in [`super::crowd::book`].

use std::thread::sleep;
use std::time::{Duration, Instant};

use clap::Args;
use nix::sys::signal::Signal;

use super::cli::Common;
use super::crowd::book::Promises;
use super::crowd::publisher::Style;
use super::crowd::{Cast, Crowd, lock};
use super::daemon::{Daemon, Workspace};
use super::verdict::Verdict;
use crate::bench::failure::Failure;
use crate::model::FsyncPolicy;

/// The longest that a daemon serves before it is killed.
const SERVES_MS: u64 = 900;
/// Of a hundred kills, so many come during the start,
const AT_START: u8 = 25;
/// and so many during the stop.
const AT_STOP: u8 = 15;
/// How long a daemon is given to stop before the trial goes on.
const PATIENCE: Duration = Duration::from_secs(30);
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

/// When a kill came.
#[derive(Clone, Copy, Debug, Default)]
struct Kills {
    serving: u64,
    starting: u64,
    stopping: u64,
    /// It was faster and had stopped.
    stopped: u64,
}

struct Trial<'a> {
    arguments: &'a Arguments,
    workspace: Workspace,
    crowd: Crowd,
    dice: fastrand::Rng,
    kills: Kills,
    /// How long the last start and the last stop took.
    start_took: Duration,
    stop_took: Duration,
    slowest_start: Duration,
}

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
        styles: STYLES,
    })?;
    let mut trial = Trial {
        arguments,
        workspace,
        crowd,
        dice: fastrand::Rng::with_seed(seed),
        kills: Kills::default(),
        start_took: Duration::from_millis(100),
        stop_took: Duration::from_millis(500),
        slowest_start: Duration::ZERO,
    };
    let daemon = trial.open()?;
    trial.torture(daemon)?;
    Ok((seed, trial.close()?))
}

impl Trial<'_> {
    /// The first daemon, with everybody subscribed.
    fn open(&mut self) -> Result<Daemon, Failure> {
        let daemon = self.start()?;
        self.crowd.wait_for_subscribers()?;
        self.crowd.room.stage.set(super::crowd::stage::Phase::Running);
        Ok(daemon)
    }

    fn command(&self) -> std::process::Command {
        self.workspace.command(&configuration(self.arguments.fsync, self.arguments.cores))
    }

    fn start(&mut self) -> Result<Daemon, Failure> {
        let began = Instant::now();
        let daemon = self.workspace.spawn(self.command())?;
        self.start_took = began.elapsed();
        self.slowest_start = self.slowest_start.max(self.start_took);
        let life = lock(&self.crowd.room.book).begin_life();
        self.crowd.enter(life, &daemon.addr);
        Ok(daemon)
    }

    fn torture(&mut self, first: Daemon) -> Result<(), Failure> {
        let mut daemon = Some(first);
        for _ in 0..self.arguments.kills {
            let serving = match daemon.take() {
                Some(daemon) => daemon,
                None if self.dice.u8(..100) < AT_START => {
                    self.kill_at_start()?;
                    continue;
                }
                None => self.start()?,
            };
            sleep(Duration::from_millis(self.dice.u64(..SERVES_MS)));
            match self.dice.u8(..100) < AT_STOP {
                true => self.kill_at_stop(serving)?,
                false => {
                    self.kills.serving += 1;
                    serving.kill()?;
                }
            }
            self.crowd.leave();
            if !lock(&self.crowd.room.book).holds() {
                break;
            }
        }
        Ok(())
    }

    /// Somewhere between its first instruction and a little after it serves.
    fn kill_at_start(&mut self) -> Result<(), Failure> {
        let launch = self.workspace.launch(self.command())?;
        sleep(self.start_took.mul_f64(self.dice.f64() * 1.1));
        match launch.kill()? {
            None => self.kills.starting += 1,
            Some(status) => return Err(Failure::Embedded(format!("the daemon did not start: {status}"))),
        }
        Ok(())
    }

    fn kill_at_stop(&mut self, mut daemon: Daemon) -> Result<(), Failure> {
        let life = lock(&self.crowd.room.book).begun() - 1;
        let began = Instant::now();
        daemon.signal(Signal::SIGINT)?;
        let patience = self.stop_took.mul_f64(self.dice.f64() * 1.5);
        match daemon.wait(patience)? {
            Some(status) => self.stopped(life, began, status),
            None => {
                self.kills.stopping += 1;
                daemon.kill()
            }
        }
    }

    fn stopped(&mut self, life: usize, began: Instant, status: std::process::ExitStatus) -> Result<(), Failure> {
        self.stop_took = began.elapsed();
        self.kills.stopped += 1;
        let mut book = lock(&self.crowd.room.book);
        match status.success() {
            true => book.ended_clean(life),
            false => book.accuse("a daemon that is asked to stop stops", status.to_string()),
        }
        Ok(())
    }

    /// Everything outstanding arrives; then the daemon stops properly.
    fn close(mut self) -> Result<Verdict, Failure> {
        let mut verdict = Verdict::new();
        let mut daemon = self.start()?;
        let holds = lock(&self.crowd.room.book).holds();
        if holds && !self.crowd.drain() {
            verdict.broken("nothing new comes, and messages are outstanding".into());
        }
        let Kills { serving, starting, stopping, stopped } = self.kills;
        verdict.figure("kills", serving + starting + stopping + stopped);
        verdict.figure("kills while serving", serving);
        verdict.figure("kills while starting", starting);
        verdict.figure("kills while stopping", stopping);
        verdict.figure("had stopped before", stopped);
        verdict.figure("slowest start, ms", self.slowest_start.as_millis() as u64);
        let lost = self.crowd.dismiss(&mut verdict);
        verdict.figure("lost", lost);
        daemon.signal(Signal::SIGINT)?;
        if !daemon.wait(PATIENCE)?.is_some_and(|status| status.success()) {
            verdict.broken(format!("the last daemon did not stop:\n{}", daemon.last_words()));
        }
        Ok(verdict)
    }
}

/// Small segments, so that they are rolled and given up; redelivery only when a connection ends or somebody asks.
pub fn configuration(fsync: FsyncPolicy, cores: u16) -> Vec<(&'static str, String)> {
    vec![
        ("fsync_policy", fsync.to_string()),
        ("cores", cores.to_string()),
        ("segment_bytes", "1 MiB".into()),
        ("max_frame_bytes", "256 KiB".into()),
        ("retry_backoff_ms", "600000".into()),
        ("retry_backoff_cap_ms", "600000".into()),
        ("max_retries", "65534".into()),
        ("max_connections", "500".into()),
        ("shutdown_timeout_ms", "300".into()),
    ]
}
