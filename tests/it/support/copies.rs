//! Backups made and brought back by the command line.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::Broker;

/// `blipmq` without a broker.
pub fn command(words: &[&str], paths: &[&Path]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_blipmq"));
    let arguments = words.iter().zip(paths).flat_map(|(word, path)| [word.to_string(), path.display().to_string()]);
    command.env_clear().args(arguments.flat_map(|both| both.split(' ').map(str::to_owned).collect::<Vec<_>>()));
    command.stdin(Stdio::null()).output().expect("the command can be run")
}

/// It went well; answers with what it said.
#[track_caller]
pub fn good(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.contains(": good, "), "{output:?}");
    said
}

/// A copy of what a broker has, while it works.
pub fn back_up(broker: &Broker, to: &Path) -> Output {
    broker.command(&["backup", "--to", to.to_str().unwrap(), "--admin-addr", broker.metrics_address()], "")
}

/// A data directory made of a copy.
pub fn restore(from: &Path, to: &Path) -> Output {
    command(&["restore --from", "--to"], &[from, to])
}
