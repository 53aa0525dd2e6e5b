//! What a run knows of its own doings, beside what the broker says of them.

use std::time::Duration;

use super::messages::{Messages, TopicId};
use super::subs::Subs;
use crate::model::{Pattern, TopicName};

#[derive(Debug)]
pub struct Book {
    topics: Vec<TopicName>,
    pub messages: Messages,
    pub subs: Subs,
    /// Attempts of a subscription that asks for none in particular.
    pub attempts_default: u16,
    /// Its delay between two of them.
    pub retry_default_ms: u64,
    /// Shards of this process.
    pub shards: u16,
}

impl Book {
    pub fn new(topics: Vec<TopicName>, (attempts_default, retry_default_ms): (u16, u64), grace: Duration) -> Book {
        let subs = Subs::new(grace);
        Book { topics, messages: Messages::default(), subs, attempts_default, retry_default_ms, shards: 0 }
    }

    /// How long an attempt has before the next one at least, when a subscription asks for so much; zero: for nothing
    /// in particular. Delays are scaled by up to a quarter.
    pub fn retry(&self, asked_ms: u64) -> Duration {
        let plain = if asked_ms == 0 { self.retry_default_ms } else { asked_ms };
        Duration::from_millis(plain) * 3 / 4
    }

    pub fn topic(&self, name: &[u8]) -> Option<TopicId> {
        self.topics.iter().position(|topic| topic.as_bytes() == name).map(|index| TopicId(index as u16))
    }

    pub fn name(&self, topic: TopicId) -> &TopicName {
        &self.topics[topic.0 as usize]
    }

    /// Topics that a pattern takes in.
    pub fn matching(&self, pattern: &[u8]) -> Vec<TopicId> {
        let Ok(pattern) = Pattern::parse(pattern) else { return Vec::new() };
        let matching = self.topics.iter().enumerate().filter(|(_, topic)| pattern.matches(topic.as_str()));
        matching.map(|(index, _)| TopicId(index as u16)).collect()
    }

    /// With `wal = off` a process takes everything with it.
    pub fn forget_volatile(&mut self) {
        for (_, message) in self.messages.iter_mut() {
            message.offset = None;
        }
        for sub in self.subs.iter_mut() {
            (sub.since, sub.back) = (None, false);
            sub.sources.clear();
        }
    }

    pub fn topics(&self) -> usize {
        self.topics.len()
    }
}
