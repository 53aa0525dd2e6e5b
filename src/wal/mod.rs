//! What to write, when to sync, how to come back. Planners: they open nothing.

pub mod action;
mod body;
pub mod catalog;
pub mod check;
mod checkpoint;
mod cleaning;
#[cfg(test)]
mod crash_tests;
pub mod cut;
#[cfg(test)]
mod damage_tests;
pub mod entry;
mod grain;
pub mod group_commit;

mod index;
pub mod log;
#[cfg(test)]
mod log_tests;
pub mod reading;
pub mod recovery;
mod retention;
pub mod scan;
pub mod segment;
mod segments;
pub mod stats;
mod take;
#[cfg(test)]
mod test_device;

pub use action::{GroupPiece, LogAction, LogEvent, LogFailure, ReadFor, Ticket};
pub use catalog::{Catalog, PartitionState, ProducerCheck, SubscriptionState};
pub use cut::Cut;
pub use entry::{BLOCK, ENTRY_HEADER, Entry, PartitionMeta, PatternKey, PatternMeta, SubscriptionMeta};
pub use group_commit::THROUGH_MAX;
pub use log::{Log, LogOptions, LogState};
pub use reading::{BatchPlace, Batches, Place};
pub use recovery::report::{Loss, RecoveryReport};
pub use recovery::{Recovered, Recovery, RecoveryStep};
pub use scan::Corruption;
pub use segment::SegmentHeader;
pub use stats::{LogStats, Timing};
