//! Every message of a run: who published it, and what is known of it.

use std::time::Duration;

use super::network::LinkId;
use super::segment_image::BLOCK;
use crate::model::{Instant, LogId, Offset, Qos};

/// A message's number: it stands in the message itself, so it is known wherever it turns up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(pub u32);

/// A topic's number in this run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId(pub u16);

/// How safe a QoS 1 message is, by the disk's own truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// No device has been given it.
    Unwritten,
    /// A crash came while it was unsafe: it may be there or not.
    Limbo,
    /// As [`Stage::Limbo`], but the broker has said since that it is there.
    Claimed,
    /// It and everything before it in its log has landed: a kill cannot take it.
    Written,
    /// It and everything before it in its log is synced: a power cut cannot take it.
    Durable,
    /// The last segment that had it was removed.
    Removed,
}

#[derive(Clone, Debug)]
pub struct Message {
    pub topic: TopicId,
    pub qos: Qos,
    pub len: usize,
    /// Zero: never expires.
    pub ttl_ms: u32,
    pub publisher: usize,
    /// Published with a producer id: it may be said twice and must not be there twice.
    pub idempotent: bool,
    /// When the broker had first read all of its frame.
    pub handed: Option<Instant>,
    /// When the broker had last come to it: it was appended then or, where it had to wait, later.
    pub handed_last: Option<Instant>,
    /// The broker has come to it: it was taken, refused, or sent on to its shard.
    pub taken: bool,
    /// How often the broker has read it.
    pub sayings: u32,
    /// The broker said that it would not take it.
    pub refused: bool,
    /// When the broker first said that it had it.
    pub acked: Option<Instant>,
    /// Since then, no process was there for so long.
    pub slept: Duration,
    pub stage: Stage,
    pub log: LogId,
    /// When it was last handed to a device: it was appended then or before.
    pub logged_at: Option<Instant>,
    /// Its partition, by the log's number: where it was written first. Dead letters are written elsewhere.
    pub partition: Option<(LogId, u32)>,
    /// Where its partition has it, as written to the device.
    pub offset: Option<Offset>,
    /// Segments that have it durably.
    pub copies: u32,
}

#[derive(Debug, Default)]
pub struct Messages {
    all: Vec<Message>,
    /// Read by the broker, and perhaps not come to yet.
    read: Vec<(LinkId, MessageId)>,
}

const MARK: [u8; 4] = *b"bSim";
/// The shortest message.
pub const LEN_MIN: usize = 8;
/// The longest message.
pub const LEN_MAX: usize = 3 * BLOCK;

impl Messages {
    pub fn add(&mut self, topic: TopicId, qos: Qos, len: usize, ttl_ms: u32, from: (usize, bool)) -> MessageId {
        let (publisher, idempotent) = from;
        self.all.push(Message {
            topic,
            qos,
            len: len.clamp(LEN_MIN, LEN_MAX),
            ttl_ms,
            publisher,
            idempotent,
            handed: None,
            handed_last: None,
            taken: false,
            sayings: 0,
            refused: false,
            acked: None,
            slept: Duration::ZERO,
            stage: Stage::Unwritten,
            log: LogId(0),
            logged_at: None,
            partition: None,
            offset: None,
            copies: 0,
        });
        MessageId(self.all.len() as u32 - 1)
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub fn of(&self, id: MessageId) -> &Message {
        &self.all[id.0 as usize]
    }

    pub fn of_mut(&mut self, id: MessageId) -> &mut Message {
        &mut self.all[id.0 as usize]
    }

    pub fn iter(&self) -> impl Iterator<Item = (MessageId, &Message)> {
        self.all.iter().enumerate().map(|(index, message)| (MessageId(index as u32), message))
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (MessageId, &mut Message)> {
        self.all.iter_mut().enumerate().map(|(index, message)| (MessageId(index as u32), message))
    }

    /// The broker has read a message from a link.
    pub fn read(&mut self, now: Instant, link: LinkId, id: MessageId) {
        let message = self.of_mut(id);
        message.handed.get_or_insert(now);
        message.handed_last = Some(now);
        message.sayings += 1;
        message.refused = false;
        self.read.push((link, id));
    }

    /// The broker has come to everything that it has read from links that it goes on reading.
    pub fn handled(&mut self, now: Instant, reads: impl Fn(LinkId) -> bool) {
        let Messages { all, read } = self;
        read.retain(|(link, id)| {
            all[id.0 as usize].handed_last = Some(now);
            let taken = reads(*link);
            all[id.0 as usize].taken |= taken;
            !taken
        });
    }

    /// The message's bytes.
    pub fn value(&self, id: MessageId) -> Vec<u8> {
        let mut value = Vec::with_capacity(self.of(id).len);
        value.extend_from_slice(&MARK);
        value.extend_from_slice(&id.0.to_be_bytes());
        value.extend((LEN_MIN..self.of(id).len).map(|at| filler(id, at)));
        value
    }

    /// Which message these bytes are; `None` if they are not exactly one that exists.
    pub fn identify(&self, value: &[u8]) -> Option<MessageId> {
        let number = value.strip_prefix(&MARK)?.first_chunk()?;
        let id = MessageId(u32::from_be_bytes(*number));
        let message = self.all.get(id.0 as usize)?;
        let whole = message.len == value.len() && (LEN_MIN..value.len()).all(|at| value[at] == filler(id, at));
        whole.then_some(id)
    }
}

fn filler(id: MessageId, at: usize) -> u8 {
    (id.0 as usize * 31 + at * 7 + (at >> 8)) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_known_by_its_bytes_and_no_others() {
        let mut messages = Messages::default();
        let id = messages.add(TopicId(0), Qos::AtLeastOnce, 100, 0, (0, false));
        let other = messages.add(TopicId(0), Qos::AtLeastOnce, 8, 0, (0, false));
        let mut value = messages.value(id);
        assert_eq!((messages.identify(&value), messages.identify(&messages.value(other))), (Some(id), Some(other)));
        value[50] ^= 1;
        assert_eq!(messages.identify(&value), None);
        assert_eq!(messages.identify(&value[..40]), None);
        assert_eq!(messages.identify(b"hello"), None);
    }
}
