//! Those who subscribe with version 2: they acknowledge most of what comes, give some back, and leave some lying.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::book::Arrival;
use super::message::Name;
use super::stage::{Phase, Place};
use super::{FENCE_EVERY, LEFT, NEXT, Room, lock};
use crate::client::blocking::{Client, Subscription};
use crate::client::{ClientError, DeliveredBatch, SubscribeOptions};
use crate::model::{Offset, Qos};
use crate::protocol::native::request::What;

/// Of a hundred messages, so many are given back once.
const NACKED: u8 = 3;
/// When what is given back is wanted again.
const AGAIN: Duration = Duration::from_millis(20);

/// One who subscribes, in a thread of its own.
#[derive(Debug)]
pub struct Subscriber {
    pub room: Room,
    pub audience: usize,
    pub options: SubscribeOptions,
    /// Topics by their names.
    pub topics: HashMap<String, usize>,
    pub dice: fastrand::Rng,
    /// It was there before the first message.
    pub ready: bool,
}

/// What is done on one connection.
#[derive(Debug)]
struct Visit<'a> {
    client: &'a Client,
    subscription: Subscription,
    life: usize,
    /// Acknowledged, and the broker was not asked about it yet.
    unheard: Vec<Name>,
    asked: Instant,
}

impl Subscriber {
    /// Until it is over.
    pub fn run(mut self) {
        let room = self.room.clone();
        room.attend(|place| self.visit(place));
    }

    fn visit(&mut self, place: &Place) -> Result<(), ClientError> {
        let client = self.room.connect(place, 2)?;
        let subscription = client.subscribe(&self.options)?;
        self.room.has_subscribed(&mut self.ready);
        let (unheard, asked) = (Vec::new(), Instant::now());
        let mut visit = Visit { client: &client, subscription, life: place.life, unheard, asked };
        while self.room.stage.is_at(place) {
            if let Some(batch) = visit.subscription.next_batch(Some(NEXT))? {
                self.take(&mut visit, &batch)?;
            }
            visit.ask(&self.room, self.audience)?;
        }
        Ok(())
    }

    /// Acknowledges neighbours together.
    fn take(&mut self, visit: &mut Visit<'_>, batch: &DeliveredBatch) -> Result<(), ClientError> {
        let Some(topic) = self.topics.get(batch.topic.as_str()).copied() else {
            lock(&self.room.book).accuse("nothing comes that was not asked for", format!("{}", batch.topic));
            return Ok(());
        };
        let mut run: Option<(Offset, Offset)> = None;
        for view in batch.messages() {
            let (qos, offset) = (batch.deliver.qos, Some(view.offset.0));
            let arrival = Arrival { audience: self.audience, life: visit.life, topic, qos, offset };
            let Some(name) = lock(&self.room.book).delivered(arrival, view.value) else { continue };
            match self.decide(batch.deliver.attempt) {
                Some(true) => {
                    visit.unheard.push(name);
                    run = match run {
                        Some((first, last)) if last.plus(1) == view.offset => Some((first, view.offset)),
                        before => {
                            visit.acknowledge(batch, before)?;
                            Some((view.offset, view.offset))
                        }
                    };
                }
                Some(false) => {
                    visit.subscription.nack_range(batch.deliver.source, view.offset, view.offset, AGAIN)?;
                }
                None => {}
            }
        }
        visit.acknowledge(batch, run)
    }

    /// Acknowledge it, give it back, or neither. What was given back once is acknowledged when it comes again.
    fn decide(&mut self, attempt: u16) -> Option<bool> {
        if attempt > 1 || self.room.stage.phase() >= Phase::Draining {
            return Some(true);
        }
        match self.dice.u8(..100) {
            chance if chance < NACKED => Some(false),
            chance if chance < NACKED + LEFT => None,
            _ => Some(true),
        }
    }
}

impl Visit<'_> {
    fn acknowledge(&mut self, batch: &DeliveredBatch, run: Option<(Offset, Offset)>) -> Result<(), ClientError> {
        match run.filter(|_| batch.deliver.qos == Qos::AtLeastOnce) {
            Some((first, last)) => self.subscription.ack_range(batch.deliver.source, first, last),
            None => Ok(()),
        }
    }

    /// The question goes to every shard, behind the acknowledgements: when its answer is here, they have been heard.
    fn ask(&mut self, room: &Room, audience: usize) -> Result<(), ClientError> {
        if self.unheard.is_empty() || self.asked.elapsed() < FENCE_EVERY {
            return Ok(());
        }
        self.client.query(What::Subscriptions, 1)?;
        let refused = self.subscription.take_refusals();
        let mut book = lock(&room.book);
        for refusal in refused {
            book.accuse("an acknowledgement of what was delivered is taken", format!("{refusal:?}"));
        }
        book.settled(audience, self.life, &self.unheard);
        self.unheard.clear();
        self.asked = Instant::now();
        Ok(())
    }
}
