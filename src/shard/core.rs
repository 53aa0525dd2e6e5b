//! The core: one shard's state, told and asked.

use std::collections::VecDeque;

use super::event::{Action, Event};
use crate::model::{FsyncPolicy, Instant, Limits, LogId, OverflowPolicy, ShardId};
use crate::wal::Recovered;

/// What a core is made with.
#[derive(Debug, Clone)]
pub struct CoreOptions {
    pub shard: ShardId,
    /// Shards of this broker.
    pub shards: u16,
    /// Logs of the data directory: what placement divides by. With `wal = off`, as many as shards.
    pub logs: u16,
    pub fsync: FsyncPolicy,
    pub overflow: OverflowPolicy,
    pub limits: Limits,
    /// Chance is an input.
    pub seed: u64,
}

/// One shard. Lives on one core; nothing of it is shared.
#[derive(Debug)]
pub struct Core {
    actions: VecDeque<Action>,
}

impl Core {
    /// `logs`: what recovery brought back of each log that this shard runs; empty with `wal = off`.
    pub fn new(_options: CoreOptions, _now: Instant, _logs: Vec<(LogId, Recovered)>) -> Core {
        Core { actions: VecDeque::new() }
    }

    /// Tells the core that something happened. `now` never goes back.
    pub fn handle(&mut self, _now: Instant, _event: Event) {}

    /// What to do next; call until `None` after every `handle`.
    pub fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When to tell `Event::Timeout` if nothing happens first.
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }
}
