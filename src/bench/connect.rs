//! Connections: how fast they open, and what an idle one costs.

use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};

use super::cli::Arguments;
use super::cpu::Sample;
use super::dialect::handshake::Handshake;
use super::failure::Failure;
use super::latency::{self, Latencies, spoken};
use super::plan::Plan;
use super::stage::Target;
use super::stream::Stream;

/// How long idleness is watched, before and with the connections, unless `--duration` says otherwise.
const IDLE: Duration = Duration::from_secs(2);
/// For a broker to come to rest.
const REST: Duration = Duration::from_millis(300);
/// Descriptors beside connections.
const OTHERS: u64 = 200;

/// What was measured.
#[derive(Debug)]
pub struct Connections {
    count: u64,
    seconds: f64,
    handshakes: Latencies,
    empty: Option<Sample>,
    before: Option<Sample>,
    opened: Option<Sample>,
    rested: Option<Sample>,
    idle: Duration,
}

/// Opens connections one after another, leaves them idle, and closes them.
pub fn measure(arguments: &Arguments, plan: &Plan) -> Result<Connections, Failure> {
    allow(arguments.connections)?;
    let target = Target::find(arguments, plan)?;
    let sample = || target.pid.and_then(Sample::of_process);
    // The first connection makes what all share.
    drop(Handshake::open(&target.addr, &target.key, plan.versions.subscribe, target.tls.as_ref())?);
    sleep(REST);
    let watched = arguments.duration.unwrap_or(IDLE);
    let empty = sample();
    sleep(watched);
    let (before, begin) = (sample(), Instant::now());
    let mut handshakes = latency::empty();
    let mut held = Vec::new();
    for _ in 0..arguments.connections {
        let started = Instant::now();
        held.push(Handshake::open(&target.addr, &target.key, plan.versions.subscribe, target.tls.as_ref())?.end());
        handshakes.saturating_record(started.elapsed().as_nanos() as u64);
    }
    let seconds = begin.elapsed().as_secs_f64();
    sleep(REST);
    let (opened, began_to_rest) = (sample(), Instant::now());
    sleep(watched);
    let (rested, idle) = (sample(), began_to_rest.elapsed());
    Ok(Connections { count: held.len() as u64, seconds, handshakes, empty, before, opened, rested, idle })
}

/// Idle connections, for as long as they are held.
pub fn open(target: &Target, version: u8, count: u64) -> Result<Vec<Stream>, Failure> {
    allow(count)?;
    (0..count).map(|_| Ok(Handshake::open(&target.addr, &target.key, version, target.tls.as_ref())?.end())).collect()
}

/// Raises this process's limit on descriptors, which an embedded broker inherits.
pub fn allow(connections: u64) -> Result<(), Failure> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let needed = connections + OTHERS;
    if soft >= needed {
        return Ok(());
    }
    if hard < needed {
        return Err(Failure::Local(format!("{connections} connections need {needed} descriptors: raise `ulimit -n`")));
    }
    Ok(setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?)
}

impl Connections {
    fn memory_each(&self) -> Option<f64> {
        let grown = self.opened?.resident?.saturating_sub(self.before?.resident?);
        Some(grown as f64 / self.count.max(1) as f64)
    }

    fn idle_share(&self) -> Option<f64> {
        let used = self.rested?.usage.since(self.opened?.usage).total();
        Some(used as f64 / self.idle.as_nanos() as f64)
    }

    /// Of a core, without any connection.
    fn empty_share(&self) -> Option<f64> {
        let used = self.before?.usage.since(self.empty?.usage).total();
        Some(used as f64 / self.idle.as_nanos() as f64)
    }

    fn cpu_each(&self) -> Option<f64> {
        Some(self.opened?.usage.since(self.before?.usage).total() as f64 / self.count.max(1) as f64)
    }

    /// One line, for people.
    pub fn line(&self) -> String {
        let quantile = |quantile| spoken(self.handshakes.value_at_quantile(quantile));
        let rate = self.count as f64 / self.seconds;
        let mut parts = vec![
            format!("connect  {} connections in {:.2} s, {rate:.0}/s", self.count, self.seconds),
            format!("handshake p50 {} p99 {} max {}", quantile(0.5), quantile(0.99), spoken(self.handshakes.max())),
        ];
        if let Some((memory, cpu)) = self.memory_each().zip(self.cpu_each()) {
            parts.push(format!("broker {:.2} KiB and {} each", memory / 1024.0, spoken(cpu as u64)));
        }
        if let Some((share, resident)) = self.idle_share().zip(self.rested.and_then(|rested| rested.resident)) {
            let resident = resident as f64 / f64::from(1 << 20);
            let empty = self.empty_share().unwrap_or(0.0) * 100.0;
            parts.push(format!(
                "idle {:.2} % of a core, {empty:.2} % without them, RSS {resident:.0} MiB",
                share * 100.0
            ));
        }
        parts.join(" | ")
    }

    /// Everything, for programs.
    pub fn json(&self) -> Value {
        json!({
            "name": "connect",
            "connections": self.count,
            "seconds": self.seconds,
            "handshake_ns": {
                "p50": self.handshakes.value_at_quantile(0.5),
                "p99": self.handshakes.value_at_quantile(0.99),
                "max": self.handshakes.max(),
            },
            "broker_bytes_each": self.memory_each(),
            "broker_cpu_ns_each": self.cpu_each(),
            "broker_resident_bytes": self.rested.and_then(|rested| rested.resident),
            "idle_share_of_a_core": self.idle_share(),
            "empty_share_of_a_core": self.empty_share(),
        })
    }
}
