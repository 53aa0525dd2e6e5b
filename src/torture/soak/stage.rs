//! What all lives share: the broker, the bodies, the time, and what has been counted.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::body::Bodies;
use crate::client::ClientError;
use crate::client::blocking::{Client, ConnectOptions};
use crate::torture::daemon::KEY;
use crate::torture::http::Http;
use crate::torture::verdict::Verdict;

/// Answers may take as long as somebody may stop the whole machine.
const PATIENCE: Duration = Duration::from_secs(600);
/// After the machine stood still, what has timed out is nobody's fault for so long.
const AFTERMATH: Duration = Duration::from_secs(60);

/// Shared by all threads of a soak.
#[derive(Debug)]
pub struct Stage {
    /// Where the broker listens.
    pub addr: String,
    /// Its other listener.
    pub http: Http,
    /// What is sent.
    pub bodies: Bodies,
    /// Messages a second of one life.
    pub rate: f64,
    /// No new life begins after this.
    pub until: Instant,
    /// Somebody asked to end early.
    pub asked_to_end: Arc<AtomicBool>,
    pub totals: Mutex<Totals>,
    pub verdict: Mutex<Verdict>,
    pub stood_still: Mutex<StoodStill>,
}

/// Counted over all lives.
#[derive(Debug, Default, Clone)]
pub struct Totals {
    pub lives: u64,
    pub sent: u64,
    pub promised: u64,
    pub received: u64,
    pub repeats: u64,
    pub nacked: u64,
    pub left_to_time_out: u64,
    pub refused: u64,
    pub publisher_disconnects: u64,
    pub resets_in_a_batch: u64,
    pub subscriber_restarts: u64,
    pub subscriber_resets: u64,
    pub volatile_sent: u64,
    pub volatile_received: u64,
    pub lost: u64,
    pub duplicates: u64,
    pub wrong_bodies: u64,
    pub topics_deleted: u64,
}

/// Times at which this process did not run for seconds.
#[derive(Debug, Default)]
pub struct StoodStill {
    pub times: u64,
    pub last: Option<Instant>,
}

impl Stage {
    /// Whether new lives are to begin.
    pub fn goes_on(&self) -> bool {
        Instant::now() < self.until && !self.asked_to_end.load(Ordering::Relaxed)
    }

    /// A connection to the broker.
    pub fn connect(&self, version: u8) -> Result<Client, ClientError> {
        let options = ConnectOptions::new(&self.addr).api_key(KEY).version(version);
        Client::connect(&options.connect_timeout(PATIENCE).answer_timeout(PATIENCE).write_timeout(PATIENCE))
    }

    /// Counts.
    pub fn count(&self, count: impl FnOnce(&mut Totals)) {
        count(&mut lock(&self.totals));
    }

    /// A promise did not hold.
    pub fn broken(&self, what: String) {
        lock(&self.verdict).broken(what);
    }

    /// Timeouts are excused for a while after the machine stood still.
    pub fn stood_still_lately(&self) -> bool {
        lock(&self.stood_still).last.is_some_and(|last| last.elapsed() < AFTERMATH)
    }
}

/// A count is a count, whoever panicked.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
