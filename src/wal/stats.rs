//! What a log counts.

use std::collections::VecDeque;
use std::time::Duration;

/// Counters since the log was opened, and gauges of how it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogStats {
    /// Entries appended.
    pub appends: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes of entries appended, headers included.
    pub bytes: u64,
    /// Writes given to the device, and their bytes with padding.
    pub groups: u64,
    pub group_bytes: u64,
    pub syncs: u64,
    pub checkpoints: u64,
    /// Bytes of the last checkpoint.
    pub checkpoint_bytes: u64,
    pub segments_prepared: u64,
    pub segments_recycled: u64,
    pub segments_removed: u64,
    /// Batches and bytes that cleaning wrote again.
    pub cleaned_batches: u64,
    pub cleaned_bytes: u64,
    /// Bad places met by recovery, by readers and by cleaning, each once.
    pub corruptions: u64,
    /// What recovery cut off the tail.
    pub cut_entries: u64,
    pub cut_bytes: u64,
    /// Gauge: segments on the device, those made ready ahead included, and their bytes.
    pub segments: u64,
    pub disk_bytes: u64,
    /// Gauge: bytes of batches that somebody may still want.
    pub live_bytes: u64,
    /// Gauge: bytes of the index.
    pub index_bytes: u64,
    /// Gauge: bytes the filesystem can still give, as last told.
    pub free_bytes: u64,
    /// Gauge: bytes appended and not written.
    pub backlog_bytes: u64,
}

/// How long one group took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timing {
    /// From its first append until it was written.
    Written { after: Duration, records: u64 },
    /// From written until it was synced.
    Synced { after: Duration, records: u64 },
}

/// The last timings that nobody has taken yet.
#[derive(Debug, Default)]
pub(super) struct Timings(VecDeque<Timing>);

impl Timings {
    /// Kept at most. Beyond: the oldest go.
    const MAX: usize = 1024;

    pub(super) fn push(&mut self, timing: Timing) {
        if self.0.len() == Timings::MAX {
            self.0.pop_front();
        }
        self.0.push_back(timing);
    }

    pub(super) fn drain(&mut self, f: impl FnMut(Timing)) {
        self.0.drain(..).for_each(f);
    }
}
