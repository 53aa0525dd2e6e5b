//! What the outside may ask of a core, beside the message path.

use serde_json::Value;

use super::latency::Latency;
use super::stats::Stats;
use crate::auth::KeyRing;
use crate::config::TopicRules;
use crate::model::{Backoff, ConnId, Limits, Offset, Pattern, StartAt, TopicName};
use crate::protocol::ErrorCode;

/// A question or an order. The runtime asks every shard and adds the answers up.
#[derive(Debug, Clone)]
pub enum Question {
    /// This shard's counters.
    Stats,
    /// This shard's histograms.
    Latency,
    /// Refuse new publishes, finish what is in flight for at most `wait_ms`, close the logs, then `Action::Drained`.
    Drain { wait_ms: u64 },
    /// Keep to these from now on.
    Reload(Box<Terms>),
    /// What an operator asks or orders; answered in the same step or, where a log has to be read or written, later.
    Admin(Box<AdminQuestion>),
}

/// What a reload may change of a running core.
#[derive(Debug, Clone)]
pub struct Terms {
    pub keys: KeyRing,
    pub limits: Limits,
    /// Of subscriptions that are made from now on and say nothing of it.
    pub max_retries: u16,
    pub retry: Backoff,
    pub topics: TopicRules,
    pub retention_ms: u64,
    /// Of each log.
    pub retention_bytes: u64,
    pub low_water: u64,
}

/// What an operator asks or orders. What names a topic is for the shard that owns it; the rest is for all of them.
#[derive(Debug, Clone)]
pub enum AdminQuestion {
    /// Topics by name. Answered with rows, as everything that has a `page`.
    Topics { page: Page, pattern: Option<Pattern> },
    /// Those of these topics that the shard owns and has.
    TopicsNamed { topics: Vec<TopicName> },
    /// One topic.
    Topic { topic: TopicName },
    /// Makes the topic, or changes it. `ttl_ms`: `None` follows the configuration, zero means never.
    SetTopic { topic: TopicName, ttl_ms: Option<u64> },
    /// Deletes the topic with all it holds. Refused while it has subscriptions, unless `force`.
    DeleteTopic { topic: TopicName, force: bool },
    /// Records before this offset go; `None`: all that are there.
    Purge { topic: TopicName, before: Option<Offset> },
    /// Some of the topic's records, from `first` on: fewer than `most` where a batch ends; `next` says where to go on.
    Messages { topic: TopicName, first: Offset, most: u32 },
    /// Publishes dead letters again to where they came from, from `first` up to, not including, `end`; as `Messages`.
    Replay { topic: TopicName, first: Offset, end: Offset, most: u32 },
    /// Subscriptions by topic and name, of one topic or of all.
    Subscriptions { page: Page, topic: Option<TopicName> },
    /// One subscription.
    Subscription { topic: TopicName, name: String },
    /// Moves the cursor. What is in flight is forgotten.
    ResetSubscription { topic: TopicName, name: String, to: StartAt },
    /// Deletes the subscription with its cursor. Refused while somebody holds it, unless `force`.
    DeleteSubscription { topic: TopicName, name: String, force: bool },
    /// Pattern subscriptions of that name that the topic matches are forgotten, so that topics that come later have no
    /// cursor of them. Those that somebody holds only with `force`. For all shards.
    ForgetPatterns { topic: TopicName, name: String, force: bool },
    /// Durable pattern subscriptions, by name and pattern. Every shard has the same ones.
    Patterns { page: Page },
    /// Deletes a durable pattern subscription, with its cursors in all topics. Refused while somebody holds it, unless
    /// `force`. For all shards.
    DeletePattern { pattern: Pattern, name: String, force: bool },
    /// Topics that subscriptions name for their dead letters: rows with nothing but a name.
    DeadLetterTopics,
    /// Connections by id.
    Connections { page: Page },
    /// Closes one connection, on the shard that holds it.
    CloseConnection { conn: ConnId },
    /// What waits on this shard, and for what: one row.
    Pending,
    /// One step of a backup. One at a time; whoever makes it has chosen the name.
    Backup { id: String, step: BackupStep },
}

/// The steps of a backup, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackupStep {
    /// Settle nothing more that another shard has the dead letter of.
    Hold,
    /// When every shard holds: cut all logs. Answered with what to copy when that is durable.
    Cut,
    /// Still copying. Without a word for [`Limits::BACKUP_LEASE`] a backup is over.
    Renew,
    /// Done: what was cut may go.
    End,
}

/// Rows after a key, in its order.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// The key of the last row seen; empty for the first page.
    pub after: String,
    /// Rows at most, of each shard.
    pub most: usize,
}

/// One row of a list: a JSON object, and the key it is sorted by.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub key: String,
    pub value: Value,
}

#[derive(Debug)]
pub enum Answer {
    Stats(Box<Stats>),
    Latency(Box<Latency>),
    Done,
    Rows(Vec<Row>),
    /// One JSON object.
    Object(Value),
    Refused {
        code: ErrorCode,
        text: String,
    },
}
