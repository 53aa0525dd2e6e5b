//! The clock every shard reads: Unix time at the start, monotonic from there.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::model::Instant;

/// One clock for all shards of a process, so that their instants can be compared. Copied, never shared.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    unix_at_start: u64,
    start: std::time::Instant,
}

impl Clock {
    /// Starts now. A wall clock set before 1970 counts from 1970.
    pub fn start() -> Clock {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Clock { unix_at_start: unix.as_nanos() as u64, start: std::time::Instant::now() }
    }

    /// Never goes back; a step of the wall clock does not move it.
    #[inline]
    pub fn now(&self) -> Instant {
        Instant(self.unix_at_start + self.start.elapsed().as_nanos() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_tells_the_unix_time_and_never_goes_back() {
        let clock = Clock::start();
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
        let first = clock.now();
        assert!((first.timestamp().0 - unix).abs() < 1000);
        assert!(clock.now() >= first);
    }
}
