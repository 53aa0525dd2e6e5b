//! Why the process ends otherwise than asked: an exit code, what happened, what to do.

use std::fmt;
use std::io::{self, Write};

/// The exit codes of `blipmqd`, in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Exit {
    /// Ended as asked.
    Clean = 0,
    /// Something nobody thought of.
    Unexpected = 1,
    /// The configuration is wrong.
    Configuration = 2,
    /// io_uring, locked memory, file descriptors or cores are missing.
    Environment = 3,
    /// The data directory is locked, not writable, unsupported or corrupt.
    DataDirectory = 4,
    /// Somebody else has the port.
    AddressInUse = 5,
    /// The log's device failed while running.
    LogFailed = 6,
    /// Our own bug.
    Panicked = 7,
}

impl Exit {
    /// Every one, in order.
    pub const ALL: [Exit; 8] = [
        Exit::Clean,
        Exit::Unexpected,
        Exit::Configuration,
        Exit::Environment,
        Exit::DataDirectory,
        Exit::AddressInUse,
        Exit::LogFailed,
        Exit::Panicked,
    ];
}

/// One line what, one line what to do, and the exit code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What the process ends with.
    pub exit: Exit,
    /// What happened.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

impl Failure {
    /// A failure in words.
    pub fn new(exit: Exit, what: impl Into<String>, remedy: impl Into<String>) -> Failure {
        Failure { exit, what: what.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "blipmqd: {}\n  {}", self.what, self.remedy)
    }
}

/// Panics where a test wants it: debug builds look at `BLIPMQD_PLANTED_PANIC`, a place's name.
pub fn planted_panic(place: &str) {
    if cfg!(debug_assertions) && std::env::var("BLIPMQD_PLANTED_PANIC").is_ok_and(|planted| planted == place) {
        panic!("planted in {place}");
    }
}

/// A panic anywhere ends the whole process: a broker that lost a shard keeps no promise of that shard's.
pub fn end_process_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("a thread without a name");
        // Whoever read this may have gone: that must not become a panic within a panic, which aborts.
        let _ = writeln!(io::stderr(), "blipmqd: bug in {name}: {panic}");
        let _ = writeln!(io::stderr(), "  please report it with this line; everything acknowledged is in the log");
        std::process::exit(Exit::Panicked as i32);
    }));
}
