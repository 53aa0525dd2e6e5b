//! The power goes at random moments under every policy, and no more is lost than the policy says: a short trial of each.
//!
//! `blipmq torture power` is the long one. The daemon of the tests is built with the feature `faults`.

use serde_json::Value;

use crate::support::torture;

#[track_caller]
fn cut(policy: &str, cuts: &str) -> Value {
    let verdict = torture::run(&["power", "--cuts", cuts, "--fsync", policy]);
    assert_eq!((&verdict["lost"], &verdict["broken"]), (&0.into(), &0.into()), "{policy}: {verdict}");
    assert!(verdict["acknowledged"].as_u64() > Some(0), "{verdict}");
    verdict
}

#[test]
fn nothing_acknowledged_is_lost_with_the_power_when_everything_is_synced_first() {
    assert_eq!(cut("always", "10")["acknowledged, lost by cuts"], 0);
}

#[test]
fn power_loss_takes_at_most_as_many_as_the_policy_says() {
    let verdict = cut("every_n:16", "10");
    assert!(verdict["most lost of a log by one"].as_u64() <= Some(16), "{verdict}");
}

#[test]
fn power_loss_takes_nothing_older_than_the_interval() {
    // Half of it is the broker's, half is there for a machine that gives its processors to others for a while.
    cut("interval_ms:1000", "10");
}

#[test]
fn the_device_of_these_trials_does_lose_what_is_not_synced() {
    let lost = (0..5).any(|_| cut("none", "4")["acknowledged, lost by cuts"].as_u64() > Some(0));
    assert!(lost, "a trial in which nothing is lost proves nothing");
}
