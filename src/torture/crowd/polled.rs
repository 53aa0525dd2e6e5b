//! Those who subscribe with version 1: they ask for each message.

use std::time::Instant;

use super::book::Arrival;
use super::stage::{Phase, Place};
use super::{FENCE_EVERY, LEFT, NEXT, Room, lock};
use crate::client::ClientError;
use crate::model::Qos;

/// POLLs on their way at most.
const WINDOW: u64 = 32;

/// One who polls, in a thread of its own.
#[derive(Debug)]
pub struct Poller {
    pub room: Room,
    pub audience: usize,
    pub topic: usize,
    pub topic_name: String,
    pub dice: fastrand::Rng,
    /// It was there before the first message.
    pub ready: bool,
}

impl Poller {
    /// Until it is over.
    pub fn run(mut self) {
        let room = self.room.clone();
        room.attend(|place| self.visit(place));
    }

    fn visit(&mut self, place: &Place) -> Result<(), ClientError> {
        let client = self.room.connect(place, 1)?;
        let mut subscription = client.subscribe_polled(&self.topic_name, Qos::AtLeastOnce)?.window(WINDOW);
        self.room.has_subscribed(&mut self.ready);
        let (mut unheard, mut asked) = (Vec::new(), Instant::now());
        while self.room.stage.is_at(place) {
            if let Some(message) = subscription.next_message(Some(NEXT))? {
                let (life, topic) = (place.life, self.topic);
                let arrival = Arrival { audience: self.audience, life, topic, qos: message.qos, offset: None };
                let name = lock(&self.room.book).delivered(arrival, &message.value);
                if let Some(name) = name.filter(|_| self.keeps()) {
                    subscription.ack_later(&message);
                    unheard.push(name);
                }
            }
            // The connection has moved to its topic's shard, which hears one after the other.
            if !unheard.is_empty() && asked.elapsed() >= FENCE_EVERY {
                client.ping()?;
                lock(&self.room.book).settled(self.audience, place.life, &unheard);
                unheard.clear();
                asked = Instant::now();
            }
        }
        Ok(())
    }

    fn keeps(&mut self) -> bool {
        self.room.stage.phase() >= Phase::Draining || self.dice.u8(..100) >= LEFT
    }
}
