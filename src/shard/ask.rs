//! What the outside may ask of a core, beside the message path.

/// A question or an order; the runtime asks every shard and adds the answers up.
#[derive(Debug, Clone)]
pub enum Question {
    /// This shard's counters.
    Stats,
    /// Stop accepting publishes; finish what is in flight until `deadline_ms` from now, then `Action::Drained`.
    Drain { deadline_ms: u64 },
}

#[derive(Debug)]
pub enum Answer {
    Stats(Box<super::stats::Stats>),
    Done,
}
