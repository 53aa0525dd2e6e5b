//! One metric: what it is called, what it says, and how it is read off the figures.

use super::figures::{Figures, ShardFigures};
use crate::shard::Stats;
use crate::shard::latency::Path;
use crate::wal::LogStats;

/// One family of series.
#[derive(Debug)]
pub struct Metric {
    /// Without the prefix.
    pub name: &'static str,
    pub kind: Kind,
    pub scope: Scope,
    pub unit: Unit,
    /// Names of its labels; their values are bounded by configuration or by the code.
    pub labels: &'static [&'static str],
    pub help: &'static str,
    pub read: Read,
}

/// How its value moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only up, until the process ends.
    Counter,
    Gauge,
    Histogram,
}

/// Under which names it is exposed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// With the prefix.
    Ours,
    /// With the prefix, and bare as well: the names of the original BlipMQ.
    Both,
    /// Bare: a name that every Prometheus client uses for the same.
    Common,
}

/// What it counts in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Count,
    Bytes,
    Seconds,
    /// Seconds since 1970.
    Time,
    /// 0 or 1.
    Flag,
}

/// How it is read.
#[derive(Clone, Copy)]
pub enum Read {
    /// Added up over the shards.
    Sum(fn(&Stats) -> u64),
    /// Added up over the logs.
    Logs(fn(&LogStats) -> u64),
    /// One series for each shard, labelled by its number.
    Shards(fn(&Figures, &ShardFigures) -> f64),
    /// One value.
    One(fn(&Figures) -> f64),
    /// One series for each value of one label.
    Each(fn(&Figures) -> Vec<(String, f64)>),
    /// A histogram over all shards.
    Latency(Path),
}

/// What stands before our names.
pub const PREFIX: &str = "blipmq_";

impl Metric {
    /// The name to use in queries, rules and dashboards.
    pub fn full_name(&self) -> String {
        match self.scope {
            Scope::Common => self.name.to_owned(),
            Scope::Ours | Scope::Both => format!("{PREFIX}{}", self.name),
        }
    }

    /// Every name it is exposed under.
    pub fn names(&self) -> Vec<String> {
        let bare = (self.scope == Scope::Both).then(|| self.name.to_owned());
        std::iter::once(self.full_name()).chain(bare).collect()
    }
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

impl Unit {
    pub fn name(self) -> &'static str {
        match self {
            Unit::Count => "",
            Unit::Bytes => "bytes",
            Unit::Seconds => "seconds",
            Unit::Time => "seconds since 1970",
            Unit::Flag => "0 or 1",
        }
    }
}

impl std::fmt::Debug for Read {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Read::Sum(_) => "Sum",
            Read::Logs(_) => "Logs",
            Read::Shards(_) => "Shards",
            Read::One(_) => "One",
            Read::Each(_) => "Each",
            Read::Latency(_) => "Latency",
        })
    }
}
