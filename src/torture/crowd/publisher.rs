//! Those who publish: what they do when they know nothing of what they sent makes them different.

use std::collections::VecDeque;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use super::book::Batch;
use super::message::{self, Name};
use super::stage::{Phase, Place};
use super::{Room, lock};
use crate::client::blocking::Client;
use crate::client::{ClientError, ProducerOptions, PublishOptions};
use crate::model::record_batch::{BatchBuilder, Producer};
use crate::model::{Offset, Qos, Timestamp};
use crate::protocol::ErrorCode;

/// Messages of one batch at most.
const BATCH_MAX: u64 = 8;
/// Batches without an answer at most: as many as the broker remembers of one producer.
const WINDOW: usize = 5;
/// The longest pause between two batches.
const PAUSE_MS: u64 = 6;

/// How somebody publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Version 2, QoS 1; says again what was not answered, with its sequence number: nothing is twice.
    Idempotent,
    /// Version 2, QoS 1; says again what was not answered.
    Again,
    /// Version 2, QoS 1; does not care for what was not answered.
    Careless,
    /// Version 2, QoS 0.
    Volatile,
    /// Version 1, QoS 1: there are no answers.
    Old,
    /// Version 1, QoS 0.
    OldVolatile,
}

impl Style {
    pub fn qos(self) -> Qos {
        match self {
            Style::Volatile | Style::OldVolatile => Qos::AtMostOnce,
            _ => Qos::AtLeastOnce,
        }
    }

    /// Whether a message is in the log once at most.
    pub fn is_ordered(self) -> bool {
        self != Style::Again
    }

    pub fn version(self) -> u8 {
        if matches!(self, Style::Old | Style::OldVolatile) { 1 } else { 2 }
    }
}

/// One who publishes, in a thread of its own.
#[derive(Debug)]
pub struct Publisher {
    pub room: Room,
    pub style: Style,
    pub stream: usize,
    pub topic: String,
    pub dice: fastrand::Rng,
    /// Sent, and nothing known of it; in order.
    pub pending: VecDeque<Pending>,
    pub epoch: i16,
}

/// Messages of one batch.
#[derive(Clone, Copy, Debug)]
pub struct Pending {
    first: u64,
    count: u32,
    sent: Instant,
}

impl Publisher {
    /// Until it is over, or until everything is acknowledged at the end.
    pub fn run(mut self) {
        let stage = self.room.stage.clone();
        while let Some(place) = stage.place(Phase::Running) {
            let done = self.visit(&place);
            match done {
                Ok(()) => return,
                Err(error) => self.room.note(&error),
            }
            stage.rest();
        }
    }

    fn visit(&mut self, place: &Place) -> Result<(), ClientError> {
        let client = self.room.connect(place, self.style.version())?;
        match self.style {
            Style::Idempotent | Style::Again | Style::Careless => self.publish_batches(&client, place),
            Style::Volatile | Style::Old | Style::OldVolatile => self.publish_singly(&client),
        }
    }

    /// Nobody answers a message; a PING now and then keeps the broker from being flooded.
    fn publish_singly(&mut self, client: &Client) -> Result<(), ClientError> {
        let options = PublishOptions { qos: self.style.qos(), ..PublishOptions::default() };
        while self.room.stage.phase() == Phase::Running {
            for _ in 0..self.dice.u64(1..=BATCH_MAX) {
                let (_, value) = lock(&self.room.book).send(self.stream);
                client.send(&self.topic, &value, &options)?;
            }
            client.flush()?;
            if self.dice.u8(..8) == 0 {
                client.ping()?;
            }
            self.pause();
        }
        Ok(())
    }

    fn publish_batches(&mut self, client: &Client, place: &Place) -> Result<(), ClientError> {
        let options = ProducerOptions::at_least_once().window(WINDOW).outcomes();
        let mut publisher = client.publisher(&self.topic, options)?;
        let again = std::mem::take(&mut self.pending);
        let mut way = Way { sent: VecDeque::new(), number: 0, waiting: again };
        if self.style == Style::Careless {
            way.waiting.clear();
        }
        let done = self.keep_publishing(&mut publisher, &mut way, place);
        let heard = self.hear(&mut publisher, &mut way, place);
        // What was refused and what was not answered, in the order in which it was made.
        self.pending = way.sent.into_iter().map(|(_, pending)| pending).chain(way.waiting).collect();
        heard.and(done)
    }

    fn keep_publishing(
        &mut self,
        publisher: &mut crate::client::blocking::Publisher,
        way: &mut Way,
        place: &Place,
    ) -> Result<(), ClientError> {
        loop {
            let phase = self.room.stage.phase();
            if phase == Phase::Over {
                return Ok(());
            }
            if way.waiting.is_empty() {
                if phase == Phase::Draining {
                    publisher.flush()?;
                    self.hear(publisher, way, place)?;
                    return if way.sent.is_empty() { Ok(()) } else { Err(ClientError::Closed) };
                }
                let next = self.make();
                way.waiting.push_back(next);
            }
            let mut next = way.waiting.pop_front().expect("just looked");
            next.sent = Instant::now();
            let batch = self.encode(&next);
            way.sent.push_back((way.number, next));
            way.number += u64::from(next.count);
            publisher.resend(batch)?;
            // The first batch of a producer is waited for: only then does the broker know a gap when it sees one.
            if way.number <= BATCH_MAX {
                publisher.flush()?;
            }
            self.hear(publisher, way, place)?;
            self.pause();
            publisher.poll()?;
        }
    }

    fn make(&mut self) -> Pending {
        let count = self.dice.u64(1..=BATCH_MAX) as u32;
        let mut book = lock(&self.room.book);
        let first = book.send(self.stream).0.number;
        (1..count).for_each(|_| drop(book.send(self.stream)));
        Pending { first, count, sent: Instant::now() }
    }

    fn encode(&self, pending: &Pending) -> Bytes {
        let mut builder = BatchBuilder::new();
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        for number in pending.first..pending.first + u64::from(pending.count) {
            let name = Name { stream: self.stream, number };
            builder.push(Timestamp(since.as_millis() as i64), &message::make(self.room.seed, name));
        }
        let producer = Producer { id: self.stream as i64 + 1, epoch: self.epoch, base_sequence: pending.first as i32 };
        builder.finish(Offset::ZERO, (self.style == Style::Idempotent).then_some(producer))
    }

    /// Writes down what was answered; the first refusal is an error.
    fn hear(
        &mut self,
        publisher: &mut crate::client::blocking::Publisher,
        way: &mut Way,
        place: &Place,
    ) -> Result<(), ClientError> {
        let mut refused = None;
        for outcome in publisher.take_outcomes() {
            let at = way.sent.iter().position(|(number, _)| *number == outcome.first);
            let at = at.expect("only what was sent is answered, and once");
            match outcome.result {
                Ok(published) => {
                    let (_, pending) = way.sent.remove(at).expect("just found");
                    let Pending { first, count, sent } = pending;
                    let (offset, duplicate) = (published.base_offset.0, published.duplicate);
                    let batch = Batch { first, count, offset, duplicate, sent };
                    lock(&self.room.book).acknowledged(place.life, self.stream, batch);
                }
                Err(code) => {
                    refused.get_or_insert(code);
                }
            }
        }
        match refused {
            Some(code) => Err(self.refused(code)),
            None => Ok(()),
        }
    }

    /// A producer whose sequence has a gap begins a new epoch, if the broker may have lost something.
    fn refused(&mut self, code: u16) -> ClientError {
        let gap = code == ErrorCode::Conflict.as_u16();
        if gap && self.room.may_lose {
            self.epoch += 1;
        }
        ClientError::Refused { code, text: format!("of stream {}", self.stream) }
    }

    fn pause(&mut self) {
        sleep(Duration::from_millis(self.dice.u64(..=PAUSE_MS)));
    }
}

/// What is sent on one connection.
struct Way {
    /// Not answered, each with the number of its first message among those of this connection.
    sent: VecDeque<(u64, Pending)>,
    number: u64,
    /// To be sent.
    waiting: VecDeque<Pending>,
}
