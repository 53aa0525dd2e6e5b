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

use std::fmt;

use bytes::Bytes;

use super::credit::CreditBook;
use super::frames::FrameBuffer;
use super::heard::{AUTH, HELLO, SessionEvent, Stage, State};
use super::outbox::Outbox;
use super::{ClientError, DeliveredBatch, SubscribeOptions};
use crate::model::{Limits, Qos, TopicName};
use crate::protocol::native::command;
use crate::protocol::native::reply::Welcome;
use crate::protocol::native::request::{Credit, GoAway, Settle, What};

/// What a session is opened with.
#[derive(Clone)]
pub struct SessionOptions {
    /// 1 or 2.
    pub version: u8,
    pub api_key: String,
    /// Largest frame that the broker accepts; [`Limits::DELIVERY_MORE`] more is accepted from it.
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

/// The owner of a correlation id.
#[must_use]
pub const fn owner_of(correlation: u64) -> Owner {
    (correlation >> OWNER_SHIFT) as Owner
}

const OWNER_SHIFT: u32 = 48;

/// One session. Pure: opens nothing, reads no clock.
#[derive(Debug)]
pub struct ClientSession {
    inbox: FrameBuffer,
    outbox: Outbox,
    state: State,
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
        ClientSession { inbox: FrameBuffer::new(options.frame_max + Limits::DELIVERY_MORE), outbox, state }
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
