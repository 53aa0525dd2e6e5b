//! What was acknowledged survives the death of the process; what was not settled comes again.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use blipmq::client::blocking::{Client, Subscription};
use blipmq::client::{Message, ProducerOptions, PublishOptions, SubscribeOptions};
use blipmq::model::Qos;
use blipmq::protocol::native::reply::Reached;

use crate::support::{Broker, PATIENCE, Workspace, eventually, topic_on};

const QOS_1: PublishOptions<'static> =
    PublishOptions { qos: Qos::AtLeastOnce, key: None, headers: &[], ttl_ms: 0, must_route: false };
#[track_caller]
fn next(subscription: &mut Subscription) -> Message {
    subscription.next_message(Some(PATIENCE)).unwrap().expect("a message comes")
}

fn durable(topic: &str) -> SubscribeOptions {
    SubscribeOptions::new(topic).at_least_once().durable("d")
}

fn number(message: &Message) -> u64 {
    u64::from_be_bytes(message.value[..8].try_into().expect("our own messages begin with a number"))
}

/// Makes the durable subscription, with nobody to take anything.
fn prepare(broker: &Broker, topic: &str) {
    broker.client().subscribe(&durable(topic)).unwrap().unsubscribe(false).unwrap();
}

/// The numbers that the durable subscription is given, in the order in which they first come, up to and including
/// `last`, each acknowledged.
fn drain_up_to(broker: &Broker, topic: &str, last: u64) -> Vec<u64> {
    let client = broker.client();
    let mut subscription = client.subscribe(&durable(topic)).unwrap();
    let mut came = Vec::new();
    loop {
        let message = next(&mut subscription);
        subscription.ack_later(&message);
        came.push(number(&message));
        if number(&message) == last {
            subscription.flush().unwrap();
            client.ping().unwrap();
            return came;
        }
    }
}

/// Publishes numbers, as fast as it goes, until the connection breaks; tells how many were acknowledged whenever more
/// are.
fn publish_until_killed(client: Client, topic: &str, batch: u32) -> (Receiver<u64>, thread::JoinHandle<u64>) {
    let (tell, told) = channel();
    let topic = topic.to_owned();
    let publisher = thread::spawn(move || {
        let options = ProducerOptions::at_least_once().batch(batch, 1 << 16).window(8).outcomes();
        let mut publisher = client.publisher(&topic, options).unwrap();
        let mut acknowledged = 0;
        for nth in 0u64.. {
            let value = [&nth.to_be_bytes()[..], &[7; 100][..]].concat();
            let published = publisher.publish(&value);
            for outcome in publisher.take_outcomes() {
                if let Ok(published) = outcome.result {
                    acknowledged = acknowledged.max(published.base_offset.0 + u64::from(published.count));
                }
            }
            let _ = tell.send(acknowledged);
            if published.is_err() {
                break;
            }
        }
        acknowledged
    });
    (told, publisher)
}

#[test]
fn everything_acknowledged_before_a_kill_is_there_after_it_under_every_policy() {
    for policy in ["always", "every_n:64", "interval_ms:50", "none"] {
        let workspace = Workspace::new();
        let keys = format!("fsync_policy = \"{policy}\"");
        let broker = workspace.start(&keys);
        prepare(&broker, "kill");
        let (told, publisher) = publish_until_killed(broker.client(), "kill", 20);
        eventually("a good number is acknowledged", || told.try_iter().find(|count| *count > 3000));
        broker.kill();
        let acknowledged = publisher.join().unwrap();
        let broker = workspace.start(&keys);
        let last = broker.topic("kill")["next"].as_u64().unwrap();
        assert!(last >= acknowledged, "{policy}: {acknowledged} acknowledged, {last} there");
        let came = drain_up_to(&broker, "kill", last - 1);
        assert_eq!(came, (0..last).collect::<Vec<u64>>(), "{policy}: each once, in order");
    }
}

#[test]
fn after_a_kill_what_was_settled_stays_settled_and_the_rest_comes_again() {
    let workspace = Workspace::new();
    let broker = workspace.start("");
    let client = broker.client();
    let mut subscription = client.subscribe(&durable("cursor")).unwrap();
    for nth in 0..100u64 {
        client.publish("cursor", &nth.to_be_bytes(), &QOS_1).unwrap();
    }
    let settled = |nth: u64| nth < 30 || nth % 7 == 0;
    for _ in 0..80 {
        let message = next(&mut subscription);
        if settled(number(&message)) {
            subscription.ack(&message).unwrap();
        }
    }
    let unsettled = (0..80).filter(|nth| !settled(*nth)).count() as u64;
    eventually("the acknowledgements are heard", || {
        (broker.subscription("cursor")["settled"] == 80 - unsettled).then_some(())
    });
    wait_for_cursors(&broker);
    broker.kill();
    let broker = workspace.start("");
    let came = drain_up_to(&broker, "cursor", 99);
    let expected: Vec<u64> = (0..100).filter(|nth| *nth >= 80 || !settled(*nth)).collect();
    assert_eq!(came, expected);
    let row = broker.subscription("cursor");
    assert_eq!((&row["settled_to"], &row["in_flight"]), (&100.into(), &0.into()));
}

/// Cursors are logged a moment after they move, in the order of the log: once something that was published later is
/// acknowledged, they stand before it. Later by the broker's clock, which it may have read before the first of the two
/// came, but not before the second.
fn wait_for_cursors(broker: &Broker) {
    thread::sleep(std::time::Duration::from_millis(50));
    let client = broker.client();
    for _ in 0..2 {
        client.publish("after", b"", &QOS_1).unwrap();
    }
}

#[test]
fn a_session_of_version_1_outlives_a_kill() {
    let workspace = Workspace::new();
    let broker = workspace.start("");
    let client = broker.client_v1();
    let mut subscription = client.subscribe_polled("old", Qos::AtLeastOnce).unwrap();
    for nth in 0..10u64 {
        client.publish("old", &nth.to_be_bytes(), &QOS_1).unwrap();
    }
    for _ in 0..4 {
        let message = subscription.next_message(Some(PATIENCE)).unwrap().unwrap();
        subscription.ack(&message).unwrap();
    }
    client.ping().unwrap();
    wait_for_cursors(&broker);
    broker.until_topic("old", "committed", 10);
    broker.kill();
    let broker = workspace.start("");
    let client = broker.client_v1();
    let mut subscription = client.subscribe_polled("old", Qos::AtLeastOnce).unwrap();
    for nth in 4..10u64 {
        let message = subscription.next_message(Some(PATIENCE)).unwrap().unwrap();
        assert_eq!(message.value[..], nth.to_be_bytes());
    }
}

#[test]
fn messages_that_no_subscriber_has_taken_survive_kill_after_kill() {
    let workspace = Workspace::new();
    let mut published = 0u64;
    for round in 0..5 {
        let broker = workspace.start("");
        if round == 0 {
            prepare(&broker, "rounds");
        }
        let client = broker.client();
        for _ in 0..50 {
            let said = client.publish("rounds", &published.to_be_bytes(), &QOS_1).unwrap().unwrap();
            assert_eq!(said.base_offset.0, published, "offsets go on where they were");
            published += 1;
        }
        broker.kill();
    }
    let broker = workspace.start("");
    assert_eq!(drain_up_to(&broker, "rounds", published - 1), (0..published).collect::<Vec<u64>>());
}

#[test]
fn a_restart_with_another_number_of_cores_loses_nothing() {
    let workspace = Workspace::new();
    let topics = [topic_on(0, 2, "a"), topic_on(1, 2, "b")];
    let mut published = 0u64;
    for cores in [2, 1, 2] {
        let broker = workspace.start(&format!("cores = {cores}"));
        let client = broker.client();
        for topic in &topics {
            if published == 0 {
                prepare(&broker, topic);
            }
            for nth in published..published + 50 {
                client.publish(topic, &nth.to_be_bytes(), &QOS_1).unwrap();
            }
        }
        published += 50;
        if cores == 1 { broker.stop() } else { broker.kill() }
    }
    for cores in [1, 2] {
        let broker = workspace.start(&format!("cores = {cores}"));
        let topic = &topics[cores - 1];
        assert_eq!(drain_up_to(&broker, topic, published - 1), (0..published).collect::<Vec<u64>>());
        assert_eq!(broker.topic(topic)["shard"], if cores == 1 { 0 } else { 1 });
        broker.stop();
    }
}

#[test]
fn after_a_stop_in_order_everything_is_exactly_where_it_was() {
    let workspace = Workspace::new();
    let broker = workspace.start("");
    let client = broker.client();
    let mut subscription = client.subscribe(&durable("exact")).unwrap();
    for nth in 0..20u64 {
        client.publish("exact", &nth.to_be_bytes(), &QOS_1).unwrap();
    }
    for _ in 0..5 {
        let message = next(&mut subscription);
        subscription.ack(&message).unwrap();
    }
    client.ping().unwrap();
    broker.stop();
    let broker = workspace.start("");
    let row = broker.subscription("exact");
    assert_eq!((&row["settled_to"], &row["lag"], &row["name"]), (&5.into(), &15.into(), &"d".into()));
    assert_eq!(drain_up_to(&broker, "exact", 19), (5..20).collect::<Vec<u64>>());
}

#[test]
fn a_deleted_subscription_does_not_come_back() {
    let workspace = Workspace::new();
    let broker = workspace.start("");
    let client = broker.client();
    client.subscribe(&durable("gone")).unwrap().unsubscribe(true).unwrap();
    client.publish("gone", b"hi", &QOS_1).unwrap();
    broker.kill();
    assert!(workspace.start("").subscriptions("gone").is_empty());
}

#[test]
fn a_message_that_grew_too_old_while_the_broker_was_down_is_not_delivered() {
    let workspace = Workspace::new();
    let broker = workspace.start("");
    prepare(&broker, "old");
    let client = broker.client();
    client.publish("old", &0u64.to_be_bytes(), &QOS_1.ttl_ms(1)).unwrap();
    client.publish("old", &1u64.to_be_bytes(), &QOS_1).unwrap();
    broker.kill();
    thread::sleep(std::time::Duration::from_millis(20));
    let broker = workspace.start("");
    assert_eq!(drain_up_to(&broker, "old", 1), [1]);
}

#[test]
fn a_producer_that_repeats_a_batch_after_a_kill_makes_no_duplicate() {
    let workspace = Workspace::new();
    let broker = workspace.start("");
    prepare(&broker, "once");
    let publish = |broker: &Broker, from: i32, count: i32| {
        let client = broker.client();
        let options = ProducerOptions::at_least_once().batch(1, 1 << 16).idempotent(7, 0, from);
        let mut publisher = client.publisher("once", options).unwrap();
        (from..from + count).for_each(|nth| publisher.publish(&(nth as u64).to_be_bytes()).unwrap());
        publisher.flush().unwrap();
    };
    publish(&broker, 0, 5);
    broker.kill();
    let broker = workspace.start("");
    publish(&broker, 3, 5);
    assert_eq!(drain_up_to(&broker, "once", 7), (0..8).collect::<Vec<u64>>());
}

#[test]
fn qos_0_is_not_in_the_log() {
    let workspace = Workspace::new();
    let broker = workspace.start("");
    prepare(&broker, "zero");
    let client = broker.client();
    client.publish("zero", &0u64.to_be_bytes(), &PublishOptions::at_most_once()).unwrap();
    client.publish("zero", &1u64.to_be_bytes(), &QOS_1).unwrap();
    broker.kill();
    let broker = workspace.start("");
    assert_eq!(drain_up_to(&broker, "zero", 1), [1]);
}

#[test]
fn always_acknowledges_when_synced_and_the_others_when_written() {
    for (policy, least) in
        [("always", Reached::Synced), ("none", Reached::Written), ("interval_ms:1000", Reached::Written)]
    {
        let broker = Broker::new(&format!("fsync_policy = \"{policy}\""));
        for _ in 0..10 {
            let published = broker.client().publish("safe", b"hi", &QOS_1).unwrap().unwrap();
            assert!(published.reached as u8 >= least as u8, "{policy}: {published:?}");
        }
    }
}

#[test]
fn a_subscriber_far_behind_is_served_from_the_log() {
    let broker = Broker::new("max_tail_bytes = 65536\nmax_frame_bytes = 65536");
    prepare(&broker, "behind");
    let client = broker.client();
    let mut publisher = client.publisher("behind", ProducerOptions::at_least_once().batch(10, 1 << 15)).unwrap();
    const MESSAGES: u64 = 4000;
    for nth in 0..MESSAGES {
        publisher.publish(&[&nth.to_be_bytes()[..], &[7; 992][..]].concat()).unwrap();
    }
    publisher.flush().unwrap();
    assert_eq!(drain_up_to(&broker, "behind", MESSAGES - 1), (0..MESSAGES).collect::<Vec<u64>>());
    let row = broker.subscription("behind");
    assert_eq!((&row["missed"], &row["settled_to"]), (&0.into(), &MESSAGES.into()));
}

#[test]
fn a_version_1_subscriber_far_behind_is_served_from_the_log_too() {
    let broker = Broker::new("max_tail_bytes = 65536\nmax_frame_bytes = 65536");
    let (old, new) = (broker.client_v1(), broker.client());
    let mut subscription = old.subscribe_polled("behind", Qos::AtLeastOnce).unwrap();
    let mut publisher = new.publisher("behind", ProducerOptions::at_least_once().batch(10, 1 << 15)).unwrap();
    for nth in 0..500u64 {
        publisher.publish(&[&nth.to_be_bytes()[..], &[7; 992][..]].concat()).unwrap();
    }
    publisher.flush().unwrap();
    for nth in 0..500u64 {
        let message = subscription.next_message(Some(PATIENCE)).unwrap().unwrap();
        assert_eq!(&message.value[..8], nth.to_be_bytes());
        subscription.ack_later(&message);
    }
}

#[test]
fn segments_that_everybody_has_settled_are_given_back() {
    let workspace = Workspace::new();
    let broker = workspace.start("");
    let client = broker.client();
    let mut subscription = client.subscribe(&durable("cleaned")).unwrap();
    let mut publisher = client.publisher("cleaned", ProducerOptions::at_least_once().batch(100, 1 << 17)).unwrap();
    const ROUNDS: u64 = 30;
    for round in 0..ROUNDS {
        for nth in 0..500u64 {
            publisher.publish(&[&(round * 500 + nth).to_be_bytes()[..], &[7; 992][..]].concat()).unwrap();
        }
        publisher.flush().unwrap();
        for _ in 0..500 {
            let message = next(&mut subscription);
            subscription.ack_later(&message);
        }
        subscription.flush().unwrap();
    }
    let bytes = || {
        let entries = std::fs::read_dir(workspace.data().join("shard-0000")).unwrap();
        entries.map(|entry| entry.unwrap().metadata().map_or(0, |file| file.len())).sum::<u64>()
    };
    eventually("what was settled is given back", || (bytes() < 6 << 20).then_some(()));
}

#[test]
fn a_torn_tail_is_cut_and_everything_before_it_is_there() {
    let workspace = Workspace::new();
    let broker = workspace.start("fsync_policy = \"none\"");
    prepare(&broker, "torn");
    let client = broker.client();
    for nth in 0..50u64 {
        client.publish("torn", &nth.to_be_bytes(), &QOS_1).unwrap();
    }
    broker.kill();
    let (file, mut bytes) = newest_segment(&workspace);
    let last = bytes.iter().rposition(|byte| *byte != 0).expect("there is something in it");
    bytes[last - 3] ^= 0x40;
    std::fs::write(&file, &bytes).unwrap();
    let broker = workspace.start("fsync_policy = \"none\"");
    let kept = broker.topic("torn")["next"].as_u64().unwrap();
    assert!((1..=50).contains(&kept), "{kept}");
    let came: BTreeSet<u64> = drain_up_to(&broker, "torn", kept - 1).into_iter().collect();
    assert_eq!(came, (0..kept).collect());
}

#[test]
fn damage_in_the_middle_is_refused_with_its_place_and_truncate_or_skip_must_be_asked_for() {
    let workspace = Workspace::new();
    let broker = workspace.start("fsync_policy = \"always\"");
    prepare(&broker, "damaged");
    let client = broker.client();
    for nth in 0..50u64 {
        client.publish("damaged", &nth.to_be_bytes(), &QOS_1).unwrap();
    }
    broker.kill();
    let (file, mut bytes) = newest_segment(&workspace);
    let needle = 20u64.to_be_bytes();
    let at = (0..bytes.len() - 8).find(|at| bytes[*at..*at + 8] == needle).expect("message 20 is in the log");
    bytes[at + 7] ^= 0xFF;
    std::fs::write(&file, &bytes).unwrap();
    let Err(ended) = workspace.try_start("") else { panic!("a corrupt log was accepted") };
    assert_eq!(ended.code, Some(4), "{ended:?}");
    assert!(ended.stderr.contains(file.file_name().unwrap().to_str().unwrap()), "{ended:?}");
    let broker = workspace.start("recovery = \"skip\"");
    let came = drain_up_to(&broker, "damaged", 49);
    assert_eq!(came, (0..50).filter(|nth| *nth != 20).collect::<Vec<u64>>());
}

/// The segment that was written to last, and what is in it.
fn newest_segment(workspace: &Workspace) -> (std::path::PathBuf, Vec<u8>) {
    let entries = std::fs::read_dir(workspace.data().join("shard-0000")).unwrap();
    let files = entries.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "log"));
    let mut files: Vec<_> = files.map(|path| (std::fs::read(&path).unwrap(), path)).collect();
    files.sort_by(|a, b| a.1.cmp(&b.1));
    let written = files.into_iter().rev().find(|(bytes, _)| bytes.iter().skip(4096).any(|byte| *byte != 0));
    let (bytes, path) = written.expect("something was written");
    (path, bytes)
}
