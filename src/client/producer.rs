//! Messages of one topic on their way: gathered into batches, sent, and remembered until they are confirmed.

use std::collections::VecDeque;

use bytes::Bytes;

use super::session::{ClientSession, Owner};
use super::{ClientError, ProducerOptions};
use crate::model::record_batch::{self, BatchBuilder, Producer as ProducerFields, RecordExtras};
use crate::model::{Instant, Offset};
use crate::protocol::native::command::BatchFor;
use crate::protocol::native::reply::Published;

/// Gathers, sends and remembers. Pure: time is an input.
#[derive(Debug)]
pub struct Producer {
    options: ProducerOptions,
    alias: u32,
    owner: Owner,
    builder: BatchBuilder,
    /// When the first message of the batch that is being gathered came.
    opened: Instant,
    window: VecDeque<Unconfirmed>,
    failed: Vec<Failed>,
    outcomes: Vec<Outcome>,
    /// The number of the next message to be sent.
    number: u64,
    totals: ProducerTotals,
}

/// A batch that was sent and not yet confirmed.
#[derive(Clone, Debug)]
struct Unconfirmed {
    correlation: u64,
    first: u64,
    count: u32,
    batch: Bytes,
}

/// A batch that the broker refused.
#[derive(Clone, Debug)]
pub struct Failed {
    pub code: u16,
    pub text: String,
    /// To be sent again with [`Producer::resend`], or not.
    pub batch: Bytes,
}

/// What became of the messages `first .. first + count`, counted from 0 in the order they were sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub first: u64,
    pub count: u32,
    /// Where they went, or the code of the refusal.
    pub result: Result<Published, u16>,
}

/// What a producer has counted, in messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProducerTotals {
    pub published: u64,
    pub sent: u64,
    pub confirmed: u64,
    pub refused: u64,
    /// The last confirmation.
    pub last: Option<Published>,
}

impl Producer {
    /// `alias` names the topic; `owner` is where the confirmations are wanted.
    #[must_use]
    pub fn new(options: ProducerOptions, alias: u32, owner: Owner) -> Producer {
        Producer {
            options,
            alias,
            owner,
            builder: BatchBuilder::new(),
            opened: Instant(0),
            window: VecDeque::new(),
            failed: Vec::new(),
            outcomes: Vec::new(),
            number: 0,
            totals: ProducerTotals::default(),
        }
    }

    /// Adds a message. True: the batch is to be cut before the next one.
    #[inline]
    pub fn push(&mut self, now: Instant, value: &[u8], extras: RecordExtras<'_>) -> bool {
        if self.builder.is_empty() {
            self.opened = now;
        }
        self.builder.push_with(now.timestamp(), value, extras);
        self.totals.published += 1;
        self.builder.count() >= self.options.batch_messages || self.builder.len() >= self.options.batch_bytes
    }

    /// Whether the batch that is being gathered has waited long enough.
    #[must_use]
    pub fn is_due(&self, now: Instant) -> bool {
        !self.builder.is_empty() && now.since(self.opened) >= self.options.linger
    }

    /// Whether there is something to cut.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.builder.is_empty()
    }

    /// Whether another batch may be sent before one is confirmed.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.window.len() < self.options.window
    }

    /// Batches sent and not yet confirmed.
    #[must_use]
    pub fn unconfirmed(&self) -> usize {
        self.window.len()
    }

    /// Ends the batch that is being gathered, if there is one, and sends it.
    pub fn cut(&mut self, session: &mut ClientSession) -> Result<(), ClientError> {
        if self.builder.is_empty() {
            return Ok(());
        }
        let count = self.builder.count();
        let fields = self.take_sequence(count);
        let batch = self.builder.finish(Offset::ZERO, fields);
        let sent = self.send(session, batch, count);
        if sent.is_err() {
            self.totals.refused += u64::from(count);
        }
        sent
    }

    /// Sends a batch that was sent before, perhaps by another producer on another connection, once more. Its
    /// sequence numbers are its own, so a broker that has it already says so and keeps one.
    pub fn resend(&mut self, session: &mut ClientSession, batch: Bytes) -> Result<(), ClientError> {
        let count = record_batch::check_envelope(&batch)?.count;
        self.totals.published += u64::from(count);
        self.send(session, batch, count)
    }

    /// A batch was confirmed. False: it is not one of this producer's.
    pub fn confirmed(&mut self, correlation: u64, published: Published) -> bool {
        let Some(batch) = self.remove(correlation) else { return false };
        self.totals.confirmed += u64::from(batch.count);
        self.totals.last = Some(published);
        self.note(&batch, Ok(published));
        true
    }

    /// A batch was refused. False: it is not one of this producer's, or it was not to be confirmed.
    pub fn refused(&mut self, correlation: u64, code: u16, text: String) -> bool {
        let Some(batch) = self.remove(correlation) else { return false };
        self.totals.refused += u64::from(batch.count);
        self.note(&batch, Err(code));
        self.failed.push(Failed { code, text, batch: batch.batch });
        true
    }

    /// The batches that were refused since this was last asked.
    pub fn take_failed(&mut self) -> Vec<Failed> {
        std::mem::take(&mut self.failed)
    }

    /// What became of each batch since this was last asked, in the order the broker said it.
    pub fn take_outcomes(&mut self) -> Vec<Outcome> {
        std::mem::take(&mut self.outcomes)
    }

    /// The batches that nothing is known of, oldest first: what to [`Producer::resend`] after the connection was lost.
    pub fn unconfirmed_batches(&self) -> impl Iterator<Item = &Bytes> {
        self.window.iter().map(|unconfirmed| &unconfirmed.batch)
    }

    /// What has been counted.
    #[must_use]
    pub fn totals(&self) -> &ProducerTotals {
        &self.totals
    }

    /// The options as they are now: with the sequence number of the next message.
    #[must_use]
    pub fn options(&self) -> &ProducerOptions {
        &self.options
    }

    fn send(&mut self, session: &mut ClientSession, batch: Bytes, count: u32) -> Result<(), ClientError> {
        let correlation = session.correlation(self.owner);
        let first = self.number;
        self.number += u64::from(count);
        let said = BatchFor {
            alias: self.alias,
            partition: self.options.partition,
            qos: self.options.qos,
            acknowledge: self.options.acknowledge,
            must_route: self.options.must_route,
            ttl_ms: self.options.ttl_ms,
        };
        session.publish_batch(correlation, &said, batch.clone())?;
        if self.options.acknowledge {
            self.window.push_back(Unconfirmed { correlation, first, count, batch });
        }
        self.totals.sent += u64::from(count);
        Ok(())
    }

    /// Sequence numbers go from 0 to `i32::MAX` and begin again.
    fn take_sequence(&mut self, count: u32) -> Option<ProducerFields> {
        let idempotence = self.options.idempotent.as_mut()?;
        let base_sequence = idempotence.next_sequence;
        idempotence.next_sequence = ((i64::from(base_sequence) + i64::from(count)) & i64::from(i32::MAX)) as i32;
        Some(ProducerFields { id: idempotence.producer_id, epoch: idempotence.epoch, base_sequence })
    }

    /// Confirmations come in order, or nearly.
    fn remove(&mut self, correlation: u64) -> Option<Unconfirmed> {
        let at = self.window.iter().position(|batch| batch.correlation == correlation)?;
        self.window.remove(at)
    }

    fn note(&mut self, batch: &Unconfirmed, result: Result<Published, u16>) {
        if self.options.outcomes {
            self.outcomes.push(Outcome { first: batch.first, count: batch.count, result });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::SessionOptions;
    use crate::protocol::native::reply::Reached;
    use std::time::Duration;

    fn producer(options: ProducerOptions) -> (ClientSession, Producer) {
        (ClientSession::new(&SessionOptions::default()), Producer::new(options, 4, 1))
    }

    fn published(count: u32) -> Published {
        Published { partition: 0, base_offset: Offset(9), count, reached: Reached::Synced, duplicate: false }
    }

    #[test]
    fn a_batch_is_full_by_messages_or_bytes_and_due_by_time() {
        let (_, mut by_count) = producer(ProducerOptions::default().batch(2, 1 << 20));
        assert!(!by_count.push(Instant(0), b"a", RecordExtras::default()));
        assert!(by_count.push(Instant(0), b"b", RecordExtras::default()));
        let (_, mut by_bytes) = producer(ProducerOptions::default().batch(100, 1000));
        assert!(by_bytes.push(Instant(0), &[0; 1000], RecordExtras::default()));
        let linger = Duration::from_millis(5);
        let (_, mut by_time) = producer(ProducerOptions::default().linger(linger));
        assert!(!by_time.is_due(Instant(1 << 40)));
        by_time.push(Instant(100), b"a", RecordExtras::default());
        by_time.push(Instant(4_000_000), b"a", RecordExtras::default());
        assert!(!by_time.is_due(Instant(5_000_099)));
        assert!(by_time.is_due(Instant(5_000_100)), "the first message decides");
    }

    #[test]
    fn batches_are_remembered_until_they_are_confirmed_in_any_order() {
        let (mut session, mut producer) = producer(ProducerOptions::default().window(2).outcomes());
        let mut names = Vec::new();
        for _ in 0..2 {
            assert!(producer.has_room());
            producer.push(Instant(0), b"a", RecordExtras::default());
            producer.cut(&mut session).unwrap();
            names.push(producer.window.back().unwrap().correlation);
        }
        assert!(!producer.has_room());
        assert!(producer.refused(names[1], 507, "disk full".into()));
        assert!(producer.confirmed(names[0], published(1)));
        assert!(!producer.confirmed(names[0], published(1)), "once");
        assert_eq!(producer.unconfirmed_batches().count(), 0);
        let totals = *producer.totals();
        assert_eq!((totals.sent, totals.confirmed, totals.refused), (2, 1, 1));
        let outcomes = producer.take_outcomes();
        assert_eq!(outcomes[0], Outcome { first: 1, count: 1, result: Err(507) });
        assert_eq!(outcomes[1], Outcome { first: 0, count: 1, result: Ok(published(1)) });
    }

    #[test]
    fn sequence_numbers_follow_on_and_begin_again_after_the_largest() {
        let (mut session, mut producer) = producer(ProducerOptions::default().idempotent(7, 1, i32::MAX - 1));
        for expected in [i32::MAX - 1, 1, 4] {
            for value in [b"a", b"b", b"c"] {
                producer.push(Instant(0), value, RecordExtras::default());
            }
            producer.cut(&mut session).unwrap();
            let header = record_batch::header(producer.unconfirmed_batches().last().unwrap()).unwrap();
            assert_eq!(header.producer, Some(ProducerFields { id: 7, epoch: 1, base_sequence: expected }));
        }
    }

    #[test]
    fn a_batch_sent_again_keeps_its_sequence_numbers() {
        let (mut session, mut lost) = producer(ProducerOptions::default().idempotent(7, 1, 0));
        lost.push(Instant(0), b"a", RecordExtras::default());
        lost.cut(&mut session).unwrap();
        let (mut session, mut next) = producer(lost.options().clone());
        for batch in lost.unconfirmed_batches() {
            next.resend(&mut session, batch.clone()).unwrap();
        }
        assert_eq!(next.unconfirmed_batches().collect::<Vec<_>>(), lost.unconfirmed_batches().collect::<Vec<_>>());
        assert_eq!(next.options().idempotent.unwrap().next_sequence, 1);
    }

    #[test]
    fn what_need_not_be_confirmed_is_not_remembered() {
        let (mut session, mut producer) = producer(ProducerOptions::at_most_once().window(1));
        for _ in 0..3 {
            producer.push(Instant(0), b"a", RecordExtras::default());
            producer.cut(&mut session).unwrap();
            assert!(producer.has_room());
        }
    }
}
