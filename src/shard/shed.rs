//! QoS 0 records are let go: when everybody has them, and, oldest first, where there is no room for them.

use super::Core;
use crate::model::Offset;

impl Core {
    /// Forgets QoS 0 records that everybody has, and the oldest beyond the bound; what stays gets bytes of its own.
    pub(super) fn trim_volatile(&mut self) {
        while let Some(index) = self.touched.pop() {
            self.trim_volatile_of(index);
        }
    }

    fn trim_volatile_of(&mut self, index: usize) {
        let Some(partition) = self.partitions.get_mut(index) else { return };
        let subscriptions = &self.subscriptions;
        let taken = partition.subscriptions.iter().map(|sub| subscriptions[*sub].sub.volatile_next).min();
        let taken = taken.unwrap_or(Offset::MAX).min(partition.volatile.next());
        self.memory.volatile -= partition.volatile.forget_before(taken);
        let limits = &self.options.limits;
        // Where everything else alone is beyond the bound, nothing is kept.
        let crowded = self.memory.used() - self.memory.volatile > limits.memory_max;
        self.cut_volatile(index, if crowded { 0 } else { limits.qos0_backlog_max });
        if let Some(partition) = self.partitions.get_mut(index) {
            partition.volatile.detach_newest();
        }
    }

    /// At the shard's bound the longest backlogs lose their oldest records, until there is an eighth of room: this is
    /// a walk over all topics, and not to be done for each message.
    /// They are also cut before they hold up a QoS 1 publisher.
    pub(super) fn shed_volatile(&mut self) {
        let full = self.memory.used() > self.options.limits.memory_max || self.is_short();
        if self.memory.volatile == 0 || !full {
            return;
        }
        let room = self.room_for_volatile();
        let level = level(self.partitions.iter().map(|(_, partition)| partition.volatile.bytes()).collect(), room);
        let above = self.partitions.iter().filter(|(_, partition)| partition.volatile.bytes() > level);
        for index in above.map(|(index, _)| index).collect::<Vec<_>>() {
            self.cut_volatile(index, level);
        }
    }

    /// Drops the oldest QoS 0 records of a partition beyond `most` bytes, and counts them for each subscription.
    fn cut_volatile(&mut self, index: usize, most: usize) {
        let Some(partition) = self.partitions.get_mut(index) else { return };
        let before = partition.volatile.bytes();
        while partition.volatile.bytes() > most && partition.volatile.pop().is_some() {}
        if partition.volatile.bytes() == before {
            return;
        }
        self.memory.volatile -= before - partition.volatile.bytes();
        let first = partition.volatile.first();
        for sub in &partition.subscriptions {
            let sub = &mut self.subscriptions[*sub].sub;
            if sub.volatile_next < first {
                let lost = first.since(sub.volatile_next);
                sub.counters.dropped += lost;
                self.stats.dropped_slow += lost;
                sub.volatile_next = first;
            }
        }
    }
}

/// The height at which backlogs are to be cut so that together they are no more than `room`.
fn level(mut backlogs: Vec<usize>, room: usize) -> usize {
    backlogs.sort_unstable();
    let mut left = room;
    let count = backlogs.len();
    for (nth, bytes) in backlogs.into_iter().enumerate() {
        let part = left / (count - nth);
        if bytes > part {
            return part;
        }
        left -= bytes;
    }
    usize::MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_backlogs_are_cut_and_short_ones_left_alone() {
        assert_eq!(level(vec![10, 1000, 20, 1000], 230), 100);
        assert_eq!(level(vec![10, 20], 30), usize::MAX);
        assert_eq!(level(vec![10, 20], 0), 0);
        assert_eq!(level(vec![], 0), usize::MAX);
    }

    #[test]
    fn what_is_left_below_the_level_fits() {
        let mut dice = fastrand::Rng::with_seed(1);
        for _ in 0..1000 {
            let backlogs: Vec<usize> = (0..dice.usize(1..20)).map(|_| dice.usize(..1000)).collect();
            let room = dice.usize(..5000);
            let level = level(backlogs.clone(), room);
            let left: usize = backlogs.iter().map(|bytes| *bytes.min(&level)).sum();
            assert!(left <= room, "{backlogs:?} at {level} are {left}, with room for {room}");
        }
    }
}
