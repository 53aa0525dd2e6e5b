//! Delivered and not yet acknowledged.

use std::collections::VecDeque;

use crate::model::{Instant, Offset};

/// A run of records delivered together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flight {
    pub first: Offset,
    pub end: Offset,
    /// How often they have been delivered, this time included.
    pub attempt: u16,
    /// When they come again.
    pub due: Instant,
    /// Whom they were delivered to: the member's serial number.
    pub member: u64,
}

impl Flight {
    pub fn count(&self) -> u64 {
        self.end.since(self.first)
    }
}

/// The records in flight of one subscription, by offset. Neighbours delivered alike are one run, so that the cost is
/// by batch and not by record.
#[derive(Debug, Default)]
pub struct InFlight {
    flights: VecDeque<Flight>,
    records: u64,
    /// Nothing is due before this; may be earlier than the truth, never later.
    earliest: Option<Instant>,
}

impl InFlight {
    /// Runs delivered within this many nanoseconds of each other may share the later one's deadline.
    const SAME_TIME: u64 = 5_000_000;

    pub fn records(&self) -> u64 {
        self.records
    }

    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// The time before which nothing is due.
    pub fn earliest_due(&self) -> Option<Instant> {
        if self.is_empty() { None } else { self.earliest }
    }

    pub fn flights(&self) -> impl Iterator<Item = &Flight> {
        self.flights.iter()
    }

    /// Adds a run that is not in flight yet.
    pub fn add(&mut self, flight: Flight) {
        debug_assert!(flight.first < flight.end);
        self.records += flight.count();
        self.earliest = Some(self.earliest.map_or(flight.due, |due| due.min(flight.due)));
        match self.flights.back_mut() {
            Some(last) if last.end == flight.first && alike(last, &flight) => last.end = flight.end,
            Some(last) if last.end > flight.first => {
                let at = self.flights.partition_point(|other| other.first < flight.first);
                self.flights.insert(at, flight);
            }
            _ => self.flights.push_back(flight),
        }
    }

    /// Takes every record of `first..end` that is in flight out, and shows each run taken. Returns their number.
    pub fn take(&mut self, first: Offset, end: Offset, mut taken: impl FnMut(Flight)) -> u64 {
        let mut count = 0;
        let mut at = self.flights.partition_point(|flight| flight.end <= first);
        while at < self.flights.len() && self.flights[at].first < end {
            let flight = self.flights[at];
            let part = Flight { first: flight.first.max(first), end: flight.end.min(end), ..flight };
            count += part.count();
            taken(part);
            let left = (flight.first < part.first).then_some(Flight { end: part.first, ..flight });
            let right = (part.end < flight.end).then_some(Flight { first: part.end, ..flight });
            at = self.replace(at, left, right);
        }
        self.records -= count;
        if self.records == 0 {
            self.earliest = None;
        }
        count
    }

    /// Puts what is left of a run in its place; returns the index after it.
    fn replace(&mut self, at: usize, left: Option<Flight>, right: Option<Flight>) -> usize {
        match (left, right) {
            (None, None) => {
                self.flights.remove(at);
                at
            }
            (Some(left), None) => {
                self.flights[at] = left;
                at + 1
            }
            (None, Some(right)) => {
                self.flights[at] = right;
                at + 1
            }
            (Some(left), Some(right)) => {
                self.flights[at] = left;
                self.flights.insert(at + 1, right);
                at + 2
            }
        }
    }

    /// Takes out every run that is due.
    pub fn take_due(&mut self, now: Instant, taken: impl FnMut(Flight)) {
        if self.earliest.is_some_and(|due| due <= now) {
            self.take_where(|flight| flight.due <= now, taken);
        }
    }

    /// Takes out every run of a member that is gone.
    pub fn take_member(&mut self, member: u64, taken: impl FnMut(Flight)) {
        self.take_where(|flight| flight.member == member, taken);
    }

    fn take_where(&mut self, mut wanted: impl FnMut(&Flight) -> bool, mut taken: impl FnMut(Flight)) {
        let mut earliest: Option<Instant> = None;
        let mut records = self.records;
        self.flights.retain(|flight| {
            if wanted(flight) {
                records -= flight.count();
                taken(*flight);
                return false;
            }
            earliest = Some(earliest.map_or(flight.due, |due| due.min(flight.due)));
            true
        });
        self.records = records;
        self.earliest = earliest;
    }
}

fn alike(last: &Flight, next: &Flight) -> bool {
    last.attempt == next.attempt
        && last.member == next.member
        && next.due.0.saturating_sub(last.due.0) <= InFlight::SAME_TIME
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn flight(first: u64, end: u64, due: u64, member: u64) -> Flight {
        Flight { first: Offset(first), end: Offset(end), attempt: 1, due: Instant(due), member }
    }

    #[test]
    fn singles_delivered_in_a_row_are_one_run() {
        let mut in_flight = InFlight::default();
        for offset in 0..1000 {
            in_flight.add(flight(offset, offset + 1, offset, 1));
        }
        assert_eq!(in_flight.flights.len(), 1);
        assert_eq!(in_flight.take(Offset(500), Offset(501), |_| {}), 1);
        assert_eq!((in_flight.records(), in_flight.flights.len()), (999, 2));
    }

    #[test]
    fn nothing_is_due_early_and_a_lost_member_gives_everything_back() {
        let mut in_flight = InFlight::default();
        in_flight.add(flight(0, 10, 50_000_000, 1));
        in_flight.add(flight(10, 20, 90_000_000, 2));
        let mut taken = Vec::new();
        in_flight.take_due(Instant(49_999_999), |flight| taken.push(flight));
        assert!(taken.is_empty());
        in_flight.take_due(Instant(50_000_000), |flight| taken.push(flight));
        assert_eq!(taken, [flight(0, 10, 50_000_000, 1)]);
        assert_eq!(in_flight.earliest_due(), Some(Instant(90_000_000)));
        in_flight.take_member(2, |flight| taken.push(flight));
        assert!(in_flight.is_empty() && taken.len() == 2);
    }

    proptest! {
        #[test]
        fn what_is_in_flight_is_what_was_added_and_not_taken(steps in proptest::collection::vec((any::<bool>(), 0u64..64, 1u64..9), 0..60)) {
            let mut in_flight = InFlight::default();
            let mut set: BTreeMap<u64, ()> = BTreeMap::new();
            for (add, first, len) in steps {
                let end = first + len;
                if add && set.range(first..end).next().is_none() {
                    in_flight.add(flight(first, end, 0, 1));
                    set.extend((first..end).map(|offset| (offset, ())));
                } else {
                    let expected = set.range(first..end).count() as u64;
                    prop_assert_eq!(in_flight.take(Offset(first), Offset(end), |_| {}), expected);
                    (first..end).for_each(|offset| { set.remove(&offset); });
                }
                prop_assert_eq!(in_flight.records(), set.len() as u64);
                let flown: Vec<u64> = in_flight.flights().flat_map(|flight| flight.first.0..flight.end.0).collect();
                prop_assert_eq!(flown, set.keys().copied().collect::<Vec<_>>());
            }
        }
    }
}
