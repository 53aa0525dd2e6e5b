//! `blipmq torture`, in short.

use std::process::{Command, Stdio};

use serde_json::Value;

/// The verdict of a trial with these words. One that cannot be held is a failure.
#[track_caller]
pub fn run(words: &[&str]) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_blipmq"));
    command.args(["--json", "torture"]).args(words).args(["--broker", env!("CARGO_BIN_EXE_blipmqd")]);
    command.args(["--data-dir", env!("CARGO_TARGET_TMPDIR")]).stdin(Stdio::null());
    let output = command.output().expect("the command can be run");
    let said = String::from_utf8_lossy(&output.stdout);
    let told = String::from_utf8_lossy(&output.stderr);
    serde_json::from_str(&said).unwrap_or_else(|_| panic!("no verdict: {said}\n{told}"))
}
