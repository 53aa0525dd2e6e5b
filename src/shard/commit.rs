//! A message may be acknowledged and delivered.

use super::Core;
use super::bury::Burial;
use super::latency::Path;
use super::publish::Publisher;
use super::shard_log::Waiting;
use crate::broker::Held;
use crate::model::{Offset, OverflowPolicy};
use crate::protocol::native::reply::Reached;

impl Core {
    /// Acknowledges and releases everything that one log has committed.
    pub(super) fn commit(&mut self, index: usize) {
        let log = &mut self.logs[index];
        let (committed, synced) = (log.log.committed(), log.log.synced());
        while let Some(waiting) = self.logs[index].waiting.pop_front() {
            if waiting.end > committed {
                self.logs[index].waiting.push_front(waiting);
                break;
            }
            let reached = if waiting.end <= synced { Reached::Synced } else { Reached::Written };
            self.committed(waiting, reached);
        }
        self.confirm_committed(index);
        self.answer_orders();
        self.time_groups(index);
    }

    fn committed(&mut self, waiting: Waiting, reached: Reached) {
        let Waiting { partition, base, count, at, from, grave, .. } = waiting;
        let end = base.plus(u64::from(count));
        let partition_state = &mut self.partitions[partition];
        partition_state.committed = partition_state.committed.max(end);
        self.wake_partition(partition);
        if from.is_some() {
            self.latency.record(Path::PublishAcknowledged, self.now.since(at), count.into());
        }
        if let Some(from) = from.filter(|from| from.acknowledge) {
            self.acknowledge(&from, base, count, reached, false);
        }
        if let Some(grave) = grave {
            self.buried(grave, true);
        }
    }

    /// Without a log, a record is committed when it is in memory, and kept only while somebody subscribes.
    pub(super) fn append_memory(&mut self, index: usize, held: Held, from: Option<Publisher>, grave: Option<Burial>) {
        let (base, count, end) = (held.base, held.count, held.end());
        self.keep_in_tail(index, held);
        let partition = &mut self.partitions[index];
        partition.committed = end;
        if partition.subscriptions.is_empty() {
            self.memory.tail -= partition.tail.forget_before(end);
            partition.start = end;
        }
        if self.options.overflow == OverflowPolicy::DropOldest {
            self.drop_oldest(index);
        }
        self.wake_partition(index);
        if let Some(from) = from.filter(|from| from.acknowledge) {
            self.acknowledge(&from, base, count, Reached::Memory, false);
        }
        if let Some(grave) = grave {
            self.buried(grave, true);
        }
    }

    fn drop_oldest(&mut self, index: usize) {
        let most = self.options.limits.memory_queue_max;
        let partition = &mut self.partitions[index];
        while partition.tail.bytes() > most && partition.tail.batches() > 1 {
            let Some(held) = partition.tail.pop() else { break };
            self.memory.tail -= held.bytes.len();
            self.stats.dropped_overflow += u64::from(held.count);
            partition.start = held.end();
        }
    }

    /// Keeps a batch in memory for those who read at the end of the partition.
    pub(super) fn keep_in_tail(&mut self, index: usize, held: Held) {
        self.memory.tail += held.bytes.len();
        self.tail_order.push_back((index, held.base));
        self.partitions[index].tail.push(held);
        self.shorten_order();
        self.detach_tail();
        if self.has_logs() {
            self.evict_tail();
        }
    }

    /// Forgets notes about batches that are gone already.
    fn shorten_order(&mut self) {
        while let Some(&(index, base)) = self.tail_order.front() {
            if self.partitions.get(index).is_some_and(|partition| partition.tail.first() <= base) {
                break;
            }
            self.tail_order.pop_front();
            self.tail_detached = self.tail_detached.saturating_sub(1);
        }
    }

    /// The newest batches stay as they were read, as most are gone within a few steps; older ones get bytes of their
    /// own, so that a small batch does not pin a whole read buffer.
    fn detach_tail(&mut self) {
        const AS_READ: usize = 256;
        while self.tail_order.len() - self.tail_detached > AS_READ {
            let (index, base) = self.tail_order[self.tail_detached];
            self.tail_detached += 1;
            let held = self.partitions.get_mut(index).and_then(|partition| partition.tail.at_mut(base));
            if let Some(held) = held.filter(|held| held.base == base) {
                held.detach();
            }
        }
    }

    /// Beyond its bound, the tail loses its oldest committed batches: they are read from the log.
    fn evict_tail(&mut self) {
        while self.memory.tail > self.options.limits.tail_max {
            let Some(&(index, base)) = self.tail_order.front() else { break };
            if let Some(partition) = self.partitions.get_mut(index) {
                if base >= partition.committed {
                    break;
                }
                if partition.tail.first() == base {
                    self.memory.tail -= partition.tail.pop().map_or(0, |held| held.bytes.len());
                }
            }
            self.tail_order.pop_front();
            self.tail_detached = self.tail_detached.saturating_sub(1);
        }
    }

    /// Records that every subscription has settled leave memory, and, if one of them is durable, the log: once the log
    /// knows that they are settled, or else a crash would leave cursors that point at what is gone.
    pub(super) fn trim_settled(&mut self, index: usize) {
        let partition = &self.partitions[index];
        let (mut lowest, mut lowest_logged) = (Offset::MAX, Offset::MAX);
        let mut durable = false;
        for subscription in &partition.subscriptions {
            let serving = &self.subscriptions[*subscription];
            lowest = lowest.min(serving.sub.cursor.floor());
            lowest_logged = lowest_logged.min(serving.safe_floor());
            durable |= serving.sub.is_durable();
        }
        if partition.subscriptions.is_empty() {
            return;
        }
        let lowest = lowest.min(partition.committed);
        let (log, id) = (partition.log, partition.id);
        let partition = &mut self.partitions[index];
        self.memory.tail -= partition.tail.forget_before(lowest);
        if self.has_logs() {
            if let (true, Some(id)) = (durable, id) {
                let gone = lowest_logged.min(lowest);
                self.logs[log].log.set_live_from(id, gone);
                let partition = &mut self.partitions[index];
                partition.start = partition.start.max(gone);
            }
        } else {
            let partition = &mut self.partitions[index];
            partition.start = partition.start.max(lowest);
        }
    }
}
