//! Carries out what the admin room plans: asks shards, gathers figures, passes orders on.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::clock::Clock;
use super::control::Control;
use super::dumps::Dumps;
use super::gauges::{Gauges, read};
use super::process;
use crate::admin::dump::Moment;
use crate::admin::figures::{Bounds, Figures, Requests, Stage, Vitals};
use crate::admin::gather::{gather, questions};
use crate::admin::plan::{Ask, Depth, Order, Reply, To};
use crate::admin::{Context, Memory, Plan, Request, Response, Surroundings, route};
use crate::auth::KeyRing;
use crate::model::{ShardId, Timestamp};

/// For a shard to say its figures.
const PATIENCE: Duration = Duration::from_secs(1);
/// For a shard to do what it was ordered, a read or a commit of its log included.
const LONG_PATIENCE: Duration = Duration::from_secs(10);

/// What may change while the process runs.
#[derive(Debug, Clone, Default)]
pub struct Terms {
    /// Whose orders are taken.
    pub keys: KeyRing,
    /// What figures are compared with.
    pub bounds: Bounds,
    /// Topics that get metrics of their own.
    pub metrics_per_topic: usize,
}

/// The shards, once they are there.
#[derive(Debug, Clone)]
pub struct Shards {
    /// The way to them.
    pub control: Control,
    /// Their figures.
    pub gauges: Vec<Arc<Gauges>>,
    /// What they tell the time by.
    pub clock: Clock,
    /// What placement divides by.
    pub logs: u16,
}

/// Takes orders for the process: the answer to one, or why not, in a sentence.
pub type Orders = Box<dyn Fn(Order) -> Result<Value, String> + Send + Sync>;

/// What requests share. One for the process; its locks are held for a copy, never while a shard is asked.
pub struct Desk {
    on_loopback: bool,
    data_dir: PathBuf,
    start_ms: u64,
    terms: RwLock<Terms>,
    shards: RwLock<(Stage, Option<Shards>)>,
    memory: Mutex<Memory>,
    dumps: Dumps,
    orders: Orders,
    answered: AtomicU64,
    denied: AtomicU64,
    rejected: AtomicU64,
    reloads: AtomicU64,
    reloads_refused: AtomicU64,
}

impl Desk {
    /// For a listener bound to loopback or not, before there are shards.
    pub fn new(on_loopback: bool, data_dir: PathBuf, hdr_dir: PathBuf, terms: Terms, orders: Orders) -> Desk {
        let start_ms = unix_ms();
        let start = Moment { at: Timestamp(start_ms as i64), ..Moment::default() };
        Desk {
            on_loopback,
            data_dir,
            start_ms,
            dumps: Dumps::new(hdr_dir, start),
            terms: RwLock::new(terms),
            shards: RwLock::new((Stage::Starting, None)),
            memory: Mutex::default(),
            orders,
            answered: AtomicU64::new(0),
            denied: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            reloads: AtomicU64::new(0),
            reloads_refused: AtomicU64::new(0),
        }
    }

    /// All shards serve.
    pub fn serving(&self, shards: Shards) {
        *self.shards.write().unwrap_or_else(PoisonError::into_inner) = (Stage::Serving, Some(shards));
    }

    /// The end has been asked for.
    pub fn draining(&self) {
        self.shards.write().unwrap_or_else(PoisonError::into_inner).0 = Stage::Draining;
    }

    /// The configuration was read again.
    pub fn change(&self, terms: Terms) {
        *self.terms.write().unwrap_or_else(PoisonError::into_inner) = terms;
    }

    /// A reload was taken, or refused.
    pub fn reloaded(&self, taken: bool) {
        let count = if taken { &self.reloads } else { &self.reloads_refused };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// Something that was not answered as a request: malformed, too slow, one too many.
    pub fn reject(&self) {
        self.rejected.fetch_add(1, Ordering::Relaxed);
    }

    /// Answers one request. May take as long as shards are given.
    pub fn answer(&self, request: &Request) -> Response {
        let terms = self.terms.read().unwrap_or_else(PoisonError::into_inner).clone();
        let (stage, shards) = self.shards();
        let context = Context {
            stage,
            shards: shards.as_ref().map_or(0, |shards| shards.control.shards() as u16),
            logs: shards.as_ref().map_or(0, |shards| shards.logs),
            keys: &terms.keys,
            data_dir: &self.data_dir.to_string_lossy(),
            on_loopback: self.on_loopback,
            metrics_per_topic: terms.metrics_per_topic,
        };
        let response = self.carry_out(route(request, &context), shards.as_ref());
        let count = if matches!(response.status, 401 | 403) { &self.denied } else { &self.answered };
        count.fetch_add(1, Ordering::Relaxed);
        response
    }

    fn carry_out(&self, mut plan: Plan, shards: Option<&Shards>) -> Response {
        loop {
            plan = match plan {
                Plan::Respond(response) => return response,
                Plan::Ask(ask, then) => then(shards.map_or_else(Vec::new, |shards| shards.ask(ask))),
                Plan::Measure(depth, then) => return then(&self.measure(depth)),
                Plan::Order(Order::DumpLatency, then) => return then(self.dump_latency()),
                Plan::Order(order, then) => return then((self.orders)(order)),
            };
        }
    }

    /// Gathers figures of the whole broker.
    pub fn measure(&self, depth: Depth) -> Figures {
        let (stage, shards) = self.shards();
        let questions = if shards.is_some() { questions(depth) } else { Vec::new() };
        let ask_all =
            |question| shards.as_ref().map_or_else(Vec::new, |shards| shards.control.ask_all(&question, PATIENCE));
        let answers = questions.into_iter().map(ask_all).collect();
        let seen = Surroundings {
            now_ms: shards.as_ref().map_or_else(unix_ms, |shards| shards.clock.now().timestamp().0 as u64),
            stage,
            vitals: shards.as_ref().map_or_else(Vec::new, Shards::vitals),
            bounds: self.terms.read().unwrap_or_else(PoisonError::into_inner).bounds,
            disk: if depth == Depth::Vitals { None } else { process::disk(&self.data_dir) },
            process: if depth == Depth::Vitals { Default::default() } else { process::look(self.start_ms) },
            requests: self.requests(),
        };
        gather(seen, depth, answers, &mut self.memory())
    }

    /// Writes the histograms of all shards to files; tells their paths, or why not.
    pub fn dump_latency(&self) -> Result<Value, String> {
        let figures = self.measure(Depth::All { topics: 0 });
        let now = Moment { at: Timestamp(figures.now_ms as i64), latency: figures.latency() };
        match self.dumps.write(now) {
            Ok(files) => {
                let files: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
                log::info!("latencies are in {}", files.last().map_or("", String::as_str));
                Ok(files.into())
            }
            Err(error) => {
                log::warn!("latencies could not be written: {error}");
                Err(error.to_string())
            }
        }
    }

    fn requests(&self) -> Requests {
        Requests {
            answered: self.answered.load(Ordering::Relaxed),
            denied: self.denied.load(Ordering::Relaxed),
            rejected: self.rejected.load(Ordering::Relaxed),
            reloads: self.reloads.load(Ordering::Relaxed),
            reloads_refused: self.reloads_refused.load(Ordering::Relaxed),
        }
    }

    fn shards(&self) -> (Stage, Option<Shards>) {
        self.shards.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shards {
    fn ask(&self, ask: Ask) -> Vec<Reply> {
        match ask.to {
            To::One(shard) => vec![Reply { shard, answer: self.control.ask(shard, ask.question, LONG_PATIENCE) }],
            To::All => {
                let answers = self.control.ask_all(&ask.question, LONG_PATIENCE);
                let shards = (0..).map(ShardId);
                shards.zip(answers).map(|(shard, answer)| Reply { shard, answer }).collect()
            }
        }
    }

    fn vitals(&self) -> Vec<Vitals> {
        let of = |gauges: &Arc<Gauges>| Vitals {
            alive_at_ms: read(&gauges.alive_at_ms),
            busy_us: read(&gauges.busy_us),
            stalls: read(&gauges.stalls),
            accept_errors: read(&gauges.accept_errors),
            reads: read(&gauges.reads),
            send_waits: read(&gauges.send_waits),
            mesh_waits: read(&gauges.mesh_waits),
            tls_handshakes: read(&gauges.tls_handshakes),
            tls_failures: std::array::from_fn(|failure| read(&gauges.tls_failures[failure])),
        };
        self.gauges.iter().map(of).collect()
    }
}

fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}
