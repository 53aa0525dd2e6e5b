//! What is done once a second: retention, expiry, sessions nobody came back for, topics nobody uses; and the counters.

use super::Core;
use super::stats::Stats;
use crate::broker::Durability;
use crate::model::Offset;

impl Core {
    pub(super) fn keep_house(&mut self) {
        self.end_sessions();
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

    /// The counters, with the gauges of this moment.
    pub(super) fn stats(&self) -> Stats {
        let subs = || self.subscriptions.iter().map(|(_, serving)| &serving.sub);
        let connections = self.conns.iter().flatten();
        Stats {
            topics: self.topics.len() as u64,
            subscriptions: self.subscriptions.len() as u64,
            members: subs().map(|sub| sub.members.len() as u64).sum(),
            connections: connections.clone().count() as u64,
            held: connections.filter(|conn| conn.hold.is_some()).count() as u64,
            messages_in_flight: subs().map(|sub| sub.outstanding()).sum(),
            missed: self.stats.missed + subs().map(|sub| sub.counters.missed).sum::<u64>(),
            tail_bytes: self.memory.tail as u64,
            volatile_bytes: self.memory.volatile as u64,
            input_bytes: self.memory.input as u64,
            output_bytes: self.memory.output as u64,
            history_bytes: self.memory.history as u64,
            log_backlog_bytes: self.logs.iter().map(|log| log.log.backlog() as u64).sum(),
            ..self.stats.clone()
        }
    }
}
