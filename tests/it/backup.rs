//! A copy of a broker that goes on working, and what comes of it.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::process::Output;

use blipmq::client::SubscribeOptions;
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::copies::{back_up, command, good, restore};
use crate::support::load::{Publishing, QOS_1, durable, left, number};
use crate::support::{Broker, PATIENCE, Workspace};

const KEYS: &str = "cores = 2";

#[test]
fn a_backup_under_load_brings_back_what_was_acknowledged_before_with_the_cursors_of_that_moment() {
    let workspace = Workspace::new();
    let mut broker = workspace.start(KEYS);
    let client = broker.client();
    let mut subscription = client.subscribe(&durable("load")).unwrap();
    let publishing = Publishing::version_2(broker.client(), "load");
    for _ in 0..30 {
        let message = subscription.next_message(Some(PATIENCE)).unwrap().expect("much is published");
        subscription.ack(&message).unwrap();
    }
    broker.until_subscription("load", "settled_to", 30);
    publishing.until_busy();
    let before = publishing.count();
    let copy = workspace.path().join("copy");
    good(&back_up(&broker, &copy));
    // The broker goes on as if nothing had been.
    let after = publishing.count();
    client.publish("other", b"", &QOS_1).unwrap();
    let again = back_up(&broker, &copy);
    assert!(!again.status.success(), "a backup is never written over: {again:?}");
    broker.signal(Signal::SIGTERM);
    assert_eq!(broker.ended().code, Some(0));
    let (acknowledged, _) = publishing.ended();
    assert!(before <= after && after <= acknowledged);

    let restored = Workspace::new();
    good(&restore(&copy, &restored.data()));
    let again = restore(&copy, &restored.data());
    assert_eq!(again.status.code(), Some(1), "a data directory is never written over: {again:?}");
    let broker = restored.start(KEYS);
    let next = broker.topic("load")["next"].as_u64().unwrap();
    assert!(before <= next && next <= acknowledged, "{before} acknowledged before, {next} restored");
    assert_eq!(broker.subscription("load")["settled_to"], 30);
    assert_eq!(left(&broker, "load", next), (30..next).collect::<BTreeSet<u64>>());
    // It goes on from there.
    let client = broker.client();
    let published = client.publish("load", &7u64.to_be_bytes(), &QOS_1).unwrap().expect("acknowledged");
    assert_eq!(published.base_offset.0, next);
    broker.kill();
    let broker = restored.start(KEYS);
    assert_eq!(broker.topic("load")["next"], next + 1);
}

#[test]
fn a_directory_that_nobody_uses_is_copied_as_it_is() {
    let workspace = Workspace::new();
    let broker = workspace.start(KEYS);
    let client = broker.client();
    for nth in 0..50u64 {
        client.publish("kept", &nth.to_be_bytes(), &QOS_1).unwrap();
    }
    // Entries of subscriptions and cursors are in the log as well, and none of them is counted as a message.
    let mut subscription = client.subscribe(&durable("kept").earliest()).unwrap();
    // The first one is kept back, so that nothing is given up.
    for nth in 0..20 {
        let message = subscription.next_message(Some(PATIENCE)).unwrap().expect("it was published");
        if nth > 0 {
            subscription.ack(&message).unwrap();
        }
    }
    broker.until_subscription("kept", "settled", 19);
    let counted = |output: &Output| assert!(good(output).contains(" logs, 50 messages, "), "{output:?}");
    counted(&back_up(&broker, &workspace.path().join("first")));
    let copy = workspace.path().join("copy");
    let refused = command(&["backup --from", "--to"], &[&workspace.data(), &copy]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("in use"), "{refused:?}");
    // Not closed: its end has to be scanned, in the copy as well.
    broker.kill();
    let copy = workspace.path().join("second");
    let output = command(&["backup --json --from", "--to"], &[&workspace.data(), &copy]);
    let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    assert_eq!((&said["good"], &said["messages"]), (&true.into(), &50.into()), "{said}");
    let restored = Workspace::new();
    counted(&restore(&copy, &restored.data()));
    let broker = restored.start(KEYS);
    let client = broker.client();
    let mut subscription = client.subscribe(&SubscribeOptions::new("kept").at_least_once().earliest()).unwrap();
    let next = |_| number(&subscription.next_message(Some(PATIENCE)).unwrap().expect("it is there").value);
    assert_eq!((0..50).map(next).collect::<Vec<u64>>(), (0..50).collect::<Vec<u64>>());
}

#[test]
fn a_damaged_backup_is_not_called_good_and_no_broker_starts_on_what_is_left() {
    let workspace = Workspace::new();
    let broker = workspace.start("cores = 1");
    let client = broker.client();
    client.subscribe(&durable("kept")).unwrap().unsubscribe(false).unwrap();
    for _ in 0..50 {
        client.publish("kept", &[7; 1000], &QOS_1).unwrap();
    }
    let copy = workspace.path().join("copy");
    good(&back_up(&broker, &copy));
    broker.stop();
    let segment = copy.join("shard-0000").join("00000000000000000000.log");
    let file = OpenOptions::new().read(true).write(true).open(&segment).unwrap();
    let mut byte = [0];
    // Groups begin on blocks: this is in a message, and not in what fills up a block.
    let place = 5 * 4096 + 300;
    file.read_exact_at(&mut byte, place).unwrap();
    file.write_all_at(&[!byte[0]], place).unwrap();
    let restored = Workspace::new();
    let output = restore(&copy, &restored.data());
    assert_eq!(output.status.code(), Some(8), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("log 0"), "{output:?}");
    assert_eq!(restored.try_start("cores = 1").map(|_| ()).unwrap_err().code, Some(4));

    // Nor one that was not finished.
    fs::remove_file(copy.join("backup.json")).unwrap();
    let output = restore(&copy, &workspace.path().join("third"));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no backup"), "{output:?}");
}

#[test]
fn a_broker_without_a_log_has_nothing_to_back_up_and_only_one_backup_goes_on_at_a_time() {
    let broker = Broker::in_memory("");
    let workspace = Workspace::new();
    let output = back_up(&broker, &workspace.path().join("copy"));
    assert!(String::from_utf8_lossy(&output.stderr).contains("nothing to back up"), "{output:?}");
    let begin = |name: &str| broker.call("PUT", &format!("/api/v1/backups/{name}"), &Value::Null).status;
    assert_eq!([begin("one"), begin("two")], [200, 409]);
    assert_eq!(broker.call("POST", "/api/v1/backups/two/renew", &Value::Null).status, 404);
    assert_eq!(broker.call("POST", "/api/v1/backups/one/renew", &Value::Null).status, 200);
    assert_eq!(broker.call("DELETE", "/api/v1/backups/one", &Value::Null).status, 200);
    assert_eq!(begin("two"), 200);
}
