//! What is not acknowledged comes again, and not for ever; what is too old does not come at all.

use std::collections::BTreeSet;
use std::time::Duration;

use blipmq::client::blocking::Subscription;
use blipmq::client::{ClientError, Message, PublishOptions, SubscribeOptions};
use blipmq::model::{Limits, Qos};

use crate::support::{Broker, PATIENCE, eventually, topic_on};

const QOS_1: PublishOptions<'static> =
    PublishOptions { qos: Qos::AtLeastOnce, key: None, headers: &[], ttl_ms: 0, must_route: false };

#[track_caller]
fn next(subscription: &mut Subscription) -> Message {
    subscription.next_message(Some(PATIENCE)).unwrap().expect("a message comes")
}

#[test]
fn a_message_that_nobody_acknowledges_comes_again_as_often_as_allowed_and_is_then_dropped() {
    for broker in Broker::both("retry_backoff_ms = 1\nmax_retries = 3") {
        let client = broker.client();
        let mut subscription = client.subscribe(&SubscribeOptions::new("again").at_least_once()).unwrap();
        client.publish("again", b"hi", &QOS_1).unwrap();
        for attempt in 1..=4 {
            assert_eq!(next(&mut subscription).attempt, attempt);
        }
        broker.until_subscription("again", "dead", 1);
        let row = broker.subscription("again");
        assert_eq!((&row["settled_to"], &row["in_flight"], &row["redelivered"]), (&1.into(), &0.into(), &3.into()));
        client.publish("again", b"next", &QOS_1).unwrap();
        assert_eq!(&next(&mut subscription).value[..], b"next");
    }
}

#[test]
fn version_1_gets_unacknowledged_messages_again_when_it_asks() {
    for broker in Broker::both("retry_backoff_ms = 1\nmax_retries = 3") {
        let client = broker.client_v1();
        let mut subscription = client.subscribe_polled("again", Qos::AtLeastOnce).unwrap();
        client.publish("again", b"hi", &QOS_1).unwrap();
        for _ in 0..4 {
            let message = subscription.next_message(Some(PATIENCE)).unwrap().unwrap();
            assert_eq!((message.tag, &message.value[..]), (1, &b"hi"[..]));
        }
        broker.until_subscription("again", "dead", 1);
    }
}

#[test]
fn an_acknowledged_message_does_not_come_again() {
    for broker in Broker::both("retry_backoff_ms = 1\nretry_backoff_cap_ms = 50\nmax_retries = 1000") {
        let client = broker.client();
        let mut subscription = client.subscribe(&SubscribeOptions::new("once").at_least_once()).unwrap();
        for nth in 0..20u8 {
            client.publish("once", &[nth], &QOS_1).unwrap();
        }
        let (mut seen, mut kept) = (BTreeSet::new(), None);
        while seen.len() < 20 {
            let message = next(&mut subscription);
            seen.insert(message.offset);
            match message.offset.0 {
                7 => kept = Some(message),
                _ => subscription.ack(&message).unwrap(),
            }
        }
        // Everything that was sent before the acknowledgements were heard is here when the pong is.
        client.ping().unwrap();
        while subscription.next_message(Some(Duration::ZERO)).unwrap().is_some() {}
        let kept = kept.expect("all offsets came");
        for _ in 0..3 {
            assert_eq!(next(&mut subscription).offset, kept.offset);
        }
        subscription.ack(&kept).unwrap();
        broker.until_subscription("once", "settled_to", 20);
    }
}

#[test]
fn the_order_of_first_deliveries_is_that_of_publishing_whatever_comes_again() {
    for broker in Broker::both("retry_backoff_ms = 1\nmax_retries = 1000") {
        let client = broker.client();
        let mut subscription = client.subscribe(&SubscribeOptions::new("order").at_least_once()).unwrap();
        for nth in 0..100u8 {
            client.publish("order", &[nth], &QOS_1).unwrap();
        }
        let mut expected = 0;
        while expected < 100 {
            let message = next(&mut subscription);
            if message.attempt == 1 {
                assert_eq!(message.value[..], [expected]);
                expected += 1;
            }
            if message.offset.0 % 3 == 0 {
                subscription.ack(&message).unwrap();
            }
        }
    }
}

#[test]
fn a_dead_message_goes_to_the_dead_letter_topic_with_where_it_comes_from() {
    for broker in Broker::both("retry_backoff_ms = 1") {
        let client = broker.client();
        let mut graveyard = client.subscribe(&SubscribeOptions::new("dead").at_least_once().durable("g")).unwrap();
        let options = SubscribeOptions::new("work").at_least_once().durable("worker").retries(1, 1).dead_letter("dead");
        let mut subscription = client.subscribe(&options).unwrap();
        let headers: &[(&[u8], &[u8])] = &[(b"own", b"header")];
        client.publish("work", b"bad", &QOS_1.key(b"k").headers(headers)).unwrap();
        assert_eq!((next(&mut subscription).attempt, next(&mut subscription).attempt), (1, 2));
        let letter = next(&mut graveyard);
        assert_eq!((&letter.value[..], letter.key.as_deref()), (&b"bad"[..], Some(&b"k"[..])));
        let header = |name: &str| {
            let found = letter.headers.iter().find(|(key, _)| key == name.as_bytes());
            found.map(|(_, value)| String::from_utf8_lossy(value).into_owned())
        };
        assert_eq!(header("own").as_deref(), Some("header"));
        assert_eq!(header("blipmq-dead-topic").as_deref(), Some("work"));
        assert_eq!(header("blipmq-dead-offset").as_deref(), Some("0"));
        assert_eq!(header("blipmq-dead-subscription").as_deref(), Some("worker"));
        assert_eq!(header("blipmq-dead-attempts").as_deref(), Some("2"));
        broker.until_subscription("work", "settled_to", 1);
    }
}

#[test]
fn the_largest_message_that_is_taken_can_be_delivered_and_as_a_dead_letter_too() {
    let broker =
        Broker::new("max_frame_bytes = \"16 MiB\"\nsegment_bytes = \"32 MiB\"\nmax_retries = 0\nretry_backoff_ms = 1");
    let client = broker.client();
    let options = SubscribeOptions::new("large").at_least_once().durable("worker").retries(0, 1).dead_letter("dead");
    let mut worker = client.subscribe(&options).unwrap();
    let mut undertaker =
        client.subscribe(&SubscribeOptions::new("dead").at_least_once().durable("undertaker")).unwrap();
    let largest = (0..1024).find_map(|less| {
        let value = vec![7; Limits::FRAME_MAX - less];
        match client.publish("large", &value, &QOS_1) {
            Ok(_) => Some(value),
            Err(ClientError::TooLarge { .. }) => None,
            Err(error) => panic!("{error}"),
        }
    });
    let largest = largest.expect("heads are not that long");
    let message = worker.next_message(Some(PATIENCE)).unwrap().expect("it comes");
    assert!(message.value == largest);
    worker.nack(&message, Duration::ZERO).unwrap();
    let letter = undertaker.next_message(Some(PATIENCE)).unwrap().expect("it is buried");
    assert!(letter.value == largest && !letter.headers.is_empty());
    undertaker.ack(&letter).unwrap();
    client.ping().unwrap();
}

#[test]
fn a_dead_letter_topic_may_live_on_another_core() {
    let broker =
        Broker::in_memory("cores = 2\nretry_backoff_ms = 1\nmax_retries = 0\ndead_letter_topic = \"dead.{topic}\"");
    let client = broker.client();
    for work in (0..2).map(|shard| topic_on(shard, 2, "work")) {
        let mut graveyard = client.subscribe(&SubscribeOptions::new(&format!("dead.{work}")).at_least_once()).unwrap();
        let mut subscription = client.subscribe(&SubscribeOptions::new(&work).at_least_once()).unwrap();
        for nth in 0..20u8 {
            client.publish(&work, &[nth], &QOS_1).unwrap();
        }
        let mut buried: Vec<u8> = (0..20).map(|_| next(&mut graveyard).value[0]).collect();
        buried.sort_unstable();
        assert_eq!(buried, (0..20).collect::<Vec<u8>>());
        assert_eq!(next(&mut subscription).attempt, 1);
        broker.until_subscription(&work, "settled_to", 20);
    }
}

#[test]
fn a_nacked_message_comes_again_after_its_delay_and_counts_as_an_attempt() {
    for broker in Broker::both("max_retries = 2") {
        let client = broker.client();
        let mut subscription = client.subscribe(&SubscribeOptions::new("nack").at_least_once()).unwrap();
        for nth in 0..3u8 {
            client.publish("nack", &[nth], &QOS_1).unwrap();
        }
        let messages: Vec<Message> = (0..3).map(|_| next(&mut subscription)).collect();
        subscription.nack(&messages[1], Duration::from_millis(1)).unwrap();
        let again = next(&mut subscription);
        assert_eq!((again.offset, again.attempt), (messages[1].offset, 2));
        subscription.nack(&again, Duration::from_millis(1)).unwrap();
        let again = next(&mut subscription);
        assert_eq!((again.offset, again.attempt), (messages[1].offset, 3));
        subscription.nack(&again, Duration::from_millis(1)).unwrap();
        broker.until_subscription("nack", "dead", 1);
        assert_eq!(broker.subscription("nack")["in_flight"], 2);
    }
}

#[test]
fn a_message_that_is_too_old_is_not_delivered_and_is_counted() {
    for broker in Broker::both("[[topic]]\npattern = \"short.*\"\nttl_ms = 1") {
        let client = broker.client();
        for (topic, ttl_ms) in [("own", 1), ("short.lived", 0)] {
            let durable = SubscribeOptions::new(topic).at_least_once().durable("d");
            client.subscribe(&durable).unwrap().unsubscribe(false).unwrap();
            for _ in 0..5 {
                client.publish(topic, b"old", &QOS_1.ttl_ms(ttl_ms)).unwrap();
            }
            std::thread::sleep(Duration::from_millis(20));
            client.publish(topic, b"new", &QOS_1.ttl_ms(600_000)).unwrap();
            let mut subscription = client.subscribe(&durable).unwrap();
            assert_eq!(&next(&mut subscription).value[..], b"new", "{topic}");
            assert_eq!(broker.subscription(topic)["expired"], 5);
        }
    }
}

#[test]
fn a_message_that_grows_too_old_between_two_attempts_does_not_come_again() {
    for broker in Broker::both("retry_backoff_ms = 200\nmax_retries = 1000") {
        let client = broker.client();
        let mut subscription = client.subscribe(&SubscribeOptions::new("ages").at_least_once().durable("d")).unwrap();
        client.publish("ages", b"hi", &QOS_1.ttl_ms(100)).unwrap();
        broker.until_subscription("ages", "expired", 1);
        let row = broker.subscription("ages");
        assert_eq!((&row["settled_to"], &row["in_flight"]), (&1.into(), &0.into()));
        client.publish("ages", b"next", &QOS_1).unwrap();
        eventually("the next one comes", || (&next(&mut subscription).value[..] == b"next").then_some(()));
    }
}
