//! One daemon after another on one directory, each killed at a random moment, with a crowd that goes on.

use std::process::{Command, ExitStatus};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::crowd::stage::Phase;
use super::crowd::{Crowd, lock};
use super::daemon::{Daemon, Outcome, Workspace};
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

/// How the last daemon that served ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// A moment before it was killed.
    pub at: Instant,
    /// It had closed its logs.
    pub clean: bool,
}

/// What a trial does to each daemon beside killing it.
pub trait Plan {
    /// The variables of the next daemon.
    fn prepare(&mut self, _command: &mut Command) {}

    /// Looks at a daemon that is there again, before the crowd may come.
    fn examine(&mut self, _daemon: &Daemon, _crowd: &Crowd, _ended: Ended) -> Result<(), Failure> {
        Ok(())
    }
}

/// When kills came.
#[derive(Clone, Copy, Debug, Default)]
struct Kills {
    serving: u64,
    starting: u64,
    stopping: u64,
    /// It was faster and had stopped.
    stopped: u64,
}

/// The daemons and the crowd.
pub struct Killing<P> {
    pub plan: P,
    pub workspace: Workspace,
    pub crowd: Crowd,
    set: Vec<(&'static str, String)>,
    dice: fastrand::Rng,
    kills: Kills,
    ended: Ended,
    /// How long the last start and the last stop took.
    start_took: Duration,
    stop_took: Duration,
    slowest_start: Duration,
}

impl<P: Plan> Killing<P> {
    pub fn new(plan: P, workspace: Workspace, crowd: Crowd, set: Vec<(&'static str, String)>) -> Killing<P> {
        Killing {
            plan,
            workspace,
            dice: fastrand::Rng::with_seed(crowd.room.seed),
            crowd,
            set,
            kills: Kills::default(),
            ended: Ended { at: Instant::now(), clean: true },
            start_took: Duration::from_millis(100),
            stop_took: Duration::from_millis(500),
            slowest_start: Duration::ZERO,
        }
    }

    /// Everybody subscribes to the first daemon, which stops then: what comes after has nothing to do with how safe a
    /// new subscription is.
    pub fn open(&mut self) -> Result<(), Failure> {
        let daemon = self.start()?;
        self.crowd.wait_for_subscribers()?;
        self.stop(daemon)?;
        self.crowd.room.stage.set(Phase::Running);
        Ok(())
    }

    fn command(&mut self) -> Command {
        let mut command = self.workspace.command(&self.set);
        self.plan.prepare(&mut command);
        command
    }

    /// The next daemon, with everybody let in.
    pub fn start(&mut self) -> Result<Daemon, Failure> {
        let began = Instant::now();
        let command = self.command();
        let daemon = self.workspace.spawn(command)?;
        self.start_took = began.elapsed();
        self.slowest_start = self.slowest_start.max(self.start_took);
        self.let_in(&daemon)?;
        Ok(daemon)
    }

    fn let_in(&mut self, daemon: &Daemon) -> Result<(), Failure> {
        self.plan.examine(daemon, &self.crowd, self.ended)?;
        let life = lock(&self.crowd.room.book).begin_life();
        self.crowd.enter(life, &daemon.addr);
        Ok(())
    }

    /// Those who were sent away while it runs may come again.
    pub fn let_back(&self, daemon: &Daemon) {
        let life = lock(&self.crowd.room.book).last_life();
        self.crowd.enter(life, &daemon.addr);
    }

    /// A daemon that may not start.
    pub fn attempt(&mut self) -> Result<Outcome, Failure> {
        let outcome = self.outcome()?;
        if let Outcome::Serves(daemon) = &outcome {
            self.let_in(daemon)?;
        }
        Ok(outcome)
    }

    fn outcome(&mut self) -> Result<Outcome, Failure> {
        let command = self.command();
        self.workspace.launch(command)?.outcome()
    }

    /// Starts the next daemon and waits until it ends by itself, however far it comes: its exit code and the end of its
    /// log. `None`: it does not end.
    pub fn until_it_ends(&mut self) -> Result<Option<(i32, String)>, Failure> {
        let ended = match self.outcome()? {
            Outcome::Ended(status, log) => Some((status, log)),
            Outcome::Serves(mut daemon) => {
                let seen = self.let_in(&daemon);
                let status = daemon.wait(PATIENCE)?;
                // One that ends before it can be looked at is looked at when it is there again.
                if status.is_none() {
                    seen?;
                }
                self.crowd.leave();
                self.ended = Ended { at: Instant::now(), clean: false };
                status.map(|status| (status, daemon.last_words()))
            }
        };
        Ok(ended.map(|(status, log)| (status.code().unwrap_or(-1), log)))
    }

    /// Kills so many; ends early when a promise is broken, with the files as they are.
    pub fn kill(&mut self, kills: u32) -> Result<(), Failure> {
        for _ in 0..kills {
            if self.dice.u8(..100) < AT_START {
                self.kill_at_start()?;
                continue;
            }
            let daemon = self.start()?;
            sleep(Duration::from_millis(self.dice.u64(..SERVES_MS)));
            match self.dice.u8(..100) < AT_STOP {
                true => self.kill_at_stop(daemon)?,
                false => self.kill_serving(daemon)?,
            }
            self.crowd.leave();
            if !lock(&self.crowd.room.book).holds() {
                break;
            }
        }
        Ok(())
    }

    /// A daemon that serves is killed.
    pub fn kill_serving(&mut self, daemon: Daemon) -> Result<(), Failure> {
        self.kills.serving += 1;
        self.ended = Ended { at: Instant::now(), clean: false };
        daemon.kill()?;
        self.crowd.leave();
        Ok(())
    }

    /// Somewhere between its first instruction and a little after it serves.
    fn kill_at_start(&mut self) -> Result<(), Failure> {
        let command = self.command();
        let launch = self.workspace.launch(command)?;
        sleep(self.start_took.mul_f64(self.dice.f64() * 1.1));
        self.kills.starting += 1;
        match launch.kill()? {
            None => Ok(()),
            Some(status) => Err(Failure::Embedded(format!("the daemon did not start: {status}"))),
        }
    }

    fn kill_at_stop(&mut self, mut daemon: Daemon) -> Result<(), Failure> {
        let began = Instant::now();
        daemon.signal(Signal::SIGINT)?;
        let patience = self.stop_took.mul_f64(self.dice.f64() * 1.3);
        if let Some(status) = daemon.wait(patience)? {
            self.kills.stopped += 1;
            self.stopped(began, status);
            return Ok(());
        }
        self.kills.stopping += 1;
        self.ended = Ended { at: Instant::now(), clean: false };
        daemon.kill()
    }

    fn stop(&mut self, mut daemon: Daemon) -> Result<(), Failure> {
        let began = Instant::now();
        daemon.signal(Signal::SIGINT)?;
        match daemon.wait(PATIENCE)? {
            Some(status) => self.stopped(began, status),
            None => self.accuse(format!("it still runs:\n{}", daemon.last_words())),
        }
        self.crowd.leave();
        Ok(())
    }

    fn stopped(&mut self, began: Instant, status: ExitStatus) {
        self.stop_took = began.elapsed();
        self.ended = Ended { at: Instant::now(), clean: true };
        match status.success() {
            true => lock(&self.crowd.room.book).ended_clean(),
            false => self.accuse(status.to_string()),
        }
    }

    fn accuse(&self, what: String) {
        lock(&self.crowd.room.book).accuse("a daemon that is asked to stop stops", what);
    }

    /// Everything outstanding arrives; then the daemon stops properly.
    pub fn close(mut self) -> Result<(Verdict, P), Failure> {
        let mut verdict = Verdict::new();
        let daemon = self.start()?;
        if !self.crowd.drain() {
            verdict.broken("nothing new comes, and messages are outstanding".into());
        }
        let Kills { serving, starting, stopping, stopped } = self.kills;
        verdict.figure("kills", serving + starting + stopping + stopped);
        verdict.figure("kills while serving", serving);
        verdict.figure("kills while starting", starting);
        verdict.figure("kills while stopping", stopping);
        verdict.figure("had stopped before", stopped);
        verdict.figure("slowest start, ms", self.slowest_start.as_millis() as u64);
        self.stop(daemon)?;
        let lost = self.crowd.dismiss(&mut verdict);
        verdict.figure("lost", lost);
        Ok((verdict, self.plan))
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
