//! Whatever one connection says, the broker lives on and the other connections notice nothing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use blipmq::client::{PublishOptions, SubscribeOptions};
use blipmq::model::Qos;
use blipmq::protocol::native::command;
use bytes::BytesMut;

use crate::support::broker::KEY;
use crate::support::{Broker, PATIENCE, Wire, eventually, hex};

const V1: &str = include_str!("../fixtures/v1/session.hex");
const V2: &str = include_str!("../fixtures/v2/session.hex");

/// Runs `bad` while a well-behaved pair exchanges messages; every one of them must come, in order, and the pair's
/// connections must live to the end.
fn while_others_go_on(broker: &Broker, bad: impl FnOnce()) {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let pair = scope.spawn(|| exchange(broker, &over));
        bad();
        over.store(true, Ordering::Relaxed);
        assert!(pair.join().expect("the others noticed") > 0);
    });
    assert_eq!(broker.subscription("good")["redelivered"], 0);
}

fn exchange(broker: &Broker, over: &AtomicBool) -> u64 {
    let (publisher, subscriber) = (broker.client(), broker.client());
    let options = SubscribeOptions::new("good").at_least_once().durable("good").retries(600_000, 1);
    let mut subscription = subscriber.subscribe(&options).unwrap();
    let mut nth = 0u64;
    while !over.load(Ordering::Relaxed) || nth == 0 {
        publisher.publish("good", &nth.to_be_bytes(), &PublishOptions::at_least_once()).unwrap();
        let message = subscription.next_message(Some(PATIENCE)).unwrap().unwrap();
        assert_eq!(&message.value[..], nth.to_be_bytes());
        subscription.ack(&message).unwrap();
        nth += 1;
    }
    nth
}

fn said(session: &str) -> Vec<u8> {
    hex::lines(session).filter_map(|line| line.strip_prefix('>')).flat_map(hex::bytes).collect()
}

#[test]
fn a_session_cut_at_every_byte_leaves_nothing_behind() {
    let broker = Broker::in_memory("");
    while_others_go_on(&broker, || {
        for session in [V1, V2] {
            let said = said(session);
            for cut in (0..said.len()).step_by(3) {
                let mut wire = broker.wire();
                wire.try_say_bytes(&said[..cut]);
                match cut % 3 {
                    0 => drop(wire),
                    1 => wire.reset(),
                    _ => {
                        wire.close_sending_half();
                        wire.until_end();
                    }
                }
            }
        }
    });
    eventually("only durable subscriptions are left", || {
        let rows = broker.rows(blipmq::protocol::native::request::What::Subscriptions);
        rows.iter().all(|row| row["members"] == 0).then_some(())
    });
}

#[test]
fn a_session_with_any_byte_changed_does_no_harm() {
    let broker = Broker::in_memory("");
    while_others_go_on(&broker, || {
        for session in [V1, V2] {
            let said = said(session);
            for at in (0..said.len()).step_by(2) {
                let mut changed = said.clone();
                changed[at] ^= 1 << (at % 8);
                let mut wire = broker.wire();
                wire.try_say_bytes(&changed);
                wire.close_sending_half();
                wire.until_end();
            }
        }
    });
}

#[test]
fn garbage_is_answered_with_a_close() {
    let broker = Broker::in_memory("");
    let mut dice = fastrand::Rng::with_seed(7);
    while_others_go_on(&broker, || {
        for nth in 0..60 {
            let garbage: Vec<u8> = (0..dice.usize(1..100_000)).map(|_| dice.u8(..)).collect();
            let mut wire = if nth % 3 == 0 { broker.wire() } else { broker.open(nth % 3) };
            wire.try_say_bytes(&garbage);
            wire.close_sending_half();
            wire.until_end();
        }
    });
}

#[test]
fn unknown_types_are_400_and_a_close() {
    let broker = Broker::in_memory("");
    for version in [1, 2] {
        for kind in ["00", "0A", "0F", "1F", "7F", "FF"] {
            let mut wire = broker.open(version);
            wire.say_hex(&format!("00 00 00 09 | {kind} | 00 00 00 00 00 00 00 09"));
            wire.expect_nack(9, 400);
            wire.expect_end();
        }
    }
}

#[test]
fn what_only_a_broker_says_is_refused() {
    let broker = Broker::in_memory("");
    for (version, kind) in [(1, "06"), (1, "08"), (2, "10"), (2, "12"), (2, "14"), (2, "16"), (2, "18"), (2, "1E")] {
        let mut wire = broker.open(version);
        wire.say_hex(&format!("00 00 00 09 | {kind} | 00 00 00 00 00 00 00 09"));
        wire.expect_nack(9, 400);
    }
}

#[test]
fn text_that_is_not_utf_8_is_refused_wherever_it_stands() {
    let broker = Broker::in_memory("");
    let bad = b"\xC3\x28";
    let mut wire = broker.wire();
    wire.say(|out| command::hello(out, 1, 1));
    assert_eq!(wire.frame().kind, 0x05);
    wire.say_hex("00 00 00 0D | 02 | 00 00 00 00 00 00 00 02 | 00 02 C3 28");
    wire.expect_nack(2, 400);
    let mut wire = broker.open(1);
    wire.say(|out| {
        command::publish(out, 3, Qos::AtMostOnce, bad, b"hi");
        command::subscribe(out, 4, bad, Qos::AtLeastOnce);
    });
    wire.expect_nack(3, 400);
    wire.expect_nack(4, 400);
    let mut wire = broker.open(2);
    wire.say(|out| {
        command::alias(out, 3, 0, bad);
        command::subscribe_with(out, 4, &blipmq::client::SubscribeOptions::new("demo").said());
    });
    wire.expect_nack(3, 400);
    assert_eq!(wire.frame().kind, 0x16);
}

#[test]
fn frames_one_byte_at_a_time_from_many_at_once_are_all_answered() {
    let broker = Broker::in_memory("");
    let mut wires: Vec<Wire> = (0..20).map(|_| broker.wire()).collect();
    let mut said = BytesMut::new();
    command::hello(&mut said, 1, 1);
    command::auth(&mut said, 2, KEY);
    command::subscribe(&mut said, 3, b"slowly", Qos::AtMostOnce);
    command::ping(&mut said, 4);
    for byte in &said[..] {
        wires.iter_mut().for_each(|wire| wire.say_bytes(&[*byte]));
    }
    for wire in &mut wires {
        let kinds: Vec<u8> = (0..4).map(|_| wire.frame().kind).collect();
        assert_eq!(kinds, [0x05, 0x05, 0x05, 0x08]);
    }
}

#[test]
fn who_closes_only_the_sending_half_still_gets_the_answers_to_what_was_said() {
    let broker = Broker::in_memory("");
    let mut wire = broker.wire();
    wire.say(|out| {
        command::hello(out, 1, 2);
        command::auth(out, 2, KEY);
        command::ping(out, 3);
    });
    wire.close_sending_half();
    let kinds: Vec<u8> = (0..3).map(|_| wire.frame().kind).collect();
    assert_eq!(kinds, [0x10, 0x05, 0x08]);
    wire.expect_end();
}

#[test]
fn a_large_frame_that_never_ends_holds_nobody_up() {
    let broker = Broker::in_memory("");
    while_others_go_on(&broker, || {
        let mut wires: Vec<Wire> = (0..5).map(|_| broker.open(1)).collect();
        for wire in &mut wires {
            wire.say_hex("00 FF FF FF | 03 | 00 00 00 00 00 00 00 07 | 00 | 00 04 64 65 6D 6F");
            wire.say_bytes(&[0; 300_000]);
        }
        wires.into_iter().for_each(Wire::reset);
    });
}

#[test]
fn bad_input_is_logged_once_for_each_connection() {
    let broker = Broker::in_memory("");
    let mut wire = broker.open(1);
    wire.say(|out| (0..10).for_each(|_| command::publish(out, 3, Qos::AtMostOnce, b"", b"hi")));
    (0..10).for_each(|_| wire.expect_nack(3, 400));
    drop(wire);
    eventually("it is logged", || broker.log().contains("empty topic").then_some(()));
    assert_eq!(broker.log().matches("empty topic").count(), 1, "{}", broker.log());
}
