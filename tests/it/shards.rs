//! Two cores: connections go to their topic, frames go to the other core, and nobody can tell.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use blipmq::client::blocking::{Client, Subscription};
use blipmq::client::{Message, ProducerOptions, PublishOptions, SubscribeOptions};
use blipmq::model::Qos;
use blipmq::protocol::native::command;
use blipmq::protocol::native::request::What;

use crate::support::{Broker, PATIENCE, eventually, topic_on};

#[track_caller]
fn next(subscription: &mut Subscription) -> Message {
    subscription.next_message(Some(PATIENCE)).unwrap().expect("a message comes")
}

fn topics() -> [String; 2] {
    [topic_on(0, 2, "here"), topic_on(1, 2, "there")]
}

#[test]
fn topics_live_on_the_cores_that_placement_says() {
    let broker = Broker::in_memory("cores = 2");
    let client = broker.client();
    for (shard, topic) in topics().iter().enumerate() {
        client.publish(topic, b"hi", &PublishOptions::at_least_once()).unwrap();
        assert_eq!(broker.topic(topic)["shard"], shard);
    }
}

#[test]
fn a_connection_that_moves_loses_nothing_of_what_it_has_said() {
    let broker = Broker::in_memory("cores = 2");
    // The kernel chooses where a connection is accepted: of many, some must move.
    for nth in 0..24 {
        let topic = &topics()[nth % 2];
        let mut wire = broker.wire();
        let mut said = bytes::BytesMut::new();
        command::hello(&mut said, 1, 1);
        command::auth(&mut said, 2, crate::support::broker::KEY);
        command::subscribe(&mut said, 3, topic.as_bytes(), Qos::AtLeastOnce);
        for byte in 0..50u8 {
            command::publish(&mut said, 4, Qos::AtLeastOnce, topic.as_bytes(), &[byte]);
            command::poll(&mut said, 5, 1);
        }
        // Cut anywhere: what was read before the move and what comes after it are one stream.
        let cut = nth * said.len() / 24;
        wire.say_bytes(&said[..cut]);
        wire.say_bytes(&said[cut..]);
        let kinds: Vec<u8> = (0..3).map(|_| wire.frame().kind).collect();
        assert_eq!(kinds, [0x05, 0x05, 0x05]);
        for byte in 0..50u8 {
            let frame = wire.frame();
            assert_eq!((frame.kind, frame.payload.last()), (0x03, Some(&byte)));
            wire.say(|out| command::ack(out, frame.correlation, 1));
        }
        wire.expect_silence();
    }
}

#[test]
fn a_connection_may_use_topics_of_both_cores() {
    for broker in Broker::both("cores = 2") {
        let clients: Vec<Client> = (0..6).map(|_| broker.client()).collect();
        for (nth, client) in clients.iter().enumerate() {
            let mut subscriptions =
                topics().map(|topic| client.subscribe(&SubscribeOptions::new(&topic).at_least_once()).unwrap());
            for round in 0..20u8 {
                for (topic, subscription) in topics().iter().zip(&mut subscriptions) {
                    let qos =
                        if round % 2 == 0 { PublishOptions::at_least_once() } else { PublishOptions::at_most_once() };
                    client.publish(topic, &[nth as u8, round], &qos).unwrap();
                    let message = next(subscription);
                    assert_eq!(message.value[..], [nth as u8, round]);
                    subscription.ack(&message).unwrap();
                }
            }
            for subscription in subscriptions {
                subscription.unsubscribe(false).unwrap();
            }
        }
    }
}

#[test]
fn a_version_1_connection_may_use_topics_of_both_cores() {
    for broker in Broker::both("cores = 2") {
        for _ in 0..6 {
            let client = broker.client_v1();
            let mut subscriptions = topics().map(|topic| client.subscribe_polled(&topic, Qos::AtLeastOnce).unwrap());
            for nth in 0..10u8 {
                for topic in topics() {
                    client.publish(&topic, &[nth], &PublishOptions::at_least_once()).unwrap();
                }
            }
            for subscription in &mut subscriptions {
                for nth in 0..10u8 {
                    let message = subscription.next_message(Some(PATIENCE)).unwrap().unwrap();
                    assert_eq!(message.value[..], [nth]);
                    subscription.ack(&message).unwrap();
                }
            }
            client.ping().unwrap();
            drop((subscriptions, client));
            // Who comes while the session is still held gets one of their own.
            for topic in topics() {
                broker.until_subscription(&topic, "members", 0);
            }
        }
        for topic in topics() {
            broker.until_subscription(&topic, "settled_to", 60);
        }
    }
}

#[test]
fn a_wildcard_subscription_gets_the_topics_of_all_cores_old_and_new() {
    for broker in Broker::both("cores = 2") {
        let (publisher, subscriber) = (broker.client(), broker.client());
        publisher.publish("all.old.0", b"before", &PublishOptions::at_least_once()).unwrap();
        let mut rest = subscriber.subscribe(&SubscribeOptions::new("all.>").at_least_once()).unwrap();
        let mut one = subscriber.subscribe(&SubscribeOptions::new("all.*.3").at_least_once()).unwrap();
        let mut shards = BTreeSet::new();
        for nth in 0..16u8 {
            let topic = format!("all.{}.{nth}", if nth < 8 { "old" } else { "new" });
            publisher.publish(&topic, &[nth], &PublishOptions::at_least_once()).unwrap();
            publisher.publish(&topic, &[nth], &PublishOptions::at_most_once()).unwrap();
            shards.insert(broker.topic(&topic)["shard"].as_u64().unwrap());
        }
        publisher.publish("other", b"hi", &PublishOptions::at_least_once()).unwrap();
        assert_eq!(shards.len(), 2, "the topics are on both cores");
        let mut came: BTreeMap<String, usize> = BTreeMap::new();
        for _ in 0..32 {
            let message = next(&mut rest);
            rest.ack(&message).unwrap();
            *came.entry(message.topic.as_str().to_owned()).or_default() += 1;
        }
        assert_eq!(came.len(), 16);
        assert!(came.values().all(|count| *count == 2), "{came:?}");
        assert_eq!((next(&mut one).value[0], next(&mut one).value[0]), (3, 3));
    }
}

#[test]
fn credit_of_a_wildcard_subscription_is_for_all_cores_together() {
    for broker in Broker::both("cores = 2") {
        let (publisher, subscriber) = (broker.client(), broker.client());
        for topic in topics() {
            publisher.publish(&format!("w.{topic}"), b"", &PublishOptions::at_most_once()).unwrap();
        }
        let options = SubscribeOptions::new("w.>").at_least_once().credit(10, 1 << 20);
        let mut subscription = subscriber.subscribe(&options).unwrap();
        let mut producers: Vec<_> = (0..8)
            .map(|nth| publisher.publisher(&format!("w.{nth}"), ProducerOptions::at_least_once()).unwrap())
            .collect();
        for producer in &mut producers {
            (0..10u8).for_each(|nth| producer.publish(&[nth]).unwrap());
            producer.flush().unwrap();
        }
        let delivered = || {
            let rows = broker.rows(What::Subscriptions);
            rows.iter().map(|row| row["delivered"].as_u64().unwrap()).sum::<u64>()
        };
        assert!(delivered() <= 10, "{}", delivered());
        for _ in 0..80 {
            let message = next(&mut subscription);
            subscription.ack(&message).unwrap();
        }
        assert_eq!(delivered(), 80);
    }
}

#[test]
fn a_shared_subscription_has_members_on_both_cores() {
    for broker in Broker::both("cores = 2") {
        let [topic, other] = topics();
        let shared = SubscribeOptions::new(&topic).at_least_once().durable("team").shared();
        let clients: Vec<Client> = (0..4).map(|_| broker.client()).collect();
        let mut members: Vec<Subscription> = Vec::new();
        for (nth, client) in clients.iter().enumerate() {
            if nth % 2 == 1 {
                client.publish(&other, b"", &PublishOptions::at_most_once()).unwrap();
            }
            members.push(client.subscribe(&shared).unwrap());
        }
        let mut producer = clients[0].publisher(&topic, ProducerOptions::at_least_once().batch(1, 1 << 20)).unwrap();
        let (mut seen, mut shares, mut published) = (BTreeSet::new(), [0; 4], 0u64);
        // Who gets how many is for the cores to settle between them; that all four work, and no message goes to two, is not.
        // The credit of one on the other core may still be on its way when it hears that it has subscribed.
        eventually("all four work", || {
            (0..40).for_each(|nth| producer.publish(&(published + nth).to_be_bytes()).unwrap());
            producer.flush().unwrap();
            published += 40;
            while (seen.len() as u64) < published {
                for (member, share) in members.iter_mut().zip(&mut shares) {
                    while let Some(message) = member.next_message(Some(Duration::from_millis(20))).unwrap() {
                        assert!(seen.insert(message.value.to_vec()));
                        member.ack(&message).unwrap();
                        *share += 1;
                    }
                }
            }
            shares.iter().all(|share| *share > 0).then_some(())
        });
        broker.until_subscription(&topic, "settled_to", published);
    }
}

#[test]
fn a_query_lists_the_topics_of_all_cores() {
    for broker in Broker::both("cores = 2") {
        let client = broker.client();
        let names: BTreeSet<String> = (0..20).map(|nth| format!("list.{nth:02}")).collect();
        for name in &names {
            client.publish(name, b"hi", &PublishOptions::at_least_once()).unwrap();
        }
        let rows = broker.rows(What::Topics);
        assert_eq!(rows.iter().map(|row| row["topic"].as_str().unwrap().to_owned()).collect::<BTreeSet<_>>(), names);
        assert!(rows.iter().any(|row| row["shard"] == 0) && rows.iter().any(|row| row["shard"] == 1));
        let few = client.query(What::Topics, 3).unwrap();
        assert_eq!(serde_json::from_str::<Vec<serde_json::Value>>(&few).unwrap().len(), 3);
    }
}

#[test]
fn connections_that_come_and_go_on_both_cores_leave_nothing_behind() {
    let broker = Broker::in_memory("cores = 2");
    for nth in 0..40 {
        let client = broker.client();
        for topic in topics() {
            let _ = client.subscribe(&SubscribeOptions::new(&topic)).unwrap();
            client.send(&topic, b"hi", &PublishOptions::at_most_once()).unwrap();
        }
        let _ = client.subscribe(&SubscribeOptions::new(">")).unwrap();
        match nth % 2 {
            0 => drop(client),
            _ => client.close().unwrap(),
        }
    }
    eventually("no subscription is left", || broker.rows(What::Subscriptions).is_empty().then_some(()));
}
