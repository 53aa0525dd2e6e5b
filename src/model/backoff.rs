//! How long to wait before trying again.

use std::time::Duration;

/// Exponential, jittered, capped: `base * 2^(attempt - 1)`, at most `cap`, then scaled by a factor in `[0.75, 1.25)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    pub base: Duration,
    pub cap: Duration,
}

impl Backoff {
    /// The delay after delivery attempt number `attempt` (from 1). `dice` is any uniform number: chance is an input.
    pub fn delay(&self, attempt: u16, dice: u64) -> Duration {
        let doublings = u32::from(attempt.saturating_sub(1)).min(32);
        let plain = self.base.saturating_mul(1u32.checked_shl(doublings).unwrap_or(u32::MAX)).min(self.cap);
        let jitter = (dice % 1024) as u32;
        plain / 4 * 3 + plain / 2 * jitter / 1024
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff { base: Duration::from_millis(100), cap: Duration::from_secs(30) };

    #[test]
    fn each_attempt_doubles_until_the_cap() {
        let middle = 512;
        assert_eq!(BACKOFF.delay(1, middle), Duration::from_millis(100));
        assert_eq!(BACKOFF.delay(2, middle), Duration::from_millis(200));
        assert_eq!(BACKOFF.delay(5, middle), Duration::from_millis(1600));
        assert_eq!(BACKOFF.delay(60, middle), Duration::from_secs(30));
        assert_eq!(BACKOFF.delay(u16::MAX, middle), Duration::from_secs(30));
    }

    #[test]
    fn jitter_stays_within_a_quarter() {
        for dice in 0..5000 {
            let delay = BACKOFF.delay(3, dice);
            assert!(delay >= Duration::from_millis(300) && delay < Duration::from_millis(500), "{delay:?}");
        }
    }
}
