//! What a subscription has settled: everything below a floor, and ranges above it.

use std::collections::VecDeque;

use crate::model::Offset;

/// Settled offsets. The ranges are half-open, sorted, apart from each other, and above the floor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    floor: Offset,
    above: VecDeque<(Offset, Offset)>,
}

impl Cursor {
    pub fn new(floor: Offset) -> Cursor {
        Cursor { floor, above: VecDeque::new() }
    }

    /// As it was logged.
    pub fn restored(floor: Offset, above: impl IntoIterator<Item = (Offset, Offset)>) -> Cursor {
        let mut cursor = Cursor::new(floor);
        for (first, end) in above {
            cursor.settle(first, end);
        }
        cursor
    }

    /// Everything below is settled.
    pub fn floor(&self) -> Offset {
        self.floor
    }

    pub fn above(&self) -> impl Iterator<Item = (Offset, Offset)> + '_ {
        self.above.iter().copied()
    }

    /// Separate settled ranges above the floor: bounded by [`crate::model::Limits::ACKED_RANGES_MAX`].
    pub fn ranges(&self) -> usize {
        self.above.len()
    }

    /// Settles `first..end`; what already was stays so. True if anything changed.
    pub fn settle(&mut self, first: Offset, end: Offset) -> bool {
        if end <= self.floor || first >= end {
            return false;
        }
        if first <= self.floor {
            self.raise(end);
            return true;
        }
        let from = self.above.partition_point(|range| range.1 < first);
        let to = self.above.partition_point(|range| range.0 <= end);
        if to == from + 1 && self.above[from].0 <= first && end <= self.above[from].1 {
            return false;
        }
        let (mut first, mut end) = (first, end);
        if from < to {
            first = first.min(self.above[from].0);
            end = end.max(self.above[to - 1].1);
            self.above.drain(from..to);
        }
        self.above.insert(from, (first, end));
        true
    }

    fn raise(&mut self, floor: Offset) {
        self.floor = floor;
        while let Some(&(first, end)) = self.above.front() {
            if first > self.floor {
                break;
            }
            self.floor = self.floor.max(end);
            self.above.pop_front();
        }
    }

    /// The first unsettled offset at or after `from`, and where the next settled one after it stands.
    pub fn unsettled(&self, from: Offset) -> (Offset, Offset) {
        let mut first = from.max(self.floor);
        let index = self.above.partition_point(|range| range.1 <= first);
        let mut ranges = self.above.range(index..);
        let Some(&(start, end)) = ranges.next() else { return (first, Offset::MAX) };
        if start > first {
            return (first, start);
        }
        first = end;
        (first, ranges.next().map_or(Offset::MAX, |range| range.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn a_cursor_is_a_set_of_offsets(settled in proptest::collection::vec((0u64..60, 0u64..12), 0..40), from in 0u64..80) {
            let mut cursor = Cursor::new(Offset(5));
            let mut set: BTreeSet<u64> = (0..5).collect();
            for (first, len) in settled {
                let fresh = (first..first + len).filter(|offset| set.insert(*offset)).count() > 0;
                prop_assert_eq!(cursor.settle(Offset(first), Offset(first + len)), fresh);
            }
            let floor = (0..).find(|offset| !set.contains(offset)).unwrap();
            prop_assert_eq!(cursor.floor(), Offset(floor));
            let ranges: Vec<_> = cursor.above().collect();
            for window in ranges.windows(2) {
                prop_assert!(window[0].1 < window[1].0);
            }
            let (first, end) = cursor.unsettled(Offset(from));
            let expected = (from..).find(|offset| !set.contains(offset)).unwrap();
            prop_assert_eq!(first, Offset(expected));
            prop_assert_eq!(end, Offset(set.range(expected..).next().copied().unwrap_or(u64::MAX)));
            prop_assert_eq!(Cursor::restored(cursor.floor(), ranges), cursor);
        }
    }
}
