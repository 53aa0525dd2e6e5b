//! A subscription and what this shard needs to serve it.

use crate::broker::{Held, Subscription};
use crate::model::{Instant, Lsn, Offset};

/// A subscription with the shard's notes on it.
#[derive(Debug)]
pub struct Serving {
    pub sub: Subscription,
    /// In the list of ready subscriptions.
    pub queued: bool,
    /// The earliest timer set for it.
    pub timer: Instant,
    /// Batches read back from the log, for a reader behind the tail.
    pub history: Vec<Held>,
    /// A read is under way for this offset.
    pub reading: Option<Offset>,
    /// Version 1 polls that came meanwhile, by correlation id.
    pub polls: Vec<u64>,
    /// Where the log entry ends that makes it durable.
    pub logged: Lsn,
    /// The floor of its cursor as the log has it.
    pub logged_floor: Offset,
    /// Its cursor moved since it was last logged.
    pub unlogged: bool,
    /// Since when it has had no member.
    pub detached: Option<Instant>,
    /// Where the next polled record starts in its batch.
    pub place: Option<RecordPlace>,
}

/// Where a record starts: polls walk a batch record by record, and do not start again each time.
#[derive(Clone, Copy, Debug)]
pub struct RecordPlace {
    pub base: Offset,
    pub volatile: bool,
    pub offset: Offset,
    pub at: usize,
}

impl Serving {
    pub fn new(sub: Subscription) -> Serving {
        Serving {
            queued: false,
            timer: Instant::NEVER,
            history: Vec::new(),
            reading: None,
            polls: Vec::new(),
            logged: Lsn::ZERO,
            logged_floor: sub.cursor.floor(),
            unlogged: false,
            detached: None,
            place: None,
            sub,
        }
    }

    /// Everything before is settled, and stays so whatever happens.
    pub fn safe_floor(&self) -> Offset {
        let floor = self.sub.cursor.floor();
        if self.sub.logged_id().is_some() { floor.min(self.logged_floor) } else { floor }
    }

    /// A durable subscription of this name.
    pub fn is_named(&self, name: &str) -> bool {
        self.sub.is_durable() && self.sub.name == name
    }

    pub fn remembered(&self, offset: Offset) -> Option<&Held> {
        self.history.iter().find(|held| held.holds(offset))
    }
}
