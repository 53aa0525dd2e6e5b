//! Everything that one scrape has gathered.

use crate::model::TlsFailure;
use crate::shard::{Latency, Stats};
use crate::wal::LogStats;

/// What the broker is and does at one moment. The runtime fills it; metrics and health are written from it.
#[derive(Debug, Default)]
pub struct Figures {
    /// Unix milliseconds.
    pub now_ms: u64,
    pub stage: Stage,
    pub shards: Vec<ShardFigures>,
    pub bounds: Bounds,
    pub disk: Option<Disk>,
    pub process: Process,
    pub requests: Requests,
    /// Topics that get series of their own; none unless `metrics_per_topic` says so.
    pub topics: Vec<TopicFigures>,
}

/// How far the life of the process is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Logs are being recovered; nobody may connect.
    #[default]
    Starting,
    Serving,
    /// Nothing new is taken; the process ends when what is in flight is finished.
    Draining,
}

/// One shard, as the runtime sees it and as it answered.
#[derive(Debug, Default)]
pub struct ShardFigures {
    /// It answered in time. If not, `stats` and `latency` are what it said last: counters do not fall because a shard
    /// is slow.
    pub answered: bool,
    pub stats: Stats,
    pub latency: Latency,
    pub vitals: Vitals,
}

/// What the runtime counts of one shard.
#[derive(Debug, Default, Clone, Copy)]
pub struct Vitals {
    /// Unix milliseconds of the last sign of life.
    pub alive_at_ms: u64,
    /// Time spent working, not waiting.
    pub busy_us: u64,
    /// Signs of life that came much too late.
    pub stalls: u64,
    pub accept_errors: u64,
    pub reads: u64,
    pub send_waits: u64,
    pub mesh_waits: u64,
    pub tls_handshakes: u64,
    /// By [`TlsFailure`].
    pub tls_failures: [u64; TlsFailure::ALL.len()],
}

/// Bounds that figures are compared with.
#[derive(Debug, Default, Clone, Copy)]
pub struct Bounds {
    /// Connections of the whole broker.
    pub connections_max: u64,
    /// Bytes of messages of the whole broker.
    pub memory_max: u64,
    /// When the broker's certificate ends, in seconds since 1970; zero without TLS.
    pub tls_expiry_s: u64,
}

/// The filesystem of the data directory.
#[derive(Debug, Default, Clone, Copy)]
pub struct Disk {
    pub free_bytes: u64,
    pub size_bytes: u64,
}

/// The process, as the kernel sees it.
#[derive(Debug, Default, Clone, Copy)]
pub struct Process {
    pub start_ms: u64,
    pub cpu_us: u64,
    pub resident_bytes: u64,
    pub open_fds: u64,
    pub max_fds: u64,
}

/// What was asked of metrics, health and admin.
#[derive(Debug, Default, Clone, Copy)]
pub struct Requests {
    pub answered: u64,
    /// Without a key that may administer.
    pub denied: u64,
    /// Malformed, too large, too slow, or too many at once.
    pub rejected: u64,
    /// Times that the configuration was read again and taken.
    pub reloads: u64,
    /// Times that it was read again and refused.
    pub reloads_refused: u64,
}

/// One topic.
#[derive(Debug, Default, Clone)]
pub struct TopicFigures {
    pub topic: String,
    pub published: u64,
    /// Records kept.
    pub messages: u64,
    pub subscriptions: u64,
}

impl Figures {
    /// A shard that has shown no sign of life for this long hangs.
    pub const HANGS_MS: u64 = 5000;

    /// A counter or gauge over all shards.
    pub fn sum(&self, of: fn(&Stats) -> u64) -> u64 {
        self.shards.iter().map(|shard| of(&shard.stats)).sum()
    }

    /// A counter or gauge over all logs.
    pub fn sum_logs(&self, of: fn(&LogStats) -> u64) -> u64 {
        self.shards.iter().flat_map(|shard| &shard.stats.logs).map(|log| of(&log.counts)).sum()
    }

    /// Milliseconds since a shard showed a sign of life. Zero until it has shown its first.
    pub fn silent_ms(&self, shard: &ShardFigures) -> u64 {
        match shard.vitals.alive_at_ms {
            0 => 0,
            alive_at => self.now_ms.saturating_sub(alive_at),
        }
    }

    pub fn hangs(&self, shard: &ShardFigures) -> bool {
        self.silent_ms(shard) > Figures::HANGS_MS
    }

    /// All shards' histograms together.
    pub fn latency(&self) -> Latency {
        let mut all = Latency::new();
        self.shards.iter().for_each(|shard| all.add(&shard.latency));
        all
    }
}
