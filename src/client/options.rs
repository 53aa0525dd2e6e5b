//! What a caller may choose of a subscription, of a producer, of one publish.

use std::time::Duration;

use crate::model::{Offset, Qos, StartAt, SubscriptionMode, Timestamp};
use crate::protocol::native::request::SubscribeWith;

/// A version 2 subscription: from the latest record on, QoS 0, not durable, unless said otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscribeOptions {
    pub pattern: String,
    pub qos: Qos,
    pub mode: SubscriptionMode,
    /// Settled when sent: no acknowledgements, no redelivery.
    pub auto_acknowledge: bool,
    pub start: StartAt,
    /// Zero in both: nothing is granted by itself, not now and not later.
    pub credit_messages: u32,
    pub credit_bytes: u32,
    /// Zero: the broker's default.
    pub retry_delay_ms: u32,
    /// `None`: the broker's default.
    pub max_retries: Option<u16>,
    /// Empty: not durable.
    pub name: String,
    /// Empty: none.
    pub dead_letter: String,
}

impl SubscribeOptions {
    /// Credit in messages, unless said otherwise.
    pub const CREDIT_MESSAGES: u32 = 65_536;
    /// Credit in bytes, unless said otherwise.
    pub const CREDIT_BYTES: u32 = 8 * 1024 * 1024;

    /// A topic, or a pattern with `*` for one token and `>` for the rest.
    #[must_use]
    pub fn new(pattern: &str) -> SubscribeOptions {
        SubscribeOptions {
            pattern: pattern.into(),
            qos: Qos::AtMostOnce,
            mode: SubscriptionMode::Exclusive,
            auto_acknowledge: false,
            start: StartAt::Latest,
            credit_messages: SubscribeOptions::CREDIT_MESSAGES,
            credit_bytes: SubscribeOptions::CREDIT_BYTES,
            retry_delay_ms: 0,
            max_retries: None,
            name: String::new(),
            dead_letter: String::new(),
        }
    }

    /// At least once: delivered until acknowledged.
    #[must_use]
    pub fn at_least_once(self) -> SubscribeOptions {
        SubscribeOptions { qos: Qos::AtLeastOnce, ..self }
    }

    /// At most once or at least once.
    #[must_use]
    pub fn qos(self, qos: Qos) -> SubscribeOptions {
        SubscribeOptions { qos, ..self }
    }

    /// Kept by the broker under this name while nobody is connected.
    #[must_use]
    pub fn durable(self, name: &str) -> SubscribeOptions {
        SubscribeOptions { name: name.into(), ..self }
    }

    /// Competing consumers: each message goes to one of those who subscribe under the same name.
    #[must_use]
    pub fn shared(self) -> SubscribeOptions {
        SubscribeOptions { mode: SubscriptionMode::Shared, ..self }
    }

    /// Settled when sent.
    #[must_use]
    pub fn auto_acknowledge(self) -> SubscribeOptions {
        SubscribeOptions { auto_acknowledge: true, ..self }
    }

    /// Where to begin if there is no cursor yet.
    #[must_use]
    pub fn start(self, start: StartAt) -> SubscribeOptions {
        SubscribeOptions { start, ..self }
    }

    /// From the oldest record that is kept.
    #[must_use]
    pub fn earliest(self) -> SubscribeOptions {
        self.start(StartAt::Earliest)
    }

    /// From this offset in each partition.
    #[must_use]
    pub fn from_offset(self, offset: u64) -> SubscribeOptions {
        self.start(StartAt::Offset(Offset(offset)))
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub fn from_time(self, time: Timestamp) -> SubscribeOptions {
        self.start(StartAt::Time(time))
    }

    /// How much may be on its way to the caller at any moment.
    #[must_use]
    pub fn credit(self, messages: u32, bytes: u32) -> SubscribeOptions {
        SubscribeOptions { credit_messages: messages, credit_bytes: bytes, ..self }
    }

    /// The delay before the first redelivery, and how many there are.
    #[must_use]
    pub fn retries(self, delay_ms: u32, most: u16) -> SubscribeOptions {
        SubscribeOptions { retry_delay_ms: delay_ms, max_retries: Some(most), ..self }
    }

    /// Where messages go whose retries are used up.
    #[must_use]
    pub fn dead_letter(self, topic: &str) -> SubscribeOptions {
        SubscribeOptions { dead_letter: topic.into(), ..self }
    }

    /// As it is said on the wire.
    #[must_use]
    pub fn said(&self) -> SubscribeWith<'_> {
        SubscribeWith {
            qos: self.qos,
            mode: self.mode,
            auto_acknowledge: self.auto_acknowledge,
            start: self.start,
            credit_messages: self.credit_messages,
            credit_bytes: self.credit_bytes,
            retry_delay_ms: self.retry_delay_ms,
            max_retries: self.max_retries,
            name: &self.name,
            dead_letter: self.dead_letter.as_bytes(),
            pattern: self.pattern.as_bytes(),
        }
    }
}

/// How a producer makes and sends its batches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerOptions {
    pub qos: Qos,
    /// Have every batch confirmed. Without it nothing is known of what was sent but its refusals.
    pub acknowledge: bool,
    /// Have batches refused with 404 when nobody subscribes.
    pub must_route: bool,
    /// Zero: the topic's.
    pub ttl_ms: u32,
    pub partition: u32,
    /// A batch is cut at so many messages,
    pub batch_messages: u32,
    /// or so many bytes,
    pub batch_bytes: usize,
    /// or when its first message is this old, as far as the caller comes by: a producer has no thread of its own.
    pub linger: Duration,
    /// Confirmations that may be outstanding. Beyond: publishing waits.
    pub window: usize,
    /// Makes a repeated batch not a duplicate: who sends, and the sequence number of the next message.
    pub idempotent: Option<Idempotence>,
    /// Keep what became of each batch, for `take_outcomes`. Whoever asks for it must take it.
    pub outcomes: bool,
}

/// Who sends, and how far they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Idempotence {
    /// Not negative; unique among all producers of the broker, drawn at random for instance.
    pub producer_id: i64,
    pub epoch: i16,
    pub next_sequence: i32,
}

impl Default for ProducerOptions {
    fn default() -> ProducerOptions {
        ProducerOptions {
            qos: Qos::AtLeastOnce,
            acknowledge: true,
            must_route: false,
            ttl_ms: 0,
            partition: 0,
            batch_messages: 1000,
            batch_bytes: 128 * 1024,
            linger: Duration::from_millis(5),
            window: 64,
            idempotent: None,
            outcomes: false,
        }
    }
}

impl ProducerOptions {
    /// QoS 1, confirmed.
    #[must_use]
    pub fn at_least_once() -> ProducerOptions {
        ProducerOptions::default()
    }

    /// QoS 0, not confirmed.
    #[must_use]
    pub fn at_most_once() -> ProducerOptions {
        ProducerOptions { qos: Qos::AtMostOnce, acknowledge: false, ..ProducerOptions::default() }
    }

    /// At how many messages and bytes a batch is cut.
    #[must_use]
    pub fn batch(self, messages: u32, bytes: usize) -> ProducerOptions {
        ProducerOptions { batch_messages: messages.max(1), batch_bytes: bytes.max(1), ..self }
    }

    /// How old the first message of a batch may get.
    #[must_use]
    pub fn linger(self, linger: Duration) -> ProducerOptions {
        ProducerOptions { linger, ..self }
    }

    /// How many confirmations may be outstanding.
    #[must_use]
    pub fn window(self, batches: usize) -> ProducerOptions {
        ProducerOptions { window: batches.max(1), ..self }
    }

    /// Time to live; zero: the topic's.
    #[must_use]
    pub fn ttl_ms(self, ttl_ms: u32) -> ProducerOptions {
        ProducerOptions { ttl_ms, ..self }
    }

    /// Refused with 404 when nobody subscribes.
    #[must_use]
    pub fn must_route(self) -> ProducerOptions {
        ProducerOptions { must_route: true, ..self }
    }

    /// Makes a repeated batch not a duplicate.
    #[must_use]
    pub fn idempotent(self, producer_id: i64, epoch: i16, next_sequence: i32) -> ProducerOptions {
        ProducerOptions { idempotent: Some(Idempotence { producer_id, epoch, next_sequence }), ..self }
    }

    /// Keep what became of each batch.
    #[must_use]
    pub fn outcomes(self) -> ProducerOptions {
        ProducerOptions { outcomes: true, ..self }
    }
}

/// What may be said of one publish beside its value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PublishOptions<'a> {
    pub qos: Qos,
    pub key: Option<&'a [u8]>,
    pub headers: &'a [(&'a [u8], &'a [u8])],
    /// Zero: the topic's.
    pub ttl_ms: u32,
    /// Refuse with 404 when nobody subscribes.
    pub must_route: bool,
}

impl<'a> PublishOptions<'a> {
    /// QoS 0.
    #[must_use]
    pub fn at_most_once() -> PublishOptions<'a> {
        PublishOptions::default()
    }

    /// QoS 1.
    #[must_use]
    pub fn at_least_once() -> PublishOptions<'a> {
        PublishOptions { qos: Qos::AtLeastOnce, ..PublishOptions::default() }
    }

    /// The message's key.
    #[must_use]
    pub fn key(self, key: &'a [u8]) -> PublishOptions<'a> {
        PublishOptions { key: Some(key), ..self }
    }

    /// Names and values.
    #[must_use]
    pub fn headers(self, headers: &'a [(&'a [u8], &'a [u8])]) -> PublishOptions<'a> {
        PublishOptions { headers, ..self }
    }

    /// Time to live; zero: the topic's.
    #[must_use]
    pub fn ttl_ms(self, ttl_ms: u32) -> PublishOptions<'a> {
        PublishOptions { ttl_ms, ..self }
    }

    /// Refused with 404 when nobody subscribes.
    #[must_use]
    pub fn must_route(self) -> PublishOptions<'a> {
        PublishOptions { must_route: true, ..self }
    }
}
