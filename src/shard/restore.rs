//! A shard comes back: topics, durable subscriptions and cursors, as the log's catalogue has them.

use super::Core;
use super::shard_log::{ShardLog, Waiting};
use super::subscribe::SubscribeOptions;
use crate::broker::{Cursor, Durability, Partition, Subscription};
use crate::model::{LogId, PartitionId};
use crate::wal::{Log, SubscriptionMeta};

impl Core {
    pub(super) fn restore(&mut self, id: LogId, log: Log) {
        let at = self.logs.len();
        debug_assert_eq!(usize::from(id.0) / usize::from(self.options.shards), at, "logs come in order");
        let partitions: Vec<_> = log
            .catalog()
            .partitions
            .iter()
            .map(|(id, state)| (*id, state.meta.clone(), state.start, state.next))
            .collect();
        let subscriptions: Vec<_> =
            log.catalog().subscriptions.iter().map(|(id, state)| (*id, state.clone())).collect();
        self.logs.push(ShardLog::new(id, log));
        self.restore_patterns(at);
        for (id, meta, start, next) in partitions {
            let mut partition = Partition::new(meta.topic, meta.number, at, start, next);
            partition.id = Some(id);
            partition.ttl_set = meta.ttl_ms;
            self.add_partition(partition);
        }
        self.doubt_recovered(at);
        for (id, state) in subscriptions {
            let Some(partition) = self.find_partition(at, state.meta.partition) else { continue };
            let cursor = Cursor::restored(state.floor, state.above.iter().copied());
            let sub = self.restored(partition, id, &state.meta, cursor);
            let index = self.add_subscription(sub);
            self.subscriptions[index].detached = Some(self.now);
            self.subscriptions[index].logged = self.logs[at].log.appended();
        }
    }

    /// Not before the last subscription is there: what one has settled, another may still be owed.
    pub(super) fn trim_restored(&mut self) {
        for index in self.partitions.iter().map(|(index, _)| index).collect::<Vec<_>>() {
            self.trim_settled(index);
        }
    }

    /// What recovery found was written, but perhaps not synced before the process was killed. Until the log says that
    /// it is committed, it waits as if it had just been published: power may be lost once more.
    fn doubt_recovered(&mut self, at: usize) {
        let log = &mut self.logs[at];
        let end = log.log.appended();
        if log.log.committed() >= end {
            return;
        }
        for (index, partition) in self.partitions.iter_mut().filter(|(_, partition)| partition.log == at) {
            let (base, next) = (partition.start, partition.next());
            partition.committed = base;
            let count = u32::try_from(next.since(base)).unwrap_or(u32::MAX);
            log.waiting.push_back(Waiting {
                end,
                partition: index,
                base,
                count,
                at: self.now,
                from: None,
                grave: None,
            });
        }
    }

    fn find_partition(&self, log: usize, id: PartitionId) -> Option<usize> {
        let mut all = self.partitions.iter();
        all.find(|(_, partition)| partition.log == log && partition.id == Some(id)).map(|(index, _)| index)
    }

    fn restored(
        &mut self,
        partition: usize,
        id: crate::model::SubscriptionId,
        meta: &SubscriptionMeta,
        cursor: Cursor,
    ) -> Subscription {
        let options = SubscribeOptions {
            retry_delay_ms: meta.retry_delay_ms,
            max_retries: meta.max_retries,
            dead_letter: meta.dead_letter.clone(),
            session: meta.session,
            ..SubscribeOptions::plain(meta.name.clone(), meta.mode)
        };
        let id = Some(id);
        let durability = if meta.session { Durability::Session { id } } else { Durability::Named { id } };
        Subscription { durability, ..self.idle(partition, &options, cursor) }
    }
}
