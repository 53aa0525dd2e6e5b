//! One core, whole: a folder of verbs around [`Core`].
//!
//! The way of a message is four files: `receive` (bytes to requests), `publish` (into a partition and its log),
//! `commit` (acknowledged and released), `deliver` (out, against credit). Beside them: `subscribe` (what a client
//! wants), `bind` (a shard's part of it), `subscriptions` (to one partition), `confirm` (who subscribes is told when
//! the log has it), `patterns` (topics that come later), `learn` (what other logs know of them), `unsubscribe`;
//! `settle` and `poll` (what clients say of deliveries), `routing`, `mesh` and `letter` (other shards), `pressure` (who
//! has to wait), `bury` (dead letters), `backup`, `idempotence`, `timers`, `housekeeping`, `restore`, `drain`, `reload`,
//! `query`. A core opens nothing, sleeps never and reads no clock.

mod admin;
mod admin_read;
mod admin_replay;
pub mod ask;
mod backup;
pub mod bind;
mod bury;
mod commit;
mod confirm;
mod connections;
mod core;
mod deliver;
mod drain;
pub mod event;
mod housekeeping;
mod idempotence;
pub mod latency;
mod learn;
pub mod letter;
mod link;
mod mesh;
pub mod patterns;
mod poll;
mod pressure;
mod publish;
mod query;
mod receive;
pub mod refusal;
mod reload;
mod restore;
mod routing;
mod serving;
pub mod session;
mod settle;
mod shard_log;
mod shed;
mod standing;
pub mod stats;
pub mod subscribe;
mod subscriptions;
mod timers;
mod unsubscribe;

pub use self::core::{Core, CoreOptions};
pub use ask::{AdminQuestion, Answer, BackupStep, Page, Question, Row, Terms};
pub use event::{Action, Arrival, Carry, Crowd, Disconnect, Event};
pub use latency::Latency;
pub use learn::{Patterns, gather_patterns};
pub use letter::Letter;
pub use shard_log::EXIT_LOG_FAILED;
pub use stats::{LogCondition, LogStanding, Reason, Stats};
