//! What recovery did, for the operator.

use std::fmt;

use crate::model::{LogId, Lsn};
use crate::wal::scan::Corruption;

/// What recovery did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    pub log: LogId,
    /// The log was closed properly: nothing had to be looked at.
    pub clean: bool,
    /// Bytes of this log's segments. Where the configuration says otherwise, the log keeps its own.
    pub segment_size: u64,
    pub configured_size: u64,
    pub segments: usize,
    /// There was no checkpoint: everything was looked at.
    pub rebuilt: bool,
    /// Entries after the checkpoint, the batches and records among them, and their bytes.
    pub entries: u64,
    pub batches: u64,
    pub records: u64,
    pub bytes: u64,
    /// Entries and bytes cut off the end: written, and never known to be synced, unless a corruption tells otherwise.
    pub cut_entries: u64,
    pub cut_bytes: u64,
    /// What is not part of the log any more, in order.
    pub losses: Vec<Loss>,
    /// Where the log ends: its segment, and the byte in it.
    pub end: (Lsn, u64),
    /// Bad places that were cut or left out because the operator said so.
    pub corruptions: Vec<Corruption>,
    /// Segment files that are not believed and not part of the log: left over from a crash while they were made ready.
    pub unusable: Vec<(Lsn, &'static str)>,
    /// Batches of partitions that nothing is known of.
    pub orphans: u64,
}

/// What a start says of a torn tail that it cut off.
pub const UNSYNCED: &str = "written, never known to be synced";

/// Bytes that were cut off or left out, and what could still be told of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The segment, and the byte in it where they begin.
    pub segment: Lsn,
    pub position: u64,
    pub bytes: u64,
    /// Whole entries, and records in batches: at least so many where headers are damaged too.
    pub entries: u64,
    pub records: u64,
}

impl fmt::Display for RecoveryReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RecoveryReport { log, segments, entries, records, bytes, .. } = self;
        write!(f, "log {log}: {segments} segments, ")?;
        match self.clean {
            true => write!(f, "closed properly")?,
            false => write!(f, "{entries} entries with {records} records in {bytes} bytes since the checkpoint")?,
        }
        if self.cut_entries > 0 {
            let (segment, position) = self.end;
            write!(f, "; cut {} unsynced entries after segment {segment}, byte {position}", self.cut_entries)?;
        }
        if self.segment_size != self.configured_size {
            let (own, configured) = (self.segment_size, self.configured_size);
            write!(f, "; its segments keep their size of {own} bytes, although {configured} are configured")?;
        }
        if self.orphans > 0 {
            write!(f, "; {} batches belong to no partition", self.orphans)?;
        }
        for (segment, what) in &self.unusable {
            write!(f, "; segment {segment} is not used: {what}")?;
        }
        for corruption in &self.corruptions {
            write!(f, "; left out: {corruption}")?;
        }
        Ok(())
    }
}
