//! What to write, when to sync, how to come back. Planners: they open nothing.

pub mod action;
pub mod entry;
pub mod log;
pub mod recovery;

pub use action::{GroupPiece, LogAction, LogEvent, LogFailure, ReadFor, Ticket};
pub use entry::{BLOCK, ENTRY_HEADER, Entry, PartitionMeta, SubscriptionMeta};
pub use log::*;
pub use recovery::Recovered;
