//! `wal = "off"`: QoS 1 in memory, and what the operator chose to happen when a topic's queue is full.

use blipmq::client::{ClientError, ProducerOptions, PublishOptions, SubscribeOptions};
use blipmq::model::Qos;
use blipmq::protocol::native::command;

use crate::support::{Broker, PATIENCE, eventually};

const QUEUE: &str = "max_memory_queue_bytes = 65536\nmax_frame_bytes = 32768\n";
const KILOBYTE: [u8; 1000] = [7; 1000];

fn with(policy: &str) -> Broker {
    Broker::in_memory(&format!("{QUEUE}overflow = \"{policy}\""))
}

/// A durable subscription that takes nothing until it is given credit.
fn not_taking(topic: &str) -> SubscribeOptions {
    SubscribeOptions::new(topic).at_least_once().durable("d").credit(0, 0)
}

#[test]
fn drop_new_refuses_with_429_what_does_not_fit() {
    let broker = with("drop_new");
    let client = broker.client();
    let mut subscription = client.subscribe(&not_taking("full")).unwrap();
    let mut taken = 0u64;
    let code = loop {
        match client.publish("full", &KILOBYTE, &PublishOptions::at_least_once()) {
            Ok(_) => taken += 1,
            Err(ClientError::Refused { code, .. }) => break code,
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(code, 429);
    assert!((50..66).contains(&taken), "{taken} messages of a kilobyte fit into 64");
    subscription.credit(1000, 1 << 20).unwrap();
    for nth in 0..taken {
        let message = subscription.next_message(Some(PATIENCE)).unwrap().unwrap();
        assert_eq!(message.offset.0, nth);
        subscription.ack(&message).unwrap();
    }
    eventually("there is room again", || client.publish("full", b"hi", &PublishOptions::at_least_once()).ok());
}

#[test]
fn drop_oldest_takes_everything_and_loses_the_oldest_counted() {
    let broker = with("drop_oldest");
    let client = broker.client();
    let mut subscription = client.subscribe(&not_taking("full")).unwrap();
    const MESSAGES: u64 = 300;
    for _ in 0..MESSAGES {
        client.publish("full", &KILOBYTE, &PublishOptions::at_least_once()).unwrap();
    }
    subscription.credit(1000, 1 << 20).unwrap();
    let first = subscription.next_message(Some(PATIENCE)).unwrap().unwrap().offset.0;
    assert!(first > MESSAGES - 66, "the oldest are gone: {first}");
    assert_eq!(broker.subscription("full")["missed"], first);
    for nth in first + 1..MESSAGES {
        assert_eq!(subscription.next_message(Some(PATIENCE)).unwrap().unwrap().offset.0, nth);
    }
}

#[test]
fn block_does_not_read_the_publisher_until_there_is_room_and_loses_nothing() {
    let broker = with("block");
    let (control, subscriber) = (broker.client(), broker.client());
    let mut subscription = subscriber.subscribe(&not_taking("full")).unwrap();
    let mut publisher = broker.open(1);
    let mut frames = bytes::BytesMut::new();
    (0..200).for_each(|_| command::publish(&mut frames, 3, Qos::AtLeastOnce, b"full", &KILOBYTE));
    let mut said = 0;
    // A broker that is late looks like one that does not read: more than fits was said, and nothing more goes.
    eventually("the publisher's socket is full", || {
        let more = publisher.say_without_waiting(&frames[said % frames.len()..]);
        said += more;
        (more == 0 && said > frames.len()).then_some(())
    });
    control.ping().unwrap();
    let published = broker.topic("full")["published"].as_u64().unwrap();
    assert!(published < 200, "{published} were taken");
    control.publish("other", b"hi", &PublishOptions::at_least_once()).expect("other topics are not full");
    assert!(broker.resident_bytes() < 150 << 20);
    let whole = (said / (frames.len() / 200)) as u64;
    subscription.credit(1 << 20, 1 << 30).unwrap();
    for nth in 0..whole {
        let message = subscription.next_message(Some(PATIENCE)).unwrap().unwrap();
        assert_eq!((message.offset.0, message.value.len()), (nth, 1000));
        subscription.ack(&message).unwrap();
    }
}

#[test]
fn a_publisher_on_another_core_is_blocked_too() {
    let broker = Broker::in_memory(&format!("{QUEUE}cores = 2\nmax_mesh_bytes = 65536"));
    let subscriber = broker.client();
    let topics = [0, 1].map(|shard| crate::support::topic_on(shard, 2, "far"));
    let mut subscriptions = topics.clone().map(|topic| subscriber.subscribe(&not_taking(&topic)).unwrap());
    let mut publishers = topics.clone().map(|topic| {
        let mut wire = broker.open(1);
        // It has used both topics, so it stays where it is, and one of them is on the other core.
        wire.say(|out| {
            topics.iter().for_each(|topic| command::publish(out, 3, Qos::AtMostOnce, topic.as_bytes(), b""));
        });
        wire.expect_silence();
        let mut frames = bytes::BytesMut::new();
        (0..200).for_each(|_| command::publish(&mut frames, 3, Qos::AtLeastOnce, topic.as_bytes(), &KILOBYTE));
        (wire, frames, 0)
    });
    for (wire, frames, said) in &mut publishers {
        eventually("the publisher's socket is full", || {
            let more = wire.say_without_waiting(&frames[*said % frames.len()..]);
            *said += more;
            (more == 0).then_some(())
        });
    }
    assert!(broker.resident_bytes() < 150 << 20);
    for ((_, frames, said), subscription) in publishers.iter().zip(&mut subscriptions) {
        let whole = said / (frames.len() / 200);
        subscription.credit(1 << 20, 1 << 30).unwrap();
        let mut came = 0;
        while came < whole {
            let message = subscription.next_message(Some(PATIENCE)).unwrap().unwrap();
            came += usize::from(!message.value.is_empty());
            subscription.ack(&message).unwrap();
        }
    }
}

#[test]
fn a_message_that_nobody_subscribes_to_takes_no_room() {
    let broker = with("drop_new");
    let client = broker.client();
    let mut producer = client.publisher("nobody", ProducerOptions::at_least_once().batch(10, 1 << 20)).unwrap();
    for _ in 0..500 {
        producer.publish(&KILOBYTE).unwrap();
    }
    producer.flush().unwrap();
    assert_eq!(broker.topic("nobody")["published"], 500);
}

#[test]
fn a_restart_forgets_everything() {
    let workspace = crate::support::Workspace::new();
    let broker = workspace.start("wal = \"off\"");
    let client = broker.client();
    client.subscribe(&SubscribeOptions::new("kept").at_least_once().durable("d")).unwrap();
    client.publish("kept", b"hi", &PublishOptions::at_least_once()).unwrap();
    drop(client);
    broker.stop();
    let broker = workspace.start("wal = \"off\"");
    assert!(broker.subscriptions("kept").is_empty());
}
