//! The end of service, asked for and otherwise.

use std::io::Write;

use blipmq::client::{ClientError, PublishOptions, SubscribeOptions};
use blipmq::protocol::native::{Response, command};
use nix::sys::signal::Signal;

use crate::support::{Broker, PATIENCE, Workspace, eventually};

#[test]
fn an_interrupted_broker_ends_with_exit_code_0_and_tells_everybody_to_go() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let mut broker = Broker::in_memory("");
        let (mut old, mut new) = (broker.open(1), broker.open(2));
        broker.signal(signal);
        let frame = new.frame();
        assert!(matches!(frame.response(2), Response::GoAway(away) if away.code == 503), "{frame:?}");
        new.expect_end();
        old.expect_end();
        let ended = broker.ended();
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
}

#[test]
fn what_is_in_flight_may_be_acknowledged_while_the_broker_drains() {
    let mut broker = Broker::in_memory("shutdown_timeout_ms = 60000");
    let client = broker.client();
    let mut subscription = client.subscribe(&SubscribeOptions::new("drain").at_least_once().durable("d")).unwrap();
    client.publish("drain", b"hi", &PublishOptions::at_least_once()).unwrap();
    let message = subscription.next_message(Some(PATIENCE)).unwrap().unwrap();
    let mut late = broker.open(1);
    broker.drain(Signal::SIGINT);
    late.say(|out| command::publish(out, 3, blipmq::model::Qos::AtLeastOnce, b"drain", b"no"));
    late.expect_nack(3, 503);
    late.say(|out| command::subscribe(out, 4, b"drain", blipmq::model::Qos::AtLeastOnce));
    late.expect_nack(4, 503);
    subscription.ack(&message).unwrap();
    assert_eq!(broker.ended().code, Some(0));
}

#[test]
fn a_subscriber_that_never_acknowledges_cannot_keep_the_broker_alive() {
    let mut broker = Broker::in_memory("shutdown_timeout_ms = 100");
    let client = broker.client();
    let mut subscription = client.subscribe(&SubscribeOptions::new("drain").at_least_once()).unwrap();
    client.publish("drain", b"hi", &PublishOptions::at_least_once()).unwrap();
    subscription.next_message(Some(PATIENCE)).unwrap().unwrap();
    broker.signal(Signal::SIGINT);
    assert_eq!(broker.ended().code, Some(0));
}

#[test]
fn a_second_signal_does_not_wait() {
    let mut broker = Broker::in_memory("shutdown_timeout_ms = 600000");
    let client = broker.client();
    let mut subscription = client.subscribe(&SubscribeOptions::new("drain").at_least_once()).unwrap();
    client.publish("drain", b"hi", &PublishOptions::at_least_once()).unwrap();
    subscription.next_message(Some(PATIENCE)).unwrap().unwrap();
    broker.drain(Signal::SIGINT);
    broker.signal(Signal::SIGINT);
    assert_eq!(broker.ended().code, Some(128 + 2));
}

#[test]
fn after_a_second_signal_everything_acknowledged_is_there() {
    const MESSAGES: u32 = 200;
    let workspace = Workspace::new();
    let options = SubscribeOptions::new("twice").at_least_once().durable("d").earliest();
    {
        let mut broker = workspace.start("shutdown_timeout_ms = 600000");
        let client = broker.client();
        let mut subscription = client.subscribe(&options).unwrap();
        for nth in 0..MESSAGES {
            client.publish("twice", &nth.to_be_bytes(), &PublishOptions::at_least_once()).unwrap();
        }
        subscription.next_message(Some(PATIENCE)).unwrap().unwrap();
        broker.drain(Signal::SIGTERM);
        broker.signal(Signal::SIGTERM);
        assert_eq!(broker.ended().code, Some(128 + 15));
    }
    let broker = workspace.start("");
    let client = broker.client();
    let mut subscription = client.subscribe(&options).unwrap();
    for nth in 0..MESSAGES {
        let message = subscription.next_message(Some(PATIENCE)).unwrap().unwrap();
        assert_eq!(message.value[..], nth.to_be_bytes());
    }
}

#[test]
fn a_panic_anywhere_ends_the_process_with_exit_code_7_and_a_line() {
    for place in ["shard", "http"] {
        let workspace = Workspace::new();
        let mut command = workspace.daemon();
        command.env("BLIPMQD_PLANTED_PANIC", place).env("BLIPMQ_WAL", "off");
        command.args(["--port", "0", "--metrics-port", "0", "--cores", "1", "--set", "max_connections=100"]);
        // A shard's panic may come before the broker has said where it listens.
        let ended = match workspace.spawn(command) {
            Ok(mut broker) => {
                if place == "http" {
                    broker
                        .command_spawned(&["admin", "--admin-addr", broker.metrics_address(), "health"])
                        .wait()
                        .unwrap();
                }
                broker.ended()
            }
            Err(ended) => ended,
        };
        assert_eq!(ended.code, Some(7), "{ended:?}");
        let line = ended.stderr.lines().find(|line| line.contains("blipmqd: bug in")).unwrap();
        assert!(line.contains(place) && ended.stderr.contains(&format!("planted in {place}")), "{ended:?}");
    }
}

#[test]
fn a_client_of_a_broker_that_ends_hears_why() {
    let broker = Broker::in_memory("");
    let client = broker.client();
    let mut subscription = client.subscribe(&SubscribeOptions::new("bye")).unwrap();
    broker.stop();
    let end = eventually("the client hears of it", || subscription.next_message(Some(PATIENCE)).err());
    assert!(matches!(end, ClientError::GoAway { code: 503, .. }), "{end}");
}

#[test]
fn a_broker_whose_output_nobody_reads_goes_on() {
    let broker = Broker::in_memory("");
    // What it logs from now on goes to a file; what it printed was read. Bad input makes it write more.
    let mut wire = broker.open(1);
    wire.say_hex("00 00 00 09 | 7F | 00 00 00 00 00 00 00 09");
    wire.expect_nack(9, 400);
    wire.expect_end();
    std::io::stdout().flush().unwrap();
    broker.client().ping().unwrap();
}

#[test]
fn a_stopped_broker_of_two_cores_ends_as_well() {
    let mut broker = Broker::in_memory("cores = 2");
    let clients: Vec<_> = (0..10).map(|_| broker.client()).collect();
    for (nth, client) in clients.iter().enumerate() {
        client.publish(&format!("topic.{nth}"), b"hi", &PublishOptions::at_least_once()).unwrap();
    }
    broker.signal(Signal::SIGTERM);
    assert_eq!(broker.ended().code, Some(0));
}
