//! Virtual time: what happens next, and when.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::time::Duration;

use crate::model::Instant;

/// When every world begins.
pub const EPOCH: Instant = Instant(1_700_000_000_000_000_000);

/// Happenings in the order of their time; of those at one time, in the order they were asked for. Time passes only
/// from one happening to the next.
#[derive(Debug)]
pub struct Scheduler<T> {
    now: Instant,
    asked: u64,
    heap: BinaryHeap<Planned<T>>,
}

#[derive(Debug)]
struct Planned<T> {
    when: Instant,
    asked: u64,
    what: T,
}

impl<T> Default for Scheduler<T> {
    fn default() -> Self {
        Scheduler::new()
    }
}

impl<T> Scheduler<T> {
    pub fn new() -> Scheduler<T> {
        Scheduler { now: EPOCH, asked: 0, heap: BinaryHeap::new() }
    }

    pub fn now(&self) -> Instant {
        self.now
    }

    /// At `when`, or at once if that has passed.
    pub fn at(&mut self, when: Instant, what: T) {
        self.asked += 1;
        self.heap.push(Planned { when: when.max(self.now), asked: self.asked, what });
    }

    pub fn after(&mut self, delay: Duration, what: T) {
        self.at(self.now + delay, what);
    }

    /// Lets time pass up to the next happening.
    pub fn step(&mut self) -> Option<T> {
        let next = self.heap.pop()?;
        self.now = next.when;
        Some(next.what)
    }

    pub fn len(&self) -> usize {
        self.heap.len()
    }

    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }
}

impl<T> Ord for Planned<T> {
    /// Turned round: the heap gives its greatest, and the earliest is to come first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.when, other.asked).cmp(&(self.when, self.asked))
    }
}

impl<T> PartialOrd for Planned<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Planned<T> {
    fn eq(&self, other: &Self) -> bool {
        self.asked == other.asked
    }
}

impl<T> Eq for Planned<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_passes_from_one_happening_to_the_next() {
        let mut scheduler = Scheduler::new();
        scheduler.after(Duration::from_millis(5), "later");
        scheduler.after(Duration::from_millis(1), "sooner");
        scheduler.after(Duration::from_millis(5), "later still");
        assert_eq!(scheduler.step(), Some("sooner"));
        assert_eq!(scheduler.now(), EPOCH.plus_ms(1));
        scheduler.at(EPOCH, "the past is now");
        assert_eq!(scheduler.step(), Some("the past is now"));
        assert_eq!(scheduler.now(), EPOCH.plus_ms(1));
        assert_eq!((scheduler.step(), scheduler.step(), scheduler.step()), (Some("later"), Some("later still"), None));
    }
}
