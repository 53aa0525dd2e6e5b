//! Time as an input: one clock that never goes back.

use std::ops::Add;
use std::time::Duration;

/// Nanoseconds of a clock that never goes back, started at the Unix time of the process's start. The runtime reads
/// it; everybody else is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Instant(pub u64);

/// Milliseconds since the Unix epoch: what is written into records and log entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Timestamp(pub i64);

impl Instant {
    pub const NEVER: Instant = Instant(u64::MAX);

    pub fn timestamp(self) -> Timestamp {
        Timestamp((self.0 / 1_000_000) as i64)
    }

    /// As log entries spell an expiry: zero for never.
    pub fn timestamp_or_zero(self) -> Timestamp {
        if self == Instant::NEVER { Timestamp(0) } else { self.timestamp() }
    }

    /// Zero if `earlier` is not earlier.
    pub fn since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    #[must_use]
    pub fn plus_ms(self, ms: u64) -> Instant {
        Instant(self.0.saturating_add(ms.saturating_mul(1_000_000)))
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    fn add(self, delay: Duration) -> Instant {
        Instant(self.0.saturating_add(u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Timestamp {
    #[must_use]
    pub fn plus_ms(self, ms: u64) -> Timestamp {
        Timestamp(self.0.saturating_add(i64::try_from(ms).unwrap_or(i64::MAX)))
    }

    /// The instant of this timestamp on the process's clock; a time before the epoch is its start.
    pub fn instant(self) -> Instant {
        Instant((self.0.max(0) as u64).saturating_mul(1_000_000))
    }
}
