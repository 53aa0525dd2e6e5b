//! At every bound: the stated behaviour, and the stated code.

use blipmq::client::{ClientError, PublishOptions, SubscribeOptions};
use blipmq::model::Qos;
use blipmq::protocol::native::{Response, command};

use crate::support::{Broker, Wire, eventually};

fn code<T: std::fmt::Debug>(result: Result<T, ClientError>) -> u16 {
    match result {
        Err(ClientError::Refused { code, .. } | ClientError::GoAway { code, .. }) => code,
        other => panic!("not refused but {other:?}"),
    }
}

#[test]
fn a_frame_beyond_the_bound_is_413_and_the_connection_closes() {
    let broker = Broker::in_memory("max_frame_bytes = 4096");
    for version in [1, 2] {
        let mut wire = broker.open(version);
        wire.say_hex("00 00 10 01 | 03 | 00 00 00 00 00 00 00 07");
        wire.expect_nack(7, 413);
        wire.expect_end();
    }
}

#[test]
fn a_frame_at_the_bound_is_taken() {
    let broker = Broker::in_memory("max_frame_bytes = 4096");
    let mut wire = broker.open(1);
    let message = [7; 4096 - 9 - 3 - 4];
    wire.say(|out| command::publish(out, 3, Qos::AtMostOnce, b"demo", &message));
    wire.expect_silence();
}

#[test]
fn a_length_that_no_frame_has_closes_the_connection() {
    let broker = Broker::in_memory("");
    for line in ["00 00 00 08 | 07 | 00 00 00 00 00 00 00 07", "00 00 00 00", "FF FF FF FF"] {
        let mut wire = broker.open(1);
        wire.say_hex(line);
        wire.close_sending_half();
        let last = wire.frame_or_end();
        if let Some(frame) = last {
            let Response::Nack { code, .. } = frame.response(1) else { panic!("{frame:?}") };
            assert!([400, 413].contains(&code), "{line}: {code}");
        }
        wire.expect_end();
    }
}

#[test]
fn a_subscription_name_longer_than_the_bound_is_400_and_the_longest_is_taken() {
    for broker in Broker::both("") {
        let client = broker.client();
        for what in ["demo", "nothing.here.yet.>"] {
            let named = |length: usize| SubscribeOptions::new(what).at_least_once().durable(&"n".repeat(length));
            assert_eq!(code(client.subscribe(&named(513)).map(|_| ())), 400);
            client.subscribe(&named(512)).unwrap();
        }
    }
}

#[test]
fn a_topic_longer_than_the_bound_is_400_and_the_longest_is_taken() {
    let broker = Broker::in_memory("");
    let mut wire = broker.open(1);
    wire.say(|out| {
        command::publish(out, 3, Qos::AtMostOnce, &[b'x'; 513], b"hi");
        command::subscribe(out, 4, &[b'x'; 513], Qos::AtMostOnce);
        command::publish(out, 5, Qos::AtMostOnce, &[b'x'; 512], b"hi");
    });
    wire.expect_nack(3, 400);
    wire.expect_nack(4, 400);
    wire.expect_silence();
    let mut wire = broker.open(2);
    wire.say(|out| {
        command::alias(out, 3, 0, &[b'x'; 513]);
        command::subscribe_with(out, 4, &SubscribeOptions::new(&"x".repeat(513)).said());
        command::alias(out, 5, 0, &[b'x'; 512]);
    });
    wire.expect_nack(3, 400);
    wire.expect_nack(4, 400);
    assert_eq!(wire.frame().kind, 0x12);
}

#[test]
fn an_alias_beyond_the_bound_is_429() {
    let broker = Broker::in_memory("max_aliases = 3");
    let mut wire = broker.open(2);
    wire.say(|out| {
        command::alias(out, 3, 2, b"demo");
        command::alias(out, 4, 3, b"demo");
    });
    assert_eq!(wire.frame().kind, 0x12);
    wire.expect_nack(4, 429);
}

#[test]
fn an_alias_may_be_given_another_topic() {
    let broker = Broker::in_memory("");
    let mut wire = broker.open(2);
    for topic in ["one", "two"] {
        wire.say(|out| command::alias(out, 3, 0, topic.as_bytes()));
        assert_eq!(wire.frame().kind, 0x12);
        let mut builder = blipmq::model::record_batch::BatchBuilder::new();
        builder.push(blipmq::model::Timestamp(1), b"hi");
        let batch = builder.finish(blipmq::model::Offset::ZERO, None);
        let said = command::BatchFor { acknowledge: true, ..Default::default() };
        wire.say(|out| command::publish_batch(out, 4, &said, &batch));
        assert_eq!(wire.frame().kind, 0x14);
        assert_eq!(broker.topic(topic)["published"], 1);
    }
}

#[test]
fn topics_beyond_the_bound_are_429() {
    let broker = Broker::in_memory("max_topics = 2");
    let client = broker.client();
    let _keep = [client.subscribe(&SubscribeOptions::new("a")), client.subscribe(&SubscribeOptions::new("b"))];
    assert_eq!(code(client.publish("c", b"hi", &PublishOptions::at_least_once())), 429);
    assert_eq!(code(client.subscribe(&SubscribeOptions::new("c"))), 429);
    client.publish("a", b"hi", &PublishOptions::at_least_once()).unwrap();
}

#[test]
fn topics_that_nobody_uses_make_room_for_others() {
    let broker = Broker::in_memory("max_topics = 2");
    let client = broker.client();
    for name in ["a", "b"] {
        client.publish(name, b"hi", &PublishOptions::at_most_once()).unwrap();
    }
    eventually("an unused topic is forgotten", || {
        client.publish("c", b"hi", &PublishOptions::at_most_once()).ok().map(drop)
    });
}

#[test]
fn subscriptions_beyond_the_bounds_are_429() {
    let broker = Broker::in_memory("max_subscriptions = 3\nmax_subscriptions_per_connection = 2");
    let (one, two) = (broker.client(), broker.client());
    let first = one.subscribe(&SubscribeOptions::new("a")).unwrap();
    let _second = one.subscribe(&SubscribeOptions::new("b")).unwrap();
    assert_eq!(code(one.subscribe(&SubscribeOptions::new("c"))), 429, "of one connection");
    let _third = two.subscribe(&SubscribeOptions::new("a")).unwrap();
    assert_eq!(code(two.subscribe(&SubscribeOptions::new("b"))), 429, "of one core");
    first.unsubscribe(false).unwrap();
    two.subscribe(&SubscribeOptions::new("b")).unwrap();
}

#[test]
fn connections_beyond_the_bound_are_429_and_closed_and_the_others_go_on() {
    for key in ["max_connections", "max_connections_per_address"] {
        let broker = Broker::in_memory(&format!("{key} = 3"));
        let mut held: Vec<Wire> = (0..3).map(|_| broker.open(2)).collect();
        let mut refused = broker.wire();
        let (_, code, text) = refused.nack();
        assert_eq!(code, 429, "{key}: {text}");
        refused.expect_end();
        held.iter_mut().for_each(Wire::expect_silence);
        drop(held.pop());
        eventually("there is room again", || {
            // One that is refused may be closed before it has said anything.
            let mut wire = broker.wire();
            let mut said = bytes::BytesMut::new();
            command::hello(&mut said, 1, 2);
            wire.try_say_bytes(&said);
            wire.frame_or_end().filter(|frame| frame.kind == 0x10)
        });
    }
}

#[test]
fn who_does_not_shake_hands_in_time_is_401_and_closed() {
    let broker = Broker::in_memory("handshake_timeout_ms = 1500");
    let (silent, mut half_way, mut within_a_frame) = (broker.wire(), broker.wire(), broker.wire());
    half_way.say(|out| command::hello(out, 1, 1));
    within_a_frame.say_hex("00 00 00 0B 01 00");
    assert_eq!(half_way.frame().kind, 0x05);
    for mut wire in [silent, half_way, within_a_frame] {
        wire.expect_nack(0, 401);
        wire.expect_end();
    }
}

#[test]
fn who_is_silent_for_too_long_is_told_to_go_and_closed() {
    let broker = Broker::in_memory("idle_timeout_ms = 1500\nhandshake_timeout_ms = 600000");
    let (mut new, mut old) = (broker.open(2), broker.open(1));
    let frame = new.frame();
    assert!(matches!(frame.response(2), Response::GoAway(away) if away.code == 429), "{frame:?}");
    new.expect_end();
    old.expect_end();
}

#[test]
fn who_says_something_now_and_then_is_not_idle() {
    let broker = Broker::in_memory("idle_timeout_ms = 3000\nhandshake_timeout_ms = 600000");
    let (mut talks, mut silent) = (broker.open(2), broker.open(2));
    let mut said = 0;
    eventually("the silent one is closed", || {
        talks.expect_silence();
        said += 1;
        silent.has_ended().then_some(())
    });
    talks.expect_silence();
    assert!(said > 1);
}

#[test]
fn a_key_may_do_what_its_table_says_and_nothing_else() {
    let workspace = crate::support::Workspace::new();
    let keys = "[[key]]\nname = \"sensor\"\nkey = \"sensor-key\"\npublish = [\"in.>\"]\nsubscribe = [\"out.*\"]\n";
    std::fs::write(workspace.path().join("keys.toml"), keys).unwrap();
    let broker = workspace.start("wal = \"off\"\napi_keys_file = \"keys.toml\"");
    let client = blipmq::client::blocking::Client::connect(&broker.options().api_key("sensor-key")).unwrap();
    client.publish("in.a", b"hi", &PublishOptions::at_least_once()).unwrap();
    assert_eq!(code(client.publish("out.a", b"hi", &PublishOptions::at_least_once())), 403);
    client.subscribe(&SubscribeOptions::new("out.a")).unwrap();
    client.subscribe(&SubscribeOptions::new("out.*")).unwrap();
    assert_eq!(code(client.subscribe(&SubscribeOptions::new("in.a"))), 403);
    assert_eq!(code(client.subscribe(&SubscribeOptions::new("out.>"))), 403);
    let buries_in = |topic: &str| SubscribeOptions::new("out.a").at_least_once().durable("d").dead_letter(topic);
    assert_eq!(code(client.subscribe(&buries_in("out.dead"))), 403);
    client.subscribe(&buries_in("in.dead")).unwrap();
    let mut wire = broker.wire();
    wire.shake_hands(1, "sensor-key");
    wire.say(|out| command::publish(out, 3, Qos::AtMostOnce, b"out.a", b"hi"));
    wire.expect_nack(3, 401);
}

#[test]
fn who_does_not_read_answers_is_not_read_either_and_memory_does_not_grow() {
    let broker = Broker::in_memory("max_outbox_bytes = 65536");
    let mut wire = broker.open(2);
    let mut pings = bytes::BytesMut::new();
    (0..5000).for_each(|_| command::ping(&mut pings, 3));
    eventually("the broker stops reading", || (wire.say_without_waiting(&pings) < pings.len()).then_some(()));
    assert_small(&broker);
}

#[test]
fn refusals_that_nobody_reads_do_not_fill_memory() {
    let broker = Broker::in_memory("max_outbox_bytes = 65536");
    let mut v1 = bytes::BytesMut::new();
    (0..5000).for_each(|_| command::publish(&mut v1, 3, Qos::AtMostOnce, b"", b""));
    let stopped = |mut wire: Wire, bytes: &[u8]| {
        eventually("the broker stops reading, or closes", || {
            wire.try_say_without_waiting(bytes).is_none_or(|said| said < bytes.len()).then_some(())
        });
        assert_small(&broker);
    };
    stopped(broker.open(1), &v1);
    let mut pings = bytes::BytesMut::new();
    (0..5000).for_each(|_| command::ping(&mut pings, 3));
    stopped(broker.wire(), &pings);
}

/// The broker holds tens of megabytes at most.
fn assert_small(broker: &Broker) {
    let resident = broker.resident_bytes();
    assert!(resident < 150 << 20, "{} MB", resident >> 20);
}
