//! What a log has been told to remember: partitions, subscriptions, cursors, patterns, what producers sent last.

use std::collections::{BTreeMap, VecDeque};

use super::entry::{Entry, PartitionMeta, PatternKey, PatternMeta, SubscriptionMeta};
use crate::model::record_batch::{self, BatchHeader, Producer};
use crate::model::{Offset, PartitionId, SubscriptionId};

/// The durable state of one log, folded from its entries in their order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Catalog {
    pub partitions: BTreeMap<PartitionId, PartitionState>,
    pub subscriptions: BTreeMap<SubscriptionId, SubscriptionState>,
    /// Durable subscriptions to patterns: partitions that are made later begin with cursors of those they match.
    pub patterns: BTreeMap<PatternKey, PatternMeta>,
    pub(super) producers: BTreeMap<(PartitionId, i64), ProducerState>,
    pub(super) next_partition: u32,
    pub(super) next_subscription: u32,
}

/// One partition: records `start .. next` exist, as far as nobody skipped offsets.
#[derive(Clone, Debug, PartialEq)]
pub struct PartitionState {
    pub meta: PartitionMeta,
    pub start: Offset,
    pub next: Offset,
}

/// One durable subscription and how far it has come.
#[derive(Clone, Debug, PartialEq)]
pub struct SubscriptionState {
    pub meta: SubscriptionMeta,
    /// Everything below is settled,
    pub floor: Offset,
    /// and these half-open ranges above it.
    pub above: Vec<(Offset, Offset)>,
}

/// The last batches of one producer in one partition.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ProducerState {
    pub(super) epoch: i16,
    /// Newest last.
    pub(super) batches: VecDeque<ProducerBatch>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ProducerBatch {
    pub(super) base_sequence: i32,
    pub(super) count: u32,
    pub(super) base: Offset,
}

/// What a batch is to the producer's earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProducerCheck {
    Fresh,
    /// It was appended before, at this offset.
    Duplicate {
        base: Offset,
    },
    OutOfOrder,
}

/// Batches remembered of each producer: as many as Kafka's clients keep in flight at most.
pub(super) const PRODUCER_BATCHES: usize = 5;
/// Producers remembered. Beyond: those with the lowest ids, which are the oldest where ids are counted up, are
/// forgotten; a retry of theirs is appended again.
pub(super) const PRODUCERS_MAX: usize = 65_536;

impl Catalog {
    /// What remembering `entry` changes. A batch of a partition that is not known changes nothing; the answer says
    /// whether the entry was of use.
    pub(super) fn fold(&mut self, entry: &Entry) -> bool {
        match entry {
            Entry::Batch { partition, base, count, bytes, .. } => self.batch(*partition, *base, *count, bytes),
            Entry::Partition { id, meta } => self.partition(*id, meta),
            Entry::PartitionDeleted { id } => self.partition_deleted(*id),
            Entry::PartitionStart { id, start } => self.start(*id, *start),
            Entry::Subscription { id, meta } => self.subscription(*id, meta),
            Entry::SubscriptionDeleted { id } => self.subscriptions.remove(id).is_some(),
            Entry::Cursor { id, floor, above } => match self.subscriptions.get_mut(id) {
                Some(subscription) => {
                    subscription.floor = *floor;
                    subscription.above.clone_from(above);
                    true
                }
                None => false,
            },
            Entry::Pattern { key, meta } => {
                self.patterns.insert(key.clone(), meta.clone());
                true
            }
            Entry::PatternDeleted { key } => self.patterns.remove(key).is_some(),
        }
    }

    /// Whether a batch is new; says nothing of batches without a producer but that they are.
    pub fn producer_check(&self, partition: PartitionId, batch: &BatchHeader) -> ProducerCheck {
        let Some(producer) = batch.producer else { return ProducerCheck::Fresh };
        match self.producers.get(&(partition, producer.id)) {
            Some(state) => state.check(producer, batch.count),
            None => ProducerCheck::Fresh,
        }
    }

    #[inline]
    fn batch(&mut self, partition: PartitionId, base: Offset, count: u32, bytes: &[u8]) -> bool {
        let Some(state) = self.partitions.get_mut(&partition) else { return false };
        state.next = state.next.max(base.plus(count.into()));
        if let Ok(BatchHeader { producer: Some(producer), .. }) = record_batch::header(bytes) {
            self.remember(partition, producer, count, base);
        }
        true
    }

    fn partition(&mut self, id: PartitionId, meta: &PartitionMeta) -> bool {
        self.next_partition = self.next_partition.max(id.0.saturating_add(1));
        let fresh = || PartitionState { meta: meta.clone(), start: Offset::ZERO, next: Offset::ZERO };
        self.partitions.entry(id).and_modify(|state| state.meta = meta.clone()).or_insert_with(fresh);
        true
    }

    /// A partition takes its subscriptions and what is known of its producers with it.
    fn partition_deleted(&mut self, id: PartitionId) -> bool {
        self.subscriptions.retain(|_, subscription| subscription.meta.partition != id);
        self.producers.retain(|(partition, _), _| *partition != id);
        self.partitions.remove(&id).is_some()
    }

    /// A start never goes back, and takes `next` with it where it passes it.
    pub(super) fn start(&mut self, id: PartitionId, start: Offset) -> bool {
        let Some(state) = self.partitions.get_mut(&id) else { return false };
        state.start = state.start.max(start);
        state.next = state.next.max(state.start);
        true
    }

    fn subscription(&mut self, id: SubscriptionId, meta: &SubscriptionMeta) -> bool {
        self.next_subscription = self.next_subscription.max(id.0.saturating_add(1));
        let fresh = || SubscriptionState { meta: meta.clone(), floor: meta.start, above: Vec::new() };
        self.subscriptions.entry(id).and_modify(|state| state.meta = meta.clone()).or_insert_with(fresh);
        true
    }

    fn remember(&mut self, partition: PartitionId, producer: Producer, count: u32, base: Offset) {
        let fresh = || ProducerState { epoch: producer.epoch, batches: VecDeque::new() };
        let state = self.producers.entry((partition, producer.id)).or_insert_with(fresh);
        state.remember(producer, count, base);
        if self.producers.len() > PRODUCERS_MAX {
            self.producers.pop_first();
        }
    }
}

impl ProducerState {
    fn check(&self, producer: Producer, count: u32) -> ProducerCheck {
        if producer.epoch > self.epoch {
            return ProducerCheck::Fresh;
        }
        let Some(last) = self.batches.back().filter(|_| producer.epoch == self.epoch) else {
            return ProducerCheck::OutOfOrder;
        };
        if producer.base_sequence == last.next_sequence() {
            return ProducerCheck::Fresh;
        }
        let same = |batch: &&ProducerBatch| batch.base_sequence == producer.base_sequence && batch.count == count;
        match self.batches.iter().find(same) {
            Some(batch) => ProducerCheck::Duplicate { base: batch.base },
            None => ProducerCheck::OutOfOrder,
        }
    }

    fn remember(&mut self, producer: Producer, count: u32, base: Offset) {
        // Recovery meets batches again that cleaning has written again: they say nothing new, least of all their epoch.
        if self.batches.back().is_some_and(|last| last.base >= base) {
            return;
        }
        if producer.epoch != self.epoch {
            self.epoch = producer.epoch;
            self.batches.clear();
        }
        if self.batches.len() == PRODUCER_BATCHES {
            self.batches.pop_front();
        }
        self.batches.push_back(ProducerBatch { base_sequence: producer.base_sequence, count, base });
    }
}

impl ProducerBatch {
    /// Sequences are counted from zero to the largest `i32`, and then from zero again.
    fn next_sequence(self) -> i32 {
        ((i64::from(self.base_sequence) + i64::from(self.count)) & i64::from(i32::MAX)) as i32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    fn header(epoch: i16, base_sequence: i32, count: u32) -> BatchHeader {
        let producer = Some(Producer { id: 5, epoch, base_sequence });
        let (base_timestamp, max_timestamp) = (Timestamp(0), Timestamp(0));
        BatchHeader { base_offset: Offset(0), crc: 0, base_timestamp, max_timestamp, producer, count }
    }

    const PARTITION: PartitionId = PartitionId(1);

    fn after(batches: &[(i16, i32, u32)]) -> Catalog {
        let mut catalog = Catalog::default();
        for (nth, (epoch, base_sequence, count)) in batches.iter().enumerate() {
            let producer = Producer { id: 5, epoch: *epoch, base_sequence: *base_sequence };
            catalog.remember(PARTITION, producer, *count, Offset(nth as u64 * 100));
        }
        catalog
    }

    #[test]
    fn a_producer_goes_on_where_it_was_and_a_retry_is_found_again() {
        let catalog = after(&[(0, 0, 10), (0, 10, 5)]);
        let check = |epoch, sequence, count| catalog.producer_check(PARTITION, &header(epoch, sequence, count));
        assert_eq!(check(0, 15, 1), ProducerCheck::Fresh);
        assert_eq!(check(0, 10, 5), ProducerCheck::Duplicate { base: Offset(100) });
        assert_eq!(check(0, 0, 10), ProducerCheck::Duplicate { base: Offset(0) });
        assert_eq!(check(0, 16, 1), ProducerCheck::OutOfOrder);
        assert_eq!(check(0, 10, 4), ProducerCheck::OutOfOrder);
    }

    #[test]
    fn a_new_epoch_starts_over_and_an_old_one_is_refused() {
        let catalog = after(&[(3, 40, 2)]);
        assert_eq!(catalog.producer_check(PARTITION, &header(4, 0, 1)), ProducerCheck::Fresh);
        assert_eq!(catalog.producer_check(PARTITION, &header(2, 42, 1)), ProducerCheck::OutOfOrder);
        assert_eq!(catalog.producer_check(PartitionId(2), &header(2, 42, 1)), ProducerCheck::Fresh);
    }

    #[test]
    fn a_batch_that_was_moved_takes_no_producer_back_to_its_epoch() {
        let mut catalog = after(&[(3, 40, 2), (4, 0, 2)]);
        let moved = Producer { id: 5, epoch: 3, base_sequence: 40 };
        catalog.remember(PARTITION, moved, 2, Offset(0));
        assert_eq!(catalog.producer_check(PARTITION, &header(4, 0, 2)), ProducerCheck::Duplicate { base: Offset(100) });
        assert_eq!(catalog.producer_check(PARTITION, &header(4, 2, 1)), ProducerCheck::Fresh);
    }

    #[test]
    fn sequences_wrap_and_only_the_last_batches_are_remembered() {
        let catalog = after(&[(0, i32::MAX - 1, 4)]);
        assert_eq!(catalog.producer_check(PARTITION, &header(0, 2, 1)), ProducerCheck::Fresh);
        let many: Vec<_> = (0..9).map(|nth| (0, nth, 1)).collect();
        let catalog = after(&many);
        assert_eq!(catalog.producer_check(PARTITION, &header(0, 3, 1)), ProducerCheck::OutOfOrder);
        assert_eq!(catalog.producer_check(PARTITION, &header(0, 4, 1)), ProducerCheck::Duplicate { base: Offset(400) });
    }

    #[test]
    fn producers_are_bounded() {
        let mut catalog = Catalog::default();
        for id in 0..PRODUCERS_MAX as i64 + 10 {
            catalog.remember(PARTITION, Producer { id, epoch: 0, base_sequence: 0 }, 1, Offset(0));
        }
        assert_eq!(catalog.producers.len(), PRODUCERS_MAX);
    }
}
