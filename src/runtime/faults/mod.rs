//! A device on its bad day, between the logs and their files. Only in builds with the feature `faults`.
//!
//! SIGKILL leaves the page cache, so it shows nothing of power loss. Here every write is held in this process's memory
//! and reaches its file only when a sync asks for it: SIGKILL then takes what a power cut would take. As devices do, a
//! part of what is held goes through early, in any order, in pieces of 512 or 4096 bytes. Names behave the same way:
//! what was created, renamed or removed is so for this process at once, and on the disk when the directory is synced,
//! or earlier, but always in order, as filesystems with a journal do it. Reads see what is held.
//!
//! The variable `BLIPMQ_FAULTS` says what the device does, `key=value` with commas between; without it, nothing:
//!
//! | key                | the device                                                                                |
//! |--------------------|-------------------------------------------------------------------------------------------|
//! | `seed=N`           | decides by this what goes through early                                                   |
//! | `hold=1`           | holds what is not synced                                                                  |
//! | `early=P`          | of a thousand writes, so many let a part of what is held through (default 100)             |
//! | `delay_ms=T`       | takes so much longer for each write and sync                                              |
//! | `fail_write_after=N` | takes N writes of this process and fails the next, which lands in part, and all after it |
//! | `fail_sync_after=N`  | takes N syncs and fails the next, which drops what was held, once                       |
//! | `capacity=FILE`    | has room for as many bytes as the file says at that moment                                |
//! | `report=FILE`      | writes there how long its slowest sync took, in microseconds; and beside it (`.again`) that a sync was asked for of a file of which one had failed |
//!
//! Not behind this layer: the version file and the key of the data directory, made once at the first start.
//!
//! Why here and not a filesystem in user space (FUSE): that one needs root or a setuid program and /dev/fuse, which
//! containers and build machines lack; its requests go through the kernel's page cache, which must be turned off to see
//! what the program asked for; and direct I/O, by which the logs are written, is there an approximation. Here the very
//! calls that the log makes are seen, no kernel is between, and a kill loses exactly what was promised to nobody. What
//! this cannot show is a bug in `glommio` or the kernel below: the crash and disk-full trials run without it.

mod device;
mod file;
mod held;
mod names;
mod options;

use std::sync::OnceLock;

pub use device::Faults;
pub use file::FaultyFile;
pub use options::{Options, VARIABLE};

use super::failure::{Exit, Failure};

static DEVICE: OnceLock<Option<Faults>> = OnceLock::new();

/// The device of this process, if it has a bad day.
pub fn device() -> Option<&'static Faults> {
    DEVICE.get_or_init(|| wanted().ok().flatten().map(Faults::new)).as_ref()
}

/// Reads what is wanted; nonsense ends the process before it starts.
pub fn check() -> Result<(), Failure> {
    let wrong = |what| Failure::new(Exit::Configuration, format!("{VARIABLE}: {what}"), "see runtime/faults/mod.rs");
    let options = wanted().map_err(wrong)?;
    if let Some(options) = options {
        log::warn!("this device has a bad day: {options:?}");
    }
    Ok(())
}

fn wanted() -> Result<Option<Options>, String> {
    match std::env::var(VARIABLE) {
        Ok(text) => Options::parse(&text).map(Some),
        Err(_) => Ok(None),
    }
}
