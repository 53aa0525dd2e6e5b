//! The index of a log has a bound: on the way there it gets coarser and still finds everything, and there QoS 1 is
//! refused until there is room.

use blipmq::client::{ClientError, SubscribeOptions};
use serde_json::json;

use crate::support::load::QOS_1;
use crate::support::{Broker, PATIENCE, Workspace, eventually};

/// The smallest bound, and how many places of 48 bytes it has room for.
const SMALLEST: &str = "max_index_bytes = 65536\n";
const PLACES: usize = 65536 / 48;

#[test]
fn at_its_bound_the_index_takes_no_further_topic_until_there_is_room() {
    let broker = Broker::new(&format!("{SMALLEST}cores = 1\nfsync_policy = \"none\""));
    let client = broker.client();
    let publish = |nth: usize| client.publish(&format!("many.{nth}"), b"hi", &QOS_1);
    (0..PLACES).for_each(|nth| assert!(publish(nth).is_ok()));
    let Err(ClientError::Refused { code: 507, text }) = publish(PLACES) else { panic!("it is refused") };
    assert!(text.contains("max_index_bytes"), "{text}");
    broker.until_metric("blipmq_wal_full", |full| full == 1.0);
    assert_eq!(broker.sum("blipmq_wal_index_bytes", "") as usize, PLACES * 48);
    broker.call("DELETE", "/api/v1/topics/many.7?force=true", &json!(null));
    eventually("there is room", || publish(PLACES).ok());
    assert!(publish(PLACES + 1).is_err(), "for one");
}

#[test]
fn a_raised_bound_is_kept_to_from_the_next_reload_on() {
    let workspace = Workspace::new();
    let keys = "cores = 1\nfsync_policy = \"none\"\n";
    let broker = workspace.start(&format!("{SMALLEST}{keys}"));
    let client = broker.client();
    let publish = |nth: usize| client.publish(&format!("many.{nth}"), b"hi", &QOS_1);
    (0..PLACES).for_each(|nth| assert!(publish(nth).is_ok()));
    assert!(publish(PLACES).is_err());
    workspace.configure(&format!("max_index_bytes = 131072\n{keys}"));
    broker.signal(nix::sys::signal::Signal::SIGHUP);
    eventually("the bound is raised", || publish(PLACES).ok());
}

#[test]
fn a_coarse_index_finds_every_message_of_topics_that_take_turns_after_a_kill_too() {
    const MESSAGES: usize = 150;
    let keys = format!("{SMALLEST}cores = 1\nfsync_policy = \"none\"\nmax_tail_bytes = 65536\nsegment_bytes = 4194304");
    let workspace = Workspace::new();
    let broker = workspace.start(&keys);
    let topics = ["one", "two", "three"];
    let durable = |topic: &str| SubscribeOptions::new(topic).at_least_once().durable("billing").earliest();
    let client = broker.client();
    topics.iter().for_each(|topic| client.subscribe(&durable(topic)).unwrap().unsubscribe(false).unwrap());
    for nth in 0..MESSAGES {
        for topic in topics {
            let value = [format!("{topic} {nth:4}").as_bytes(), &[7; 30_000]].concat();
            client.publish(topic, &value, &QOS_1).unwrap();
        }
    }
    topics.iter().for_each(|topic| broker.until_committed(topic));
    let bytes = broker.sum("blipmq_wal_index_bytes", "") as usize;
    assert!(bytes < topics.len() * MESSAGES * 48 / 2, "each message would take a place of its own: {bytes}");
    broker.kill();
    let broker = workspace.start(&keys);
    let client = broker.client();
    for topic in topics {
        let mut subscription = client.subscribe(&durable(topic)).unwrap();
        for nth in 0..MESSAGES {
            let message = subscription.next_message(Some(PATIENCE)).unwrap().expect("it comes");
            let said = format!("{topic} {nth:4}");
            assert_eq!(&message.value[..said.len()], said.as_bytes());
            subscription.ack(&message).unwrap();
        }
    }
}
