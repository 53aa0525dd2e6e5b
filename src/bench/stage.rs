//! One benchmark from start to end: a broker, the load on its CPU, the floor, the report.

use std::collections::BTreeMap;
use std::time::Duration;

use super::cli::{Arguments, Mode, Peer};
use super::connect;
use super::cpu;
use super::dialect::Dialect;
use super::dialect::mixed::Mixed;
use super::dialect::nats::Nats;
use super::dialect::redis::Redis;
use super::dialect::redis_stream::RedisStream;
use super::dialect::relay::Relay;
use super::dialect::v1::V1;
use super::dialect::v2::V2;
use super::embedded::Embedded;
use super::failure::Failure;
use super::floor::disk::DiskFloor;
use super::floor::relay::BareRelay;
use super::load::{self, Outcome};
use super::pin;
use super::plan::{self, Plan, Versions};
use super::progress::{Progress, Watched};
use super::report::{Floor, Report};
use super::workload::{Stop, Workload};
use crate::client::blocking::Tls;
use crate::model::{Qos, Timestamp};

/// Of each of the two runs without a mode.
const CANONICAL: Duration = Duration::from_millis(3500);
/// Before each of them.
const CANONICAL_WARMUP: Duration = Duration::from_millis(500);

/// The broker that is measured.
pub struct Target {
    embedded: Option<Embedded>,
    /// Where it listens.
    pub addr: String,
    /// What it takes.
    pub key: String,
    /// Whom to trust, if it speaks TLS.
    pub tls: Option<Tls>,
    /// Its process, if known.
    pub pid: Option<u32>,
}

impl Target {
    /// Starts one, or takes the one that was named.
    pub fn find(arguments: &Arguments, plan: &Plan) -> Result<Target, Failure> {
        let tls = arguments.tls_ca.as_deref().map(|ca| Tls::from_files(Some(ca), None)).transpose();
        let tls = tls.map_err(|error| Failure::Usage(error.to_string()))?;
        if let Some(addr) = &arguments.addr {
            let key = std::env::var("BLIPMQ_API_KEY").unwrap_or_default();
            return Ok(Target { embedded: None, addr: addr.clone(), key, tls, pid: arguments.pid });
        }
        let embedded = plan.recipe.start()?;
        let (addr, key, pid) = (embedded.addr.clone(), embedded.key().to_owned(), Some(embedded.pid()));
        Ok(Target { embedded: Some(embedded), addr, key, tls, pid })
    }

    fn watched(&self) -> Watched<'static> {
        self.pid.map_or(Watched::Unknown, Watched::Process)
    }

    /// A failure because the broker ended is told as that.
    fn explain(&mut self, failure: Failure) -> Failure {
        match self.embedded.as_mut().map(Embedded::check) {
            Some(Err(ended)) => ended,
            _ => failure,
        }
    }

    fn dialect(&self, peer: Option<Peer>, versions: Versions) -> Box<dyn Dialect> {
        let addr = self.addr.clone();
        match peer {
            Some(Peer::Nats) => Box::new(Nats { addr }),
            Some(Peer::Redis) => Box::new(Redis { addr }),
            Some(Peer::RedisStream) => Box::new(RedisStream { addr }),
            None if versions.publish == versions.subscribe => self.version(versions.publish),
            None => Box::new(Mixed {
                publishers: self.version(versions.publish),
                subscribers: self.version(versions.subscribe),
            }),
        }
    }

    fn version(&self, version: u8) -> Box<dyn Dialect> {
        let (addr, key, tls) = (self.addr.clone(), self.key.clone(), self.tls.clone());
        if version == 1 { Box::new(V1 { addr, key, tls }) } else { Box::new(V2 { addr, key, tls, wall: wall() }) }
    }
}

fn wall() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp(since.as_millis() as i64)
}

/// Nothing that was ever named so is met again.
fn run_name() -> String {
    format!("bench.{}-{}", std::process::id(), wall().0)
}

/// One benchmark, with its floors if they were asked for.
pub fn single(arguments: &Arguments, plan: &Plan) -> Result<Report, Failure> {
    let floor = if arguments.floor { floor(plan)? } else { None };
    let mut report = measure(arguments, plan, floor)?;
    if arguments.floor {
        report.device = Some(DiskFloor::measure(&arguments.data_dir, plan::DISK_FLOOR)?);
    }
    Ok(report)
}

/// QoS 0 and durable QoS 1, with their floors.
pub fn canonical(arguments: &Arguments) -> Result<Vec<Report>, Failure> {
    let arguments = Arguments {
        duration: arguments.duration.or(Some(CANONICAL)),
        warmup: CANONICAL_WARMUP.min(arguments.warmup),
        ..arguments.clone()
    };
    let (qos0, durable) = (plan::of(&arguments, Mode::Qos0)?, plan::of(&arguments, Mode::Durable)?);
    let floor = floor(&qos0)?;
    let mut reports = vec![measure(&arguments, &qos0, floor)?, measure(&arguments, &durable, floor)?];
    reports[1].device = Some(DiskFloor::measure(&arguments.data_dir, plan::DISK_FLOOR)?);
    Ok(reports)
}

/// The same work on one core, then on two, and so on, the load wherever the system puts it.
pub fn scaled(arguments: &Arguments) -> Result<Vec<Report>, Failure> {
    let cpus = pin::allowed();
    let mut reports = Vec::new();
    for cores in 1..=cpus.len() {
        let broker_cpus = arguments.broker_cpus.clone().unwrap_or_else(|| cpus[..cores].to_vec());
        let step = Arguments { broker_cpus: Some(broker_cpus), ..arguments.clone() };
        let mut plan = plan::of(&step, Mode::Scaled)?;
        plan.name = format!("{}-{cores}", plan.name);
        reports.push(measure(&step, &plan, None)?);
        if arguments.broker_cpus.is_some() || arguments.addr.is_some() {
            break;
        }
    }
    Ok(reports)
}

fn measure(arguments: &Arguments, plan: &Plan, floor: Option<Floor>) -> Result<Report, Failure> {
    let mut target = Target::find(arguments, plan)?;
    let _idle = connect::open(&target, plan.versions.subscribe, arguments.idle)?;
    let dialect = target.dialect(arguments.peer, plan.versions);
    let before = target.pid.map(cpu::shards).unwrap_or_default();
    let outcome = on_its_cpu(plan, || {
        let mut progress = Progress::new(&plan.name, target.watched());
        load::run(dialect.as_ref(), &plan.workload, &run_name(), &mut progress)
    });
    let outcome = outcome.map_err(|failure| target.explain(failure))?;
    let shards = shares(&before, &target.pid.map(cpu::shards).unwrap_or_default());
    let broker = if arguments.addr.is_some() { "as it was started".into() } else { plan.broker.clone() };
    Ok(Report {
        name: plan.name.clone(),
        dialect: dialect.name().to_owned(),
        broker,
        workload: plan.workload.clone(),
        outcome,
        floor,
        device: None,
        shards,
    })
}

/// CPU seconds that each shard used.
fn shares(before: &BTreeMap<u32, u64>, after: &BTreeMap<u32, u64>) -> Vec<(u32, f64)> {
    let used = |(shard, nanos): (&u32, &u64)| {
        let before = before.get(shard).copied().unwrap_or_default();
        (*shard, nanos.saturating_sub(before) as f64 / 1e9)
    };
    after.iter().map(used).collect()
}

fn on_its_cpu<T>(plan: &Plan, what: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    match plan.load_cpu {
        Some(cpu) => pin::on(&[cpu], what),
        None => what(),
    }
}

/// The same workload through the relay; `None` where a relay that knows no messages cannot do it.
fn floor(plan: &Plan) -> Result<Option<Floor>, Failure> {
    let workload = &plan.workload;
    if (0..workload.topics).any(|topic| workload.publishers_of(topic) != 1) || workload.subscribers == 0 {
        return Ok(None);
    }
    Ok(Some(Floor::of(&relay(plan, plan::FLOOR)?)))
}

/// A run through the bare relay.
pub fn relay(plan: &Plan, duration: Duration) -> Result<Outcome, Failure> {
    let workload = relayed(&plan.workload, duration);
    let relay = BareRelay::start(plan.broker_cpus.first().copied())?;
    let dialect = Relay { addr: relay.addr.clone() };
    on_its_cpu(plan, || {
        let mut progress = Progress::new("relay", Watched::Relay(&relay));
        load::run(&dialect, &workload, &run_name(), &mut progress)
    })
}

fn relayed(workload: &Workload, duration: Duration) -> Workload {
    let stop = Stop::After(duration);
    Workload { stop, qos: Qos::AtMostOnce, durable: false, backlog: 0, warmup: duration / 5, ..workload.clone() }
}

/// A relay's run as a report of its own.
pub fn relay_report(plan: &Plan, outcome: Outcome) -> Report {
    Report {
        name: "relay".into(),
        dialect: "bare relay".into(),
        broker: "none".into(),
        workload: relayed(&plan.workload, plan::FLOOR),
        outcome,
        floor: None,
        device: None,
        shards: Vec::new(),
    }
}
