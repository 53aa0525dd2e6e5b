//! The end of service while everybody is busy.

use std::collections::BTreeSet;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::thread::{self, JoinHandle};

use blipmq::client::ClientError;
use blipmq::client::blocking::{Client, Subscription};
use blipmq::model::Qos;
use nix::sys::signal::Signal;

use crate::support::load::{Publishing, QOS_1, durable, lag, left, number};
use crate::support::{PATIENCE, Workspace, eventually};

/// Takes and acknowledges until the connection ends.
fn take_all(mut subscription: Subscription) -> JoinHandle<BTreeSet<u64>> {
    thread::spawn(move || {
        let mut came = BTreeSet::new();
        while let Ok(Some(message)) = subscription.next_message(Some(PATIENCE)) {
            came.insert(number(&message.value));
            if subscription.ack(&message).is_err() {
                break;
            }
        }
        came
    })
}

/// As `take_all`, by polling.
fn take_all_polled(client: Client, topic: &'static str) -> JoinHandle<BTreeSet<u64>> {
    let mut subscription = client.subscribe_polled(topic, Qos::AtLeastOnce).unwrap();
    thread::spawn(move || {
        let mut came = BTreeSet::new();
        while let Ok(Some(message)) = subscription.next_message(Some(PATIENCE)) {
            came.insert(number(&message.value));
            if subscription.ack(&message).is_err() {
                break;
            }
        }
        drop(client);
        came
    })
}

#[test]
fn a_drain_under_load_loses_nothing_acknowledged_and_the_next_start_scans_nothing() {
    let workspace = Workspace::new();
    let keys = "cores = 2\nshutdown_timeout_ms = 2000";
    let mut broker = workspace.start(keys);
    let subscriber = broker.client();
    let taking = take_all(subscriber.subscribe(&durable("new")).unwrap());
    let polling = take_all_polled(broker.client_v1(), "old");
    let new = Publishing::version_2(broker.client(), "new");
    let old = Publishing::version_1(broker.client_v1(), "old");
    new.until_busy();
    old.until_busy();
    broker.drain(Signal::SIGTERM);
    eventually("nobody new is let in, whichever core takes it", || Client::connect(&broker.options()).err());
    let ended = broker.ended();
    assert_eq!(ended.code, Some(0), "{ended:?}");

    let (acknowledged, error) = new.ended();
    assert!(matches!(error, ClientError::GoAway { code: 503, .. } | ClientError::Refused { code: 503, .. }), "{error}");
    let (acknowledged_old, error) = old.ended();
    assert!(matches!(error, ClientError::Refused { code: 503, .. } | ClientError::Closed), "{error}");
    let (came, came_old) = (taking.join().unwrap(), polling.join().unwrap());

    let broker = workspace.start(keys);
    for log in 0..2 {
        let said = format!("log {log} was closed properly");
        assert!(broker.log().contains(&said), "{said}: {}", broker.log());
    }
    assert!(broker.topic("new")["next"].as_u64().unwrap() >= acknowledged);
    assert!(broker.topic("old")["next"].as_u64().unwrap() >= acknowledged_old);
    for topic in ["new", "old"] {
        assert_eq!(broker.subscription(topic)["missed"], 0, "the last acknowledgements stand beside what they let go");
    }
    let all: BTreeSet<u64> = came.union(&left(&broker, "new", acknowledged)).copied().collect();
    assert!((0..acknowledged).all(|nth| all.contains(&nth)), "each came before the end, or comes now");
    let lag = lag(&broker, "old");
    let client = broker.client_v1();
    let mut session = client.subscribe_polled("old", Qos::AtLeastOnce).unwrap();
    let rest = (0..lag).map(|_| number(&session.next_message(Some(PATIENCE)).unwrap().expect("it waits").value));
    let all: BTreeSet<u64> = came_old.into_iter().chain(rest).collect();
    assert!((0..acknowledged_old).all(|nth| all.contains(&nth)), "each came before the end, or comes now");
}

#[test]
fn acknowledgements_are_waited_for_and_what_stays_unacknowledged_stays_in_the_log() {
    let workspace = Workspace::new();
    let keys = "shutdown_timeout_ms = 1500";
    let mut broker = workspace.start(keys);
    let client = broker.client();
    let mut subscription = client.subscribe(&durable("rest")).unwrap();
    for nth in 0..10u64 {
        client.publish("rest", &nth.to_be_bytes(), &QOS_1).unwrap();
    }
    let messages: Vec<_> =
        (0..10).map(|_| subscription.next_message(Some(PATIENCE)).unwrap().expect("it was published")).collect();
    broker.drain(Signal::SIGTERM);
    for message in &messages[..4] {
        subscription.ack(message).unwrap();
    }
    assert_eq!(broker.ended().code, Some(0));
    let broker = workspace.start(keys);
    assert!(broker.log().contains("log 0 was closed properly"), "{}", broker.log());
    assert_eq!(left(&broker, "rest", 10), (4..10).collect());
}

#[test]
fn a_second_signal_ends_at_once_and_loses_nothing_acknowledged() {
    let workspace = Workspace::new();
    let keys = "shutdown_timeout_ms = 600000";
    let mut broker = workspace.start(keys);
    let client = broker.client();
    // Delivered, and never acknowledged: the drain alone would wait for it.
    let mut subscription = client.subscribe(&durable("twice")).unwrap();
    let publishing = Publishing::version_2(broker.client(), "twice");
    subscription.next_message(Some(PATIENCE)).unwrap().expect("much is published");
    publishing.until_busy();
    broker.drain(Signal::SIGTERM);
    broker.signal(Signal::SIGTERM);
    assert_eq!(broker.ended().code, Some(128 + 15));
    let (acknowledged, _) = publishing.ended();
    let broker = workspace.start(keys);
    assert!(broker.log().contains("log 0 was not closed"), "{}", broker.log());
    assert_eq!(left(&broker, "twice", acknowledged), (0..acknowledged).collect());
}

#[test]
fn the_service_manager_hears_ready_alive_reloading_and_stopping_in_this_order() {
    let workspace = Workspace::new();
    let path = workspace.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    // The manager names the process that it expects signs of life from.
    let daemon = workspace.configured("wal = \"off\"");
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "WATCHDOG_PID=$$ exec \"$0\" \"$@\""]).arg(daemon.get_program()).args(daemon.get_args());
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "400000");
    let mut broker = workspace.spawn(command).unwrap();
    let hear = || {
        let mut bytes = [0; 4096];
        let count = manager.recv(&mut bytes).expect("the broker says something");
        String::from_utf8(bytes[..count].to_vec()).unwrap().trim().to_owned()
    };
    assert_eq!(hear(), "READY=1");
    assert_eq!([hear(), hear(), hear()], ["WATCHDOG=1"; 3], "again and again");
    let next = |what| eventually(what, || Some(hear()).filter(|said| said != "WATCHDOG=1"));
    broker.signal(Signal::SIGHUP);
    let reloading = next("it reads its configuration again");
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    assert_eq!(next("it is ready again"), "READY=1");
    broker.signal(Signal::SIGTERM);
    assert_eq!(next("it stops"), "STOPPING=1");
    assert_eq!(broker.ended().code, Some(0));
}
