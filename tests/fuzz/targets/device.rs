//! A device in memory that has always done it already.

use std::collections::BTreeMap;

use blipmq::model::{FsyncPolicy, LogId, Lsn};
use blipmq::wal::{BLOCK, LogAction, LogEvent, LogOptions, THROUGH_MAX};
use bytes::Bytes;

/// Bytes that start entries: multiples of this.
const ENTRY_ALIGN: usize = 8;

/// The files of one log.
#[derive(Clone, Debug, Default)]
pub struct Device {
    pub segments: BTreeMap<Lsn, Vec<u8>>,
    pub checkpoint: Option<Bytes>,
}

/// A log that keeps everything, in segments of this size, with an index of so many bytes at most.
pub fn log_options(segment_size: u64, index_max: usize) -> LogOptions {
    let (fsync, retention_ms, retention_bytes, low_water) = (FsyncPolicy::Always, 0, 0, 0);
    let (log, through_max) = (LogId(0), THROUGH_MAX);
    LogOptions { log, segment_size, fsync, retention_ms, retention_bytes, low_water, index_max, through_max }
}

impl Device {
    pub fn perform(&mut self, action: LogAction) -> LogEvent {
        match action {
            LogAction::Write { ticket, segment, position, pieces, len, .. } => {
                let mut bytes = Vec::with_capacity(len);
                for piece in pieces {
                    bytes.extend_from_slice(&piece.header);
                    bytes.extend_from_slice(&piece.body);
                    bytes.resize(bytes.len().next_multiple_of(ENTRY_ALIGN), 0);
                }
                bytes.resize(len, 0);
                let file = self.segments.get_mut(&segment).expect("segments are made ready before they are written");
                file[position as usize..position as usize + len].copy_from_slice(&bytes);
                LogEvent::Written { ticket }
            }
            LogAction::Sync { ticket, .. } => LogEvent::Synced { ticket },
            LogAction::Read { ticket, segment, position, len, purpose } => {
                LogEvent::Read { ticket, purpose, bytes: self.read(segment, position, len) }
            }
            LogAction::Prepare { segment, size, header, recycle } => {
                let old = recycle.and_then(|old| self.segments.remove(&old));
                let mut file = old.unwrap_or_else(|| vec![0; size as usize]);
                file[..BLOCK].copy_from_slice(&header);
                self.segments.insert(segment, file);
                LogEvent::Prepared { segment }
            }
            LogAction::Remove { segment } => {
                self.segments.remove(&segment);
                LogEvent::Removed { segment }
            }
            LogAction::SaveCheckpoint { ticket, bytes } => {
                self.checkpoint = Some(bytes);
                LogEvent::CheckpointSaved { ticket }
            }
        }
    }

    /// So many bytes, or fewer at the file's end.
    pub fn read(&self, segment: Lsn, position: u64, len: usize) -> Bytes {
        let file = self.segments.get(&segment).map(Vec::as_slice).unwrap_or_default();
        let from = (position as usize).min(file.len());
        Bytes::copy_from_slice(&file[from..(from + len).min(file.len())])
    }
}
