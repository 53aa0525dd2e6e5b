//! What a log asks of its device, and what the device answers.

use bytes::Bytes;

use crate::model::Lsn;

/// Names one write or read until it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// One entry of a group: its header, then its body, then zeros up to the next multiple of eight bytes.
#[derive(Clone, Debug)]
pub struct GroupPiece {
    pub header: [u8; super::entry::ENTRY_HEADER],
    pub body: Bytes,
}

/// What a log asks for. Segments are named by the LSN of their first byte; positions are bytes from there and, like
/// lengths, multiples of [`super::entry::BLOCK`].
#[derive(Debug)]
pub enum LogAction {
    /// Make the segment ready ahead of use: create it (or rename the dead segment `recycle` to its name), give it its
    /// full size in blocks that have been written before, write `header` (one block) at its start, sync it, sync the
    /// directory. A recycled segment's old bytes may stay: their LSNs are not at home there. In the background, never
    /// on the commit path. Answered by `Prepared`.
    Prepare { segment: Lsn, size: u64, header: Bytes, recycle: Option<Lsn> },
    /// Write one group: the pieces one after another, the last block filled up with zeros to `len`. At most
    /// [`super::group_commit::WRITES_IN_FLIGHT`] are outstanding; they may complete in any order. One that goes
    /// `through` is durable when it is answered. Answered by `Written`.
    Write { ticket: Ticket, segment: Lsn, position: u64, pieces: Vec<GroupPiece>, len: usize, through: bool },
    /// Make everything of `segment` whose write has been answered durable. At most
    /// [`super::group_commit::SYNCS_IN_FLIGHT`] are outstanding, each of another segment; they may complete in any
    /// order. Answered by `Synced`.
    Sync { ticket: Ticket, segment: Lsn },
    /// Read `len` bytes. Answered by `Read`.
    Read { ticket: Ticket, segment: Lsn, position: u64, len: usize, purpose: ReadFor },
    /// Remove the segment and sync the directory. Answered by `Removed`.
    Remove { segment: Lsn },
    /// Replace the log's checkpoint file by these bytes: write beside, sync, rename, sync the directory.
    /// Answered by `CheckpointSaved`.
    SaveCheckpoint { ticket: Ticket, bytes: Bytes },
}

/// Who wants the bytes of a [`LogAction::Read`]; the log keeps its own, the shard serves its subscriptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFor {
    /// Live batches of a mostly dead segment, to be written forward.
    Cleaning,
    /// A subscription behind the in-memory tail; the number is the shard's own.
    Subscription(u64),
}

/// What the device answers.
#[derive(Debug)]
pub enum LogEvent {
    Prepared {
        segment: Lsn,
    },
    Written {
        ticket: Ticket,
    },
    Synced {
        ticket: Ticket,
    },
    Read {
        ticket: Ticket,
        purpose: ReadFor,
        bytes: Bytes,
    },
    Removed {
        segment: Lsn,
    },
    CheckpointSaved {
        ticket: Ticket,
    },
    /// Told now and then: bytes that can still be taken from the filesystem.
    Space {
        free: u64,
    },
    /// The device refused. A full disk at `Prepare` stops QoS 1 publishes until there is space; anything else, and a
    /// failed write or sync always, stops the log for good.
    Failed(LogFailure),
}

/// What the device refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFailure {
    /// "write", "sync", "prepare", "read", "remove" or "checkpoint".
    pub operation: &'static str,
    pub segment: Option<Lsn>,
    /// No space left, or quota.
    pub full: bool,
    /// The system's own words.
    pub reason: String,
}
