//! Every bound, and what happens there.

use std::time::Duration;

/// The bounds of one broker. Config fills it; the shards keep to it. Where a bound is for the whole broker, the
/// runtime divides it among the shards before it hands this out, so that no shard has to ask another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open connections. Beyond: NACK 429 and close.
    pub connections_max: usize,
    /// Open connections from one address. Beyond: NACK 429 and close.
    pub connections_per_address_max: usize,
    /// Bytes of one frame after its length field. Beyond: NACK 413 where a correlation id can be read, and close.
    pub frame_max: usize,
    /// Topics of one shard. Beyond: NACK 429.
    pub topics_max: usize,
    /// Subscriptions of one shard. Beyond: NACK 429.
    pub subscriptions_max: usize,
    /// Subscriptions of one connection. Beyond: NACK 429.
    pub subscriptions_per_connection_max: usize,
    /// Topic aliases of one connection. Beyond: NACK 429.
    pub aliases_max: u32,
    /// Delivered and unacknowledged records of one subscription. Beyond: no delivery until some settle.
    pub in_flight_max: u32,
    /// Bytes handed to one connection and not yet taken by its socket. Beyond: no delivery to it until it drains; a
    /// connection whose replies alone exceed it is closed with 429.
    pub outbox_max: usize,
    /// Bytes of QoS 0 records kept for one topic's slow subscribers. Beyond: the oldest go, counted per subscription.
    pub qos0_backlog_max: usize,
    /// Bytes of committed QoS 1 records of one shard kept in memory for readers. Beyond: the oldest are read from the log.
    pub tail_max: usize,
    /// Bytes appended to one log and not yet written. Beyond: publishers' sockets are not read.
    pub log_backlog_max: usize,
    /// Bytes of one log's index; the room it keeps to grow into may be as much again. On the way there its runs get
    /// longer; beyond: QoS 1 is refused with 507.
    pub index_max: usize,
    /// Bytes in flight to one other shard. Beyond: the sockets that feed it are not read.
    pub mesh_max: usize,
    /// Bytes one shard may hold in all. Beyond: the longest QoS 0 backlogs lose their oldest; QoS 1 publishers' sockets
    /// are not read, nor is a large frame begun; what a socket has not taken is not added to; new connections: NACK 429
    /// and close. One frame may always come in, and each connection that is held up keeps one read beside it.
    pub memory_max: usize,
    /// With `wal = off`: bytes of unacknowledged QoS 1 records of one topic. Beyond: the capacity policy.
    pub memory_queue_max: usize,
    /// From accept to authenticated. Beyond: NACK 401 and close. As long may a large frame stall while others wait to
    /// begin theirs. Beyond: NACK 429 and close.
    pub handshake_timeout: Duration,
    /// Silence of a peer. Beyond: go-away (version 2) and close. Zero: never.
    pub idle_timeout: Duration,
    /// How long a detached version 1 session keeps its unacknowledged messages.
    pub session_expiry: Duration,
}

impl Limits {
    /// The largest frame that can be configured, and version 1's own bound.
    pub const FRAME_MAX: usize = 16 * 1024 * 1024;
    /// Bytes by which a delivered frame may be larger than the largest published one: its head is longer, and a dead
    /// letter says where it comes from, with names that have a bound.
    pub const DELIVERY_MORE: usize = 4096;
    /// Records in one batch: what an in-flight range and an acknowledgement may name at once.
    pub const BATCH_RECORDS_MAX: u32 = 1 << 20;
    /// Bytes one read asks for: about what stays in a core's second-level cache until it is written on.
    pub const READ: usize = 64 * 1024;
    /// Bytes of a durable subscription's name. Beyond: NACK 400.
    pub const SUBSCRIPTION_NAME_MAX: usize = 512;
    /// Durable subscriptions to patterns that each log remembers, by name and pattern. Beyond: NACK 429.
    pub const PATTERN_SUBSCRIPTIONS_MAX: usize = 1024;
    /// Separate acknowledged ranges above a cursor's floor. Beyond: the subscription is not sent more until the floor moves.
    pub const ACKED_RANGES_MAX: usize = 4096;
    /// Bytes of one TLS connection's output that are encrypted ahead of its socket. Beyond: they wait in plain, where
    /// they count for the connection's output anyway.
    pub const TLS_AHEAD: usize = 64 * 1024;
    /// Addresses that one shard remembers for their wrong keys. Beyond: who tries a wrong one waits the longest.
    pub const OFFENDERS_MAX: usize = 4096;
    /// What the first wrong key of an address waits for its answer; each further one twice as long.
    pub const DENIAL: Duration = Duration::from_millis(100);
    /// What a wrong key waits for its answer at most.
    pub const DENIAL_MAX: Duration = Duration::from_secs(5);
    /// After so long without a wrong key an address is forgotten.
    pub const OFFENCE: Duration = Duration::from_secs(60);
    /// How long a backup keeps segments from going without a word of whoever copies them. Beyond: it is over.
    pub const BACKUP_LEASE: Duration = Duration::from_secs(60);
    /// Segments of one log kept open. Beyond: who was not asked for the longest is closed, and opened again when it is.
    /// Beside them the newest is open once more where small groups are durable by their write alone.
    pub const SEGMENTS_OPEN_MAX: usize = 32;
    /// Times one connection is moved to another shard before it stays where it is.
    pub const MOVES_MAX: u8 = 1;
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections_max: 10_000,
            connections_per_address_max: 10_000,
            frame_max: Limits::FRAME_MAX,
            topics_max: 100_000,
            subscriptions_max: 100_000,
            subscriptions_per_connection_max: 1024,
            aliases_max: 65_536,
            in_flight_max: 100_000,
            outbox_max: 1024 * 1024,
            qos0_backlog_max: 8 * 1024 * 1024,
            tail_max: 64 * 1024 * 1024,
            log_backlog_max: 16 * 1024 * 1024,
            index_max: 64 * 1024 * 1024,
            mesh_max: 4 * 1024 * 1024,
            memory_max: 512 * 1024 * 1024,
            memory_queue_max: 64 * 1024 * 1024,
            handshake_timeout: Duration::from_secs(10),
            idle_timeout: Duration::ZERO,
            session_expiry: Duration::from_secs(300),
        }
    }
}
