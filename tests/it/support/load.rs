//! Publishers at work while something happens to the broker, and what is left of their work.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use blipmq::client::blocking::Client;
use blipmq::client::{ClientError, ProducerOptions, PublishOptions, SubscribeOptions};
use blipmq::model::Qos;

use super::{Broker, PATIENCE, eventually};

pub const QOS_1: PublishOptions<'static> =
    PublishOptions { qos: Qos::AtLeastOnce, key: None, headers: &[], ttl_ms: 0, must_route: false };
/// Acknowledged before the end is asked for.
const BUSY: u64 = 500;

/// A durable subscription to one topic.
pub fn durable(topic: &str) -> SubscribeOptions {
    SubscribeOptions::new(topic).at_least_once().durable("d")
}

/// What a publisher at work numbers its messages with.
pub fn number(value: &[u8]) -> u64 {
    u64::from_be_bytes(value[..8].try_into().expect("our own messages begin with a number"))
}

/// A publisher at work: how many of its messages are acknowledged, and what ended it.
pub struct Publishing {
    acknowledged: Arc<AtomicU64>,
    thread: JoinHandle<ClientError>,
}

impl Publishing {
    fn start(publish: impl FnOnce(&AtomicU64) -> ClientError + Send + 'static) -> Publishing {
        let acknowledged = Arc::new(AtomicU64::new(0));
        let count = acknowledged.clone();
        Publishing { acknowledged, thread: thread::spawn(move || publish(&count)) }
    }

    /// How many are acknowledged now.
    pub fn count(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Batches, several on their way.
    pub fn version_2(client: Client, topic: &'static str) -> Publishing {
        Publishing::start(move |count| {
            let options = ProducerOptions::at_least_once().batch(20, 1 << 16).window(8).outcomes();
            let mut publisher = client.publisher(topic, options).unwrap();
            let mut nth = 0u64;
            loop {
                let published = publisher.publish(&nth.to_be_bytes());
                nth += 1;
                for outcome in publisher.take_outcomes() {
                    if let Ok(published) = outcome.result {
                        count.fetch_max(published.base_offset.0 + u64::from(published.count), Ordering::Relaxed);
                    }
                }
                if let Err(error) = published {
                    return error;
                }
            }
        })
    }

    /// One after another.
    pub fn version_1(client: Client, topic: &'static str) -> Publishing {
        Publishing::start(move |count| {
            for nth in 0u64.. {
                if let Err(error) = client.publish(topic, &nth.to_be_bytes(), &QOS_1) {
                    return error;
                }
                count.store(nth + 1, Ordering::Relaxed);
            }
            unreachable!("numbers do not end")
        })
    }

    pub fn until_busy(&self) {
        eventually("a good number is acknowledged", || {
            (self.acknowledged.load(Ordering::Relaxed) > BUSY).then_some(())
        });
    }

    /// How many were acknowledged, after the broker has ended; and what the publisher heard.
    pub fn ended(self) -> (u64, ClientError) {
        let error = self.thread.join().unwrap();
        (self.acknowledged.load(Ordering::Relaxed), error)
    }
}

/// The numbers below `end` that a durable subscription still has to come.
pub fn left(broker: &Broker, topic: &str, end: u64) -> BTreeSet<u64> {
    let client = broker.client();
    let lag = lag(broker, topic);
    let mut subscription = client.subscribe(&durable(topic)).unwrap();
    let next = |_| number(&subscription.next_message(Some(PATIENCE)).unwrap().expect("the lag is to come").value);
    (0..lag).map(next).filter(|nth| *nth < end).collect()
}

/// The offsets that a topic's durable subscription is given, up to `last`; `check` looks at each and its message.
#[track_caller]
pub fn came(broker: &Broker, topic: &str, last: u64, check: impl Fn(u64, &[u8])) -> Vec<u64> {
    let client = broker.client();
    let mut subscription = client.subscribe(&durable(topic).earliest()).unwrap();
    let mut came = Vec::new();
    while came.last() != Some(&last) {
        let message = subscription.next_message(Some(PATIENCE)).unwrap().expect("a message comes");
        check(message.offset.0, &message.value);
        came.push(message.offset.0);
    }
    came
}

/// How many messages the one subscription of a topic still has to come.
pub fn lag(broker: &Broker, topic: &str) -> u64 {
    broker.until_committed(topic);
    broker.subscription(topic)["lag"].as_u64().unwrap()
}
