//! What a run knows of its own doings, beside what the broker says of them.

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
    /// Shards of this process.
    pub shards: u16,
}

impl Book {
    pub fn new(topics: Vec<TopicName>, attempts_default: u16) -> Book {
        Book { topics, messages: Messages::default(), subs: Subs::default(), attempts_default, shards: 0 }
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
            sub.since = None;
            sub.sources.clear();
        }
    }

    pub fn topics(&self) -> usize {
        self.topics.len()
    }
}
