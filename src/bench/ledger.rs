//! What one subscriber got of one publisher: exactly what was lost, came twice, or came late.

use std::collections::BTreeMap;

/// Expects the numbers 0, 1, 2 and so on.
#[derive(Debug, Default)]
pub struct Ledger {
    next: u64,
    /// Numbers that were jumped over and have not come: first to one after the last.
    missing: BTreeMap<u64, u64>,
    /// Numbers that came again.
    pub duplicates: u64,
    /// Numbers that came after a larger one.
    pub reordered: u64,
}

impl Ledger {
    /// One after the largest number that came.
    #[inline]
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Number `sequence` came. Says whether it came for the first time.
    #[inline]
    pub fn came(&mut self, sequence: u64) -> bool {
        if sequence == self.next {
            self.next += 1;
            return true;
        }
        self.out_of_order(sequence)
    }

    #[cold]
    fn out_of_order(&mut self, sequence: u64) -> bool {
        if sequence > self.next {
            self.missing.insert(self.next, sequence);
            self.next = sequence + 1;
            return true;
        }
        let Some((&first, &end)) = self.missing.range(..=sequence).next_back().filter(|(_, end)| sequence < **end)
        else {
            self.duplicates += 1;
            return false;
        };
        self.missing.remove(&first);
        if first < sequence {
            self.missing.insert(first, sequence);
        }
        if sequence + 1 < end {
            self.missing.insert(sequence + 1, end);
        }
        self.reordered += 1;
        true
    }

    /// How many of the first `sent` numbers did not come.
    pub fn lost(&self, sent: u64) -> u64 {
        let jumped: u64 = self.missing.iter().map(|(first, end)| end - first).sum();
        jumped + sent.saturating_sub(self.next)
    }

    /// How many different numbers came.
    pub fn distinct(&self) -> u64 {
        self.next - self.lost(self.next)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lost_twice_and_late_are_told_apart() {
        let mut ledger = Ledger::default();
        for sequence in [0, 1, 4, 2, 4, 6] {
            ledger.came(sequence);
        }
        assert_eq!((ledger.lost(8), ledger.duplicates, ledger.reordered), (3, 1, 1));
        assert_eq!((ledger.next(), ledger.distinct()), (7, 5));
    }

    proptest! {
        #[test]
        fn the_ledger_agrees_with_a_set(came in proptest::collection::vec(0u64..40, 0..120)) {
            let (mut ledger, mut set) = (Ledger::default(), BTreeSet::new());
            let (mut duplicates, mut reordered) = (0, 0);
            for sequence in came {
                let late = set.last().is_some_and(|last| sequence < *last);
                let first = set.insert(sequence);
                duplicates += u64::from(!first);
                reordered += u64::from(first && late);
                prop_assert_eq!(ledger.came(sequence), first);
            }
            prop_assert_eq!((ledger.duplicates, ledger.reordered), (duplicates, reordered));
            prop_assert_eq!(ledger.lost(40), 40 - set.len() as u64);
            prop_assert_eq!(ledger.distinct(), set.len() as u64);
        }
    }
}
