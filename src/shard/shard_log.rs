//! One log of this shard, and what waits for it.

use std::collections::VecDeque;

use bytes::Bytes;

use super::Core;
use super::event::Action;
use super::publish::Publisher;
use super::refusal::Refusal;
use super::stats::Reason;
use crate::broker::Held;
use crate::model::{Instant, LogId, Lsn, Offset, PartitionId};
use crate::protocol::ErrorCode;
use crate::wal::{BatchPlace, Entry, Log, LogState, PartitionMeta, Ticket};

/// A log, and the publishes that are ordered in it and not committed yet, in its order.
#[derive(Debug)]
pub struct ShardLog {
    pub id: LogId,
    pub log: Log,
    pub waiting: VecDeque<Waiting>,
    /// Subscribers who are told when their entries are committed, by where those end.
    pub confirmations: VecDeque<(Lsn, super::confirm::Confirmation)>,
    /// Its end was announced: the process is to stop.
    pub halted: bool,
    /// It was said that it takes nothing for want of space.
    pub full: bool,
}

/// A batch that waits for its commit.
#[derive(Debug)]
pub struct Waiting {
    /// Where its entry ends.
    pub end: Lsn,
    pub partition: usize,
    pub base: Offset,
    pub count: u32,
    /// When it came in.
    pub at: Instant,
    pub from: Option<Publisher>,
    /// It is a dead letter: the record it stands for is settled when it is committed.
    pub grave: Option<super::bury::Burial>,
}

/// Exit code of a process whose log failed.
pub const EXIT_LOG_FAILED: i32 = 6;

impl ShardLog {
    pub fn new(id: LogId, log: Log) -> ShardLog {
        ShardLog { id, log, waiting: VecDeque::new(), confirmations: VecDeque::new(), halted: false, full: false }
    }

    /// Whether QoS 1 publishes are taken.
    pub fn accepts(&self) -> Result<(), Refusal> {
        self.takes("publish")
    }

    /// Whether what has to be kept is taken.
    pub fn takes(&self, what: &str) -> Result<(), Refusal> {
        match self.log.state() {
            LogState::Ready => Ok(()),
            LogState::Full { reason } => {
                let text = format!("durable {what} failed: {reason}");
                Err(Refusal::new(ErrorCode::DiskFull, Reason::DiskFull, text))
            }
            LogState::Stopped { failure } => {
                let text = format!("durable {what} failed: {}", failure.reason);
                Err(Refusal::new(ErrorCode::Server, Reason::LogStopped, text))
            }
        }
    }

    /// The batches of a partition that a read has brought, put behind those in `found`. Bad places are noted; what stands
    /// behind one is as good as any.
    pub fn take_read(&mut self, ticket: Ticket, partition: PartitionId, bytes: &Bytes, found: &mut Vec<Held>) {
        for batch in self.log.batches(ticket, partition, bytes) {
            let (place, bytes) = match batch {
                Ok(batch) => batch,
                Err(corruption) => {
                    self.log.corrupted(corruption);
                    continue;
                }
            };
            let BatchPlace { base, count, .. } = place;
            let expires_at = if place.expires_at.0 == 0 { Instant::NEVER } else { place.expires_at.instant() };
            found.push(Held { base, count, expires_at, bytes, at: Held::BACK, own: true });
        }
    }
}

impl Core {
    /// A QoS 1 batch takes its place in its partition and in the log.
    pub(super) fn append_durable(&mut self, index: usize, held: Held, from: Option<Publisher>) {
        self.append_waiting(index, held, from, None);
    }

    pub(super) fn append_waiting(
        &mut self,
        index: usize,
        held: Held,
        from: Option<Publisher>,
        grave: Option<super::bury::Burial>,
    ) {
        if !self.has_logs() {
            return self.append_memory(index, held, from, grave);
        }
        let id = self.logged_partition(index);
        let now = self.now;
        let entry = Entry::Batch {
            partition: id,
            base: held.base,
            count: held.count,
            appended_at: now.timestamp(),
            expires_at: held.expires_at.timestamp_or_zero(),
            bytes: held.bytes.clone(),
        };
        let (base, count) = (held.base, held.count);
        let log = &mut self.logs[self.partitions[index].log];
        let end = log.log.append(now, entry);
        log.waiting.push_back(Waiting { end, partition: index, base, count, at: now, from, grave });
        self.keep_in_tail(index, held);
    }

    /// The partition's number in its log; written down when it is first needed.
    pub(super) fn logged_partition(&mut self, index: usize) -> PartitionId {
        let partition = &mut self.partitions[index];
        if let Some(id) = partition.id {
            return id;
        }
        let log = &mut self.logs[partition.log].log;
        let id = log.new_partition_id();
        let meta =
            PartitionMeta { topic: partition.topic.clone(), number: partition.number, ttl_ms: partition.ttl_set };
        log.append(self.now, Entry::Partition { id, meta });
        partition.id = Some(id);
        id
    }

    pub(super) fn log_answered(&mut self, id: LogId, event: crate::wal::LogEvent) {
        let Some(index) = self.logs.iter().position(|log| log.id == id) else { return };
        if let crate::wal::LogEvent::Read { ticket, purpose: crate::wal::ReadFor::Subscription(serial), bytes } = event
        {
            return self.history_read(index, ticket, serial, &bytes);
        }
        let reading = match &event {
            crate::wal::LogEvent::Failed(failure) => failure.operation == "read",
            _ => false,
        };
        self.logs[index].log.handle(self.now, event);
        if reading {
            self.forget_reads(index);
        }
        self.tell_if_full(index);
        self.tell_corruptions(index);
        self.commit(index);
    }

    /// Every bad place is told once, whoever meets it.
    pub(super) fn tell_corruptions(&mut self, index: usize) {
        for corruption in self.logs[index].log.take_corruptions() {
            log::error!("corrupt: {corruption}; `blipmq wal check` finds all there is");
        }
    }

    /// Once when space runs out, and once when it is back.
    fn tell_if_full(&mut self, index: usize) {
        let log = &mut self.logs[index];
        let id = log.id;
        match log.log.state() {
            LogState::Full { reason } if !log.full => {
                log.full = true;
                log::warn!("log {id} is full: {reason}; QoS 1 publishes are refused until there is room");
            }
            LogState::Ready if log.full => {
                log.full = false;
                log::info!("log {id} has room again: QoS 1 publishes are taken");
            }
            _ => {}
        }
    }

    /// Asks each log what it wants done.
    pub(super) fn poll_logs(&mut self) {
        for index in 0..self.logs.len() {
            let log = &mut self.logs[index];
            while let Some(action) = log.log.poll(self.now) {
                self.actions.push_back(Action::Log { log: log.id, action });
            }
            self.halt_if_stopped(index);
        }
    }

    /// A log whose device failed stops the process: what it says from now on could not be trusted.
    fn halt_if_stopped(&mut self, index: usize) {
        let log = &mut self.logs[index];
        if log.halted {
            return;
        }
        if let LogState::Stopped { failure } = log.log.state() {
            log.halted = true;
            let reason = format!("log {}: {} failed: {}", log.id, failure.operation, failure.reason);
            self.actions.push_back(Action::Halt { code: EXIT_LOG_FAILED, reason });
        }
    }
}
