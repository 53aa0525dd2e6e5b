//! What the outside may ask of a core, beside the message path.

use super::stats::Stats;
use crate::auth::KeyRing;
use crate::model::Limits;

/// A question or an order. The runtime asks every shard and adds the answers up.
#[derive(Debug, Clone)]
pub enum Question {
    /// This shard's counters.
    Stats,
    /// Refuse new publishes, finish what is in flight for at most `wait_ms`, close the logs, then `Action::Drained`.
    Drain { wait_ms: u64 },
    /// Use these keys and limits from now on.
    Reload { keys: KeyRing, limits: Box<Limits> },
}

#[derive(Debug)]
pub enum Answer {
    Stats(Box<Stats>),
    Done,
}
