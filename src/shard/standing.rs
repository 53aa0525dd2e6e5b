//! The counters, with the gauges of this moment.

use super::Core;
use super::session::Phase;
use super::shard_log::ShardLog;
use super::stats::{LogCondition, LogStanding, Stats};
use crate::wal::LogState;

impl Core {
    /// Walks connections and subscriptions once: for scrapes, not for the message path.
    pub(super) fn stats(&self) -> Stats {
        let mut stats = self.stats.clone();
        self.count_connections(&mut stats);
        self.count_subscriptions(&mut stats);
        stats.topics = self.topics.len() as u64;
        stats.tail_bytes = self.memory.tail as u64;
        stats.volatile_bytes = self.memory.volatile as u64;
        stats.input_bytes = self.memory.input as u64;
        stats.output_bytes = self.memory.output as u64;
        stats.history_bytes = self.memory.history as u64;
        stats.parked = self.peers.iter().map(|peer| peer.parked.len() as u64).sum();
        stats.uncommitted = self.logs.iter().map(|log| log.waiting.len() as u64).sum();
        stats.draining = self.drain.is_on();
        stats.logs = self.logs.iter().map(standing).collect();
        stats.log_backlog_bytes = stats.logs.iter().map(|log| log.counts.backlog_bytes).sum();
        stats
    }

    fn count_connections(&self, stats: &mut Stats) {
        for conn in self.conns.iter().flatten() {
            stats.connections += 1;
            stats.held += u64::from(conn.hold.is_some());
            match conn.session.phase {
                Phase::Hello | Phase::Auth => stats.handshaking += 1,
                Phase::Open => {}
                Phase::Closing => stats.closing += 1,
            }
        }
    }

    fn count_subscriptions(&self, stats: &mut Stats) {
        for (_, serving) in &self.subscriptions {
            let sub = &serving.sub;
            stats.subscriptions += 1;
            stats.members += sub.members.len() as u64;
            stats.messages_in_flight += sub.outstanding();
            stats.burying += sub.burying.records();
            stats.lag += self.partitions[sub.partition].committed.since(sub.cursor.floor());
            stats.missed += sub.counters.missed;
        }
    }
}

fn standing(log: &ShardLog) -> LogStanding {
    let (state, reason) = match log.log.state() {
        LogState::Ready => (LogCondition::Ready, String::new()),
        LogState::Full { reason } => (LogCondition::Full, reason),
        LogState::Stopped { failure } => {
            (LogCondition::Stopped, format!("{} failed: {}", failure.operation, failure.reason))
        }
    };
    LogStanding { log: log.id, state, reason, counts: log.log.stats().clone() }
}
