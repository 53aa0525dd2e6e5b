//! A subscription of either version.

use std::time::Duration;

use super::life::Life;
use crate::client::blocking::{Client, PolledSubscription, Subscription};
use crate::client::{ClientError, Message, PolledMessage, SubscribeOptions};
use crate::model::Qos;

/// The name of every durable subscription; its topic tells it apart.
const NAME: &str = "soak";
/// Until what was not acknowledged comes again.
pub const RETRY_MS: u32 = 8000;
/// Nothing becomes a dead letter here.
pub const RETRIES: u16 = 10_000;
/// Messages and bytes on their way to one subscriber.
const CREDIT: (u32, u32) = (256, 4 << 20);
/// POLLs on their way, with as many messages.
const POLLS: u64 = 16;

/// Where messages come from.
pub enum Source {
    Pushed(Subscription),
    Polled(PolledSubscription),
}

/// What came.
pub enum Taken {
    Pushed(Message),
    Polled(PolledMessage),
}

impl Taken {
    /// Its body.
    pub fn value(&self) -> &[u8] {
        match self {
            Taken::Pushed(message) => &message.value,
            Taken::Polled(message) => &message.value,
        }
    }
}

impl Source {
    /// Subscribes; under QoS 1 durably.
    pub fn open(client: &Client, life: &Life<'_>) -> Result<Source, ClientError> {
        if client.version() == 1 {
            let polled = client.subscribe_polled(&life.topic, life.qos)?;
            return Ok(Source::Polled(polled.window(POLLS)));
        }
        let options = SubscribeOptions::new(&life.topic).qos(life.qos).credit(CREDIT.0, CREDIT.1);
        let options = match life.qos {
            Qos::AtLeastOnce => options.durable(NAME).earliest().retries(RETRY_MS, RETRIES),
            Qos::AtMostOnce => options,
        };
        client.subscribe(&options).map(Source::Pushed)
    }

    /// `None`: nothing came within `timeout`.
    pub fn next(&mut self, timeout: Duration) -> Result<Option<Taken>, ClientError> {
        Ok(match self {
            Source::Pushed(subscription) => subscription.next_message(Some(timeout))?.map(Taken::Pushed),
            Source::Polled(subscription) => subscription.next_message(Some(timeout))?.map(Taken::Polled),
        })
    }

    /// With whatever is said next.
    pub fn acknowledge(&mut self, taken: &Taken) {
        match (self, taken) {
            (Source::Pushed(subscription), Taken::Pushed(message)) => subscription.ack_later(message),
            (Source::Polled(subscription), Taken::Polled(message)) => subscription.ack_later(message),
            _ => unreachable!("a source gives messages of its own kind"),
        }
    }

    /// To be delivered again after `delay`.
    pub fn refuse(&mut self, message: &Message, delay: Duration) -> Result<(), ClientError> {
        match self {
            Source::Pushed(subscription) => subscription.nack(message, delay),
            Source::Polled(_) => unreachable!("version 1 refuses nothing"),
        }
    }

    /// Says what was acknowledged.
    pub fn flush(&mut self) -> Result<(), ClientError> {
        match self {
            Source::Pushed(subscription) => subscription.flush(),
            // Goes with the PING that follows.
            Source::Polled(_) => Ok(()),
        }
    }

    /// Ends it, and its cursor.
    pub fn end(self) -> Result<(), ClientError> {
        match self {
            Source::Pushed(subscription) => subscription.unsubscribe(true),
            Source::Polled(_) => Ok(()),
        }
    }
}
