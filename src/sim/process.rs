//! One life of the broker: cores made from what the disk has.

use std::time::Duration;

use super::disk::Disk;
use super::plant::Plant;
use super::shape::Shape;
use crate::auth::{Key, KeyRing, Secret};
use crate::config::TopicRules;
use crate::model::placement::shard_of;
use crate::model::{Backoff, Instant, LogId, OverflowPolicy, ShardId};
use crate::shard::{Core, CoreOptions, Patterns, gather_patterns};
use crate::wal::Log;
use crate::wal::RecoveryReport;

#[derive(Debug)]
pub struct Process {
    pub life: u32,
    pub cores: Vec<Core>,
    /// When each core is to be told that its time has come.
    pub timers: Vec<Instant>,
    /// Cores that have drained.
    pub drained: usize,
}

/// The keys of all clients.
pub fn key_ring(clients: usize) -> KeyRing {
    let keys = (0..clients).map(|client| {
        let secret = Secret::new(key_of(client).as_bytes()).expect("a key");
        Key::plain(&secret)
    });
    KeyRing::new(keys).expect("keys that differ")
}

pub fn key_of(client: usize) -> String {
    format!("key of client {client}")
}

impl Process {
    /// Reads the logs and makes the cores; answers also with what recovery has to say. `Err`: recovery will not go on, and
    /// says why.
    pub fn start(
        shape: &Shape,
        keys: &KeyRing,
        disk: &Disk,
        now: Instant,
        (life, seed): (u32, u64),
    ) -> Result<(Process, Vec<RecoveryReport>), String> {
        let shards = shape.cores[life as usize % shape.cores.len()];
        let mut logs: Vec<Vec<(LogId, Log)>> = (0..shards).map(|_| Vec::new()).collect();
        let mut reports = Vec::new();
        if shape.fsync.is_some() {
            for log in (0..shape.logs).map(LogId) {
                let (opened, report) = super::opening::open(shape, disk, log)?;
                logs[shard_of(log, shards).index()].push((log, opened));
                reports.push(report);
            }
        }
        let mut patterns = Patterns::new();
        logs.iter().for_each(|logs| gather_patterns(&mut patterns, logs));
        let cores = logs.into_iter().enumerate().map(|(index, logs)| {
            let shard = ShardId(index as u16);
            Core::new(options(shape, keys, (shard, shards), seed), now, logs, &patterns)
        });
        let cores: Vec<Core> = cores.collect();
        let timers = vec![Instant::NEVER; cores.len()];
        Ok((Process { life, cores, timers, drained: 0 }, reports))
    }
}

fn options(shape: &Shape, keys: &KeyRing, (shard, shards): (ShardId, u16), seed: u64) -> CoreOptions {
    let mut limits = shape.limits.clone();
    limits.in_flight_max += u32::from(shape.plant == Some(Plant::InFlightOffByOne));
    CoreOptions {
        shard,
        shards,
        logs: if shape.fsync.is_some() { shape.logs } else { shards },
        overflow: if shape.plant == Some(Plant::OverflowUnasked) { OverflowPolicy::DropOldest } else { shape.overflow },
        limits,
        keys: keys.clone(),
        max_retries: shape.max_retries,
        retry: Backoff { base: Duration::from_millis(shape.retry_backoff_ms), cap: Duration::from_secs(1) },
        topics: TopicRules::default(),
        seed: seed ^ u64::from(shard.0),
    }
}
