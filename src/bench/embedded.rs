//! A broker of our own: `blipmqd` as a child process, with a data directory that goes when it goes.

use std::ffi::OsString;
use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::failure::Failure;
use super::pin;

/// From started to accepting connections.
const START: Duration = Duration::from_secs(20);
/// From asked to end to ended.
const END: Duration = Duration::from_secs(15);
/// Between two looks.
const STEP: Duration = Duration::from_millis(10);
/// Tries to find a port that nobody takes before the broker does.
const PORTS: usize = 3;
/// `blipmqd`'s exit code for an address in use.
const ADDRESS_IN_USE: i32 = 5;
/// What a child process reports of its log when it fails.
const LINES: usize = 8;
/// The key that only this child knows.
const KEY: &str = "bench";

/// How to start one.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// The program.
    pub program: PathBuf,
    /// CPUs it may use; all if empty.
    pub cpus: Vec<usize>,
    /// Where its data directory is made.
    pub parent: PathBuf,
    /// Keys of its configuration.
    pub set: Vec<(String, String)>,
}

/// A running broker; it is stopped and its data removed when dropped.
#[derive(Debug)]
pub struct Embedded {
    /// Where it listens.
    pub addr: String,
    child: Child,
    directory: Directory,
}

impl Recipe {
    /// Starts the broker and waits until it takes connections.
    pub fn start(&self) -> Result<Embedded, Failure> {
        let mut last = None;
        for _ in 0..PORTS {
            match self.try_start(free_port()?)? {
                Ok(embedded) => return Ok(embedded),
                Err(failure) => last = Some(failure),
            }
        }
        Err(last.expect("there was a try"))
    }

    /// The inner failure is a port that somebody else took: try another.
    fn try_start(&self, port: u16) -> Result<Result<Embedded, Failure>, Failure> {
        let directory = Directory::make(&self.parent)?;
        let log = File::create(directory.log())?;
        let mut command = Command::new(&self.program);
        command.args(self.arguments(port, &directory.data()));
        command.env("BLIPMQ_ALLOWED_API_KEYS", KEY).stdin(Stdio::null());
        command.stdout(log.try_clone()?).stderr(log);
        let spawn = || {
            command.spawn().map_err(|error| {
                Failure::Embedded(format!("cannot start {}: {error}; see --broker and --addr", self.program.display()))
            })
        };
        let child = pin::on(&self.cpus, spawn)?;
        let mut embedded = Embedded { addr: format!("127.0.0.1:{port}"), child, directory };
        match embedded.wait_until_open() {
            Ok(()) => Ok(Ok(embedded)),
            Err((Some(ADDRESS_IN_USE), failure)) => Ok(Err(failure)),
            Err((_, failure)) => Err(failure),
        }
    }

    fn arguments(&self, port: u16, data: &Path) -> Vec<OsString> {
        let port = port.to_string();
        let data = data.display().to_string();
        let own = [("port", port.as_str()), ("metrics_port", "0"), ("wal_path", &data)];
        let own = own.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
        own.chain(self.set.iter().cloned())
            .flat_map(|(key, value)| ["--set".into(), format!("{key}={value}").into()])
            .collect()
    }
}

/// Free a moment ago.
fn free_port() -> Result<u16, Failure> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

impl Embedded {
    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The key it takes.
    pub fn key(&self) -> &'static str {
        KEY
    }

    fn wait_until_open(&mut self) -> Result<(), (Option<i32>, Failure)> {
        let address: SocketAddr = self.addr.parse().expect("we made it");
        let deadline = Instant::now() + START;
        while TcpStream::connect_timeout(&address, STEP).is_err() {
            let ended = self.child.try_wait().map_err(|error| (None, error.into()))?;
            if let Some(status) = ended {
                return Err((status.code(), self.failed(&format!("ended at once: {status}"))));
            }
            if Instant::now() > deadline {
                return Err((None, self.failed("does not take connections")));
            }
            sleep(STEP);
        }
        Ok(())
    }

    fn failed(&self, what: &str) -> Failure {
        Failure::Embedded(format!("the embedded broker {what}\n{}", self.last_words()))
    }

    /// The end of its log.
    pub fn last_words(&self) -> String {
        let log = std::fs::read_to_string(self.directory.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }

    /// Whether it still runs; its last words if not.
    pub fn check(&mut self) -> Result<(), Failure> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(self.failed(&format!("ended: {status}"))),
        }
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        let deadline = Instant::now() + END;
        // It may have ended by itself.
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            sleep(STEP);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Removed when dropped.
#[derive(Debug)]
struct Directory(PathBuf);

impl Directory {
    fn make(parent: &Path) -> Result<Directory, Failure> {
        let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_nanos();
        let path = parent.join(format!("blipmq-bench-{}-{nanos}", std::process::id()));
        std::fs::create_dir_all(&path).map_err(|error| {
            Failure::Local(format!("cannot make {}: {error}; choose another --data-dir", path.display()))
        })?;
        Ok(Directory(path))
    }

    fn data(&self) -> PathBuf {
        self.0.join("data")
    }

    fn log(&self) -> PathBuf {
        self.0.join("blipmqd.log")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What cannot be removed is in a directory for temporary things.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_ends_at_once_is_told_with_its_last_words_and_leaves_nothing() {
        let parent = tempfile::tempdir().unwrap();
        let recipe = Recipe {
            program: "/bin/ls".into(),
            cpus: Vec::new(),
            parent: parent.path().to_owned(),
            set: vec![("wal".into(), "off".into())],
        };
        let failure = recipe.start().unwrap_err().to_string();
        assert!(failure.contains("ended at once") && failure.contains("--set"), "{failure}");
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
        let missing = Recipe { program: "/no/such/program".into(), ..recipe };
        assert!(missing.start().unwrap_err().to_string().contains("--broker"));
    }
}
