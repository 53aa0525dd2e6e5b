//! One executor for each shard: what runs on it, from recovery to the end.

use std::future::poll_fn;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use glommio::timer::sleep;
use glommio::{ExecutorJoinHandle, Latency, LocalExecutorBuilder, Placement, Shares};

use super::clock::Clock;
use super::control::{Mailbox, Order};
use super::doorkeeper::Doorkeeper;
use super::failure::{Exit, Failure, planted_panic};
use super::filesystem::WriteMode;
use super::gauges::{Gauges, add};
use super::log_device::{self, LogDevice};
use super::mesh::{self, Ends, Mesh};
use super::pulse::{self, Pulse};
use super::segment_file::io_error;
use super::shard::{Logic, Parts, Report, Shard, tell_leftovers};
use super::tls::Tls;
use super::{alarm, listener, recover};
use crate::model::{Instant, LogId, RecoveryMode, ShardId};
use crate::shard::{Patterns, gather_patterns};
use crate::wal::{Log, LogOptions};

/// Requests one submission to the kernel holds.
const RING_DEPTH: usize = 512;
/// The message path has a thousand.
const BACKGROUND_SHARES: usize = 50;
/// A shard says that it is alive.
const HEARTBEAT: Duration = Duration::from_millis(250);
/// A sign of life that comes later than this is a stall.
const LATE: Duration = Duration::from_millis(500);
/// While a shard starts it looks around this often.
const STARTING: Duration = Duration::from_millis(5);
/// After the order to stop, for tasks to close what they hold.
const FAREWELL: Duration = Duration::from_millis(20);

/// Makes the core of one shard from its logs, which have come back, and from what those of all shards know of patterns.
pub type MakeCore = Arc<dyn Fn(ShardId, Instant, Vec<(LogId, Log)>, &Patterns) -> Box<dyn Logic> + Send + Sync>;

/// What the operator decides about each log.
pub type LogOptionsOf = Arc<dyn Fn(LogId) -> LogOptions + Send + Sync>;

/// What is put on the runtime: the cores, and the options of their logs.
#[derive(Clone)]
pub struct Makers {
    /// Makes the core of a shard.
    pub core: MakeCore,
    /// What a log is brought back with.
    pub log_options: LogOptionsOf,
}

/// All that one shard needs to start.
pub struct Plan {
    /// Which one.
    pub id: ShardId,
    /// The CPU to bind to, if any.
    pub cpu: Option<usize>,
    /// Bytes registered with its rings.
    pub io_memory: usize,
    /// How long to spin before sleeping; only when bound to a CPU.
    pub spin: Duration,
    /// The clock of the process.
    pub clock: Clock,
    /// The logs it runs.
    pub logs: Vec<(LogId, PathBuf)>,
    /// How they are written.
    pub mode: WriteMode,
    /// What to do with a corrupt one.
    pub recovery: RecoveryMode,
    /// What the logs of all shards know of patterns.
    pub patterns: Arc<Mutex<Patterns>>,
    /// Its ends of the mesh.
    pub ends: Ends,
    /// Its listening socket, bound.
    pub socket: OwnedFd,
    /// Where orders come in.
    pub mailbox: Arc<Mailbox>,
    /// Where reports go.
    pub life: Life,
    /// Its figures.
    pub gauges: Arc<Gauges>,
    /// What connections are accepted with, if the port speaks TLS.
    pub tls: Option<Arc<Tls>>,
    /// Counts the connections of all shards.
    pub doorkeeper: Arc<Doorkeeper>,
    /// Makes its core.
    pub makers: Makers,
}

/// Reports the end of a shard however it comes, also when its executor could not be made at all.
#[derive(Debug)]
pub struct Life {
    /// Which one.
    pub id: ShardId,
    /// Who wants to know.
    pub reports: Sender<Report>,
}

impl Life {
    fn report(&self, report: Report) {
        // Nobody listens only when the process ends.
        let _ = self.reports.send(report);
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.report(Report::Ended(self.id));
    }
}

/// Starts a shard on a thread of its own.
pub fn start(plan: Plan) -> Result<ExecutorJoinHandle<()>, Failure> {
    let placement = plan.cpu.map_or(Placement::Unbound, Placement::Fixed);
    let mut builder = LocalExecutorBuilder::new(placement)
        .name(&format!("shard-{}", plan.id))
        .io_memory(plan.io_memory)
        .ring_depth(RING_DEPTH);
    if !plan.spin.is_zero() {
        builder = builder.spin_before_park(plan.spin);
    }
    let id = plan.id;
    builder.spawn(move || live(plan)).map_err(io_error).map_err(|error| {
        Failure::new(Exit::Environment, format!("shard {id} cannot start: {error}"), "see the limits of this process")
    })
}

async fn live(plan: Plan) {
    let pulse = Rc::new(Pulse::default());
    pulse.work();
    let beating = glommio::spawn_local(pulse::run(pulse.clone()));
    beating.detach();
    // Until the shard is there, somebody must wake the executor up should it fall asleep over the start.
    let starting = glommio::spawn_local(stay_awake(pulse.clone()));
    let queue =
        glommio::executor().create_task_queue(Shares::Static(BACKGROUND_SHARES), Latency::NotImportant, "background");
    let mut devices = Vec::new();
    let mut logs = Vec::new();
    for (log, folder) in plan.logs {
        let device = LogDevice::new(log, folder, plan.mode);
        let options = (plan.makers.log_options)(log);
        match recover::recover(&device, options.clone(), plan.recovery).await {
            Ok(found) => logs.push((log, Log::new(options, found))),
            // The others' ends of the mesh come free as ours are dropped here.
            Err(failure) => return plan.life.report(Report::Failed(failure)),
        }
        devices.push(device);
    }
    // Before the mesh: a shard that has its end of it has told what its logs know.
    gather_patterns(&mut plan.patterns.lock().unwrap_or_else(PoisonError::into_inner), &logs);
    let (mesh, receivers) = Mesh::connect(plan.ends, plan.gauges.clone()).await;
    let patterns = plan.patterns.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let core = (plan.makers.core)(plan.id, plan.clock.now(), logs, &patterns);
    starting.cancel().await;
    let shard = Shard::new(Parts {
        id: plan.id,
        pulse,
        clock: plan.clock,
        gauges: plan.gauges,
        core,
        logs: devices,
        mesh,
        tls: plan.tls,
        doorkeeper: plan.doorkeeper,
        background: queue,
        reports: plan.life.reports.clone(),
    });
    for (from, receiver) in receivers {
        shard.spawn(mesh::receive(shard.clone(), from, receiver));
    }
    start_tasks(&shard);
    plan.life.report(Report::Ready(plan.id));
    follow_orders(&shard, &plan.mailbox, plan.socket).await;
    plan.mailbox.close();
    end(&shard).await;
}

fn start_tasks(shard: &Rc<Shard>) {
    shard.spawn(alarm::run(shard.clone()));
    shard.spawn(tell_leftovers(shard.clone()));
    shard.spawn_in_background(heartbeat(shard.clone()));
    for device in shard.logs() {
        shard.spawn_in_background(log_device::watch_space(shard.clone(), device.clone()));
    }
    shard.look_at_the_time();
}

/// Runs until it is told to stop.
async fn follow_orders(shard: &Rc<Shard>, mailbox: &Mailbox, socket: OwnedFd) {
    let mut socket = Some(socket);
    loop {
        match poll_fn(|cx| mailbox.poll_next(cx)).await {
            Order::Ask { question, reply } => shard.ask(question, reply),
            Order::Serve => {
                if let Some(socket) = socket.take() {
                    shard.spawn(listener::run(shard.clone(), socket));
                }
            }
            Order::Refuse => shard.refuse.ring(),
            Order::Stop => return,
        }
    }
}

async fn end(shard: &Rc<Shard>) {
    shard.refuse.ring();
    for connection in shard.connections.all() {
        connection.say_goodbye();
        connection.abort();
    }
    for device in shard.logs() {
        device.close_all().await;
    }
    sleep(FAREWELL).await;
}

async fn stay_awake(pulse: Rc<Pulse>) {
    loop {
        pulse.work();
        sleep(STARTING).await;
    }
}

async fn heartbeat(shard: Rc<Shard>) {
    let mut last = shard.clock.now();
    loop {
        let now = shard.clock.now();
        shard.gauges.alive_at_ms.store(now.timestamp().0 as u64, Ordering::Relaxed);
        add(&shard.gauges.stalls, u64::from(now.since(last) > HEARTBEAT + LATE));
        // What the executor counted since it was last asked.
        let busy = glommio::executor().executor_stats().total_runtime();
        add(&shard.gauges.busy_us, busy.as_micros() as u64);
        last = now;
        planted_panic("shard");
        sleep(HEARTBEAT).await;
    }
}
