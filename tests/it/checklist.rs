//! The commands with which an operator convinces himself.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::load::Publishing;
use crate::support::{Broker, Workspace};

#[test]
fn the_checklist_finds_nothing_wrong_here_and_says_how_to_see_it_again() {
    let workspace = Workspace::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_blipmq"));
    command.env_clear().args(["checklist", "--json", "--only", "1,4,6,7,9", "--data-dir"]).arg(workspace.path());
    let output = command.stdin(Stdio::null()).output().expect("the command can be run");
    let said = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect();
    let bad: Vec<&Value> = lines.iter().filter(|line| line["result"] == "fail").collect();
    assert!(bad.is_empty() && output.status.success(), "{bad:?}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(lines.iter().filter(|line| line["result"] == "pass").count() > 12, "{said}");
    assert!(lines.iter().all(|line| line["repeat"].as_str().is_some_and(|how| !how.is_empty())));
    assert_eq!(std::fs::read_dir(workspace.path()).unwrap().count(), 0, "it leaves nothing behind");
}

#[test]
fn one_frame_of_top_is_text_for_a_pipe() {
    let broker = Broker::in_memory("");
    let publishing = Publishing::version_2(broker.client(), "busy");
    publishing.until_busy();
    let output =
        broker.command(&["top", "--once", "--interval", "300ms", "--admin-addr", broker.metrics_address()], "");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{output:?}");
    for part in ["BlipMQ", "published", "busy", "publish_ack", "shard"] {
        assert!(said.contains(part), "{part}\n{said}");
    }
    drop(broker);
    publishing.ended();
}
