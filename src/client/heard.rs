//! What a session has heard from its broker: every frame becomes an event, or is kept for those that follow.

use std::collections::HashMap;

use bytes::Bytes;

use super::credit::CreditBook;
use super::frames::{FrameBuffer, RawFrame};
use super::{ClientError, DeliveredBatch, PolledMessage};
use crate::model::TopicName;
use crate::protocol::native::reply::{Deliver, Published, Source, Subscribed, Welcome};
use crate::protocol::native::request::{GoAway, Publish};
use crate::protocol::native::{Response, response};

/// Correlation ids of the handshake; those of calls come after.
pub(super) const HELLO: u64 = 1;
pub(super) const AUTH: u64 = 2;

/// What came of the bytes.
#[derive(Clone, Debug)]
pub enum SessionEvent {
    /// The handshake is over.
    Ready,
    /// Version 1: a subscription began. Version 2: a subscription ended.
    Done {
        correlation: u64,
        subscription: u64,
    },
    Refused {
        correlation: u64,
        code: u16,
        text: String,
    },
    Pong {
        correlation: u64,
    },
    Aliased {
        correlation: u64,
        alias: u32,
        partitions: u32,
    },
    Published {
        correlation: u64,
        published: Published,
    },
    Subscribed {
        correlation: u64,
        subscribed: Subscribed,
    },
    Answer {
        correlation: u64,
        json: String,
    },
    /// To be given back with [`ClientSession::release`](super::ClientSession::release) once it is handled: that returns the credit.
    Delivered(DeliveredBatch),
    /// Version 1.
    Message(PolledMessage),
    /// The broker is about to end the connection.
    GoAway {
        code: u16,
        retry_after_ms: u32,
        text: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Hello,
    Auth,
    Ready,
    Over,
}

/// Everything but the bytes.
#[derive(Debug)]
pub(super) struct State {
    pub(super) version: u8,
    verify: bool,
    pub(super) stage: Stage,
    pub(super) next: u64,
    pub(super) welcome: Option<Welcome>,
    pub(super) aliases: HashMap<TopicName, u32>,
    pub(super) next_alias: u32,
    /// Version 2: by subscription.
    pub(super) subscriptions: HashMap<u64, Subscription>,
    /// Version 2: credit granted by SUBSCRIBE_WITH not answered yet, by correlation id.
    pub(super) granted: HashMap<u64, CreditBook>,
    /// Version 1: a SUBSCRIBE not answered yet, by correlation id. Version 2: an ALIAS.
    pub(super) asked: HashMap<u64, TopicName>,
    /// Version 1: the subscription of a topic.
    topics: Vec<(TopicName, u64)>,
}

#[derive(Debug, Default)]
pub(super) struct Subscription {
    sources: HashMap<u32, (TopicName, u32)>,
    pub(super) credit: CreditBook,
}

impl State {
    pub(super) fn new(version: u8, verify: bool) -> State {
        State {
            version,
            verify,
            stage: Stage::Hello,
            next: AUTH,
            welcome: None,
            aliases: HashMap::new(),
            next_alias: 0,
            subscriptions: HashMap::new(),
            granted: HashMap::new(),
            asked: HashMap::new(),
            topics: Vec::new(),
        }
    }

    /// The next thing that the caller should know; an error is final.
    pub(super) fn next_event(&mut self, inbox: &mut FrameBuffer) -> Result<Option<SessionEvent>, ClientError> {
        while let Some(frame) = inbox.next_frame()? {
            let response = response::decode(self.version, frame.kind, frame.payload)?;
            let event = match self.stage {
                Stage::Ready => self.event(&frame, response)?,
                _ => self.handshake(frame.correlation, response)?,
            };
            if event.is_some() {
                return Ok(event);
            }
        }
        Ok(None)
    }

    fn handshake(&mut self, correlation: u64, said: Response<'_>) -> Result<Option<SessionEvent>, ClientError> {
        match (self.stage, said) {
            (Stage::Hello, Response::Ack { .. }) if self.version == 1 && correlation == HELLO => {
                self.stage = Stage::Auth;
                Ok(None)
            }
            (Stage::Hello, Response::Welcome(welcome)) if correlation == HELLO => {
                self.welcome = Some(welcome);
                self.stage = Stage::Auth;
                Ok(None)
            }
            (Stage::Auth, Response::Ack { .. }) if correlation == AUTH => {
                self.stage = Stage::Ready;
                Ok(Some(SessionEvent::Ready))
            }
            (_, Response::Nack { code, text }) => Err(ClientError::Refused { code, text: text.into() }),
            (_, Response::GoAway(said)) => {
                let GoAway { code, retry_after_ms, text } = said;
                Err(ClientError::GoAway { code, retry_after_ms, text: text.into() })
            }
            _ => Err(ClientError::Protocol("not an answer of the handshake")),
        }
    }

    fn event(&mut self, frame: &RawFrame<'_>, said: Response<'_>) -> Result<Option<SessionEvent>, ClientError> {
        let correlation = frame.correlation;
        let event = match said {
            Response::Deliver { deliver, batch } => {
                return self
                    .delivered(deliver, &frame.payload[batch])
                    .map(|batch| Some(SessionEvent::Delivered(batch)));
            }
            Response::Publish(said) => {
                return self.polled(correlation, said).map(|event| Some(SessionEvent::Message(event)));
            }
            Response::Published(published) => SessionEvent::Published { correlation, published },
            Response::Ack { subscription } => self.done(correlation, subscription),
            Response::Nack { code, text } => self.refused(correlation, code, text),
            Response::Pong => SessionEvent::Pong { correlation },
            Response::Aliased { alias, partitions } => {
                self.asked.remove(&correlation);
                SessionEvent::Aliased { correlation, alias, partitions }
            }
            Response::Subscribed(subscribed) => self.subscribed(correlation, subscribed),
            Response::Source(source) => return self.source(&source).map(|()| None),
            Response::Answer { json } => SessionEvent::Answer { correlation, json: json.into() },
            Response::GoAway(GoAway { code, retry_after_ms, text }) => {
                SessionEvent::GoAway { code, retry_after_ms, text: text.into() }
            }
            Response::Welcome(_) => return Err(ClientError::Protocol("WELCOME twice")),
        };
        Ok(Some(event))
    }

    fn delivered(&self, deliver: Deliver, batch: &[u8]) -> Result<DeliveredBatch, ClientError> {
        let subscription = self.subscriptions.get(&deliver.subscription);
        let source = subscription.and_then(|subscription| subscription.sources.get(&deliver.source));
        let (topic, partition) = source.ok_or(ClientError::Protocol("a delivery from a source without a name"))?;
        DeliveredBatch::new(deliver, topic.clone(), *partition, batch, self.verify)
    }

    fn polled(&self, tag: u64, said: Publish<'_>) -> Result<PolledMessage, ClientError> {
        let known = self.topics.iter().find(|(topic, _)| topic.as_bytes() == said.topic);
        let (topic, subscription) = known.ok_or(ClientError::Protocol("a message of a topic not subscribed to"))?;
        Ok(PolledMessage {
            subscription: *subscription,
            tag,
            qos: said.qos,
            topic: topic.clone(),
            value: Bytes::copy_from_slice(said.message),
        })
    }

    /// In version 2 only UNSUBSCRIBE is answered so; in version 1 only SUBSCRIBE.
    fn done(&mut self, correlation: u64, subscription: u64) -> SessionEvent {
        match self.asked.remove(&correlation) {
            Some(topic) => {
                self.topics.retain(|(known, _)| *known != topic);
                self.topics.push((topic, subscription));
            }
            None => {
                self.subscriptions.remove(&subscription);
            }
        }
        SessionEvent::Done { correlation, subscription }
    }

    fn refused(&mut self, correlation: u64, code: u16, text: &str) -> SessionEvent {
        self.granted.remove(&correlation);
        if let Some(topic) = self.asked.remove(&correlation) {
            self.aliases.remove(&topic);
        }
        SessionEvent::Refused { correlation, code, text: text.into() }
    }

    /// A source may have been named before.
    fn subscribed(&mut self, correlation: u64, subscribed: Subscribed) -> SessionEvent {
        let subscription = self.subscriptions.entry(subscribed.subscription).or_default();
        subscription.credit = self.granted.remove(&correlation).unwrap_or_default();
        SessionEvent::Subscribed { correlation, subscribed }
    }

    fn source(&mut self, source: &Source<'_>) -> Result<(), ClientError> {
        let topic = TopicName::parse(source.topic.as_bytes())?;
        let subscription = self.subscriptions.entry(source.subscription).or_default();
        subscription.sources.insert(source.source, (topic, source.partition));
        Ok(())
    }
}
