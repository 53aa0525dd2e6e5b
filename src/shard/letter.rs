//! What shards write to each other.

use bytes::Bytes;

use crate::model::{Chunk, ConnId, Offset, Qos, TopicName};
use crate::protocol::ErrorCode;

/// One thing one core tells another. Letters between two cores keep their order.
#[derive(Debug)]
pub enum Letter {
    /// Append this batch for a connection that lives elsewhere.
    Publish { conn: ConnId, correlation: u64, topic: TopicName, qos: Qos, acknowledge: bool, ttl_ms: u32, batch: Bytes },
    /// Output for a connection of the receiver, already in frames.
    Output { conn: ConnId, chunks: Vec<Chunk> },
}
