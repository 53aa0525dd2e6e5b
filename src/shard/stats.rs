//! What one shard has counted.

/// Counted by one shard alone; adding up is the asker's work.
#[derive(Debug, Default, Clone)]
pub struct Stats {
    pub messages_published: u64,
    pub messages_delivered: u64,
}
