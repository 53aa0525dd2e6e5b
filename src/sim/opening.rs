//! How a process opens a log: recovery, fed from the disk.

use super::disk::Disk;
use super::shape::Shape;
use crate::model::{FsyncPolicy, Instant, LogId};
use crate::wal::{Log, LogOptions, Recovered};

/// Whether recovery is there to be simulated.
pub const RECOVERS: bool = false;

/// Reads one log back. `Err`: the log is corrupt, in recovery's own words.
pub fn open(shape: &Shape, disk: &mut Disk, _now: Instant, log: LogId) -> Result<Log, String> {
    if !disk.segments(log).is_empty() {
        return Err(format!("log {log} cannot be opened again yet"));
    }
    Ok(Log::new(options(shape, log), Recovered::nothing(shape.segment_size)))
}

fn options(shape: &Shape, log: LogId) -> LogOptions {
    let fsync =
        if shape.plant == Some(super::plant::Plant::AckAtWrite) { Some(FsyncPolicy::None) } else { shape.fsync };
    LogOptions {
        log,
        segment_size: shape.segment_size,
        fsync: fsync.unwrap_or(FsyncPolicy::None),
        retention_ms: 0,
        retention_bytes: 0,
        low_water: 2 * shape.segment_size,
    }
}
