//! A daemon that is killed and started again on the same directory.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::cli::Common;
use crate::bench::failure::Failure;

/// The key of every daemon here.
pub const KEY: &str = "torture";
/// Between two looks.
const STEP: Duration = Duration::from_millis(5);
/// Lines of its log that a failure tells.
const LINES: usize = 8;

/// A directory in which daemons run one after another, removed when dropped unless it is to be kept.
#[derive(Debug)]
pub struct Workspace {
    path: PathBuf,
    program: PathBuf,
    keep: bool,
}

/// A running daemon; killed when dropped.
#[derive(Debug)]
pub struct Daemon {
    /// Where it listens.
    pub addr: String,
    /// The URL of its metrics.
    pub metrics: Option<String>,
    child: Child,
    log: PathBuf,
    _stdout: Option<BufReader<ChildStdout>>,
}

impl Workspace {
    /// Makes a directory below `common.data_dir`.
    pub fn make(common: &Common) -> Result<Workspace, Failure> {
        let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_nanos();
        let path = common.data_dir.join(format!("blipmq-torture-{}-{nanos}", std::process::id()));
        fs::create_dir_all(&path).map_err(|error| {
            Failure::Local(format!("cannot make {}: {error}; choose another --data-dir", path.display()))
        })?;
        let beside = || std::env::current_exe().map(|own| own.with_file_name("blipmqd"));
        let program = common.broker.clone().map_or_else(beside, Ok)?;
        Ok(Workspace { path, program, keep: common.keep })
    }

    /// Of this workspace.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What runs in it.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The data directory of its daemons.
    pub fn data(&self) -> PathBuf {
        self.path.join("data")
    }

    /// What all its daemons logged.
    pub fn log(&self) -> PathBuf {
        self.path.join("blipmqd.log")
    }

    /// A daemon on a free port with keys of the configuration, `cores` for one; the caller may add environment.
    pub fn command(&self, set: &[(&str, String)]) -> Command {
        let mut command = Command::new(&self.program);
        let data = self.data().display().to_string();
        let own = [("port", "0".to_owned()), ("metrics_port", "0".to_owned()), ("wal_path", data)];
        for (key, value) in own.iter().chain(set) {
            command.arg("--set").arg(format!("{key}={value}"));
        }
        command.env("BLIPMQ_ALLOWED_API_KEYS", KEY).stdin(Stdio::null());
        command
    }

    /// Starts it, and waits until it says where it listens. There is no deadline: it speaks, or it ends.
    pub fn spawn(&self, command: Command) -> Result<Daemon, Failure> {
        self.launch(command)?.ready()
    }

    /// Starts it, and waits for nothing.
    pub fn launch(&self, mut command: Command) -> Result<Launch, Failure> {
        let log = OpenOptions::new().create(true).append(true).open(self.log())?;
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().map_err(|error| {
            Failure::Embedded(format!("cannot start {}: {error}; see --broker", self.program.display()))
        })?;
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let starting = Daemon { addr: String::new(), metrics: None, child, log: self.log(), _stdout: None };
        Ok(Launch { starting, stdout })
    }
}

/// A daemon that is about to say where it listens; killed when dropped.
#[derive(Debug)]
pub struct Launch {
    starting: Daemon,
    stdout: BufReader<ChildStdout>,
}

/// What became of a start.
#[derive(Debug)]
pub enum Outcome {
    Serves(Box<Daemon>),
    /// With the end of its log.
    Ended(ExitStatus, String),
}

impl Launch {
    /// Waits until it serves. An end before that is a failure.
    pub fn ready(self) -> Result<Daemon, Failure> {
        match self.outcome()? {
            Outcome::Serves(daemon) => Ok(*daemon),
            Outcome::Ended(status, log) => Err(Failure::Embedded(format!("the daemon did not start: {status}\n{log}"))),
        }
    }

    /// Waits until it serves, or has ended without.
    pub fn outcome(self) -> Result<Outcome, Failure> {
        let Launch { starting: mut daemon, mut stdout } = self;
        let mut addr = None;
        loop {
            let mut line = String::new();
            if stdout.read_line(&mut line)? == 0 {
                return Ok(Outcome::Ended(daemon.child.wait()?, daemon.last_words()));
            }
            let line = line.trim_end();
            addr = addr.or_else(|| line.strip_prefix("listening on ").map(str::to_owned));
            if let Some(url) = line.strip_prefix("metrics ") {
                daemon.metrics = Some(url.trim().to_owned());
            }
            if let (true, Some(addr)) = (line.starts_with("next "), &addr) {
                daemon.addr.clone_from(addr);
                daemon._stdout = Some(stdout);
                return Ok(Outcome::Serves(Box::new(daemon)));
            }
        }
    }

    /// SIGKILL, however far it has come, and gone when this returns. Says whether it had ended before.
    pub fn kill(mut self) -> Result<Option<ExitStatus>, Failure> {
        let before = self.starting.child.try_wait()?;
        self.starting.kill()?;
        Ok(before)
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        if !self.keep {
            // What cannot be removed is in a directory for temporary things.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

impl Daemon {
    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL, and gone when this returns.
    pub fn kill(mut self) -> Result<(), Failure> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<(), Failure> {
        kill(Pid::from_raw(self.child.id() as i32), signal).map_err(|errno| Failure::Local(errno.to_string()))
    }

    /// Waits until it ends by itself; None if it still runs after `patience`.
    pub fn wait(&mut self, patience: Duration) -> Result<Option<ExitStatus>, Failure> {
        let deadline = Instant::now() + patience;
        loop {
            match self.child.try_wait()? {
                Some(status) => return Ok(Some(status)),
                None if Instant::now() > deadline => return Ok(None),
                None => sleep(STEP),
            }
        }
    }

    /// Resident memory in bytes, open descriptors, threads; from /proc.
    pub fn usage(&self) -> Result<Usage, Failure> {
        let proc = PathBuf::from(format!("/proc/{}", self.pid()));
        let status = fs::read_to_string(proc.join("status"))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
        };
        let rss_bytes = field("VmRSS:") * 1024;
        let targets = fs::read_dir(proc.join("fd"))?.flatten().filter_map(|open| fs::read_link(open.path()).ok());
        let (segments, others): (Vec<_>, Vec<_>) = targets.partition(|target| is_segment(target));
        let [segments, descriptors] = [segments, others].map(|open| open.len() as u64);
        Ok(Usage { rss_bytes, segments, descriptors, threads: field("Threads:") })
    }

    /// The end of its log.
    pub fn last_words(&self) -> String {
        tail(&self.log)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a process holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Resident memory.
    pub rss_bytes: u64,
    /// Open segments of logs.
    pub segments: u64,
    /// Other open files, and sockets.
    pub descriptors: u64,
    /// Threads.
    pub threads: u64,
}

/// By its name: an LSN in digits.
fn is_segment(target: &Path) -> bool {
    let digits = |stem: &std::ffi::OsStr| stem.as_encoded_bytes().iter().all(u8::is_ascii_digit);
    target.extension().is_some_and(|extension| extension == "log") && target.file_stem().is_some_and(digits)
}

fn tail(log: &Path) -> String {
    let log = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}
