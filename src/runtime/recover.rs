//! Brings one log back: hands recovery the bytes it asks for.

use std::io;
use std::time::Instant;

use super::failure::{Exit, Failure};
use super::log_device::LogDevice;
use super::log_folder;
use super::segment_file::learn_device;
use crate::model::RecoveryMode;
use crate::wal::recovery::report::UNSYNCED;
use crate::wal::{Corruption, LogOptions, Loss, Recovered, Recovery, RecoveryReport, RecoveryStep};

/// What the log held. A corrupt log refuses to come back, or loses what the operator's mode says.
pub async fn recover(device: &LogDevice, options: LogOptions, mode: RecoveryMode) -> Result<Recovered, Failure> {
    let started = Instant::now();
    let read = read(device, &options, mode).await.map_err(|error| unreadable(device, &error))?;
    let (recovered, report) = read.finish().map_err(|corruption| corrupt(device, &corruption))?;
    tell(&report, started);
    if !report.corruptions.is_empty() {
        // A kill before the log's own first checkpoint must not make the next start ask again what was decided here.
        device.remember(&recovered).await.map_err(|error| forgotten(device, &error))?;
    }
    Ok(recovered)
}

async fn read(device: &LogDevice, options: &LogOptions, mode: RecoveryMode) -> io::Result<Recovery> {
    log_folder::tidy(device.folder())?;
    learn_device(device.folder(), device.mode()).await?;
    let found = log_folder::look(device.folder())?;
    let mut recovery = Recovery::new(options, mode, found.checkpoint, found.segments);
    while let RecoveryStep::Read { segment, position, len } = recovery.poll() {
        recovery.handle(device.read_up_to(segment, position, len).await?);
    }
    Ok(recovery)
}

fn unreadable(device: &LogDevice, error: &io::Error) -> Failure {
    Failure::new(
        Exit::DataDirectory,
        format!("log {} in {} cannot be read: {error}", device.id(), device.folder().display()),
        "see to the device or the permissions of the folder, then start again",
    )
}

fn forgotten(device: &LogDevice, error: &io::Error) -> Failure {
    Failure::new(
        Exit::DataDirectory,
        format!(
            "log {} in {}: what was left out cannot be remembered: {error}",
            device.id(),
            device.folder().display()
        ),
        "make room, or see to the device, then start again",
    )
}

fn corrupt(device: &LogDevice, corruption: &Corruption) -> Failure {
    let folder = device.folder();
    let file = log_folder::segment(folder, corruption.segment);
    let directory = folder.parent().unwrap_or(folder).display();
    let log = device.id();
    Failure::new(
        Exit::DataDirectory,
        format!("corrupt: {corruption} (in {})", file.display()),
        format!(
            "`blipmq wal check {directory}` shows all there is; `blipmq wal truncate {directory} --shard {log} --backup \
             DIR` cuts the log at that place, `blipmq wal skip` leaves only the damage out; or start with recovery = \
             \"truncate\" or \"skip\""
        ),
    )
}

fn tell(report: &RecoveryReport, started: Instant) {
    let RecoveryReport { log, segments, batches, records, .. } = report;
    for corruption in &report.corruptions {
        log::error!("corrupt, and left out as recovery says: {corruption}");
    }
    let why = if report.corruptions.is_empty() { format!(": {UNSYNCED}") } else { String::new() };
    for Loss { segment, position, bytes, entries, records } in &report.losses {
        log::warn!(
            "log {log}, segment {segment}, byte {position}: {entries} entries with {records} records, {bytes} bytes, are \
             not part of the log any more{why}"
        );
    }
    for (segment, what) in &report.unusable {
        log::warn!("log {log}, segment {segment}: not part of the log, and removed: {what}");
    }
    if report.orphans > 0 {
        log::error!("log {log}: {} batches belong to no topic that is known, and are left out", report.orphans);
    }
    let took = started.elapsed().as_millis();
    match report.clean {
        true => log::info!("log {log} was closed properly: {segments} segments, nothing to scan; back in {took} ms"),
        false if *segments > 0 => log::info!(
            "log {log} was not closed: {segments} segments, {batches} batches, {records} records scanned in {took} ms"
        ),
        false => {}
    }
}
