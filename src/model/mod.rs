//! The words: ids, positions, time, batches, limits. Imports no other room.

pub mod backoff;
pub mod chunk;
pub mod hdr;
pub mod ids;
pub mod limits;
pub mod placement;
pub mod policy;
pub mod position;
pub mod qos;
pub mod record_batch;
pub mod seldom;
pub mod subscription;
pub mod time;
pub mod tls_failure;
pub mod topic;

pub use backoff::Backoff;
pub use chunk::Chunk;
pub use ids::{ConnId, LogId, PartitionId, ShardId, SubscriptionId};
pub use limits::Limits;
pub use policy::{FsyncPolicy, OverflowPolicy, RecoveryMode};
pub use position::{Lsn, Offset};
pub use qos::Qos;
pub use seldom::Seldom;
pub use subscription::{StartAt, SubscriptionMode};
pub use time::{Instant, Timestamp};
pub use tls_failure::TlsFailure;
pub use topic::{Pattern, TopicName};
