//! A line that says how a run goes, for people at a terminal.

use std::io::{IsTerminal, Write, stderr};

use super::cpu::Sample;
use super::floor::relay::BareRelay;
use super::load::Watcher;
use super::report::scaled;

/// Whose CPU time is looked at.
pub enum Watched<'a> {
    /// A process.
    Process(u32),
    /// The floor's own thread.
    Relay(&'a BareRelay),
    /// Nobody knows.
    Unknown,
}

/// Watches one run.
pub struct Progress<'a> {
    name: &'a str,
    watched: Watched<'a>,
    shown: bool,
    terminal: bool,
}

impl<'a> Progress<'a> {
    /// Says nothing when nobody is there to read.
    pub fn new(name: &'a str, watched: Watched<'a>) -> Progress<'a> {
        Progress { name, watched, shown: false, terminal: stderr().is_terminal() }
    }
}

impl Watcher for Progress<'_> {
    fn broker(&self) -> Option<Sample> {
        match &self.watched {
            Watched::Process(pid) => Sample::of_process(*pid),
            Watched::Relay(relay) => relay.usage().map(|usage| Sample { usage, resident: None }),
            Watched::Unknown => None,
        }
    }

    fn progress(&mut self, seconds: f64, delivered: u64) {
        if self.terminal {
            self.shown = true;
            let rate = delivered as f64 / seconds.max(1e-9);
            // A terminal that went away misses nothing.
            let _ = write!(stderr(), "\r{:<8} {seconds:5.1} s  {} msg/s      ", self.name, scaled(rate));
        }
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        if self.shown {
            let _ = write!(stderr(), "\r{:60}\r", "");
        }
    }
}
