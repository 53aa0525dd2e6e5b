//! Who gets what: slow and fast, shared, QoS 0 and QoS 1 side by side.

use std::collections::BTreeSet;

use blipmq::client::blocking::Subscription;
use blipmq::client::{Message, ProducerOptions, PublishOptions, SubscribeOptions};
use blipmq::model::Qos;

use crate::support::{Broker, PATIENCE, eventually};

#[track_caller]
fn next(subscription: &mut Subscription) -> Message {
    subscription.next_message(Some(PATIENCE)).unwrap().expect("a message comes")
}

#[test]
fn a_subscriber_that_does_not_read_holds_nobody_else_up() {
    for broker in Broker::both("max_memory_queue_bytes = \"64 MiB\"") {
        let (publisher, slow, fast) = (broker.client(), broker.client(), broker.client());
        let options = |name: &str| SubscribeOptions::new("two").at_least_once().durable(name).credit(1 << 20, 1 << 30);
        let mut not_read = slow.subscribe(&options("slow")).unwrap();
        let mut read = fast.subscribe(&options("fast")).unwrap();
        let mut producer = publisher.publisher("two", ProducerOptions::at_least_once().batch(20, 1 << 20)).unwrap();
        const MESSAGES: u64 = 2000;
        let value = |nth: u64| [nth.to_be_bytes().to_vec(), vec![7; 8000]].concat();
        for nth in 0..MESSAGES {
            producer.publish(&value(nth)).unwrap();
            if nth % 20 == 19 {
                producer.flush().unwrap();
                for got in nth - 19..=nth {
                    let message = next(&mut read);
                    assert_eq!(&message.value[..8], got.to_be_bytes());
                    read.ack_later(&message);
                }
            }
        }
        let delivered = |name: &str| {
            let rows = broker.subscriptions("two");
            rows.iter().find(|row| row["name"] == name).unwrap()["delivered"].as_u64().unwrap()
        };
        assert_eq!(delivered("fast"), MESSAGES);
        assert!(delivered("slow") < MESSAGES, "its socket is full, so the rest waits where it is stored");
        for nth in 0..MESSAGES {
            let message = next(&mut not_read);
            assert_eq!((&message.value[..8], message.attempt), (&nth.to_be_bytes()[..], 1));
        }
    }
}

#[test]
fn a_slow_qos_0_subscriber_loses_the_oldest_and_it_is_counted() {
    for broker in Broker::both("max_qos0_backlog_bytes = 65536") {
        let (publisher, slow, fast) = (broker.client(), broker.client(), broker.client());
        let mut not_read = slow.subscribe(&SubscribeOptions::new("drop").credit(0, 0)).unwrap();
        let mut read = fast.subscribe(&SubscribeOptions::new("drop")).unwrap();
        const MESSAGES: u64 = 500;
        for nth in 0..MESSAGES {
            let value = [nth.to_be_bytes().to_vec(), vec![7; 1000]].concat();
            publisher.publish("drop", &value, &PublishOptions::at_most_once()).unwrap();
            assert_eq!(&next(&mut read).value[..8], nth.to_be_bytes(), "the fast one loses nothing");
        }
        let dropped = eventually("drops are counted", || {
            let rows = broker.subscriptions("drop");
            rows.iter().filter_map(|row| row["dropped"].as_u64()).find(|dropped| *dropped > 0)
        });
        not_read.credit(10_000, 1 << 30).unwrap();
        let first = u64::from_be_bytes(next(&mut not_read).value[..8].try_into().unwrap());
        assert_eq!(first, dropped, "what was lost is the oldest, all of it, and nothing else");
        for nth in first + 1..MESSAGES {
            assert_eq!(&next(&mut not_read).value[..8], nth.to_be_bytes());
        }
    }
}

#[test]
fn qos_0_is_never_redelivered() {
    for broker in Broker::both("retry_backoff_ms = 1") {
        let client = broker.client();
        let mut subscription = client.subscribe(&SubscribeOptions::new("zero").at_least_once().durable("d")).unwrap();
        client.publish("zero", b"gone", &PublishOptions::at_most_once()).unwrap();
        let message = next(&mut subscription);
        assert_eq!((&message.value[..], message.qos), (&b"gone"[..], Qos::AtMostOnce));
        drop((subscription, client));
        broker.until_subscription("zero", "members", 0);
        let client = broker.client();
        let mut subscription = client.subscribe(&SubscribeOptions::new("zero").at_least_once().durable("d")).unwrap();
        client.publish("zero", b"next", &PublishOptions::at_least_once()).unwrap();
        assert_eq!(&next(&mut subscription).value[..], b"next");
    }
}

#[test]
fn members_of_a_shared_subscription_get_each_message_once_between_them() {
    for broker in Broker::both("") {
        let shared = SubscribeOptions::new("work").at_least_once().durable("team").shared();
        let clients: Vec<_> = (0..3).map(|_| broker.client()).collect();
        let mut members: Vec<_> = clients.iter().map(|client| client.subscribe(&shared).unwrap()).collect();
        let publisher = broker.client();
        const MESSAGES: u64 = 300;
        for nth in 0..MESSAGES {
            publisher.publish("work", &nth.to_be_bytes(), &PublishOptions::at_least_once()).unwrap();
        }
        broker.until_subscription("work", "delivered", MESSAGES);
        let mut seen = BTreeSet::new();
        for member in &mut members {
            let mut got = 0;
            while seen.len() < MESSAGES as usize && got < MESSAGES / 3 {
                let message = next(member);
                assert!(seen.insert(message.value.to_vec()), "delivered twice");
                member.ack(&message).unwrap();
                got += 1;
            }
            assert_eq!(got, MESSAGES / 3, "they take turns");
        }
        for client in &clients {
            client.ping().unwrap();
        }
        broker.until_subscription("work", "settled_to", MESSAGES);
    }
}

#[test]
fn what_a_lost_member_had_not_acknowledged_goes_to_another() {
    for broker in Broker::both("") {
        let shared = SubscribeOptions::new("work").at_least_once().durable("team").shared();
        let (leaves, stays, publisher) = (broker.client(), broker.client(), broker.client());
        let mut lost = leaves.subscribe(&shared).unwrap();
        for nth in 0..10u8 {
            publisher.publish("work", &[nth], &PublishOptions::at_least_once()).unwrap();
        }
        for _ in 0..4 {
            let message = next(&mut lost);
            lost.ack(&message).unwrap();
        }
        leaves.ping().unwrap();
        let mut kept = stays.subscribe(&shared).unwrap();
        drop((lost, leaves));
        let rest: BTreeSet<u8> = (0..6).map(|_| next(&mut kept).value[0]).collect();
        assert_eq!(rest, (4..10).collect());
    }
}

#[test]
fn an_acknowledgement_of_another_members_message_settles_nothing_of_theirs_by_up_to() {
    for broker in Broker::both("") {
        let shared = SubscribeOptions::new("work").at_least_once().durable("team").shared().credit(1, 1 << 20);
        let (one, two, publisher) = (broker.client(), broker.client(), broker.client());
        let (mut first, mut second) = (one.subscribe(&shared).unwrap(), two.subscribe(&shared).unwrap());
        for nth in 0..2u8 {
            publisher.publish("work", &[nth], &PublishOptions::at_least_once()).unwrap();
        }
        let (a, b) = (next(&mut first), next(&mut second));
        let later = if a.offset > b.offset { &mut first } else { &mut second };
        let last = a.offset.max(b.offset);
        later.ack_up_to(if a.offset > b.offset { a.source } else { b.source }, last).unwrap();
        one.ping().unwrap();
        two.ping().unwrap();
        let row = broker.subscription("work");
        assert_eq!((&row["settled_to"], &row["in_flight"]), (&0.into(), &1.into()));
    }
}

#[test]
fn every_subscription_gets_every_message() {
    for broker in Broker::both("") {
        let clients: Vec<_> = (0..4).map(|_| broker.client()).collect();
        let mut subscriptions: Vec<_> = clients
            .iter()
            .map(|client| client.subscribe(&SubscribeOptions::new("all").at_least_once()).unwrap())
            .collect();
        for nth in 0..50u8 {
            let qos = if nth % 2 == 0 { PublishOptions::at_least_once() } else { PublishOptions::at_most_once() };
            clients[0].publish("all", &[nth], &qos).unwrap();
        }
        for subscription in &mut subscriptions {
            let came: BTreeSet<u8> = (0..50).map(|_| next(subscription).value[0]).collect();
            assert_eq!(came, (0..50).collect());
        }
    }
}

#[test]
fn versions_1_and_2_speak_to_each_other() {
    for broker in Broker::both("") {
        let (old, new) = (broker.client_v1(), broker.client());
        let mut polled = old.subscribe_polled("mixed", Qos::AtLeastOnce).unwrap();
        let mut pushed = new.subscribe(&SubscribeOptions::new("mixed").at_least_once()).unwrap();
        let mut batch = new.publisher("mixed", ProducerOptions::at_least_once()).unwrap();
        for nth in 0..100u8 {
            batch.publish(&[nth]).unwrap();
        }
        batch.flush().unwrap();
        old.publish("mixed", &[100], &PublishOptions::at_least_once()).unwrap();
        for nth in 0..=100u8 {
            let message = polled.next_message(Some(PATIENCE)).unwrap().unwrap();
            assert_eq!(message.value[..], [nth]);
            polled.ack_later(&message);
            assert_eq!(next(&mut pushed).value[..], [nth]);
        }
    }
}

#[test]
fn no_more_is_in_flight_than_the_bound_allows() {
    for broker in Broker::both("max_in_flight = 10") {
        let client = broker.client();
        let mut subscription = client.subscribe(&SubscribeOptions::new("few").at_least_once()).unwrap();
        let mut producer = client.publisher("few", ProducerOptions::at_least_once().batch(25, 1 << 20)).unwrap();
        (0..50u8).for_each(|nth| producer.publish(&[nth]).unwrap());
        producer.flush().unwrap();
        for nth in 0..50u8 {
            let row = broker.subscription("few");
            assert!(row["in_flight"].as_u64().unwrap() <= 10, "{row}");
            let message = next(&mut subscription);
            assert_eq!(message.value[..], [nth]);
            subscription.ack(&message).unwrap();
        }
    }
}
