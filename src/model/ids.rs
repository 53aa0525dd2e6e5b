//! Who is who inside one broker.

use std::fmt;

/// One pinned core and everything on it. Dense from zero, at most [`ShardId::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ShardId(pub u16);

/// One write-ahead log. The number of logs is fixed when a data directory is created, the number of shards is not:
/// shard `c` of `n` runs the logs `l` with `l % n == c`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct LogId(pub u16);

/// A partition's number inside one log, given when it is first appended to and never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct PartitionId(pub u32);

/// A durable subscription's number inside one log, given when it is created and never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct SubscriptionId(pub u32);

/// A connection, named by the shard that holds its socket. A slot is used again; its generation is not, so a late
/// event for a closed connection never reaches the one that came after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId {
    pub shard: ShardId,
    pub slot: u32,
    pub generation: u32,
}

impl ShardId {
    pub const MAX: usize = 1024;

    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl LogId {
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}.{}", self.shard, self.slot, self.generation)
    }
}
