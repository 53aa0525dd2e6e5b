//! One partition: two streams of records, and who subscribes to them.

use super::Tail;
use crate::model::{Offset, PartitionId, TopicName};

/// A sequence of QoS 1 records with dense offsets, and beside it the QoS 0 stream, which has offsets of its own that
/// mean nothing after a restart.
#[derive(Debug)]
pub struct Partition {
    pub topic: TopicName,
    /// Its number within the topic.
    pub number: u32,
    /// Its number in the log, once something of it was logged.
    pub id: Option<PartitionId>,
    /// Which of the shard's logs it lives in.
    pub log: usize,
    /// QoS 1 records from here on may be read; earlier ones are gone.
    pub start: Offset,
    /// QoS 1 records before this may be delivered.
    pub committed: Offset,
    /// QoS 1 records in memory: the newest ones, committed or not.
    pub tail: Tail,
    /// QoS 0 records that some subscription has not taken yet.
    pub volatile: Tail,
    /// Records expire this long after they were appended; zero: never.
    pub ttl_ms: u64,
    /// What an operator set `ttl_ms` to, as the log keeps it: zero for "as configured", [`u64::MAX`] for never.
    pub ttl_set: u64,
    /// Indices of its subscriptions on this shard.
    pub subscriptions: Vec<usize>,
    /// Records published to it since the start, of either quality of service.
    pub published: u64,
    /// What `published` was when housekeeping last looked.
    pub seen: u64,
}

impl Partition {
    pub fn new(topic: TopicName, number: u32, log: usize, start: Offset, next: Offset) -> Partition {
        Partition {
            topic,
            number,
            id: None,
            log,
            start,
            committed: next,
            tail: Tail::new(next),
            volatile: Tail::new(Offset::ZERO),
            ttl_ms: 0,
            ttl_set: 0,
            subscriptions: Vec::new(),
            published: 0,
            seen: u64::MAX,
        }
    }

    /// The offset that the next QoS 1 record gets.
    pub fn next(&self) -> Offset {
        self.tail.next()
    }
}
