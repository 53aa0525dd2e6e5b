//! Version 2: byte by byte, and through the client library.

use std::time::Duration;

use blipmq::client::{ClientError, ProducerOptions, PublishOptions, SubscribeOptions};
use blipmq::model::record_batch::RecordExtras;
use blipmq::model::{Offset, Qos};
use blipmq::protocol::native::reply::Reached;
use blipmq::protocol::native::{Response, command};

use crate::support::{Broker, PATIENCE, Wire, eventually};

/// A session with one shard and no log; 57 bytes of batch are those of the protocol's own fixture, but for the offset.
const SESSION: &str = "
# HELLO 2, WELCOME: 16 MiB, 65,536 aliases, 100,000 in flight, topics of 512 bytes, 1 shard
> 00 00 00 13 | 01 | 00 00 00 00 00 00 00 01 | 00 02 | 00 00 00 00 00 00 00 00
< 00 00 00 23 | 10 | 00 00 00 00 00 00 00 01 | 00 02 | 00 00 00 00 00 00 00 00 | 01 00 00 00 | 00 01 00 00 | 00 01 86 A0 | 02 00 | 00 01
# AUTH, ACK
> 00 00 00 11 | 02 | 00 00 00 00 00 00 00 02 | 00 06 | 73 65 63 72 65 74
< 00 00 00 11 | 05 | 00 00 00 00 00 00 00 02 | 00 00 00 00 00 00 00 00
# ALIAS 0 is demo, ALIASED
> 00 00 00 13 | 11 | 00 00 00 00 00 00 00 03 | 00 00 00 00 | 00 04 | 64 65 6D 6F
< 00 00 00 11 | 12 | 00 00 00 00 00 00 00 03 | 00 00 00 00 | 00 00 00 01
# SUBSCRIBE_WITH QoS 1, shared, from offset 0, no credit, name s, dead letters to dead; SUBSCRIBED
> 00 00 00 32 | 15 | 00 00 00 00 00 00 00 04 | 01 | 01 | 02 | 00 | 00 00 00 00 00 00 00 00 | 00 00 00 00 | 00 00 00 00 | 00 00 00 00 | FF FF | 00 01 73 | 00 04 64 65 61 64 | 00 04 64 65 6D 6F
< 00 00 00 1D | 16 | 00 00 00 00 00 00 00 04 | 00 00 00 00 00 00 00 01 | 00 00 00 00 00 00 00 00 | 00 00 00 01
# PUBLISH_BATCH QoS 1 and acknowledge, TTL 60 s; PUBLISHED: offset 0, 1 record, in memory
> 00 00 00 5F | 13 | 00 00 00 00 00 00 00 05 | 00 00 00 00 | 00 00 00 00 | 03 | 00 00 00 | 00 00 EA 60 | 00 00 00 00 00 00 00 00 00 00 00 3A 00 00 00 00 02 BB CC 41 15 00 00 00 00 00 00 00 00 01 8B CF E5 68 00 00 00 01 8B CF E5 68 00 FF FF FF FF FF FF FF FF FF FF FF FF FF FF 00 00 00 01 10 00 00 00 01 04 68 69 00
< 00 00 00 1B | 14 | 00 00 00 00 00 00 00 05 | 00 00 00 00 | 00 00 00 00 00 00 00 00 | 00 00 00 01 | 00 | 00
# CREDIT; SOURCE, DELIVER: attempt 1
> 00 00 00 19 | 19 | 00 00 00 00 00 00 00 09 | 00 00 00 00 00 00 00 01 | 00 00 01 F4 | 00 01 00 00
< 00 00 00 27 | 17 | 00 00 00 00 00 00 00 00 | 00 00 00 00 00 00 00 01 | 00 00 00 00 | 00 00 00 00 | 00 00 00 00 00 00 00 00 | 00 04 | 64 65 6D 6F
< 00 00 00 6B | 18 | 00 00 00 00 00 00 00 00 | 00 00 00 00 00 00 00 01 | 00 00 00 00 | 01 | 00 | 00 01 | 00 00 00 00 00 00 00 00 | 00 00 00 01 | 00 00 00 00 00 00 00 00 00 00 00 3A 00 00 00 00 02 BB CC 41 15 00 00 00 00 00 00 00 00 01 8B CF E5 68 00 00 00 01 8B CF E5 68 00 FF FF FF FF FF FF FF FF FF FF FF FF FF FF 00 00 00 01 10 00 00 00 01 04 68 69 00
# SETTLE: refuse, again after 50 ms; DELIVER: attempt 2, redelivery
> 00 00 00 2D | 1A | 00 00 00 00 00 00 00 06 | 00 00 00 00 00 00 00 01 | 00 00 00 00 | 02 | 00 00 00 | 00 00 00 00 00 00 00 00 | 00 00 00 00 00 00 00 00 | 00 00 00 32
< 00 00 00 6B | 18 | 00 00 00 00 00 00 00 00 | 00 00 00 00 00 00 00 01 | 00 00 00 00 | 03 | 00 | 00 02 | 00 00 00 00 00 00 00 00 | 00 00 00 01 | 00 00 00 00 00 00 00 00 00 00 00 3A 00 00 00 00 02 BB CC 41 15 00 00 00 00 00 00 00 00 01 8B CF E5 68 00 00 00 01 8B CF E5 68 00 FF FF FF FF FF FF FF FF FF FF FF FF FF FF 00 00 00 01 10 00 00 00 01 04 68 69 00
# SETTLE: acknowledge 0 to 0, then everything up to 0: no answers
> 00 00 00 2D | 1A | 00 00 00 00 00 00 00 07 | 00 00 00 00 00 00 00 01 | 00 00 00 00 | 00 | 00 00 00 | 00 00 00 00 00 00 00 00 | 00 00 00 00 00 00 00 00 | 00 00 00 00
> 00 00 00 2D | 1A | 00 00 00 00 00 00 00 08 | 00 00 00 00 00 00 00 01 | 00 00 00 00 | 01 | 00 00 00 | 00 00 00 00 00 00 00 00 | 00 00 00 00 00 00 00 00 | 00 00 00 00
# PING, PONG
> 00 00 00 09 | 07 | 00 00 00 00 00 00 00 0C
< 00 00 00 09 | 08 | 00 00 00 00 00 00 00 0C
# UNSUBSCRIBE 1 and delete it, ACK 1
> 00 00 00 12 | 1B | 00 00 00 00 00 00 00 0D | 00 00 00 00 00 00 00 01 | 01
< 00 00 00 11 | 05 | 00 00 00 00 00 00 00 0D | 00 00 00 00 00 00 00 01
# QUERY subscriptions: there is none; ANSWER []
> 00 00 00 0E | 1D | 00 00 00 00 00 00 00 0B | 01 | 00 00 00 0A
< 00 00 00 0B | 1E | 00 00 00 00 00 00 00 0B | 5B 5D
# GO_AWAY: nothing is wrong
> 00 00 00 11 | 1C | 00 00 00 00 00 00 00 00 | 00 00 | 00 00 00 00 | 00 00
";

#[test]
fn a_whole_session_goes_byte_by_byte_as_the_manual_says() {
    let broker = Broker::in_memory("");
    let mut wire = broker.wire();
    wire.play(SESSION);
    wire.expect_end();
}

#[test]
fn words_of_version_1_are_refused_in_version_2_and_the_other_way_round() {
    let broker = Broker::in_memory("");
    let mut wire = broker.open(2);
    wire.say(|out| {
        command::publish(out, 3, Qos::AtMostOnce, b"demo", b"hi");
        command::subscribe(out, 4, b"demo", Qos::AtMostOnce);
        command::ack(out, 5, 1);
        command::poll(out, 6, 1);
    });
    (3..=6).for_each(|correlation| wire.expect_nack(correlation, 400));
    wire.expect_silence();
    let mut wire = broker.open(1);
    wire.say(|out| command::alias(out, 3, 0, b"demo"));
    wire.expect_nack(3, 400);
}

#[test]
fn what_is_not_known_is_refused_with_404() {
    let broker = Broker::in_memory("");
    let mut wire = broker.open(2);
    let batch = one_record(b"hi");
    wire.say(|out| {
        command::publish_batch(out, 3, &command::BatchFor { alias: 7, ..Default::default() }, &batch);
        command::unsubscribe(out, 4, 9, false);
        command::credit(out, 5, &blipmq::protocol::native::request::Credit { subscription: 9, messages: 1, bytes: 1 });
        command::alias(out, 6, 1, b"demo");
        command::publish_batch(out, 7, &command::BatchFor { alias: 1, partition: 3, ..Default::default() }, &batch);
        let must_route = command::BatchFor { alias: 1, must_route: true, ..Default::default() };
        command::publish_batch(out, 8, &must_route, &batch);
    });
    (3..=5).for_each(|correlation| wire.expect_nack(correlation, 404));
    assert_eq!(wire.frame().kind, 0x12);
    wire.expect_nack(7, 404);
    wire.expect_nack(8, 404);
    wire.expect_silence();
}

fn one_record(value: &[u8]) -> bytes::Bytes {
    let mut builder = blipmq::model::record_batch::BatchBuilder::new();
    builder.push(blipmq::model::Timestamp(1), value);
    builder.finish(Offset::ZERO, None)
}

#[test]
fn a_batch_that_is_damaged_or_compressed_is_refused_and_nothing_of_it_is_delivered() {
    let broker = Broker::in_memory("");
    let mut wire = broker.open(2);
    let mut damaged = one_record(b"hi").to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    wire.say(|out| {
        command::alias(out, 3, 0, b"demo");
        command::publish_batch(out, 4, &command::BatchFor::default(), &damaged);
        command::publish_batch(out, 5, &command::BatchFor::default(), &damaged[..20]);
    });
    assert_eq!(wire.frame().kind, 0x12);
    wire.expect_nack(4, 400);
    wire.expect_nack(5, 400);
    assert_eq!(broker.topic("demo")["published"], 0);
}

#[test]
fn batches_go_through_with_keys_headers_and_times() {
    for broker in Broker::both("") {
        let client = broker.client();
        let mut subscription = client.subscribe(&SubscribeOptions::new("rich").at_least_once()).unwrap();
        let mut publisher = client.publisher("rich", ProducerOptions::at_least_once().batch(10, 1 << 20)).unwrap();
        let headers: &[(&[u8], &[u8])] = &[(b"trace", b"1"), (b"", b"\xFF")];
        for nth in 0..25u32 {
            let extras = RecordExtras { key: Some(b"k"), headers };
            publisher.publish_with(&nth.to_be_bytes(), extras).unwrap();
        }
        publisher.flush().unwrap();
        for nth in 0..25u32 {
            let message = subscription.next_message(Some(PATIENCE)).unwrap().unwrap();
            assert_eq!((message.offset, &message.value[..]), (Offset(nth.into()), &nth.to_be_bytes()[..]));
            assert_eq!(message.key.as_deref(), Some(&b"k"[..]));
            assert_eq!(message.headers.len(), 2);
            assert_eq!((&message.headers[1].0[..], &message.headers[1].1[..]), (&b""[..], &b"\xFF"[..]));
            assert_eq!((message.attempt, message.qos), (1, Qos::AtLeastOnce));
        }
    }
}

#[test]
fn the_publisher_hears_partition_offset_count_and_how_safe_it_is() {
    let broker = Broker::in_memory("");
    let client = broker.client();
    for (options, offset) in [(PublishOptions::at_least_once(), 0), (PublishOptions::at_least_once(), 1)] {
        let published = client.publish("said", b"hi", &options).unwrap().unwrap();
        let said = (published.partition, published.base_offset, published.count, published.reached);
        assert_eq!(said, (0, Offset(offset), 1, Reached::Memory));
    }
}

#[test]
fn nothing_is_delivered_beyond_the_credit() {
    for broker in Broker::both("") {
        let client = broker.client();
        let options = SubscribeOptions::new("credit").at_least_once().credit(0, 0);
        let mut subscription = client.subscribe(&options).unwrap();
        let mut publisher = client.publisher("credit", ProducerOptions::at_least_once().batch(10, 1 << 20)).unwrap();
        (0..30u8).for_each(|nth| publisher.publish(&[nth]).unwrap());
        publisher.flush().unwrap();
        assert_eq!(broker.subscription("credit")["delivered"], 0);
        let mut came = Vec::new();
        for grant in [3, 12, 15] {
            subscription.credit(grant, 1 << 20).unwrap();
            client.ping().unwrap();
            for _ in 0..grant {
                came.push(subscription.next_message(Some(PATIENCE)).unwrap().unwrap().value[0]);
            }
            assert_eq!(broker.subscription("credit")["delivered"], came.len());
        }
        assert_eq!(came, (0..30).collect::<Vec<u8>>());
    }
}

#[test]
fn a_batch_larger_than_the_credit_in_bytes_is_delivered_once() {
    for broker in Broker::both("") {
        let client = broker.client();
        let options = SubscribeOptions::new("large").at_least_once().credit(0, 0);
        let mut subscription = client.subscribe(&options).unwrap();
        for _ in 0..2 {
            client.publish("large", &[7; 5000], &PublishOptions::at_least_once()).unwrap();
        }
        subscription.credit(10, 1).unwrap();
        assert_eq!(subscription.next_message(Some(PATIENCE)).unwrap().unwrap().value.len(), 5000);
        client.ping().unwrap();
        assert_eq!(broker.subscription("large")["delivered"], 1, "the credit is overdrawn");
        subscription.credit(0, 6000).unwrap();
        assert_eq!(subscription.next_message(Some(PATIENCE)).unwrap().unwrap().offset, Offset(1));
    }
}

#[test]
fn one_a_range_and_everything_up_to_can_be_acknowledged() {
    for broker in Broker::both("") {
        let client = broker.client();
        let mut subscription = client.subscribe(&SubscribeOptions::new("acks").at_least_once().durable("d")).unwrap();
        let mut publisher = client.publisher("acks", ProducerOptions::at_least_once().batch(5, 1 << 20)).unwrap();
        (0..20u8).for_each(|nth| publisher.publish(&[nth]).unwrap());
        publisher.flush().unwrap();
        let messages: Vec<_> = (0..20).map(|_| subscription.next_message(Some(PATIENCE)).unwrap().unwrap()).collect();
        let source = messages[0].source;
        subscription.ack(&messages[3]).unwrap();
        subscription.ack_range(source, Offset(8), Offset(12)).unwrap();
        client.ping().unwrap();
        let row = broker.subscription("acks");
        assert_eq!((&row["settled_to"], &row["in_flight"]), (&0.into(), &14.into()));
        subscription.ack_up_to(source, Offset(5)).unwrap();
        client.ping().unwrap();
        let row = broker.subscription("acks");
        assert_eq!((&row["settled_to"], &row["in_flight"]), (&6.into(), &9.into()));
        drop((subscription, publisher, client));
        broker.until_subscription("acks", "members", 0);
        let client = broker.client();
        let mut subscription = client.subscribe(&SubscribeOptions::new("acks").at_least_once().durable("d")).unwrap();
        let again: Vec<u64> =
            (0..9).map(|_| subscription.next_message(Some(PATIENCE)).unwrap().unwrap().offset.0).collect();
        assert_eq!(again, [6, 7, 13, 14, 15, 16, 17, 18, 19], "only what was not acknowledged comes again");
    }
}

#[test]
fn an_acknowledgement_of_what_was_never_delivered_changes_nothing() {
    for broker in Broker::both("") {
        let client = broker.client();
        let options = SubscribeOptions::new("early").at_least_once().durable("d").credit(0, 0);
        let mut subscription = client.subscribe(&options).unwrap();
        client.publish("early", b"hi", &PublishOptions::at_least_once()).unwrap();
        subscription.ack_range(0, Offset(0), Offset(10)).unwrap();
        client.ping().unwrap();
        assert_eq!(broker.subscription("early")["settled_to"], 0);
        subscription.credit(1, 1000).unwrap();
        assert!(subscription.next_message(Some(PATIENCE)).unwrap().is_some());
    }
}

#[test]
fn subscriptions_start_where_they_are_told() {
    for broker in Broker::both("") {
        let client = broker.client();
        let _keeper = client.subscribe(&SubscribeOptions::new("start").at_least_once().durable("keeper")).unwrap();
        let publish = |value: u8| {
            client.publish("start", &[value], &PublishOptions::at_least_once()).unwrap();
        };
        (0..5).for_each(publish);
        let first = |options: SubscribeOptions| {
            let client = broker.client();
            let mut subscription = client.subscribe(&options.at_least_once()).unwrap();
            publish(9);
            subscription.next_message(Some(PATIENCE)).unwrap().unwrap().offset.0
        };
        assert_eq!(first(SubscribeOptions::new("start").earliest()), 0);
        assert_eq!(first(SubscribeOptions::new("start").from_offset(3)), 3);
        assert_eq!(first(SubscribeOptions::new("start").from_offset(1_000_000)), 7, "as late as there is");
        assert_eq!(first(SubscribeOptions::new("start")), 8, "the latest");
    }
}

#[test]
fn a_subscription_that_was_ended_gets_nothing_more_and_a_deleted_one_is_gone() {
    for broker in Broker::both("") {
        let client = broker.client();
        for (delete, left) in [(false, 1), (true, 0)] {
            let topic = format!("end-{delete}");
            let subscription = client.subscribe(&SubscribeOptions::new(&topic).at_least_once().durable("d")).unwrap();
            let id = subscription.id();
            subscription.unsubscribe(delete).unwrap();
            assert_eq!(broker.subscriptions(&topic).len(), left);
            client.publish(&topic, b"hi", &PublishOptions::at_least_once()).unwrap();
            assert_eq!(refused(client.unsubscribe(id, false)), 404);
        }
    }
}

fn refused<T: std::fmt::Debug>(result: Result<T, ClientError>) -> u16 {
    match result {
        Err(ClientError::Refused { code, .. }) => code,
        other => panic!("not refused but {other:?}"),
    }
}

#[test]
fn a_second_member_of_an_exclusive_subscription_is_refused_with_409() {
    for broker in Broker::both("") {
        let (one, two) = (broker.client(), broker.client());
        let exclusive = SubscribeOptions::new("mine").at_least_once().durable("d");
        let held = one.subscribe(&exclusive).unwrap();
        assert_eq!(refused(two.subscribe(&exclusive)), 409);
        assert_eq!(refused(two.subscribe(&exclusive.clone().shared())), 409);
        held.unsubscribe(false).unwrap();
        two.subscribe(&exclusive).unwrap();
    }
}

#[test]
fn a_repeated_batch_of_an_idempotent_producer_is_one_batch() {
    let broker = Broker::new("");
    let client = broker.client();
    let mut subscription = client.subscribe(&SubscribeOptions::new("once").at_least_once()).unwrap();
    let options = ProducerOptions::at_least_once().batch(1, 1 << 20).outcomes();
    for _ in 0..2 {
        let mut publisher = client.publisher("once", options.clone().idempotent(42, 0, 0)).unwrap();
        publisher.publish(b"first").unwrap();
        publisher.publish(b"second").unwrap();
        publisher.flush().unwrap();
    }
    let mut publisher = client.publisher("once", options.idempotent(42, 0, 9)).unwrap();
    let gap = publisher.publish(b"gap").and_then(|()| publisher.flush());
    assert_eq!(refused(gap), 409);
    client.publish("once", b"last", &PublishOptions::at_least_once()).unwrap();
    let mut next = || subscription.next_message(Some(PATIENCE)).unwrap().unwrap().value;
    assert_eq!((&next()[..], &next()[..], &next()[..]), (&b"first"[..], &b"second"[..], &b"last"[..]));
}

#[test]
fn a_record_as_large_as_a_frame_allows_goes_through() {
    let broker = Broker::in_memory("");
    let client = broker.client();
    let mut subscription = client.subscribe(&SubscribeOptions::new("huge").at_least_once()).unwrap();
    let most = client.welcome().unwrap().frame_max as usize;
    let value = vec![0x5A; most - 200];
    client.publish("huge", &value, &PublishOptions::at_least_once()).unwrap();
    assert_eq!(subscription.next_message(Some(PATIENCE)).unwrap().unwrap().value, value);
}

#[test]
fn a_settled_when_sent_subscription_needs_no_acknowledgements() {
    for broker in Broker::both("retry_backoff_ms = 1") {
        let client = broker.client();
        let options = SubscribeOptions::new("auto").at_least_once().durable("d").auto_acknowledge();
        let mut subscription = client.subscribe(&options).unwrap();
        for _ in 0..10 {
            client.publish("auto", b"hi", &PublishOptions::at_least_once()).unwrap();
            assert_eq!(subscription.next_message(Some(PATIENCE)).unwrap().unwrap().attempt, 1);
        }
        let row = broker.subscription("auto");
        assert_eq!((&row["settled_to"], &row["redelivered"]), (&10.into(), &0.into()));
    }
}

#[test]
fn a_silent_subscription_says_nothing() {
    let broker = Broker::in_memory("");
    let mut wire: Wire = broker.open(2);
    let options = SubscribeOptions::new("quiet").at_least_once();
    wire.say(|out| command::subscribe_with(out, 3, &options.said()));
    let frame = wire.frame();
    assert!(matches!(frame.response(2), Response::Subscribed(subscribed) if subscribed.sources == 1));
    wire.expect_silence();
}

#[test]
fn a_nack_with_a_delay_brings_the_message_again() {
    for broker in Broker::both("") {
        let client = broker.client();
        let mut subscription = client.subscribe(&SubscribeOptions::new("nack").at_least_once()).unwrap();
        client.publish("nack", b"hi", &PublishOptions::at_least_once()).unwrap();
        for attempt in 1..=3 {
            let message = subscription.next_message(Some(PATIENCE)).unwrap().unwrap();
            assert_eq!(message.attempt, attempt);
            subscription.nack(&message, Duration::from_millis(1)).unwrap();
        }
        let last = subscription.next_message(Some(PATIENCE)).unwrap().unwrap();
        subscription.ack(&last).unwrap();
        eventually("nothing is in flight", || (broker.subscription("nack")["in_flight"] == 0).then_some(()));
    }
}
