//! What a real daemon is given to write, so that there is something to damage; and how it is read back.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;

use super::super::daemon::{Daemon, KEY, Workspace};
use crate::bench::failure::Failure;
use crate::client::blocking::{Client, ConnectOptions};
use crate::client::{ClientError, ProducerOptions, PublishOptions, SubscribeOptions};

const TOPICS: [&str; 3] = ["damage.small", "damage.big", "damage.mixed"];
/// Bytes of all messages together: several segments of the smallest size.
const TOTAL: usize = 3_400_000;
/// A quiet end is believed after this; what a test daemon has to say it says at once.
const QUIET: Duration = Duration::from_secs(20);
/// What ends the messages of a topic when they are read back.
const MARK: &[u8] = b"here the trial ends";

/// The messages of each topic, by offset.
pub type Messages = BTreeMap<&'static str, BTreeMap<u64, Vec<u8>>>;

/// Keys of the daemon's configuration: one log, the smallest segments, everything acknowledged is synced.
pub fn keys(recovery: &str) -> Vec<(&'static str, String)> {
    [
        ("cores", "1"),
        ("segment_bytes", "1 MiB"),
        ("max_frame_bytes", "256 KiB"),
        ("max_connections", "100"),
        ("fsync_policy", "always"),
        ("shutdown_timeout_ms", "500"),
        ("recovery", recovery),
    ]
    .into_iter()
    .map(|(key, value)| (key, value.to_owned()))
    .collect()
}

pub fn start(workspace: &Workspace, recovery: &str) -> Result<Daemon, Failure> {
    workspace.spawn(workspace.command(&keys(recovery)))
}

pub fn connect(daemon: &Daemon) -> Result<Client, Failure> {
    let options = ConnectOptions::new(&daemon.addr).api_key(KEY).connect_timeout(QUIET).answer_timeout(QUIET);
    Client::connect(&options).map_err(broker)
}

fn broker(error: ClientError) -> Failure {
    Failure::Broker(error.to_string())
}

/// Publishes messages of all sizes to three topics, and settles some of them in a durable subscription each.
pub fn write(daemon: &Daemon, dice: &mut Rng) -> Result<Messages, Failure> {
    let client = connect(daemon)?;
    let mut messages = Messages::new();
    for topic in TOPICS {
        let durable = SubscribeOptions::new(topic).at_least_once().durable("keeper");
        client.subscribe(&durable).and_then(|subscription| subscription.unsubscribe(false)).map_err(broker)?;
    }
    let mut left = TOTAL;
    while left > 0 {
        let topic = TOPICS[dice.usize(0..TOPICS.len())];
        let told = messages.entry(topic).or_default();
        let options = ProducerOptions::at_least_once().batch(dice.u32(1..20), 128 << 10).window(2);
        let mut publisher = client.publisher(topic, options).map_err(broker)?;
        for _ in 0..dice.usize(1..60) {
            let value = message(topic, told.len() as u64, dice);
            publisher.publish(&value).map_err(broker)?;
            left = left.saturating_sub(value.len());
            told.insert(told.len() as u64, value);
        }
        publisher.flush().map_err(broker)?;
        if dice.u8(0..12) == 0 {
            settle(&client, topic, dice.usize(1..30))?;
        }
    }
    Ok(messages)
}

fn message(topic: &str, nth: u64, dice: &mut Rng) -> Vec<u8> {
    let len = match (topic, dice.u8(0..3)) {
        ("damage.small", _) | ("damage.mixed", 0) => dice.usize(0..200),
        ("damage.big", _) | ("damage.mixed", 1) => dice.usize(2_000..12_000),
        _ => dice.usize(0..3_000),
    };
    let mut value = nth.to_be_bytes().to_vec();
    value.extend((0..len).map(|_| dice.u8(..)));
    value
}

/// Out of order, so that there are cursors with ranges.
fn settle(client: &Client, topic: &str, most: usize) -> Result<(), Failure> {
    let options = SubscribeOptions::new(topic).at_least_once().durable("keeper");
    let mut subscription = client.subscribe(&options).map_err(broker)?;
    for nth in 0..most {
        let Some(message) = subscription.next_message(Some(Duration::from_millis(100))).map_err(broker)? else { break };
        if nth % 5 == 3 {
            subscription.ack_later(&message);
        }
    }
    subscription.flush().map_err(broker)?;
    subscription.unsubscribe(false).map_err(broker)
}

/// Everything there is, read by a subscriber of each topic from its earliest message on. Messages that settled ones
/// stand before are still there: the durable subscriptions never settle their first.
pub fn read(daemon: &Daemon) -> Result<Messages, Failure> {
    let client = connect(daemon)?;
    let mut messages = Messages::new();
    for topic in TOPICS {
        let options = SubscribeOptions::new(topic).at_least_once().earliest();
        let mut subscription = client.subscribe(&options).map_err(broker)?;
        client.publish(topic, MARK, &PublishOptions::at_least_once()).map_err(broker)?;
        let came = messages.entry(topic).or_default();
        loop {
            let message = subscription.next_message(Some(QUIET)).map_err(broker)?;
            let message = message.ok_or_else(|| Failure::Broker(format!("{topic}: it fell silent before its end")))?;
            subscription.ack_later(&message);
            if message.value[..] == *MARK {
                break;
            }
            came.insert(message.offset.0, message.value.to_vec());
        }
    }
    Ok(messages)
}
