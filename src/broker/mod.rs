//! Topics and queues of one shard: what is kept, what is owed to whom, what comes again. Lives on one core.
//!
//! In reading order: a [`Tail`] holds batches in memory, a [`Partition`] has one for each quality of service, a
//! [`Subscription`] is a [`Cursor`] over a partition plus what is [`InFlight`] and what waits in [`Redelivery`].

mod cursor;
mod in_flight;
mod partition;
mod redelivery;
mod subscription;
mod tail;

pub use cursor::Cursor;
pub use in_flight::{Flight, InFlight};
pub use partition::Partition;
pub use redelivery::{Redelivery, Retry};
pub use subscription::{Due, Durability, Member, RetryPolicy, Subscription, SubscriptionCounters};
pub use tail::{Held, Tail};
