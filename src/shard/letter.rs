//! What shards write to each other. Letters between two shards keep their order.

use std::sync::Arc;

use bytes::Bytes;

use super::bind::Bound;
use super::subscribe::SubscribeOptions;
use crate::auth::Permissions;
use crate::model::{Chunk, ConnId, Offset, Pattern, Qos, TopicName};
use crate::protocol::ErrorCode;

/// One thing one shard tells another.
#[derive(Debug)]
pub enum Letter {
    /// Append this batch for a connection of the sender's.
    Publish(Box<ForeignPublish>),
    /// A connection of the sender's subscribes.
    Subscribe(Box<ForeignSubscribe>),
    /// The answer, once it stands in the log.
    Subscribed {
        conn: ConnId,
        subscription: u64,
        outcome: Result<Bound, (ErrorCode, String)>,
    },
    Unsubscribe {
        conn: ConnId,
        subscription: u64,
        ending: Ending,
    },
    /// The answer, if it was to be deleted: it is.
    Unsubscribed {
        conn: ConnId,
        subscription: u64,
    },
    Credit {
        conn: ConnId,
        subscription: u64,
        messages: u64,
        bytes: u64,
    },
    /// Credit used by deliveries to a subscription that several shards serve.
    Spent {
        conn: ConnId,
        subscription: u64,
        messages: u64,
        bytes: u64,
    },
    Settle {
        conn: ConnId,
        correlation: u64,
        subscription: u64,
        settle: Settle,
    },
    Poll {
        conn: ConnId,
        correlation: u64,
        subscription: u64,
    },
    /// Frames for a connection of the receiver's.
    Output {
        conn: ConnId,
        chunks: Vec<Chunk>,
    },
    /// The socket took this much of `Output`.
    Taken {
        conn: ConnId,
        bytes: usize,
    },
    /// The connection is gone.
    Gone {
        conn: ConnId,
    },
    /// The receiver of `Publish` letters has handled this many bytes of them.
    Room {
        bytes: usize,
    },
    /// A record that ran out of retries, for its dead-letter topic.
    Bury {
        grave: u64,
        topic: TopicName,
        batch: Bytes,
    },
    /// What became of it.
    Buried {
        grave: u64,
        ok: bool,
    },
    /// List topics or subscriptions.
    Query {
        conn: ConnId,
        correlation: u64,
        what: u8,
        limit: u32,
        /// What the asker may know of.
        sees: Arc<Permissions>,
    },
    /// One shard's rows, as JSON objects.
    Answered {
        conn: ConnId,
        correlation: u64,
        rows: Vec<String>,
    },
}

/// How a connection's subscription ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// What is durable stays.
    Left,
    /// The durable subscription goes, with its cursors.
    Deleted,
    /// It was refused somewhere: what it has made goes, and nothing else.
    Undone,
}

/// A publish on behalf of another shard's connection.
#[derive(Debug)]
pub struct ForeignPublish {
    pub conn: ConnId,
    pub version: u8,
    pub correlation: u64,
    pub topic: TopicName,
    pub qos: Qos,
    pub acknowledge: bool,
    /// Refuse when nobody subscribes.
    pub mandatory: bool,
    pub ttl_ms: u32,
    /// Checked by the sender.
    pub batch: Bytes,
}

/// A subscribe on behalf of another shard's connection.
#[derive(Debug)]
pub struct ForeignSubscribe {
    pub conn: ConnId,
    pub version: u8,
    pub subscription: u64,
    pub pattern: Pattern,
    pub options: SubscribeOptions,
}

/// What a client says of deliveries, with half-open ranges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settle {
    Ack {
        source: u32,
        first: Offset,
        end: Offset,
    },
    UpTo {
        source: u32,
        end: Offset,
    },
    Nack {
        source: u32,
        first: Offset,
        end: Offset,
        delay_ms: u32,
    },
    /// Version 1: the delivery tag is the offset.
    Tag {
        tag: u64,
    },
}

impl Letter {
    /// Bytes that count against [`crate::model::Limits::mesh_max`].
    pub fn weight(&self) -> usize {
        match self {
            Letter::Publish(publish) => publish.batch.len() + 64,
            _ => 0,
        }
    }
}
