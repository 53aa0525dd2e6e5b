//! One connection to a broker, and the calls that can be made on it.

use std::io::Read;
use std::net::Shutdown;
use std::time::{Duration, Instant as Moment};

use super::connection::Link;
use super::mailbox::CALLS;
use super::{ConnectOptions, Halves, PolledSubscription, Publisher, Refusal, Subscription};
use crate::client::{ClientError, ProducerOptions, PublishOptions, SessionEvent, SubscribeOptions};
use crate::model::record_batch::{BatchBuilder, RecordExtras};
use crate::model::{Offset, Pattern, Qos, TopicName};
use crate::protocol::native::command::BatchFor;
use crate::protocol::native::reply::{Published, Welcome};
use crate::protocol::native::request::{GoAway, What};

/// A connection that has shaken hands. Made once; cheap to share through what it makes.
#[derive(Debug)]
pub struct Client {
    link: Link,
    version: u8,
}

impl Client {
    /// How long [`Client::close`] waits for the broker to close its side.
    const FAREWELL: Duration = Duration::from_secs(1);

    /// Connects, says HELLO and AUTH, and waits until both are accepted.
    pub fn connect(options: &ConnectOptions) -> Result<Client, ClientError> {
        Ok(Client { link: Link::open(options)?, version: options.session.version })
    }

    /// 1 or 2.
    #[must_use]
    pub fn version(&self) -> u8 {
        self.version
    }

    /// The broker's limits; version 2.
    #[must_use]
    pub fn welcome(&self) -> Option<Welcome> {
        self.link.turn().session.welcome().copied()
    }

    /// Publishes one message and waits until the broker has it as safe as its policy promises. Version 1 has no
    /// confirmation: `None` then says that it was handled and not refused.
    pub fn publish(
        &self,
        topic: &str,
        value: &[u8],
        options: &PublishOptions<'_>,
    ) -> Result<Option<Published>, ClientError> {
        let topic = TopicName::parse(topic.as_bytes())?;
        if self.version == 1 {
            return self.publish_and_ping(&topic, value, options).map(|()| None);
        }
        let alias = self.alias(&topic)?;
        let batch = self.batch_of_one(value, options);
        let said = batch_for(alias, options, true);
        let answer = self.link.call(|session| {
            let correlation = session.correlation(CALLS);
            session.publish_batch(correlation, &said, batch).map(|()| correlation)
        })?;
        match answer {
            SessionEvent::Published { published, .. } => Ok(Some(published)),
            _ => Err(unexpected()),
        }
    }

    /// Publishes one message and waits for nothing. It leaves with the next flush or waiting call; a refusal is among
    /// [`Client::take_refusals`].
    pub fn send(&self, topic: &str, value: &[u8], options: &PublishOptions<'_>) -> Result<(), ClientError> {
        let topic = TopicName::parse(topic.as_bytes())?;
        if self.version == 1 {
            only_what_version_1_says(options)?;
            return self.link.turn().session.publish(CALLS, options.qos, &topic, value).map(|_| ());
        }
        let alias = self.alias(&topic)?;
        let batch = self.batch_of_one(value, options);
        let session = &mut self.link.turn().session;
        let correlation = session.correlation(CALLS);
        session.publish_batch(correlation, &batch_for(alias, options, false), batch)
    }

    /// Sends what is to be sent.
    pub fn flush(&self) -> Result<(), ClientError> {
        self.link.turn().flush()
    }

    /// Version 2: publishes many messages in batches.
    pub fn publisher(&self, topic: &str, options: ProducerOptions) -> Result<Publisher, ClientError> {
        self.needs_version_2()?;
        let alias = self.alias(&TopicName::parse(topic.as_bytes())?)?;
        Publisher::new(self.link.clone(), alias, options)
    }

    /// Version 2: subscribes, and is sent messages.
    pub fn subscribe(&self, options: &SubscribeOptions) -> Result<Subscription, ClientError> {
        self.needs_version_2()?;
        Pattern::parse(options.pattern.as_bytes())?;
        if !options.dead_letter.is_empty() {
            TopicName::parse(options.dead_letter.as_bytes())?;
        }
        if options.name.len() > usize::from(u16::MAX) {
            return Err(ClientError::Misuse("a subscription's name is at most 65,535 bytes"));
        }
        match self.link.call(|session| Ok(session.subscribe_with(CALLS, options)))? {
            SessionEvent::Subscribed { subscribed, .. } => {
                Subscription::new(self.link.clone(), subscribed, options.auto_acknowledge)
            }
            _ => Err(unexpected()),
        }
    }

    /// Version 1: subscribes, and asks for messages.
    pub fn subscribe_polled(&self, topic: &str, qos: Qos) -> Result<PolledSubscription, ClientError> {
        if self.version != 1 {
            return Err(ClientError::Misuse("version 2 is sent messages: use subscribe"));
        }
        let topic = TopicName::parse(topic.as_bytes())?;
        match self.link.call(|session| Ok(session.subscribe(CALLS, &topic, qos)))? {
            SessionEvent::Done { subscription, .. } => PolledSubscription::new(self.link.clone(), subscription),
            _ => Err(unexpected()),
        }
    }

    /// Version 2: the number of a topic, for those who encode their own frames.
    pub fn alias_of(&self, topic: &str) -> Result<u32, ClientError> {
        self.needs_version_2()?;
        self.alias(&TopicName::parse(topic.as_bytes())?)
    }

    /// How long the broker takes to answer. Everything that was sent before has been handled then.
    pub fn ping(&self) -> Result<Duration, ClientError> {
        let began = Moment::now();
        self.link.call(|session| Ok(session.ping(CALLS)))?;
        Ok(began.elapsed())
    }

    /// Version 2: topics or subscriptions, at most `limit`, as the text of one JSON array.
    pub fn query(&self, what: What, limit: u32) -> Result<String, ClientError> {
        self.needs_version_2()?;
        match self.link.call(|session| Ok(session.query(CALLS, what, limit)))? {
            SessionEvent::Answer { json, .. } => Ok(json),
            _ => Err(unexpected()),
        }
    }

    /// Version 2: ends a subscription by its number; with `delete`, the durable one and its cursor too.
    pub fn unsubscribe(&self, subscription: u64, delete: bool) -> Result<(), ClientError> {
        self.needs_version_2()?;
        self.link.call(|session| Ok(session.unsubscribe(CALLS, subscription, delete)))?;
        self.link.turn().mail.ended(subscription);
        Ok(())
    }

    /// What was refused of that for which nobody waited, oldest first; at most the last 1,024.
    #[must_use]
    pub fn take_refusals(&self) -> Vec<Refusal> {
        self.link.turn().mail.take_strays()
    }

    /// The bare connection, its two halves for two threads. Nothing else may be open on it.
    pub fn split(self) -> Result<Halves, ClientError> {
        let mut connection = self.link.into_connection()?;
        connection.flush()?;
        if connection.is_tls() {
            return Err(ClientError::Misuse(
                "a connection with TLS has one state for both directions: it is not split",
            ));
        }
        Halves::new(connection)
    }

    /// Says goodbye and closes when the broker has, or after a second.
    pub fn close(self) -> Result<(), ClientError> {
        let mut connection = self.link.into_connection()?;
        if self.version == 2 {
            connection.session.go_away(&GoAway { code: 0, retry_after_ms: 0, text: "" });
        }
        connection.flush()?;
        connection.say_goodbye();
        let (mut stream, ..) = connection.into_parts()?;
        stream.shutdown(Shutdown::Write)?;
        stream.set_read_timeout(Some(Client::FAREWELL))?;
        let deadline = Moment::now() + Client::FAREWELL;
        let mut rest = [0; 4096];
        while matches!(stream.read(&mut rest), Ok(1..)) && Moment::now() < deadline {}
        Ok(())
    }

    /// A new alias is waited for: a refusal is of the topic, and belongs here.
    fn alias(&self, topic: &TopicName) -> Result<u32, ClientError> {
        let (alias, asked) = {
            let mut connection = self.link.turn();
            let (alias, asked) = connection.session.alias(CALLS, topic);
            if let Some(correlation) = asked {
                connection.mail.expect(correlation);
            }
            (alias, asked)
        };
        if let Some(correlation) = asked {
            self.link.answer(correlation)?;
        }
        Ok(alias)
    }

    fn batch_of_one(&self, value: &[u8], options: &PublishOptions<'_>) -> bytes::Bytes {
        let mut builder = BatchBuilder::new();
        let extras = RecordExtras { key: options.key, headers: options.headers };
        builder.push_with(self.link.now().timestamp(), value, extras);
        builder.finish(Offset::ZERO, None)
    }

    /// PONG comes after the refusal of what was sent before PING.
    fn publish_and_ping(
        &self,
        topic: &TopicName,
        value: &[u8],
        options: &PublishOptions<'_>,
    ) -> Result<(), ClientError> {
        only_what_version_1_says(options)?;
        let correlation = self.link.turn().session.publish(CALLS, options.qos, topic, value)?;
        self.ping()?;
        match self.link.turn().mail.take_stray(correlation) {
            Some(refusal) => Err(refusal.into()),
            None => Ok(()),
        }
    }

    fn needs_version_2(&self) -> Result<(), ClientError> {
        if self.version == 2 { Ok(()) } else { Err(ClientError::Misuse("this needs version 2 of the protocol")) }
    }
}

fn batch_for(alias: u32, options: &PublishOptions<'_>, acknowledge: bool) -> BatchFor {
    BatchFor {
        alias,
        partition: 0,
        qos: options.qos,
        acknowledge,
        must_route: options.must_route,
        ttl_ms: options.ttl_ms,
    }
}

fn only_what_version_1_says(options: &PublishOptions<'_>) -> Result<(), ClientError> {
    let plain = PublishOptions { qos: options.qos, ..PublishOptions::default() };
    if *options == plain {
        Ok(())
    } else {
        Err(ClientError::Misuse("version 1 has no keys, headers, TTL or routing check"))
    }
}

fn unexpected() -> ClientError {
    ClientError::Protocol("an answer to another question")
}
