//! A bad network: peers that vanish, reset, stall, and come by the hundreds.

use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use blipmq::client::{PublishOptions, SubscribeOptions};
use blipmq::model::record_batch::BatchBuilder;
use blipmq::model::{Offset, Qos, Timestamp};
use blipmq::protocol::native::command::{self, BatchFor};
use bytes::BytesMut;

use crate::support::{Broker, PATIENCE, Wire, eventually};

/// Batches of a few messages to alias 0, which is to be said first.
fn batch(qos: Qos, first: u64, count: u64) -> BytesMut {
    let mut builder = BatchBuilder::new();
    (first..first + count).for_each(|nth| builder.push(Timestamp(0), &nth.to_be_bytes()));
    let said = BatchFor { alias: 0, partition: 0, qos, acknowledge: false, must_route: false, ttl_ms: 0 };
    let mut out = BytesMut::new();
    command::publish_batch(&mut out, 7, &said, &builder.finish(Offset::ZERO, None));
    out
}

/// A publisher that has named its topic.
fn publisher(broker: &Broker, topic: &str) -> Wire {
    let mut wire = broker.open(2);
    wire.say(|out| command::alias(out, 3, 0, topic.as_bytes()));
    assert_eq!(wire.frame().kind, 0x12, "ALIASED");
    wire
}

#[test]
fn a_reset_in_the_middle_of_a_batch_publishes_nothing_of_it() {
    for broker in Broker::both("") {
        let client = broker.client();
        let mut subscription = client.subscribe(&SubscribeOptions::new("torn").at_least_once().durable("d")).unwrap();
        let whole = batch(Qos::AtLeastOnce, 0, 5);
        let torn = batch(Qos::AtLeastOnce, 5, 5);
        for cut in [1, 4, 13, 20, torn.len() / 2, torn.len() - 1] {
            let mut wire = publisher(&broker, "torn");
            wire.say_bytes(&whole);
            // What was said before is handled before the reset takes it.
            wire.say(|out| command::ping(out, 9));
            assert_eq!(wire.frame().kind, 0x08, "PONG");
            wire.say_bytes(&torn[..cut]);
            wire.reset();
        }
        client.publish("torn", b"the last", &PublishOptions::at_least_once()).unwrap();
        for nth in 0..30u64 {
            let message = subscription.next_message(Some(PATIENCE)).unwrap().unwrap();
            assert_eq!((&message.value[..], message.offset.0), (&(nth % 5).to_be_bytes()[..], nth));
        }
        assert_eq!(&subscription.next_message(Some(PATIENCE)).unwrap().unwrap().value[..], b"the last");
    }
}

#[test]
fn hundreds_that_come_and_vanish_in_every_way_leave_nothing_behind() {
    const INPUT: &str = "blipmq_memory_bytes{class=\"input\"";
    const OUTPUT: &str = "blipmq_memory_bytes{class=\"output\"";
    let broker = Broker::new("cores = 2\nmax_connections = 100");
    broker.open(2).reset();
    eventually("it is quiet", || (broker.sum("blipmq_connections", "") == 0.0).then_some(()));
    let (descriptors, opened) = (broker.descriptors(), broker.sum("blipmq_connections_opened_total", ""));
    const EACH: usize = 60;
    for nth in 0..EACH {
        broker.wire().reset();
        drop(broker.wire());
        let mut half = broker.wire();
        half.say_hex("00 00 00 0B | 01 | 00");
        half.reset();
        let mut reads_nothing = broker.open(1);
        reads_nothing.say(|out| command::subscribe(out, 3, b"gone", Qos::AtLeastOnce));
        reads_nothing.reset();
        let mut torn = publisher(&broker, &format!("gone.{}", nth % 4));
        torn.say_bytes(&batch(Qos::AtMostOnce, 0, 9)[..40]);
        torn.reset();
        drop(broker.client());
    }
    // The last of them may still wait to be accepted, or to be noticed: each look is at one moment.
    let after = eventually("all are gone, and hold nothing", || {
        let series = broker.scrape();
        let sum = |name: &str| -> f64 {
            series.iter().filter(|(other, _)| other.starts_with(name)).map(|(_, value)| value).sum()
        };
        let (opened, closed) = (sum("blipmq_connections_opened_total"), sum("blipmq_connections_closed_total"));
        let held: f64 = ["blipmq_connections{", INPUT, OUTPUT].into_iter().map(sum).sum();
        (held == 0.0 && opened == closed).then_some(opened)
    }) - opened;
    eventually("their descriptors are closed", || (broker.descriptors() <= descriptors + 2).then_some(()));
    assert!(after <= (6 * EACH) as f64 && after >= (3 * EACH) as f64, "{after} were counted");
}

#[test]
fn with_no_descriptors_left_it_neither_spins_nor_gives_up() {
    const PAUSE_MS: u128 = 50;
    let broker = Broker::in_memory("");
    let limit = |soft: usize| {
        let pid = broker.pid().to_string();
        let set = Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={soft}:")]).status();
        assert!(set.expect("prlimit is there").success());
    };
    let before = broker.descriptors();
    let began = Instant::now();
    limit(before + 4);
    // The kernel completes their handshakes; the broker has descriptors for the first of them only.
    let crowd: Vec<Wire> = (0..20).map(|_| broker.wire()).collect();
    let count = |log: String| log.lines().filter_map(failures).max();
    fn failures(line: &str) -> Option<u128> {
        line.split_once("cannot accept connections (")?.1.split(' ').next()?.parse().ok()
    }
    let counted = eventually("it says so more than once", || count(broker.log()).filter(|count| *count >= 3));
    assert!(counted <= began.elapsed().as_millis() / PAUSE_MS + 2, "{counted} tries: it spins");
    assert!(broker.log().contains("Too many open files"));
    let operator = TcpStream::connect(broker.metrics_address()).expect("the kernel has room for it");
    eventually("the other listener says so, too", || {
        broker.log().contains("http: cannot accept connections").then_some(())
    });
    drop((crowd, operator));
    limit(before + 100);
    let client = broker.client();
    client.ping().unwrap();
    assert!(broker.sum("blipmq_connections_accept_errors_total", "") >= 3.0);
    assert!(broker.sum("blipmq_http_requests_total", "rejected") >= 1.0);
}

#[test]
fn a_half_open_peer_is_found_out_by_its_silence_and_what_it_held_goes_to_another() {
    let broker = Broker::in_memory("idle_timeout_ms = 4000");
    let publisher = broker.client();
    let shared = || SubscribeOptions::new("half").at_least_once().durable("d").shared();
    let silent = broker.client();
    let mut held = silent.subscribe(&shared()).unwrap();
    publisher.publish("half", b"hi", &PublishOptions::at_least_once()).unwrap();
    held.next_message(Some(PATIENCE)).unwrap().unwrap();
    // From here on nothing is heard of the first member, and its socket stays open.
    let other = broker.client();
    let mut taken_over = other.subscribe(&shared()).unwrap();
    let message = eventually("the message comes to the other member", || {
        other.ping().unwrap();
        taken_over.next_message(Some(Duration::from_millis(100))).unwrap()
    });
    assert_eq!((&message.value[..], message.attempt), (&b"hi"[..], 2));
    // The publisher has been silent for a little less long than the member.
    eventually("the silent member and the publisher are counted", || {
        (broker.sum("blipmq_refused_total", "idle_timeout") >= 2.0).then_some(())
    });
}
