//! Start, wait, stop.

use std::cell::Cell;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use glommio::ExecutorJoinHandle;

use super::clock::Clock;
use super::control::{Control, Order};
use super::cores::{self, CorePlan};
use super::data_dir::DataDir;
use super::doorkeeper::Doorkeeper;
use super::executor::{self, Life, Makers, Plan};
use super::failure::{Exit, Failure};
use super::filesystem::{self, WriteMode};
use super::gauges::Gauges;
use super::shard::Report;
use super::tls::Tls;
use super::{listener, mesh, preflight, service_manager};
use crate::model::{FsyncPolicy, LogId, RecoveryMode, ShardId};
use crate::shard::{Patterns, Question};

/// Beyond the deadline that the cores are given for draining: for the last sync and the last checkpoint of each log, on
/// a device that has much to do.
const DRAIN_GRACE: Duration = Duration::from_secs(10);
/// For all executors to end after the order to stop.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// What the runtime needs of the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where clients connect; port 0 lets the system choose.
    pub address: SocketAddr,
    /// Shards; zero for one on each core that may be used.
    pub cores: usize,
    /// Exactly these CPUs.
    pub these: Option<Vec<usize>>,
    /// Bind executors to their CPUs; `None` decides by what the machine allows.
    pub pin: Option<bool>,
    /// The data directory.
    pub data_dir: PathBuf,
    /// Keep QoS 1 messages in a log.
    pub wal: bool,
    /// When the log is synced: decides which filesystems will do.
    pub fsync: FsyncPolicy,
    /// What to do with a corrupt log.
    pub recovery: RecoveryMode,
    /// Connections of the whole broker: decides how many descriptors are needed.
    pub connections_max: usize,
    /// Bytes that each executor registers with its rings.
    pub io_memory: usize,
    /// How long an executor with nothing to do spins before it sleeps.
    pub spin: Duration,
    /// How long a drain may take.
    pub shutdown_timeout: Duration,
}

/// Registered memory of one executor: several groups and reads at once.
pub const IO_MEMORY: usize = 10 << 20;

/// What is known before the shards start, for whoever makes their cores.
#[derive(Clone, Debug)]
pub struct Ground {
    /// The open data directory's logs, or as many as shards without a log.
    pub logs: u16,
    /// Executors, and the CPUs they are bound to.
    pub cores: CorePlan,
    /// How segments are written; `None` without a log.
    pub mode: Option<WriteMode>,
    /// For the operator to read at the start.
    pub warnings: Vec<String>,
}

/// The environment is checked, the directory locked, the port taken; nothing runs yet.
#[derive(Debug)]
pub struct Prepared {
    settings: Settings,
    ground: Ground,
    io_memory: usize,
    directory: DataDir,
    bound: listener::Bound,
}

/// How long a drain may take. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct Patience(Arc<AtomicU64>);

impl Patience {
    fn new(time: Duration) -> Patience {
        let patience = Patience(Arc::default());
        patience.set(time);
        patience
    }

    /// From now on so long.
    pub fn set(&self, time: Duration) {
        self.0.store(time.as_millis() as u64, Ordering::Relaxed);
    }

    fn read(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

/// What others in the process are to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The end has been asked for: say so to whoever asks.
    Draining,
    /// Write the histograms of latencies.
    Dump,
}

/// A running broker.
pub struct Broker {
    /// The way to its shards.
    pub control: Control,
    /// Its shards' figures.
    pub gauges: Vec<Arc<Gauges>>,
    /// Where it listens.
    pub address: SocketAddr,
    /// What its shards tell the time by.
    pub clock: Clock,
    reports: Receiver<Report>,
    sender: Sender<Report>,
    executors: Vec<ExecutorJoinHandle<()>>,
    ended: Cell<usize>,
    /// How long a drain may take; a reload may change it.
    pub patience: Patience,
    /// Counts their connections.
    pub doorkeeper: Arc<Doorkeeper>,
    _directory: DataDir,
}

impl Prepared {
    /// Checks and takes all that can fail before a shard runs.
    pub fn new(settings: Settings) -> Result<Prepared, Failure> {
        let allowed = cores::allowed();
        let plan = match &settings.these {
            Some(these) => cores::plan_these(&allowed, these)?,
            None => cores::plan(&allowed, settings.cores, settings.pin)?,
        };
        Prepared::on_cores(settings, plan)
    }

    /// As many shards as asked for, wherever the system puts them.
    #[cfg(test)]
    pub fn new_with_cores(settings: Settings, count: usize) -> Result<Prepared, Failure> {
        Prepared::on_cores(settings, CorePlan { cpus: vec![0; count], pinned: false })
    }

    fn on_cores(settings: Settings, mut plan: CorePlan) -> Result<Prepared, Failure> {
        let kernel = preflight::check(&plan, settings.connections_max, settings.io_memory)?;
        let mut warnings = Vec::new();
        if plan.pinned && !kernel.pinned {
            warnings.push("executors cannot be bound to their cores here: latency will vary".to_owned());
        }
        plan.pinned = kernel.pinned;
        let shards = plan.cpus.len() as u16;
        let directory = DataDir::open(&settings.data_dir, shards)?;
        let (mut logs, mut mode) = (shards, None);
        if settings.wal {
            let found = filesystem::check(directory.path(), settings.fsync)?;
            (logs, mode) = (directory.logs(), Some(found.mode));
            preflight::files(plan.cpus.len(), logs.into(), settings.connections_max)?;
            warnings.extend(found.warning);
        }
        let bound = listener::bind(settings.address, plan.cpus.len())?;
        let ground = Ground { logs, cores: plan, mode, warnings };
        Ok(Prepared { settings, ground, io_memory: kernel.io_memory, directory, bound })
    }

    /// What was found.
    pub fn ground(&self) -> &Ground {
        &self.ground
    }

    /// The data directory.
    pub fn directory(&self) -> &DataDir {
        &self.directory
    }

    /// Where it will listen.
    pub fn address(&self) -> SocketAddr {
        self.bound.address
    }

    /// Starts all shards, waits until every one has recovered, then lets connections come.
    pub fn start(self, makers: Makers, tls: Option<Arc<Tls>>) -> Result<Broker, Failure> {
        let shards = self.ground.cores.cpus.len();
        let (sender, reports) = channel();
        let control = Control::new(shards);
        let gauges: Vec<Arc<Gauges>> = (0..shards).map(|_| Arc::default()).collect();
        let doors: Vec<_> = self.bound.sockets.iter().map(|socket| socket.try_clone()).collect();
        let clock = Clock::start();
        let doorkeeper = Arc::new(Doorkeeper::new(self.settings.connections_max));
        let patterns: Arc<Mutex<Patterns>> = Arc::default();
        let mut executors = Vec::new();
        for (index, (ends, socket)) in mesh::ends(shards).into_iter().zip(self.bound.sockets).enumerate() {
            let id = ShardId(index as u16);
            executors.push(executor::start(Plan {
                id,
                cpu: self.ground.cores.pinned.then(|| self.ground.cores.cpus[index]),
                io_memory: self.io_memory,
                spin: self.settings.spin,
                clock,
                logs: logs_of(&self.directory, &self.ground, id),
                mode: self.ground.mode.unwrap_or(WriteMode::Buffered),
                recovery: self.settings.recovery,
                patterns: patterns.clone(),
                ends,
                socket,
                mailbox: control.mailbox(id),
                life: Life { id, reports: sender.clone() },
                gauges: gauges[index].clone(),
                tls: tls.clone(),
                doorkeeper: doorkeeper.clone(),
                makers: makers.clone(),
            })?);
        }
        let broker = Broker {
            control,
            gauges,
            address: self.bound.address,
            clock,
            reports,
            sender,
            executors,
            ended: Cell::new(0),
            patience: Patience::new(self.settings.shutdown_timeout),
            doorkeeper,
            _directory: self.directory,
        };
        match broker.serve(doors) {
            Ok(()) => Ok(broker),
            Err(failure) => {
                broker.stop();
                Err(failure)
            }
        }
    }
}

fn logs_of(directory: &DataDir, ground: &Ground, shard: ShardId) -> Vec<(LogId, PathBuf)> {
    if ground.mode.is_none() {
        return Vec::new();
    }
    let shards = ground.cores.cpus.len() as u16;
    let mine = (0..ground.logs).map(LogId).filter(|log| crate::model::placement::shard_of(*log, shards) == shard);
    mine.map(|log| (log, directory.log_folder(log))).collect()
}

impl Broker {
    fn serve(&self, doors: Vec<std::io::Result<std::os::fd::OwnedFd>>) -> Result<(), Failure> {
        self.wait_until_ready()?;
        for door in doors {
            door.and_then(|door| listener::open(&door)).map_err(|error| {
                let what = format!("cannot listen on {}: {error}", self.address);
                Failure::new(Exit::AddressInUse, what, "stop what listens there, or set another port")
            })?;
        }
        self.control.tell_all(|| Order::Serve);
        Ok(())
    }

    fn wait_until_ready(&self) -> Result<(), Failure> {
        let mut ready = 0;
        while ready < self.control.shards() {
            match self.next_report() {
                Report::Ready(_) => ready += 1,
                Report::Failed(failure) => return Err(failure),
                Report::Halt { code, reason } => return Err(halted(code, reason)),
                Report::Signal(signal) => return Err(interrupted(signal)),
                // Its rings or their memory could not be had; the executor's own thread knows no more.
                Report::Ended(shard) => return Err(could_not_start(shard)),
                Report::Drained(_) | Report::Dump => {}
            }
        }
        Ok(())
    }

    fn next_report(&self) -> Report {
        self.next_report_until(None).expect("without a deadline it comes, for this broker holds a sender")
    }

    fn next_report_until(&self, deadline: Option<Instant>) -> Option<Report> {
        let report = match deadline {
            Some(deadline) => self.reports.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok(),
            None => self.reports.recv().ok(),
        };
        if matches!(report, Some(Report::Ended(_))) {
            self.ended.set(self.ended.get() + 1);
        }
        report
    }

    /// Where signals report to.
    pub fn reports(&self) -> Sender<Report> {
        self.sender.clone()
    }

    /// Waits until the process is to end, and ends it in order; `tell` hears of what others are to do meanwhile.
    pub fn wait(self, tell: impl Fn(Notice)) -> Result<(), Failure> {
        let failure = loop {
            match self.next_report() {
                Report::Signal(signal) => {
                    log::info!("signal {signal}: finishing what is in flight");
                    tell(Notice::Draining);
                    return self.drain(|| tell(Notice::Dump));
                }
                Report::Dump => tell(Notice::Dump),
                Report::Halt { code, reason } => break halted(code, reason),
                Report::Failed(failure) => break failure,
                Report::Ended(shard) => break ended(shard),
                Report::Ready(_) | Report::Drained(_) => {}
            }
        };
        self.stop();
        Err(failure)
    }

    /// No new connections, no new publishes; what is in flight is finished, the rest stays in the log. `drained` is
    /// called when all shards have finished and still answer.
    pub fn drain(self, drained: impl FnOnce()) -> Result<(), Failure> {
        service_manager::stopping();
        let started = Instant::now();
        let (reply, _answers) = channel();
        let patience = self.patience.read();
        let question = Question::Drain { wait_ms: patience.as_millis() as u64 };
        self.control.tell_all(|| Order::Ask { question: question.clone(), reply: reply.clone() });
        let deadline = started + patience + DRAIN_GRACE;
        let mut left = self.control.shards();
        let mut result = Ok(());
        while left > 0 && result.is_ok() {
            match self.next_report_until(Some(deadline)) {
                Some(Report::Drained(_)) => left -= 1,
                Some(Report::Halt { code, reason }) => result = Err(halted(code, reason)),
                Some(Report::Failed(failure)) => result = Err(failure),
                Some(Report::Ended(shard)) => result = Err(ended(shard)),
                Some(Report::Ready(_) | Report::Signal(_) | Report::Dump) => {}
                None => result = Err(hung(left)),
            }
        }
        if result.is_ok() {
            drained();
        }
        self.stop();
        result
    }

    /// Ends all executors; does not wait for ever. What was reported before is reported no more.
    pub fn stop(self) {
        self.control.tell_all(|| Order::Stop);
        let deadline = Instant::now() + STOP_PATIENCE;
        while self.ended.get() < self.control.shards() {
            if self.next_report_until(Some(deadline)).is_none() {
                return log::error!("{} shards do not end", self.control.shards() - self.ended.get());
            }
        }
        for executor in self.executors {
            // Its result says nothing that was not reported.
            let _ = executor.join();
        }
    }
}

fn halted(code: i32, reason: String) -> Failure {
    let exit = if code == Exit::LogFailed as i32 { Exit::LogFailed } else { Exit::Unexpected };
    Failure::new(exit, reason, "what was acknowledged is in the log; see to the device, then start again")
}

fn could_not_start(shard: ShardId) -> Failure {
    let remedy = "raise locked memory (`ulimit -l unlimited`, LimitMEMLOCK=infinity), or set fewer `cores`";
    Failure::new(Exit::Environment, format!("shard {shard} could not start its rings"), remedy)
}

fn ended(shard: ShardId) -> Failure {
    Failure::new(Exit::Unexpected, format!("shard {shard} has ended"), "please report it")
}

fn interrupted(signal: i32) -> Failure {
    Failure::new(Exit::Unexpected, format!("signal {signal} before the start was complete"), "start again when ready")
}

fn hung(left: usize) -> Failure {
    let what = format!("{left} shards did not finish in time");
    Failure::new(Exit::Unexpected, what, "what was acknowledged is in the log; raise shutdown_timeout if need be")
}
