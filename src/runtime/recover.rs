//! Brings one log back: hands recovery the bytes it asks for.

use super::failure::{Exit, Failure};
use super::log_device::LogDevice;
use super::log_folder;
use super::segment_file::learn_device;
use crate::model::RecoveryMode;
use crate::wal::{Corruption, LogOptions, Recovered, Recovery, RecoveryReport, RecoveryStep};

/// What the log held. A corrupt log refuses to come back, or loses what the operator's mode says.
pub async fn recover(device: &LogDevice, options: LogOptions, mode: RecoveryMode) -> Result<Recovered, Failure> {
    let folder = device.folder();
    let unreadable = |error: std::io::Error| {
        Failure::new(
            Exit::DataDirectory,
            format!("log {} in {} cannot be read: {error}", device.id(), folder.display()),
            "see to the device or the permissions of the folder, then start again",
        )
    };
    log_folder::tidy(folder).map_err(unreadable)?;
    learn_device(folder, device.mode()).await.map_err(unreadable)?;
    let found = log_folder::look(folder).map_err(unreadable)?;
    let mut recovery = Recovery::new(&options, mode, found.checkpoint, found.segments);
    while let RecoveryStep::Read { segment, position, len } = recovery.poll() {
        recovery.handle(device.read_up_to(segment, position, len).await.map_err(unreadable)?);
    }
    let (recovered, report) = recovery.finish().map_err(|corruption| corrupt(&corruption, device))?;
    tell(&report);
    Ok(recovered)
}

fn corrupt(corruption: &Corruption, device: &LogDevice) -> Failure {
    let folder = device.folder().display();
    Failure::new(
        Exit::DataDirectory,
        format!("{corruption} (in {folder})"),
        format!(
            "back up {folder}, look with `blipmq wal check {folder}`, then cut it with `blipmq wal truncate {folder}`, \
             or start once with recovery = \"truncate\" or \"skip\""
        ),
    )
}

fn tell(report: &RecoveryReport) {
    for corruption in &report.corruptions {
        log::error!("corrupt, and left out: {corruption}");
    }
    match report.cut_entries {
        0 => log::info!("{report}"),
        _ => log::warn!("{report}"),
    }
}
