//! Which acknowledgements of subscribers are in the log for sure.
//!
//! A cursor that moved is logged [`CURSOR_DELAY`] later, among the entries that the log is given then. So of one log:
//! when a publish is acknowledged that was sent a cursor's delay after an acknowledgement was heard, and after it
//! another one that was sent when the first was acknowledged, the cursor stands before the second, and is as safe. Two,
//! because a timer that is due with the first may be looked at after it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A cursor is logged at most this much after it moved (10 ms); a millisecond for two clocks' steps.
pub const CURSOR_DELAY: Duration = Duration::from_millis(11);
/// Acknowledged publishes remembered. Fewer only make the fence later.
const REMEMBERED: usize = 64;

/// What was acknowledged of one log in one life of the daemon.
#[derive(Debug, Default)]
pub struct Fence {
    /// When it was sent, and when its acknowledgement was read.
    published: VecDeque<(Instant, Instant)>,
    covered: Option<Instant>,
}

impl Fence {
    /// A publish to a topic of this log was acknowledged.
    pub fn published(&mut self, sent: Instant, acknowledged: Instant) {
        let before = self.published.iter().filter(|(_, heard)| *heard <= sent).map(|(first, _)| *first).max();
        if let Some(covered) = before.and_then(|first| first.checked_sub(CURSOR_DELAY)) {
            self.covered = self.covered.max(Some(covered));
        }
        if self.published.len() == REMEMBERED {
            self.published.pop_front();
        }
        self.published.push_back((sent, acknowledged));
    }

    /// Whether the cursor that moved with an acknowledgement heard by `at` is in the log.
    pub fn covers(&self, at: Instant) -> bool {
        self.covered.is_some_and(|covered| at <= covered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_publishes_one_after_the_other_cover_what_was_acknowledged_a_delay_before() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut fence = Fence::default();
        assert!(!fence.covers(start));
        fence.published(at(100), at(120));
        assert!(!fence.covers(start), "one is not enough");
        fence.published(at(110), at(121));
        assert!(!fence.covers(start), "nor are two at once");
        fence.published(at(122), at(130));
        assert!(fence.covers(at(99)) && !fence.covers(at(100)), "the later of the first two");
    }
}
