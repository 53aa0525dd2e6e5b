//! What comes again, and when.

use std::collections::BTreeMap;

use super::Flight;
use crate::model::{Instant, Offset};

/// A run of records to be delivered again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    pub first: Offset,
    pub end: Offset,
    /// How often they have been delivered so far.
    pub attempts: u16,
}

/// Runs that wait for their time, by time and then by offset.
#[derive(Debug, Default)]
pub struct Redelivery {
    waiting: BTreeMap<(Instant, Offset), (Offset, u16)>,
    records: u64,
}

impl Redelivery {
    pub fn records(&self) -> u64 {
        self.records
    }

    /// The earliest time after `now` at which a run is due.
    pub fn due_after(&self, now: Instant) -> Option<Instant> {
        self.waiting.range((Instant(now.0.saturating_add(1)), Offset::ZERO)..).next().map(|(key, _)| key.0)
    }

    /// Delivers a run again at `due`.
    pub fn add(&mut self, due: Instant, flight: &Flight) {
        self.put(due, Retry { first: flight.first, end: flight.end, attempts: flight.attempt });
    }

    /// Puts back what could not be delivered now.
    pub fn put(&mut self, due: Instant, retry: Retry) {
        if retry.first < retry.end {
            self.records += retry.end.since(retry.first);
            self.waiting.insert((due, retry.first), (retry.end, retry.attempts));
        }
    }

    /// The run that is due first, if its time has come; it stays until [`Redelivery::take_front`].
    pub fn front(&self, now: Instant) -> Option<Retry> {
        let (&(due, first), &(end, attempts)) = self.waiting.first_key_value()?;
        (due <= now).then_some(Retry { first, end, attempts })
    }

    /// Takes the first `records` records of the front run out.
    pub fn take_front(&mut self, records: u64) {
        let Some(((due, first), (end, attempts))) = self.waiting.pop_first() else { return };
        self.records -= end.since(first);
        self.put(due, Retry { first: first.plus(records), end, attempts });
    }

    /// Takes every record of `first..end` that waits out; returns their number.
    pub fn take(&mut self, first: Offset, end: Offset) -> u64 {
        if self.records == 0 {
            return 0;
        }
        let touched: Vec<_> = self
            .waiting
            .iter()
            .filter(|(key, value)| key.1 < end && value.0 > first)
            .map(|(key, value)| (*key, *value))
            .collect();
        let before = self.records;
        for ((due, from), (to, attempts)) in touched {
            self.waiting.remove(&(due, from));
            self.records -= to.since(from);
            self.put(due, Retry { first: from, end: to.min(first), attempts });
            self.put(due, Retry { first: from.max(end), end: to, attempts });
        }
        before - self.records
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flight(first: u64, end: u64, attempt: u16) -> Flight {
        Flight { first: Offset(first), end: Offset(end), attempt, due: Instant(0), member: 0 }
    }

    #[test]
    fn runs_come_in_the_order_of_their_time() {
        let mut redelivery = Redelivery::default();
        redelivery.add(Instant(20), &flight(0, 5, 1));
        redelivery.add(Instant(10), &flight(5, 9, 2));
        assert_eq!(redelivery.front(Instant(9)), None);
        assert_eq!(redelivery.front(Instant(15)), Some(Retry { first: Offset(5), end: Offset(9), attempts: 2 }));
        redelivery.take_front(3);
        assert_eq!(redelivery.front(Instant(15)), Some(Retry { first: Offset(8), end: Offset(9), attempts: 2 }));
        redelivery.take_front(1);
        assert_eq!(redelivery.due_after(Instant(15)), Some(Instant(20)));
        assert_eq!(redelivery.records(), 5);
    }

    #[test]
    fn a_late_acknowledgement_takes_its_records_out_of_the_middle() {
        let mut redelivery = Redelivery::default();
        redelivery.add(Instant(1), &flight(0, 10, 1));
        assert_eq!(redelivery.take(Offset(3), Offset(6)), 3);
        assert_eq!(redelivery.take(Offset(3), Offset(6)), 0);
        assert_eq!(redelivery.records(), 7);
        assert_eq!(redelivery.front(Instant(1)).unwrap().end, Offset(3));
    }
}
