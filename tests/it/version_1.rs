//! Version 1: what existing clients say, and what they are answered, byte by byte.

use blipmq::model::Qos;
use blipmq::protocol::native::{Response, command};

use crate::support::broker::KEY;
use crate::support::{Broker, PATIENCE, Wire, eventually, hex};

const SESSION: &str = include_str!("../fixtures/v1/session.hex");

#[test]
fn a_whole_session_goes_byte_by_byte_as_it_always_did() {
    let broker = Broker::in_memory("");
    let mut wire = broker.wire();
    wire.play(SESSION);
    wire.expect_silence();
}

#[test]
fn a_session_in_one_write_is_answered_the_same() {
    let broker = Broker::in_memory("");
    let side = |side: char| -> Vec<u8> {
        hex::lines(SESSION).filter_map(|line| line.strip_prefix(side)).flat_map(hex::bytes).collect()
    };
    let mut wire = broker.wire();
    wire.say_bytes(&side('>'));
    wire.expect_hex(&hex::line(&side('<')));
}

#[test]
fn a_session_said_one_byte_at_a_time_is_answered_the_same() {
    let broker = Broker::in_memory("");
    let mut wire = broker.wire();
    for line in hex::lines(SESSION) {
        match line.split_at(1) {
            (">", said) => hex::bytes(said).iter().for_each(|byte| wire.say_bytes(&[*byte])),
            (_, expected) => wire.expect_hex(expected),
        }
    }
}

#[test]
fn what_is_said_of_a_durable_subscription_before_it_is_answered_waits_for_the_answer() {
    let broker = Broker::new("fsync_policy = \"always\"");
    let mut wire = broker.open(1);
    wire.say(|out| {
        command::subscribe(out, 3, b"demo", Qos::AtLeastOnce);
        command::poll(out, 4, 1);
        command::ping(out, 6);
    });
    let said = [wire.frame(), wire.frame()].map(|frame| (frame.kind, frame.correlation));
    assert_eq!(said, [(0x05, 3), (0x08, 6)]);
}

#[test]
fn a_qos_0_delivery_echoes_the_poll_that_asked_for_it() {
    for broker in Broker::both("") {
        let mut wire = broker.open(1);
        wire.say(|out| command::subscribe(out, 3, b"demo", Qos::AtMostOnce));
        assert_eq!(wire.frame().kind, 0x05);
        wire.say(|out| {
            command::publish(out, 4, Qos::AtMostOnce, b"demo", b"hi");
            command::poll(out, 6, 1);
        });
        wire.expect_hex(hex::lines(include_str!("../fixtures/v1/delivery_qos0.hex")).next().unwrap());
        wire.say(|out| command::poll(out, 7, 1));
        wire.expect_silence();
    }
}

#[test]
fn the_lower_qos_of_message_and_subscription_is_that_of_the_delivery() {
    for broker in Broker::both("") {
        for (subscribed, published) in [(Qos::AtMostOnce, Qos::AtLeastOnce), (Qos::AtLeastOnce, Qos::AtMostOnce)] {
            let mut wire = broker.open(1);
            wire.say(|out| {
                command::subscribe(out, 3, b"lower", subscribed);
                command::publish(out, 4, published, b"lower", b"hi");
            });
            assert_eq!(wire.frame().kind, 0x05);
            let (correlation, qos) = polled(&mut wire, 1, 9);
            assert_eq!((correlation, qos), (9, Qos::AtMostOnce), "subscribed {subscribed:?}, published {published:?}");
        }
    }
}

/// Polls until a message comes; its correlation id and QoS.
fn polled(wire: &mut Wire, subscription: u64, correlation: u64) -> (u64, Qos) {
    eventually("a poll is answered", || {
        wire.say(|out| {
            command::poll(out, correlation, subscription);
            command::ping(out, 77);
        });
        let frame = wire.frame();
        if frame.kind == 0x08 {
            return None;
        }
        assert_eq!(wire.frame().kind, 0x08);
        match frame.response(1) {
            Response::Publish(publish) => Some((frame.correlation, publish.qos)),
            other => panic!("{other:?}"),
        }
    })
}

#[test]
fn pipelined_messages_come_out_in_the_order_they_went_in() {
    let broker = Broker::in_memory("");
    let mut wire = broker.open(1);
    wire.say(|out| {
        command::subscribe(out, 3, b"order", Qos::AtLeastOnce);
        for nth in 0..500u32 {
            command::publish(out, 10, Qos::AtLeastOnce, b"order", &nth.to_be_bytes());
        }
        for _ in 0..500 {
            command::poll(out, 11, 1);
        }
    });
    assert_eq!(wire.frame().kind, 0x05);
    for nth in 0..500u32 {
        let frame = wire.frame();
        let Response::Publish(publish) = frame.response(1) else { panic!("{frame:?}") };
        assert_eq!((publish.message, frame.correlation), (&nth.to_be_bytes()[..], u64::from(nth) + 1));
    }
}

#[test]
fn who_does_not_shake_hands_in_order_is_told_so() {
    let broker = Broker::in_memory("");
    let mut wire = broker.wire();
    wire.say(|out| command::ping(out, 1));
    assert_eq!(wire.nack(), (1, 401, "unauthenticated".into()));
    wire.say(|out| command::publish(out, 2, Qos::AtMostOnce, b"demo", b"hi"));
    assert_eq!(wire.nack(), (2, 401, "unauthenticated".into()));
    wire.say(|out| command::auth(out, 3, KEY));
    wire.expect_nack(3, 400);
    wire.say(|out| command::hello(out, 4, 9));
    assert_eq!(wire.nack(), (4, 426, "unsupported protocol version".into()));
    wire.say_hex("00 00 00 0A | 01 | 00 00 00 00 00 00 00 05 | 00");
    wire.expect_nack(5, 400);
    wire.say(|out| command::hello(out, 6, 1));
    wire.expect_hex("00 00 00 11 | 05 | 00 00 00 00 00 00 00 06 | 00 00 00 00 00 00 00 00");
    wire.say(|out| command::hello(out, 7, 1));
    wire.expect_nack(7, 400);
    wire.say_hex("00 00 00 0B | 02 | 00 00 00 00 00 00 00 08 | 00 09");
    wire.expect_nack(8, 400);
    wire.say(|out| command::auth(out, 9, KEY));
    wire.expect_hex("00 00 00 11 | 05 | 00 00 00 00 00 00 00 09 | 00 00 00 00 00 00 00 00");
    wire.say(|out| command::auth(out, 10, KEY));
    wire.expect_nack(10, 400);
    wire.say(|out| command::hello(out, 11, 1));
    wire.expect_nack(11, 400);
    wire.expect_silence();
}

#[test]
fn a_wrong_key_is_refused_and_the_connection_closed() {
    let broker = Broker::in_memory("");
    let mut wire = broker.wire();
    wire.say(|out| {
        command::hello(out, 1, 1);
        command::auth(out, 2, "wrong");
        command::auth(out, 3, KEY);
    });
    assert_eq!(wire.frame().kind, 0x05);
    assert_eq!(wire.nack(), (2, 401, "invalid API key".into()));
    wire.expect_end();
}

#[test]
fn what_makes_no_sense_is_refused_and_the_session_goes_on() {
    let broker = Broker::in_memory("");
    let mut wire = broker.open(1);
    wire.say(|out| command::publish(out, 3, Qos::AtMostOnce, b"", b"hi"));
    wire.expect_nack(3, 400);
    wire.say_hex("00 00 00 12 | 03 | 00 00 00 00 00 00 00 04 | 02 | 00 04 64 65 6D 6F | 68 69");
    wire.expect_nack(4, 400);
    wire.say_hex("00 00 00 12 | 03 | 00 00 00 00 00 00 00 05 | 01 | 00 09 64 65 6D 6F | 68 69");
    wire.expect_nack(5, 400);
    wire.say(|out| command::subscribe(out, 6, b"", Qos::AtMostOnce));
    wire.expect_nack(6, 400);
    wire.say_hex("00 00 00 10 | 04 | 00 00 00 00 00 00 00 07 | 00 04 64 65 6D 6F | 02");
    wire.expect_nack(7, 400);
    wire.say(|out| command::poll(out, 8, 0));
    wire.expect_nack(8, 400);
    wire.say(|out| command::ack(out, 9, 0));
    wire.expect_nack(9, 400);
    wire.say(|out| command::ack(out, 10, 1));
    assert_eq!(wire.nack(), (10, 404, "unknown subscription or delivery tag".into()));
    wire.say(|out| command::subscribe(out, 11, b"a.*", Qos::AtMostOnce));
    wire.expect_nack(11, 400);
    wire.say(|out| command::publish(out, 12, Qos::AtMostOnce, b"\xFF\xFE", b"hi"));
    wire.expect_nack(12, 400);
    wire.expect_silence();
}

#[test]
fn an_acknowledged_message_is_not_acknowledged_twice() {
    let broker = Broker::in_memory("");
    let mut wire = broker.open(1);
    wire.say(|out| {
        command::subscribe(out, 3, b"demo", Qos::AtLeastOnce);
        command::publish(out, 4, Qos::AtLeastOnce, b"demo", b"hi");
        command::poll(out, 5, 1);
        command::ack(out, 1, 1);
        command::ack(out, 1, 1);
    });
    assert_eq!((wire.frame().kind, wire.frame().kind), (0x05, 0x03));
    wire.expect_nack(1, 404);
}

#[test]
fn what_a_lost_session_had_not_acknowledged_waits_for_the_next_of_its_key_and_topic() {
    for broker in Broker::both("") {
        let publisher = broker.client_v1();
        let first = broker.client_v1();
        let mut subscription = first.subscribe_polled("kept", Qos::AtLeastOnce).unwrap();
        for value in ["one", "two", "three"] {
            publisher.publish("kept", value.as_bytes(), &at_least_once()).unwrap();
        }
        let one = subscription.next_message(Some(PATIENCE)).unwrap().unwrap();
        assert_eq!(&one.value[..], b"one");
        subscription.ack(&one).unwrap();
        first.ping().unwrap();
        drop((subscription, first));
        broker.until_subscription("kept", "members", 0);
        let second = broker.client_v1();
        let mut subscription = second.subscribe_polled("kept", Qos::AtLeastOnce).unwrap();
        let mut next = || subscription.next_message(Some(PATIENCE)).unwrap().unwrap().value;
        assert_eq!((&next()[..], &next()[..]), (&b"two"[..], &b"three"[..]));
        assert_eq!(broker.subscriptions("kept").len(), 1, "the second session took the first one over");
    }
}

fn at_least_once() -> blipmq::client::PublishOptions<'static> {
    blipmq::client::PublishOptions::at_least_once()
}

#[test]
fn a_session_that_nobody_comes_back_for_ends() {
    for broker in Broker::both("session_expiry_ms = 1") {
        let client = broker.client_v1();
        drop(client.subscribe_polled("left", Qos::AtLeastOnce).unwrap());
        assert_eq!(broker.subscriptions("left").len(), 1);
        drop(client);
        eventually("the session is gone", || broker.subscriptions("left").is_empty().then_some(()));
    }
}

#[test]
fn a_qos_0_subscription_goes_with_its_connection() {
    for broker in Broker::both("") {
        let client = broker.client_v1();
        drop(client.subscribe_polled("left", Qos::AtMostOnce).unwrap());
        assert_eq!(broker.subscriptions("left").len(), 1);
        drop(client);
        eventually("the subscription is gone", || broker.subscriptions("left").is_empty().then_some(()));
    }
}
