//! How a process opens a log: recovery, fed from the disk.

use super::disk::Disk;
use super::plant::Plant;
use super::shape::Shape;
use crate::model::{FsyncPolicy, LogId};
use crate::wal::{Log, LogOptions};
use crate::wal::{Recovery, RecoveryReport, RecoveryStep};

/// Reads one log back. `Err`: the log is corrupt, in recovery's own words.
pub fn open(shape: &Shape, disk: &Disk, log: LogId) -> Result<(Log, RecoveryReport), String> {
    let options = options(shape, log);
    let mut recovery = Recovery::new(&options, shape.recovery, disk.checkpoint(log), disk.segments(log));
    while let RecoveryStep::Read { segment, position, len } = recovery.poll() {
        recovery.handle(disk.read(log, segment, position, len));
    }
    let (recovered, report) = recovery.finish().map_err(|corruption| format!("log {log}: {corruption}"))?;
    Ok((Log::new(options, recovered), report))
}

fn options(shape: &Shape, log: LogId) -> LogOptions {
    let told = if shape.plant == Some(Plant::AckAtWrite) { Some(FsyncPolicy::None) } else { shape.fsync };
    LogOptions {
        log,
        segment_size: shape.segment_size,
        fsync: told.unwrap_or(FsyncPolicy::None),
        retention_ms: 0,
        retention_bytes: if shape.plant == Some(Plant::RetentionUnasked) { 8 * 1024 } else { 0 },
        low_water: 2 * shape.segment_size,
        index_max: shape.index_max,
        through_max: shape.through_max,
    }
}
