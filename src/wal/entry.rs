//! What is written into a log: batches, and what must be remembered of partitions and subscriptions.

use bytes::Bytes;

use crate::model::{Offset, PartitionId, SubscriptionId, SubscriptionMode, Timestamp, TopicName};

/// Bytes of an entry's header.
pub const ENTRY_HEADER: usize = 64;
/// What writes, positions and segments are aligned to.
pub const BLOCK: usize = 4096;

/// One thing to be remembered.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    /// A record batch whose base offset is already set in its bytes.
    Batch {
        partition: PartitionId,
        base: Offset,
        count: u32,
        appended_at: Timestamp,
        /// Zero: never expires by itself.
        expires_at: Timestamp,
        bytes: Bytes,
    },
    /// A partition was created, or its settings changed.
    Partition {
        id: PartitionId,
        meta: PartitionMeta,
    },
    PartitionDeleted {
        id: PartitionId,
    },
    /// Records before `start` are gone by retention, expiry or an operator's word.
    PartitionStart {
        id: PartitionId,
        start: Offset,
    },
    /// A durable subscription was created, or its settings changed.
    Subscription {
        id: SubscriptionId,
        meta: SubscriptionMeta,
    },
    SubscriptionDeleted {
        id: SubscriptionId,
    },
    /// Everything below `floor` is settled, and the half-open ranges in `above` (sorted, apart, above the floor).
    Cursor {
        id: SubscriptionId,
        floor: Offset,
        above: Vec<(Offset, Offset)>,
    },
}

/// What is remembered of a partition beside its records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionMeta {
    pub topic: TopicName,
    /// Its number within the topic.
    pub number: u32,
    /// Zero: records never expire by age of the topic.
    pub ttl_ms: u64,
}

/// What is remembered of a durable subscription beside its cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionMeta {
    pub partition: PartitionId,
    /// Unique in its partition.
    pub name: String,
    pub mode: SubscriptionMode,
    /// Where it began.
    pub start: Offset,
    /// Zero: the broker's default.
    pub retry_delay_ms: u32,
    /// `None`: the broker's default.
    pub max_retries: Option<u16>,
    pub dead_letter: Option<TopicName>,
    /// A version 1 session: goes away when detached for `session_expiry`.
    pub session: bool,
    pub created_at: Timestamp,
}
