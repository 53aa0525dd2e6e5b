//! The daemon on a device that has a bad day: how it is asked for, and whether this daemon can.
//!
//! What the device does is said by [`VARIABLE`]; the module `runtime::faults`, which is there only in builds with the
//! feature `faults`, has the table. `cargo build --features faults` makes such a daemon; `cargo test` does so for its
//! own.

use std::process::Command;

use super::daemon::Workspace;
use crate::bench::failure::Failure;

/// What the device is to do.
pub const VARIABLE: &str = "BLIPMQ_FAULTS";
/// How a daemon that can names itself.
const SAYS: &str = "with faults";

/// A daemon without a device that can fail is told before anything is attempted.
pub fn require(workspace: &Workspace) -> Result<(), Failure> {
    let program = workspace.program();
    let said = Command::new(program).arg("--version").output()?;
    let said = String::from_utf8_lossy(&said.stdout).trim().to_owned();
    if said.ends_with(SAYS) {
        return Ok(());
    }
    Err(Failure::Usage(format!(
        "{} is {said}: this trial needs a daemon built with `cargo build --features faults`; see --broker",
        program.display()
    )))
}
