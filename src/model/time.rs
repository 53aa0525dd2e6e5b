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

    /// In UTC, as names of files have it: `20260131T120000250Z`. In the Gregorian calendar, counted from March so that
    /// the leap day comes last.
    pub fn compact_utc(self) -> String {
        let (days, ms) = (self.0.div_euclid(86_400_000) + 719_468, self.0.rem_euclid(86_400_000));
        let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let from_march = (5 * day + 2) / 153;
        let day = day - (153 * from_march + 2) / 5 + 1;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        let year = year + era * 400 + i64::from(month <= 2);
        let (seconds, ms) = (ms / 1000, ms % 1000);
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}{ms:03}Z")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utc_is_what_date_says() {
        // date -u -d @951782400 +%Y%m%dT%H%M%SZ, and so on
        for (ms, text) in [
            (0, "19700101T000000000Z"),
            (951_782_400_000, "20000229T000000000Z"),
            (1_735_689_599_999, "20241231T235959999Z"),
            (1_769_860_800_250, "20260131T120000250Z"),
        ] {
            assert_eq!(Timestamp(ms).compact_utc(), text);
        }
    }
}
