//! What one shard has counted. It counts alone: adding up is the asker's work.

use crate::model::LogId;
use crate::wal::LogStats;

/// Why a message or a connection was refused, dropped or closed; indexes the counters of [`Stats::refused`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Reason {
    BadFrame,
    BadRequest,
    Unauthenticated,
    Forbidden,
    TooLarge,
    Version,
    ConnectionLimit,
    TopicLimit,
    SubscriptionLimit,
    AliasLimit,
    QueueFull,
    DiskFull,
    LogStopped,
    Draining,
    NoSubscribers,
    OutOfOrder,
    HandshakeTimeout,
    IdleTimeout,
    OutputLimit,
    MemoryLimit,
    TlsOnPlainPort,
    KeyRevoked,
    WrongKey,
}

impl Reason {
    pub const ALL: [Reason; 23] = [
        Reason::BadFrame,
        Reason::BadRequest,
        Reason::Unauthenticated,
        Reason::Forbidden,
        Reason::TooLarge,
        Reason::Version,
        Reason::ConnectionLimit,
        Reason::TopicLimit,
        Reason::SubscriptionLimit,
        Reason::AliasLimit,
        Reason::QueueFull,
        Reason::DiskFull,
        Reason::LogStopped,
        Reason::Draining,
        Reason::NoSubscribers,
        Reason::OutOfOrder,
        Reason::HandshakeTimeout,
        Reason::IdleTimeout,
        Reason::OutputLimit,
        Reason::MemoryLimit,
        Reason::TlsOnPlainPort,
        Reason::KeyRevoked,
        Reason::WrongKey,
    ];

    /// As metrics and logs spell it.
    pub fn name(self) -> &'static str {
        match self {
            Reason::BadFrame => "bad_frame",
            Reason::BadRequest => "bad_request",
            Reason::Unauthenticated => "unauthenticated",
            Reason::Forbidden => "forbidden",
            Reason::TooLarge => "too_large",
            Reason::Version => "version",
            Reason::ConnectionLimit => "connection_limit",
            Reason::TopicLimit => "topic_limit",
            Reason::SubscriptionLimit => "subscription_limit",
            Reason::AliasLimit => "alias_limit",
            Reason::QueueFull => "queue_full",
            Reason::DiskFull => "disk_full",
            Reason::LogStopped => "log_stopped",
            Reason::Draining => "draining",
            Reason::NoSubscribers => "no_subscribers",
            Reason::OutOfOrder => "out_of_order",
            Reason::HandshakeTimeout => "handshake_timeout",
            Reason::IdleTimeout => "idle_timeout",
            Reason::OutputLimit => "output_limit",
            Reason::MemoryLimit => "memory_limit",
            Reason::TlsOnPlainPort => "tls_on_plain_port",
            Reason::KeyRevoked => "key_revoked",
            Reason::WrongKey => "wrong_key",
        }
    }
}

/// Counters since the start, and gauges of the moment it was asked for.
#[derive(Debug, Default, Clone)]
pub struct Stats {
    pub shard: u16,
    pub topics: u64,
    pub subscriptions: u64,
    /// Connections that subscribe, counted by subscription.
    pub members: u64,
    pub connections: u64,
    pub connections_opened: u64,
    pub connections_closed: u64,
    pub messages_published: u64,
    pub messages_published_qos1: u64,
    pub messages_delivered: u64,
    pub messages_redelivered: u64,
    pub messages_settled: u64,
    pub messages_in_flight: u64,
    /// QoS 0 records lost by slow subscribers.
    pub dropped_slow: u64,
    /// QoS 1 records lost to `overflow = drop_oldest`.
    pub dropped_overflow: u64,
    /// Refused messages, by reason.
    pub refused: [u64; Reason::ALL.len()],
    pub duplicates: u64,
    pub expired: u64,
    pub dead_lettered: u64,
    pub dead_dropped: u64,
    pub missed: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub letters_out: u64,
    pub letters_in: u64,
    pub moves_out: u64,
    pub moves_in: u64,
    pub pauses: u64,
    /// Connections whose input waits.
    pub held: u64,
    pub tail_bytes: u64,
    pub volatile_bytes: u64,
    pub input_bytes: u64,
    pub output_bytes: u64,
    pub history_bytes: u64,
    pub log_backlog_bytes: u64,
    /// Connections that have not authenticated yet.
    pub handshaking: u64,
    /// Connections that were told to go.
    pub closing: u64,
    /// Of other shards' publishes, those that wait for a log or a queue of this one.
    pub parked: u64,
    /// QoS 1 records committed and not settled, added up over all subscriptions.
    pub lag: u64,
    /// Batches that wait for their commit.
    pub uncommitted: u64,
    /// Records on their way to a dead-letter topic.
    pub burying: u64,
    /// A drain has begun.
    pub draining: bool,
    /// How each log of this shard stands.
    pub logs: Vec<LogStanding>,
}

/// How one log stands, and what it has counted.
#[derive(Debug, Default, Clone)]
pub struct LogStanding {
    pub log: LogId,
    pub state: LogCondition,
    /// Why it does not take QoS 1 publishes.
    pub reason: String,
    pub counts: LogStats,
}

/// Whether a log takes QoS 1 publishes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum LogCondition {
    #[default]
    Ready,
    /// Refused until there is space.
    Full,
    /// The device failed: the process is about to end.
    Stopped,
}

impl LogCondition {
    /// As metrics and the admin API spell it.
    pub fn name(self) -> &'static str {
        match self {
            LogCondition::Ready => "ready",
            LogCondition::Full => "full",
            LogCondition::Stopped => "stopped",
        }
    }
}
