//! What is done once a second: retention, expiry, sessions nobody came back for, topics nobody uses, backups that are
//! not ended.

use super::Core;
use crate::broker::Durability;
use crate::model::Offset;

impl Core {
    pub(super) fn keep_house(&mut self) {
        self.end_sessions();
        self.end_stalled_frames();
        self.offenders.forget(self.now);
        self.forget_backup();
        for index in 0..self.logs.len() {
            for (id, start) in self.logs[index].log.retain(self.now) {
                self.raise_start(index, id, start);
            }
        }
        self.forget_topics();
    }

    /// Version 1 sessions that nobody came back for.
    fn end_sessions(&mut self) {
        let expiry = self.options.limits.session_expiry;
        let over: Vec<usize> = self
            .subscriptions
            .iter()
            .filter(|(_, serving)| matches!(serving.sub.durability, Durability::Session { .. }))
            .filter(|(_, serving)| serving.detached.is_some_and(|since| since + expiry <= self.now))
            .map(|(index, _)| index)
            .collect();
        for index in over {
            self.remove_subscription(index);
        }
    }

    /// Retention took records: nobody reads them any more.
    fn raise_start(&mut self, log: usize, id: crate::model::PartitionId, start: Offset) {
        let found = self.partitions.iter_mut().find(|(_, partition)| partition.log == log && partition.id == Some(id));
        let Some((index, partition)) = found else { return };
        partition.start = partition.start.max(start);
        self.memory.tail -= partition.tail.forget_before(start.min(partition.committed));
        self.wake_partition(index);
    }

    /// Topics that were named, hold nothing, and have no subscription: QoS 0 topics come and go.
    fn forget_topics(&mut self) {
        let idle: Vec<usize> = self
            .partitions
            .iter()
            .filter(|(_, partition)| partition.id.is_none() && partition.subscriptions.is_empty())
            .filter(|(_, partition)| partition.published == partition.seen && partition.tail.batches() == 0)
            .map(|(index, _)| index)
            .collect();
        for index in idle {
            let partition = self.partitions.remove(index);
            self.topics.remove(&partition.topic);
        }
        for (_, partition) in &mut self.partitions {
            partition.seen = partition.published;
        }
    }
}
