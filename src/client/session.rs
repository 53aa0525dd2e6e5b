//! One connection's protocol state on the client's side: bytes in, events out; calls in, bytes out.
//!
//! ```text
//! session.inbox().receive(bytes)                    // or read into session.inbox().room()
//! while let Some(event) = session.poll()? { .. }    // what came of it
//! session.outbox()                                  // what is to be sent
//! ```
//!
//! Every call returns the correlation id that its answer will carry. The upper sixteen bits of a correlation id are
//! its owner, chosen by the caller, so that answers find their way without a table.

use std::collections::HashMap;
use std::fmt;

use bytes::Bytes;

use super::credit::CreditBook;
use super::frames::{FrameBuffer, RawFrame};
use super::outbox::Outbox;
use super::{ClientError, DeliveredBatch, PolledMessage, SubscribeOptions};
use crate::model::{Limits, Qos, TopicName};
use crate::protocol::native::reply::{Deliver, Published, Source, Subscribed, Welcome};
use crate::protocol::native::request::{Credit, GoAway, Publish, Settle, What};
use crate::protocol::native::{Response, command, response};

/// What a session is opened with.
#[derive(Clone)]
pub struct SessionOptions {
    /// 1 or 2.
    pub version: u8,
    pub api_key: String,
    /// Largest frame that is accepted from the broker.
    pub frame_max: usize,
    /// Check the checksum of every delivered batch.
    pub verify: bool,
}

impl Default for SessionOptions {
    fn default() -> SessionOptions {
        SessionOptions { version: 2, api_key: String::new(), frame_max: Limits::FRAME_MAX, verify: true }
    }
}

impl fmt::Debug for SessionOptions {
    /// Without the key: what is printed is logged.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SessionOptions { version, frame_max, verify, .. } = self;
        write!(f, "SessionOptions {{ version: {version}, frame_max: {frame_max}, verify: {verify}, .. }}")
    }
}

/// Who a call is made for: the upper sixteen bits of its correlation id.
pub type Owner = u16;

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
    /// To be given back with [`ClientSession::release`] once it is handled: that returns the credit.
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

/// The owner of a correlation id.
#[must_use]
pub const fn owner_of(correlation: u64) -> Owner {
    (correlation >> OWNER_SHIFT) as Owner
}

const OWNER_SHIFT: u32 = 48;
const HELLO: u64 = 1;
const AUTH: u64 = 2;

/// One session. Pure: opens nothing, reads no clock.
#[derive(Debug)]
pub struct ClientSession {
    inbox: FrameBuffer,
    outbox: Outbox,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Hello,
    Auth,
    Ready,
    Over,
}

/// Everything but the bytes.
#[derive(Debug)]
struct State {
    version: u8,
    verify: bool,
    stage: Stage,
    next: u64,
    welcome: Option<Welcome>,
    aliases: HashMap<TopicName, u32>,
    next_alias: u32,
    /// Version 2: by subscription.
    subscriptions: HashMap<u64, Subscription>,
    /// Version 2: credit granted by SUBSCRIBE_WITH not answered yet, by correlation id.
    granted: HashMap<u64, CreditBook>,
    /// Version 1: a SUBSCRIBE not answered yet, by correlation id. Version 2: an ALIAS.
    asked: HashMap<u64, TopicName>,
    /// Version 1: the subscription of a topic.
    topics: Vec<(TopicName, u64)>,
}

#[derive(Debug, Default)]
struct Subscription {
    sources: HashMap<u32, (TopicName, u32)>,
    credit: CreditBook,
}

impl ClientSession {
    /// HELLO and AUTH are in the outbox.
    ///
    /// # Panics
    /// If the version is not 1 or 2, or the key is longer than 65,535 bytes.
    #[must_use]
    pub fn new(options: &SessionOptions) -> ClientSession {
        assert!(matches!(options.version, 1 | 2), "the versions are 1 and 2");
        let mut outbox = Outbox::default();
        outbox.write(|out| command::hello(out, HELLO, options.version.into()));
        outbox.write(|out| command::auth(out, AUTH, &options.api_key));
        let state = State::new(options.version, options.verify);
        ClientSession { inbox: FrameBuffer::new(options.frame_max), outbox, state }
    }

    /// What has been received.
    pub fn inbox(&mut self) -> &mut FrameBuffer {
        &mut self.inbox
    }

    /// What is to be sent.
    pub fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    /// What has been received and not been looked at, when the session is no longer wanted.
    #[must_use]
    pub fn into_inbox(self) -> FrameBuffer {
        self.inbox
    }

    /// 1 or 2.
    #[must_use]
    pub fn version(&self) -> u8 {
        self.state.version
    }

    /// Whether the handshake is over.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.state.stage == Stage::Ready
    }

    /// The broker's limits; version 2, once ready.
    #[must_use]
    pub fn welcome(&self) -> Option<&Welcome> {
        self.state.welcome.as_ref()
    }

    /// The largest frame that may be sent.
    #[must_use]
    pub fn frame_max(&self) -> usize {
        self.state.welcome.map_or(Limits::FRAME_MAX, |welcome| welcome.frame_max as usize)
    }

    /// What came; call until `None`. An error is final.
    pub fn poll(&mut self) -> Result<Option<SessionEvent>, ClientError> {
        if self.state.stage == Stage::Over {
            return Err(ClientError::Closed);
        }
        let event = self.state.next_event(&mut self.inbox);
        if event.is_err() {
            self.state.stage = Stage::Over;
        }
        event
    }

    /// A correlation id that was not given before.
    pub fn correlation(&mut self, owner: Owner) -> u64 {
        self.state.next += 1;
        u64::from(owner) << OWNER_SHIFT | self.state.next & ((1 << OWNER_SHIFT) - 1)
    }

    /// Answered by `Pong` when everything before it has been handled.
    pub fn ping(&mut self, owner: Owner) -> u64 {
        let correlation = self.correlation(owner);
        self.outbox.write(|out| command::ping(out, correlation));
        correlation
    }

    /// Version 2. The alias of a topic, with the correlation id of its ALIAS if it had none before. The alias can be
    /// used at once; if it is refused, so is everything that was published with it.
    pub fn alias(&mut self, owner: Owner, topic: &TopicName) -> (u32, Option<u64>) {
        if let Some(alias) = self.state.aliases.get(topic) {
            return (*alias, None);
        }
        let alias = self.state.next_alias;
        self.state.next_alias += 1;
        self.state.aliases.insert(topic.clone(), alias);
        let correlation = self.correlation(owner);
        self.state.asked.insert(correlation, topic.clone());
        self.outbox.write(|out| command::alias(out, correlation, alias, topic.as_bytes()));
        (alias, Some(correlation))
    }

    /// Version 2. The batch is sent as it is; `correlation` is of [`ClientSession::correlation`].
    pub fn publish_batch(
        &mut self,
        correlation: u64,
        said: &command::BatchFor,
        batch: Bytes,
    ) -> Result<(), ClientError> {
        let (bytes, most) = (batch.len() + command::PUBLISH_BATCH_HEAD, self.frame_max());
        if bytes > most {
            return Err(ClientError::TooLarge { bytes, most });
        }
        self.outbox.push(&command::publish_batch_head(correlation, said, batch.len()), batch);
        Ok(())
    }

    /// Version 2. Answered by `Subscribed`.
    pub fn subscribe_with(&mut self, owner: Owner, options: &SubscribeOptions) -> u64 {
        let correlation = self.correlation(owner);
        self.outbox.write(|out| command::subscribe_with(out, correlation, &options.said()));
        let book = CreditBook::new(options.credit_messages, options.credit_bytes);
        self.state.granted.insert(correlation, book);
        correlation
    }

    /// Version 2. A delivered batch has been handled: its credit goes back, many batches at a time.
    pub fn release(&mut self, batch: &DeliveredBatch) {
        let id = batch.deliver.subscription;
        let Some(subscription) = self.state.subscriptions.get_mut(&id) else { return };
        if let Some((messages, bytes)) = subscription.credit.used(batch.count(), batch.credit_bytes()) {
            self.credit(&Credit { subscription: id, messages, bytes });
        }
    }

    /// Version 2. Room for more deliveries, beside what [`ClientSession::release`] gives back.
    pub fn credit(&mut self, credit: &Credit) {
        let correlation = self.correlation(0);
        self.outbox.write(|out| command::credit(out, correlation, credit));
    }

    /// Version 2. Not answered, unless it is refused.
    pub fn settle(&mut self, owner: Owner, settle: &Settle) -> u64 {
        let correlation = self.correlation(owner);
        self.outbox.write(|out| command::settle(out, correlation, settle));
        correlation
    }

    /// Version 2. Answered by `Done`.
    pub fn unsubscribe(&mut self, owner: Owner, subscription: u64, delete: bool) -> u64 {
        let correlation = self.correlation(owner);
        self.outbox.write(|out| command::unsubscribe(out, correlation, subscription, delete));
        correlation
    }

    /// Version 2. Answered by `Answer`.
    pub fn query(&mut self, owner: Owner, what: What, limit: u32) -> u64 {
        let correlation = self.correlation(owner);
        self.outbox.write(|out| command::query(out, correlation, what, limit));
        correlation
    }

    /// Version 2. Nothing is to be said after it.
    pub fn go_away(&mut self, go_away: &GoAway<'_>) {
        self.outbox.write(|out| command::go_away(out, go_away));
    }

    /// Version 1. Not answered, unless it is refused.
    pub fn publish(&mut self, owner: Owner, qos: Qos, topic: &TopicName, message: &[u8]) -> Result<u64, ClientError> {
        let (bytes, most) = (16 + topic.as_bytes().len() + message.len(), self.frame_max());
        if bytes > most {
            return Err(ClientError::TooLarge { bytes, most });
        }
        let correlation = self.correlation(owner);
        self.outbox.write(|out| command::publish(out, correlation, qos, topic.as_bytes(), message));
        Ok(correlation)
    }

    /// Version 1. Answered by `Done` with the subscription's number.
    pub fn subscribe(&mut self, owner: Owner, topic: &TopicName, qos: Qos) -> u64 {
        let correlation = self.correlation(owner);
        self.outbox.write(|out| command::subscribe(out, correlation, topic.as_bytes(), qos));
        self.state.asked.insert(correlation, topic.clone());
        correlation
    }

    /// Version 1. Answered by one `Message`, or by nothing.
    pub fn poll_message(&mut self, owner: Owner, subscription: u64) -> u64 {
        let correlation = self.correlation(owner);
        self.outbox.write(|out| command::poll(out, correlation, subscription));
        correlation
    }

    /// Version 1. Not answered, unless it is refused, with the tag as correlation id.
    pub fn ack(&mut self, subscription: u64, tag: u64) {
        self.outbox.write(|out| command::ack(out, tag, subscription));
    }
}

impl State {
    fn new(version: u8, verify: bool) -> State {
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

    fn next_event(&mut self, inbox: &mut FrameBuffer) -> Result<Option<SessionEvent>, ClientError> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::record_batch::BatchBuilder;
    use crate::model::{Offset, Timestamp};
    use crate::protocol::ErrorCode;
    use crate::protocol::native::reply::{self, Reached};
    use bytes::BytesMut;
    use proptest::prelude::*;

    const WELCOME: Welcome = Welcome {
        version: 2,
        capabilities: 0,
        frame_max: 1000,
        aliases_max: 10,
        in_flight_max: 10,
        topic_len_max: 512,
        shards: 1,
    };

    fn new(version: u8) -> ClientSession {
        ClientSession::new(&SessionOptions { version, api_key: "secret".into(), ..SessionOptions::default() })
    }

    /// Drops what is to be sent.
    fn sent(session: &mut ClientSession) -> usize {
        std::iter::from_fn(|| session.outbox().take()).map(|piece| piece.len()).sum()
    }

    fn events(session: &mut ClientSession) -> Vec<SessionEvent> {
        std::iter::from_fn(|| session.poll().unwrap()).collect()
    }

    fn greeting(out: &mut BytesMut) {
        reply::welcome(out, HELLO, &WELCOME);
        reply::ack(out, AUTH, 0);
    }

    fn ready() -> ClientSession {
        let (mut session, mut out) = (new(2), BytesMut::new());
        greeting(&mut out);
        session.inbox().receive(&out);
        assert!(matches!(events(&mut session)[..], [SessionEvent::Ready]));
        sent(&mut session);
        session
    }

    fn batch(values: &[&[u8]], base: u64) -> Bytes {
        let mut builder = BatchBuilder::new();
        values.iter().for_each(|value| builder.push(Timestamp(5), value));
        builder.finish(Offset(base), None)
    }

    fn deliver(out: &mut BytesMut, first: u64, count: u32, batch: &[u8]) {
        let first_offset = Offset(first);
        let (qos, redelivery, attempt) = (Qos::AtLeastOnce, false, 1);
        let deliver = Deliver { subscription: 7, source: 3, qos, redelivery, attempt, first_offset, count };
        out.extend_from_slice(&reply::deliver_head(&deliver, batch.len()));
        out.extend_from_slice(batch);
    }

    /// What a broker says when one subscribes, with `correlation` for SUBSCRIBE_WITH.
    fn subscription(out: &mut BytesMut, correlation: u64) {
        let subscribed = Subscribed { subscription: 7, next_offset: Offset(10), sources: 1 };
        reply::subscribed(out, correlation, &subscribed);
        let topic = "demo";
        reply::source(out, &Source { subscription: 7, source: 3, partition: 1, next_offset: Offset(10), topic });
    }

    fn conversation() -> BytesMut {
        let mut out = BytesMut::new();
        greeting(&mut out);
        subscription(&mut out, 3);
        deliver(&mut out, 11, 2, &batch(&[b"a", b"b", b"c", b"d"], 10));
        reply::nack(&mut out, 9, ErrorCode::Unknown, "unknown source");
        reply::go_away(&mut out, &GoAway { code: 503, retry_after_ms: 1, text: "draining" });
        out
    }

    #[test]
    fn hello_and_auth_are_said_at_once_and_both_must_be_accepted() {
        let mut session = new(1);
        assert_eq!(sent(&mut session), 15 + 21);
        let mut out = BytesMut::new();
        reply::ack(&mut out, HELLO, 0);
        session.inbox().receive(&out);
        assert!(events(&mut session).is_empty() && !session.is_ready());
        out.clear();
        reply::nack(&mut out, AUTH, ErrorCode::Unauthenticated, "invalid API key");
        session.inbox().receive(&out);
        assert!(matches!(session.poll(), Err(ClientError::Refused { code: 401, .. })));
        assert!(matches!(session.poll(), Err(ClientError::Closed)));
    }

    #[test]
    fn only_the_delivered_records_of_a_batch_are_seen() {
        let mut session = ready();
        let correlation = session.subscribe_with(1, &SubscribeOptions::new("demo").credit(4, 1 << 20));
        assert_eq!(owner_of(correlation), 1);
        let mut out = BytesMut::new();
        subscription(&mut out, correlation);
        deliver(&mut out, 11, 2, &batch(&[b"a", b"b", b"c", b"d"], 10));
        session.inbox().receive(&out);
        let events = events(&mut session);
        let [SessionEvent::Subscribed { .. }, SessionEvent::Delivered(batch)] = &events[..] else {
            panic!("{events:?}")
        };
        let seen: Vec<_> = batch.messages().map(|message| (message.offset.0, message.value)).collect();
        assert_eq!(seen, [(11, &b"b"[..]), (12, &b"c"[..])]);
        assert_eq!((batch.topic.as_str(), batch.partition), ("demo", 1));
        sent(&mut session);
        session.release(batch);
        assert_eq!(sent(&mut session), 29, "half of the credit is used, so it is given back");
    }

    #[test]
    fn a_delivery_that_cannot_be_is_the_brokers_fault() {
        let whole = batch(&[b"a", b"b"], 10);
        let mut damaged = whole.to_vec();
        *damaged.last_mut().unwrap() ^= 1;
        let wrong: [(u64, u32, &[u8]); 5] =
            [(9, 1, &whole), (10, 3, &whole), (12, 1, &whole), (10, 2, &damaged), (10, 2, &whole[..60])];
        for (first, count, batch) in wrong {
            let mut session = ready();
            let mut out = BytesMut::new();
            subscription(&mut out, 3);
            deliver(&mut out, first, count, batch);
            session.inbox().receive(&out);
            assert!(matches!(session.poll(), Ok(Some(SessionEvent::Subscribed { .. }))));
            assert!(matches!(session.poll(), Err(ClientError::Protocol(_) | ClientError::Batch(_))));
        }
        let mut session = ready();
        let mut out = BytesMut::new();
        deliver(&mut out, 10, 2, &whole);
        session.inbox().receive(&out);
        assert!(matches!(session.poll(), Err(ClientError::Protocol(_))), "a source without a name");
    }

    #[test]
    fn a_topic_is_named_once_and_again_after_a_refusal() {
        let mut session = ready();
        let topic = TopicName::parse(b"demo").unwrap();
        let (alias, asked) = session.alias(0, &topic);
        assert_eq!(session.alias(0, &topic), (alias, None));
        let mut out = BytesMut::new();
        reply::nack(&mut out, asked.unwrap(), ErrorCode::OverLimit, "too many aliases");
        session.inbox().receive(&out);
        assert!(matches!(events(&mut session)[..], [SessionEvent::Refused { code: 429, .. }]));
        assert_ne!(session.alias(0, &topic).0, alias);
    }

    #[test]
    fn a_batch_beyond_the_brokers_bound_is_not_sent() {
        let mut session = ready();
        let large = batch(&[&[0; 2000]], 0);
        let refused = session.publish_batch(5, &command::BatchFor::default(), large);
        assert!(matches!(refused, Err(ClientError::TooLarge { most: 1000, .. })));
        assert!(session.outbox().is_empty());
        let published =
            Published { partition: 0, base_offset: Offset(1), count: 1, reached: Reached::Written, duplicate: false };
        let mut out = BytesMut::new();
        reply::published(&mut out, 5, &published);
        session.inbox().receive(&out);
        assert!(matches!(events(&mut session)[..], [SessionEvent::Published { correlation: 5, .. }]));
    }

    #[test]
    fn a_conversation_cut_anywhere_tells_the_same_in_two_parts() {
        let all = conversation();
        for cut in 0..all.len() {
            let mut session = new(2);
            session.inbox().receive(&all[..cut]);
            let mut seen = events(&mut session).len();
            session.inbox().receive(&all[cut..]);
            seen += events(&mut session).len();
            assert_eq!(seen, 5, "cut at {cut}");
        }
    }

    proptest! {
        #[test]
        fn a_garbled_conversation_never_panics(at in any::<prop::sample::Index>(), byte in any::<u8>(), version in 1u8..=2) {
            let mut all = conversation().to_vec();
            let at = at.index(all.len());
            all[at] = byte;
            let mut session = new(version);
            session.inbox().receive(&all);
            while let Ok(Some(event)) = session.poll() {
                if let SessionEvent::Delivered(batch) = event {
                    batch.messages().for_each(|message| drop(batch.own(&message)));
                    session.release(&batch);
                }
            }
        }

        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), version in 1u8..=2) {
            let mut session = new(version);
            session.inbox().receive(&bytes);
            while let Ok(Some(_)) = session.poll() {}
        }
    }
}
