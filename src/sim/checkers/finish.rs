//! Everything outstanding finishes once faults stop.

use std::time::Duration;

use crate::model::{Instant, Qos};
use crate::sim::book::Book;
use crate::sim::messages::{Message, MessageId, Stage};
use crate::sim::subs::{Sub, SubId, SubKey};

/// Every record that the log has for sure is given to every subscription that is owed it, until it is settled or every
/// attempt was made.
#[derive(Debug)]
pub struct Finish {
    /// How long a shard may go on delivering to a connection that another one has lost.
    pub grace: Duration,
    pub now: Instant,
    /// With `wal = off` a record is owed to those who subscribed before it came, in this life of the process.
    pub logged: bool,
    /// Without a log, `overflow = drop_oldest` may drop QoS 1 records.
    pub drops: bool,
    /// Without a log, `overflow = drop_new` may refuse them, and the refusal may find nobody to hear it.
    pub refuses: bool,
    /// Records that this process has counted as dropped or expired.
    pub counted: u64,
}

pub const SENTENCE: &str = "everything outstanding finishes once faults stop";
pub const NOT_LOST: &str = "a QoS 0 record is delivered to everybody who subscribes, or counted";

impl Finish {
    /// Something that is still owed.
    pub fn owed(&self, book: &Book) -> Option<String> {
        let subs = book.subs.iter().filter(|(_, sub)| sub.alive && !sub.split && sub.wanted.qos == Qos::AtLeastOnce);
        for (id, sub) in subs {
            let owed = book.messages.iter().find(|(message, of)| self.is_owed(book, sub, *message, of));
            if let Some((message, of)) = owed {
                let given = sub.sources.get(&of.topic).and_then(|source| source.given.get(&message));
                return Some(format!("{id:?} {:?} is owed message {} {of:?}, given {given:?}", sub.key, message.0));
            }
        }
        None
    }

    fn is_owed(&self, book: &Book, sub: &Sub, id: MessageId, message: &Message) -> bool {
        if message.qos != Qos::AtLeastOnce || self.is_expired(message) || message.refused {
            return false;
        }
        if !sub.wanted.topics.contains(&message.topic) {
            return false;
        }
        self.is_kept(sub, message) && !self.is_done(book, sub, id, message)
    }

    fn is_kept(&self, sub: &Sub, message: &Message) -> bool {
        if !self.logged {
            let came_after = sub.since.is_some_and(|since| message.handed.is_some_and(|at| at > since));
            let taken = if self.refuses { message.acked.is_some() } else { message.taken };
            return taken && came_after && !self.drops;
        }
        let kept = matches!(message.stage, Stage::Written | Stage::Durable | Stage::Claimed | Stage::Removed);
        kept && came_after(sub, message)
    }

    /// The broker's log knows times to the millisecond only.
    fn is_expired(&self, message: &Message) -> bool {
        let ends = |at: Instant| at.plus_ms(message.ttl_ms.into());
        message.ttl_ms > 0 && message.handed.is_some_and(|at| self.now.plus_ms(1) > ends(at))
    }

    /// QoS 0 records that somebody should have got, and that nobody counted.
    pub fn lost(&self, book: &Book) -> Option<String> {
        let subs = book.subs.iter().filter(|(_, sub)| sub.alive && !sub.split);
        let missing: Vec<_> = subs.flat_map(|(id, sub)| self.undelivered(book, id, sub)).collect();
        (missing.len() as u64 > self.counted).then(|| format!("{} counted, missing: {missing:?}", self.counted))
    }

    fn undelivered(&self, book: &Book, id: SubId, sub: &Sub) -> Vec<(SubId, MessageId)> {
        let Some(since) = sub.held.values().min().copied() else { return Vec::new() };
        // What was under way to a link that is lost was delivered as far as the broker knows.
        if sub.lost.iter().any(|at| *at + self.grace > since) {
            return Vec::new();
        }
        let wanted = |message: &Message| {
            let ours = message.qos == Qos::AtMostOnce && sub.wanted.topics.contains(&message.topic);
            ours && message.taken && !message.refused && message.handed.is_some_and(|at| at > since)
        };
        let given = |message, topic| sub.sources.get(&topic).is_some_and(|source| source.given.contains_key(&message));
        let missing =
            book.messages.iter().filter(|(number, message)| wanted(message) && !given(*number, message.topic));
        missing.map(|(number, _)| (id, number)).collect()
    }

    fn is_done(&self, book: &Book, sub: &Sub, id: MessageId, message: &Message) -> bool {
        // Where a crash has undone the end of a subscription, the next one of its name goes on with its cursor.
        let before = sub.before.map(|before| book.subs.of(before)).filter(|before| before.back);
        before.is_some_and(|before| self.is_done(book, before, id, message)) || self.is_done_by(sub, id, message)
    }

    fn is_done_by(&self, sub: &Sub, id: MessageId, message: &Message) -> bool {
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
    // What came after the broker's word is owed, also in topics that came after it.
    let pattern = matches!(sub.key, Some(SubKey::Named { .. })) && sub.wanted.spread;
    let told = pattern && sub.since.is_some_and(|since| message.handed.is_some_and(|at| at > since));
    if told {
        return true;
    }
    if sub.wanted.version == 1 {
        return sub.since.is_some_and(|since| message.handed.is_some_and(|at| at > since));
    }
    let start = sub.sources.get(&message.topic).and_then(|source| source.start);
    start.is_some_and(|start| message.offset.is_some_and(|at| at >= start))
}
