//! The log's device fails, is slow, is full: a short trial of each.
//!
//! `blipmq torture failing-disk`, `slow-disk` and `disk-full` are the long ones. The daemon of the tests is built with the
//! feature `faults`.

use serde_json::Value;

use crate::support::torture;

#[track_caller]
fn holds(words: &[&str]) -> Value {
    let verdict = torture::run(words);
    assert_eq!(verdict["broken"], 0, "{words:?}: {verdict}");
    verdict
}

#[test]
fn a_daemon_whose_device_fails_stops_with_its_exit_code_and_has_lost_nothing() {
    let verdict = holds(&["failing-disk", "--failures", "8"]);
    assert_eq!((&verdict["lost"], &verdict["acknowledged, lost by cuts"]), (&0.into(), &0.into()), "{verdict}");
    let verdict = holds(&["failing-disk", "--failures", "4", "--fsync", "every_n:16"]);
    assert!(verdict["most lost of a log by one"].as_u64() <= Some(16), "{verdict}");
}

#[test]
fn a_slow_device_slows_publishers_down_and_nobody_else() {
    holds(&["slow-disk", "--delays", "0,20,200", "--duration", "1s"]);
}

#[test]
fn on_a_full_disk_publishers_are_refused_and_everything_else_goes_on() {
    let verdict = holds(&["disk-full", "--no-mount"]);
    assert_eq!(verdict["lost"], 0, "{verdict}");
    assert!(verdict["checks"].as_u64() >= Some(16), "{verdict}");
}
