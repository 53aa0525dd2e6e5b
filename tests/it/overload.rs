//! More than fits: at each bound what is said of it happens, and is counted.

use blipmq::client::{ClientError, PublishOptions, SubscribeOptions};
use blipmq::model::record_batch::BatchBuilder;
use blipmq::model::{Offset, Qos, Timestamp};
use blipmq::protocol::native::command::{self, BatchFor};
use blipmq::protocol::native::{Response, kind};
use bytes::BytesMut;

use crate::support::{Broker, PATIENCE, Wire, eventually};

/// Bounds of a small broker that add up to little more than a megabyte, and 2 MiB of memory.
const SMALL: &str = "memory_limit = \"2 MiB\"\nmax_frame_bytes = \"256 KiB\"\nmax_outbox_bytes = \"64 KiB\"\n\
                     max_qos0_backlog_bytes = \"512 KiB\"\nmax_memory_queue_bytes = \"256 KiB\"\n\
                     max_tail_bytes = \"64 KiB\"\nmax_log_backlog_bytes = \"128 KiB\"\n\
                     max_mesh_bytes = \"64 KiB\"\n";
const MEMORY: f64 = (2 << 20) as f64;

#[test]
fn backlogs_of_many_topics_together_keep_to_the_memory_bound_and_each_loss_is_counted() {
    const TOPICS: u64 = 20;
    const MESSAGES: u64 = 40;
    let broker = Broker::in_memory(SMALL);
    let (publisher, subscriber) = (broker.client(), broker.client());
    let topic = |nth: u64| format!("many.{nth}");
    let mut subscriptions: Vec<_> = (0..TOPICS)
        .map(|nth| subscriber.subscribe(&SubscribeOptions::new(&topic(nth)).credit(0, 0)).unwrap())
        .collect();
    for nth in 0..MESSAGES {
        for at in 0..TOPICS {
            let value = [nth.to_be_bytes().to_vec(), vec![7; 10_000]].concat();
            publisher.publish(&topic(at), &value, &PublishOptions::at_most_once()).unwrap();
        }
        let held = broker.sum("blipmq_memory_bytes", "");
        assert!(held <= MEMORY, "{held} bytes are held after round {nth}");
    }
    let dropped = broker.sum("blipmq_messages_dropped_total", "");
    let mut received = 0;
    for (at, subscription) in subscriptions.iter_mut().enumerate() {
        let lost = broker.subscription(&topic(at as u64))["dropped"].as_u64().unwrap();
        assert!(lost > 0 && lost < MESSAGES, "the longest lose their oldest: {lost} of topic {at}");
        subscription.credit(1 << 20, 1 << 30).unwrap();
        for nth in lost..MESSAGES {
            let message = subscription.next_message(Some(PATIENCE)).unwrap().unwrap();
            assert_eq!(message.value[..8], nth.to_be_bytes(), "what was lost is the oldest, and nothing else");
            received += 1;
        }
    }
    assert_eq!(received + dropped as u64, TOPICS * MESSAGES);
    assert_eq!(broker.sum("blipmq_messages_delivered_total", "") as u64, received);
}

#[test]
fn backlogs_of_qos_0_do_not_hold_up_a_publisher_of_qos_1() {
    for broker in Broker::both(SMALL) {
        let (publisher, subscriber) = (broker.client(), broker.client());
        let topic = |nth: u64| format!("many.{nth}");
        let not_taken = |nth| subscriber.subscribe(&SubscribeOptions::new(&topic(nth)).credit(0, 0)).unwrap();
        let subscriptions: Vec<_> = (0..10).map(not_taken).collect();
        for nth in 0..1000 {
            publisher.publish(&topic(nth % 10), &[7; 10_000], &PublishOptions::at_most_once()).unwrap();
            if nth % 10 == 0 {
                publisher.publish("other", b"hi", &PublishOptions::at_least_once()).unwrap();
            }
        }
        assert!(broker.sum("blipmq_messages_dropped_total", "slow") > 0.0, "they were at the bound");
        drop(subscriptions);
    }
}

fn large(nth: u64) -> BytesMut {
    let mut builder = BatchBuilder::new();
    let value = [nth.to_be_bytes().to_vec(), vec![7; 200_000]].concat();
    builder.push(Timestamp(0), &value);
    let said =
        BatchFor { alias: 0, partition: 0, qos: Qos::AtLeastOnce, acknowledge: true, must_route: false, ttl_ms: 0 };
    let mut out = BytesMut::new();
    command::publish_batch(&mut out, 7, &said, &builder.finish(Offset::ZERO, None));
    out
}

#[test]
fn large_frames_that_begin_all_at_once_take_turns_and_none_is_lost() {
    const PUBLISHERS: u64 = 40;
    for broker in Broker::both(SMALL) {
        let client = broker.client();
        let options = SubscribeOptions::new("large").at_least_once().durable("d").credit(1 << 20, 1 << 30);
        let mut subscription = client.subscribe(&options).unwrap();
        let mut wires: Vec<(Wire, BytesMut)> = (0..PUBLISHERS)
            .map(|nth| {
                let mut wire = broker.open(2);
                wire.say(|out| command::alias(out, 3, 0, b"large"));
                assert_eq!(wire.frame().kind, kind::ALIASED);
                (wire, large(nth))
            })
            .collect();
        // All begin, none ends: together they are four times what the broker may hold.
        for (wire, frame) in &mut wires {
            let half = frame.split_to(frame.len() - 1);
            let said = wire.say_without_waiting(&half);
            let rest = [&half[said..], &frame[..]].concat();
            *frame = BytesMut::from(&rest[..]);
        }
        eventually("some wait", || (broker.sum("blipmq_connections_held", "") > 0.0).then_some(()));
        let held = broker.sum("blipmq_memory_bytes", "class=\"input\"");
        let one_read_each = (PUBLISHERS * 2 * 65_536) as f64;
        assert!(held <= MEMORY / 4.0 + one_read_each, "{held} bytes of input");
        std::thread::scope(|scope| {
            for (wire, rest) in &mut wires {
                scope.spawn(|| {
                    wire.say_bytes(rest);
                    assert!(matches!(wire.frame().response(2), Response::Published(_)));
                });
            }
            let mut seen = std::collections::BTreeSet::new();
            for _ in 0..PUBLISHERS {
                let message = subscription.next_message(Some(PATIENCE)).unwrap().unwrap();
                assert!(seen.insert(message.value[..8].to_vec()), "once each");
                subscription.ack(&message).unwrap();
            }
        });
        eventually("nothing is held any more", || (broker.sum("blipmq_connections_held", "") == 0.0).then_some(()));
    }
}

#[test]
fn a_large_frame_that_stalls_while_others_wait_is_given_up() {
    let broker = Broker::in_memory(&format!("{SMALL}handshake_timeout_ms = 5000"));
    let begin = |nth| {
        let mut wire = broker.open(2);
        wire.say(|out| command::alias(out, 3, 0, b"stall"));
        assert_eq!(wire.frame().kind, kind::ALIASED);
        let frame = large(nth);
        wire.say_without_waiting(&frame[..80_000]);
        wire
    };
    let mut stalled: Vec<Wire> = (0..4).map(begin).collect();
    eventually("some wait", || (broker.sum("blipmq_connections_held", "") > 0.0).then_some(()));
    let client = broker.client();
    client.publish("stall", &vec![7; 200_000], &PublishOptions::at_least_once()).unwrap();
    assert!(broker.sum("blipmq_refused_total", "memory_limit") > 0.0);
    eventually("those who had begun are closed", || stalled.iter_mut().any(Wire::has_ended).then_some(()));
}

/// Publishers whose input waits for a full topic: each holds up to one read.
fn crowd(broker: &Broker, count: usize) -> Vec<Wire> {
    let mut frames = BytesMut::new();
    (0..200).for_each(|_| command::publish(&mut frames, 3, Qos::AtLeastOnce, b"full", &[7; 1000]));
    let mut wires: Vec<Wire> = (0..count).map(|_| broker.open(1)).collect();
    for wire in &mut wires {
        wire.say_without_waiting(&frames[..100_000]);
    }
    wires
}

#[test]
fn at_the_memory_bound_newcomers_are_refused_and_let_in_again_when_there_is_room() {
    let broker = Broker::in_memory(SMALL);
    let client = broker.client();
    let options = SubscribeOptions::new("full").at_least_once().durable("d").credit(0, 0);
    let mut subscription = client.subscribe(&options).unwrap();
    let held = crowd(&broker, 60);
    let refused =
        eventually("somebody is refused", || blipmq::client::blocking::Client::connect(&broker.options()).err());
    assert!(matches!(&refused, ClientError::Refused { code: 429, .. }), "{refused}");
    assert!(broker.sum("blipmq_refused_total", "memory_limit") > 0.0);
    client.ping().expect("who is in stays in");
    subscription.credit(1 << 20, 1 << 30).unwrap();
    let mut taken = 0;
    eventually("there is room again", || {
        while let Some(message) = subscription.next_message(Some(std::time::Duration::from_millis(50))).unwrap() {
            subscription.ack_later(&message);
            taken += 1;
        }
        blipmq::client::blocking::Client::connect(&broker.options()).ok()
    });
    assert!(taken >= held.len(), "nobody's messages were lost: {taken}");
}

#[test]
fn connections_far_beyond_the_bound_wait_outside_and_take_no_descriptors() {
    let broker = Broker::in_memory("max_connections = 10");
    let clients: Vec<_> = (0..10).map(|_| broker.client()).collect();
    let before = broker.descriptors();
    // Each of them stays open on its side, so that the broker's side lingers.
    let crowd: Vec<Wire> = (0..200).map(|_| broker.wire()).collect();
    let most = before + blipmq::runtime::doorkeeper::REFUSED_MAX + 8;
    eventually("they are refused a few at a time", || {
        let open = broker.descriptors();
        assert!(open <= most, "{open} descriptors, and {most} are the most");
        (broker.sum("blipmq_refused_total", "connection_limit") >= 60.0).then_some(())
    });
    for client in &clients {
        client.ping().unwrap();
    }
    drop(crowd);
    drop(clients);
    eventually("there is room again", || blipmq::client::blocking::Client::connect(&broker.options()).ok());
}
