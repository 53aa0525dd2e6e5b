//! Everything outstanding finishes once faults stop.

use std::time::Duration;

use crate::model::Qos;
use crate::sim::book::Book;
use crate::sim::messages::{Message, MessageId, Stage};
use crate::sim::subs::Sub;

/// Every record that the log has for sure is given to every subscription that is owed it, until it is settled or every
/// attempt was made.
#[derive(Debug)]
pub struct Finish {
    /// How long a shard may go on delivering to a connection that another one has lost.
    pub grace: Duration,
}

pub const SENTENCE: &str = "everything outstanding finishes once faults stop";

impl Finish {
    /// Something that is still owed.
    pub fn owed(&self, book: &Book) -> Option<String> {
        let subs = book.subs.iter().filter(|(_, sub)| sub.alive && !sub.split && sub.wanted.qos == Qos::AtLeastOnce);
        for (id, sub) in subs {
            let owed = book.messages.iter().find(|(message, of)| self.is_owed(sub, *message, of));
            if let Some((message, of)) = owed {
                let given = sub.sources.get(&of.topic).and_then(|source| source.given.get(&message));
                return Some(format!("{id:?} {:?} is owed message {} {of:?}, given {given:?}", sub.key, message.0));
            }
        }
        None
    }

    fn is_owed(&self, sub: &Sub, id: MessageId, message: &Message) -> bool {
        if message.qos != Qos::AtLeastOnce || message.ttl_ms > 0 || message.refused {
            return false;
        }
        if !sub.wanted.topics.contains(&message.topic) {
            return false;
        }
        let kept = matches!(message.stage, Stage::Written | Stage::Durable | Stage::Claimed | Stage::Removed);
        kept && came_after(sub, message) && !self.is_done(sub, id, message)
    }

    fn is_done(&self, sub: &Sub, id: MessageId, message: &Message) -> bool {
        let handed = message.handed.unwrap_or_default();
        let unseen = sub.lost.iter().filter(|at| **at + self.grace > handed).count();
        // What needs no acknowledgement is settled when it is sent.
        let most = if sub.wanted.auto_acknowledge { 1 } else { usize::from(sub.wanted.attempts_max) };
        let Some(source) = sub.sources.get(&message.topic) else { return unseen >= most };
        let below = message.offset.is_some_and(|at| at < source.floor);
        let given = source.given.get(&id);
        let attempts = given.map_or(0, |given| usize::from(given.attempt)) + unseen;
        below || given.is_some_and(|given| given.settled || given.exhausted) || attempts >= most
    }
}

/// The message came after the subscription began.
fn came_after(sub: &Sub, message: &Message) -> bool {
    if sub.wanted.version == 1 {
        return sub.since.is_some_and(|since| message.handed.is_some_and(|at| at > since));
    }
    let start = sub.sources.get(&message.topic).and_then(|source| source.start);
    start.is_some_and(|start| message.offset.is_some_and(|at| at >= start))
}
