//! A client that publishes, and says it again when it does not know whether it was heard.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::{Hands, Line};
use crate::model::record_batch::{BatchBuilder, Producer};
use crate::model::{Instant, Offset, Qos};
use crate::protocol::native::command::{self, BatchFor};
use crate::protocol::native::response::Response;
use crate::sim::dice::Dice;
use crate::sim::messages::{MessageId, TopicId};

/// What a publisher is like.
#[derive(Clone, Debug)]
pub struct PublisherPlan {
    pub number: usize,
    pub version: u8,
    pub topics: Vec<TopicId>,
    /// Messages in all.
    pub messages: u32,
    /// Batches that may be unanswered.
    pub window: usize,
    pub batch_max: u32,
    pub len_max: usize,
    pub qos1_per_mille: u32,
    pub ttl_per_mille: u32,
    /// Gives its batches a producer id and sequence numbers, so that it may repeat them.
    pub idempotent: bool,
    /// Longest pause between two turns.
    pub pause_max_us: u64,
}

/// A batch with more bytes gets no more records: every log's segments hold the largest.
const BATCH_BYTES: usize = 24 * 1024;

/// Longer than any run.
const LONG_TTL_MS: u32 = 600_000;

#[derive(Debug)]
pub struct Publisher {
    plan: PublisherPlan,
    left: u32,
    /// By topic: the epoch and the next sequence number.
    sequence: BTreeMap<TopicId, (i16, i32)>,
    builder: BatchBuilder,
    unanswered: VecDeque<Unanswered>,
    /// To be said again before anything new.
    again: VecDeque<Unanswered>,
}

#[derive(Debug)]
struct Unanswered {
    correlation: u64,
    said: BatchFor,
    batch: Bytes,
    idempotent: bool,
}

impl Publisher {
    pub fn new(plan: PublisherPlan) -> Publisher {
        let (unanswered, again) = (VecDeque::new(), VecDeque::new());
        let left = plan.messages;
        Publisher { plan, left, sequence: BTreeMap::new(), builder: BatchBuilder::new(), unanswered, again }
    }

    pub fn has_work(&self, calm: bool) -> bool {
        (self.left > 0 && !calm) || !self.is_finished()
    }

    pub fn is_finished(&self) -> bool {
        self.unanswered.is_empty() && self.again.is_empty()
    }

    pub fn begin(&mut self, line: &mut Line, hands: &mut Hands<'_>) {
        if self.plan.version == 2 {
            for topic in &self.plan.topics {
                let correlation = line.next_correlation();
                let name = hands.book.name(*topic).as_bytes().to_vec();
                command::alias(&mut line.out, correlation, alias_of(*topic), &name);
            }
        }
        while let Some(unanswered) = self.again.pop_front() {
            self.say(line, unanswered);
        }
    }

    pub fn act(&mut self, line: &mut Line, hands: &mut Hands<'_>, dice: &mut Dice) -> Option<Instant> {
        let link = line.link?;
        if hands.calm || self.left == 0 {
            return (!self.is_finished() || !hands.calm).then(|| hands.now.plus_ms(20));
        }
        for _ in 0..dice.between(1, 3) {
            let room = self.unanswered.len() < self.plan.window && hands.network.unread(link) + line.out.len() < 65536;
            if room && self.left > 0 {
                self.publish(line, hands, dice);
            }
        }
        let pause = dice.between(10, self.plan.pause_max_us);
        Some(hands.now + std::time::Duration::from_micros(pause))
    }

    fn publish(&mut self, line: &mut Line, hands: &mut Hands<'_>, dice: &mut Dice) {
        let topic = *dice.pick(&self.plan.topics);
        let qos = if dice.chance(self.plan.qos1_per_mille) { Qos::AtLeastOnce } else { Qos::AtMostOnce };
        if self.plan.version == 1 {
            self.publish_v1(line, hands, dice, (topic, qos));
        } else {
            self.publish_v2(line, hands, dice, (topic, qos));
        }
    }

    fn message(
        &mut self,
        hands: &mut Hands<'_>,
        dice: &mut Dice,
        (topic, qos): (TopicId, Qos),
        said: (u32, bool),
    ) -> MessageId {
        self.left -= 1;
        let len = dice.below(self.plan.len_max as u64) as usize;
        hands.book.messages.add(topic, qos, len, said.0, (self.plan.number, said.1))
    }

    fn publish_v1(&mut self, line: &mut Line, hands: &mut Hands<'_>, dice: &mut Dice, to: (TopicId, Qos)) {
        let id = self.message(hands, dice, to, (0, false));
        let value = hands.book.messages.value(id);
        let correlation = line.next_correlation();
        command::publish(&mut line.out, correlation, to.1, hands.book.name(to.0).as_bytes(), &value);
    }

    fn publish_v2(&mut self, line: &mut Line, hands: &mut Hands<'_>, dice: &mut Dice, to: (TopicId, Qos)) {
        let ttl_ms = if dice.chance(self.plan.ttl_per_mille) { dice.between(5, 300) as u32 } else { 0 };
        // Some end long after the run: what carries them has to come.
        let ttl_ms = if ttl_ms % 4 == 1 { LONG_TTL_MS } else { ttl_ms };
        let idempotent = self.plan.idempotent && to.1 == Qos::AtLeastOnce;
        let count = dice.between(1, self.plan.batch_max.into()).min(self.left.into()) as u32;
        let mut said = 0;
        while said < count && self.builder.len() < BATCH_BYTES {
            said += 1;
            let id = self.message(hands, dice, to, (ttl_ms, idempotent));
            self.builder.push(hands.now.timestamp(), &hands.book.messages.value(id));
        }
        let producer = idempotent.then(|| self.next_sequence(to.0, said));
        let batch = self.builder.finish(Offset::ZERO, producer);
        let acknowledge = idempotent || dice.chance(700);
        let alias = alias_of(to.0);
        let said = BatchFor { alias, partition: 0, qos: to.1, acknowledge, must_route: false, ttl_ms };
        let unanswered = Unanswered { correlation: 0, said, batch, idempotent };
        self.say(line, unanswered);
    }

    fn next_sequence(&mut self, topic: TopicId, count: u32) -> Producer {
        let (epoch, next) = self.sequence.entry(topic).or_default();
        let base_sequence = *next;
        *next += count as i32;
        Producer { id: 1000 + self.plan.number as i64, epoch: *epoch, base_sequence }
    }

    fn say(&mut self, line: &mut Line, unanswered: Unanswered) {
        let correlation = line.next_correlation();
        command::publish_batch(&mut line.out, correlation, &unanswered.said, &unanswered.batch);
        if unanswered.said.acknowledge {
            self.unanswered.push_back(Unanswered { correlation, ..unanswered });
        }
    }

    pub fn told(&mut self, correlation: u64, response: &Response<'_>) {
        let Some(at) = self.unanswered.iter().position(|unanswered| unanswered.correlation == correlation) else {
            return;
        };
        if matches!(response, Response::Published(_) | Response::Nack { .. }) {
            let answered = self.unanswered.remove(at);
            if let (Some(answered), Response::Nack { .. }) = (answered.filter(|said| said.idempotent), response) {
                self.begin_epoch(answered.said.alias);
            }
        }
    }

    /// A refused batch leaves a gap in the sequence, after which nothing would be taken.
    fn begin_epoch(&mut self, alias: u32) {
        for (_, (epoch, next)) in self.sequence.iter_mut().filter(|(topic, _)| alias_of(**topic) == alias) {
            (*epoch, *next) = (*epoch + 1, 0);
        }
    }

    /// What can be said twice will be; of the rest nobody knows.
    pub fn gone(&mut self) {
        let mut again: VecDeque<Unanswered> = self.unanswered.drain(..).filter(|said| said.idempotent).collect();
        again.append(&mut self.again);
        self.again = again;
    }
}

fn alias_of(topic: TopicId) -> u32 {
    u32::from(topic.0) + 3
}
