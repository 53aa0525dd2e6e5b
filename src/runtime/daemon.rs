//! The daemon: from a configuration to an exit code.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::mpsc::Sender;
use std::sync::{Arc, OnceLock};

use serde_json::Value;

use super::desk::{Desk, Orders, Shards};
use super::failure::{Exit, Failure, end_process_on_panic};
use super::reload::{Reloader, desk_terms};
use super::run::{Broker, IO_MEMORY, Notice, Prepared, Settings};
use super::shard::Report;
use super::tls::{Rules, Tls};
use super::{LogOptionsOf, MakeCore, Makers, http, logging, memory, service_manager, signals};
use crate::admin::plan::Order;
use crate::auth::{Key, KeyRing, Secret, generate};
use crate::config::{Config, Cores};
use crate::model::LogId;
use crate::shard::{Core, CoreOptions};
use crate::wal::{LogOptions, THROUGH_MAX};

/// Runs the broker until it is told to stop; returns the exit code of the process.
pub fn run(config: Config) -> i32 {
    logging::start(config.log_format, &config.log_level);
    end_process_on_panic();
    memory::keep_what_is_freed();
    match serve(&config) {
        Ok(()) => Exit::Clean as i32,
        Err(failure) => {
            eprintln!("{failure}");
            failure.exit as i32
        }
    }
}

/// What only the runtime can tell about a configuration, without starting anything: whether its files will do.
pub fn check(config: &Config) -> Result<(), Failure> {
    read_files(config).map(drop)
}

fn read_files(config: &Config) -> Result<Option<Rules>, Failure> {
    logging::check(&config.log_level).map_err(|error| wrong(format!("log_level: {error}")))?;
    Rules::read(config).map_err(wrong)
}

fn wrong(error: String) -> Failure {
    Failure::new(Exit::Configuration, error, "`blipmqd --help` says what each key takes, and the manual what it means")
}

fn serve(config: &Config) -> Result<(), Failure> {
    #[cfg(feature = "faults")]
    super::faults::check()?;
    let rules = read_files(config)?;
    let expiry_s = rules.as_ref().map_or(0, |rules| rules.expiry_s);
    if let Some(warning) = rules.as_ref().and_then(Rules::warning) {
        log::warn!("{warning}");
    }
    let tls = rules.map(|rules| Arc::new(Tls::new(rules)));
    let early = signals::keep_hangups().map_err(no_thread)?;
    let prepared = Prepared::new(settings(config))?;
    for warning in &prepared.ground().warnings {
        log::warn!("{warning}");
    }
    let door = http::bind(config.metrics_address())?;
    let metrics = door.local_addr().unwrap_or(config.metrics_address());
    let Keys { ring, own } = keys(config, &prepared)?;
    let shards = prepared.ground().cores.cpus.len();
    let ends: Arc<OnceLock<Ends>> = Arc::default();
    let terms = desk_terms(config, &ring, shards, expiry_s);
    let on_loopback = config.metrics_addr.is_loopback();
    let (data_dir, hdr_dir) = (prepared.directory().path().to_owned(), config.hdr_folder());
    let desk = Arc::new(Desk::new(on_loopback, data_dir, hdr_dir, terms, take_orders(ends.clone())));
    http::start(door, desk.clone()).map_err(no_thread)?;
    let makers = makers(config, &prepared, ring);
    let lines = introduction(config, &prepared, metrics);
    let logs = prepared.ground().logs;
    let broker = prepared.start(makers, tls.clone())?;
    let (control, gauges, clock) = (broker.control.clone(), broker.gauges.clone(), broker.clock);
    let patience = broker.patience.clone();
    let doorkeeper = broker.doorkeeper.clone();
    let reloader = Reloader::new(config.clone(), own, tls, logs, control.clone(), desk.clone(), patience, doorkeeper);
    let reloader = Arc::new(reloader);
    // Nobody else sets it.
    let _ = ends.set(Ends { reports: broker.reports(), reloader: reloader.clone() });
    // Whoever sent the signal reads the log.
    let reload = move || service_manager::reloading(|| drop(reloader.reload()));
    signals::listen(broker.reports(), early, reload).map_err(no_thread)?;
    desk.serving(Shards { control, gauges, clock, logs });
    introduce(&lines, &broker);
    service_manager::ready(&broker.gauges, broker.clock);
    broker.wait(|notice| match notice {
        Notice::Draining => desk.draining(),
        // What went wrong is in the log; it is no reason to end, or to end badly.
        Notice::Dump => drop(desk.dump_latency()),
    })
}

/// Where orders for the process go, once it serves.
struct Ends {
    reports: Sender<Report>,
    reloader: Arc<Reloader>,
}

/// Whose orders are taken.
struct Keys {
    ring: KeyRing,
    /// The same, if the broker made the key itself; else empty.
    own: KeyRing,
}

fn no_thread(error: std::io::Error) -> Failure {
    Failure::new(Exit::Unexpected, format!("a thread cannot start: {error}"), "see the limits of this process")
}

/// Orders of the admin API: the end is asked for as a signal asks for it.
fn take_orders(ends: Arc<OnceLock<Ends>>) -> Orders {
    let not_yet = || "the broker is starting, or has ended".to_owned();
    Box::new(move |order| match order {
        Order::Drain => {
            let report = Report::Signal(signal_hook::consts::SIGTERM);
            let told = ends.get().is_some_and(|ends| ends.reports.send(report).is_ok());
            told.then_some(Value::Null).ok_or_else(not_yet)
        }
        Order::LogFilter(filter) => {
            logging::set_filter(&filter)?;
            log::info!("what is logged now: {filter}");
            Ok(filter.into())
        }
        Order::ShowLogFilter => Ok(logging::filter().into()),
        Order::Reload => ends.get().ok_or_else(not_yet)?.reloader.reload(),
        Order::DumpLatency => Err("the desk does that by itself".into()),
    })
}

fn settings(config: &Config) -> Settings {
    Settings {
        address: config.address(),
        cores: match &config.cores {
            Cores::All => 0,
            Cores::Count(count) => *count,
            Cores::These(cores) => cores.len(),
        },
        these: match &config.cores {
            Cores::These(cores) => Some(cores.clone()),
            _ => None,
        },
        pin: None,
        data_dir: config.wal_path.clone(),
        wal: config.wal,
        fsync: config.fsync_policy,
        recovery: config.recovery,
        connections_max: config.limits.connections_max,
        io_memory: IO_MEMORY,
        spin: config.spin,
        shutdown_timeout: config.shutdown_timeout,
    }
}

/// The configured keys, or, with none configured, one of our own in the data directory.
fn keys(config: &Config, prepared: &Prepared) -> Result<Keys, Failure> {
    let wrong = |error: String| Failure::new(Exit::DataDirectory, error, "remove the file to get a new key");
    let ring = config.key_ring().map_err(|error| wrong(error.to_string()))?;
    if !ring.is_empty() {
        return Ok(Keys { ring, own: KeyRing::default() });
    }
    let mut random = [0; 32];
    getrandom::fill(&mut random).map_err(|error| wrong(format!("no random numbers for an API key: {error}")))?;
    let text = prepared.directory().api_key(|| String::from_utf8_lossy(generate(random).expose()).into_owned())?;
    let secret = Secret::from_file_text(&text).map_err(|error| wrong(format!("the generated API key: {error}")))?;
    let ring = ring.with(Key::plain(&secret)).map_err(|error| wrong(error.to_string()))?;
    Ok(Keys { own: ring.clone(), ring })
}

fn makers(config: &Config, prepared: &Prepared, keys: KeyRing) -> Makers {
    let log_options = log_options(config, prepared.ground().logs);
    Makers { core: core_maker(config, prepared, keys), log_options }
}

fn log_options(config: &Config, logs: u16) -> LogOptionsOf {
    let template = LogOptions {
        log: LogId(0),
        segment_size: config.segment_bytes,
        fsync: config.fsync_policy,
        retention_ms: config.retention_ms,
        retention_bytes: config.retention_bytes_of_one(logs),
        low_water: config.disk_low_water_bytes,
        index_max: config.limits.index_max,
        through_max: THROUGH_MAX,
    };
    Arc::new(move |log| LogOptions { log, ..template.clone() })
}

fn core_maker(config: &Config, prepared: &Prepared, keys: KeyRing) -> MakeCore {
    let ground = prepared.ground();
    let shards = ground.cores.cpus.len() as u16;
    let logs = ground.logs;
    let config = config.clone();
    Arc::new(move |shard, now, brought_back, patterns| {
        let options = CoreOptions {
            shard,
            shards,
            logs,
            overflow: config.overflow,
            limits: config.limits_for(usize::from(shards)),
            keys: keys.clone(),
            max_retries: config.max_retries,
            retry: config.retry,
            topics: config.topics.clone(),
            seed: now.0 ^ u64::from(shard.0) << 48,
        };
        Box::new(Core::new(options, now, brought_back, patterns))
    })
}

/// What the operator reads at the start, but for the address: that is known when the port is.
struct Introduction {
    cores: String,
    storage: String,
    metrics: String,
    key: String,
    /// What commands need to find the data directory.
    options: String,
}

fn introduction(config: &Config, prepared: &Prepared, metrics: SocketAddr) -> Introduction {
    let plan = &prepared.ground().cores;
    let count = plan.cpus.len();
    let cores = match plan.pinned {
        true => format!("{count} shard(s), one on each of the cores {:?}", plan.cpus),
        false => format!("{count} shard(s), not bound to cores"),
    };
    let storage = match config.wal {
        true => format!("{} ({})", config.wal_path.display(), config.describe_loss_window()),
        false => config.describe_loss_window(),
    };
    let own = config.key_ring().is_ok_and(|ring| ring.is_empty());
    let key = match own {
        true => format!("generated, in {}", config.wal_path.join(crate::config::API_KEY_FILE).display()),
        false => "as configured".into(),
    };
    // The command looks for the key that the broker made where a broker keeps it by default.
    let options = match own && config.wal_path != Config::default().wal_path {
        true => format!(" --data-dir {}", config.wal_path.display()),
        false => String::new(),
    };
    Introduction { cores, storage, metrics: metrics.to_string(), key, options }
}

/// Lines for people, and the address for whoever started us with port 0. Nobody reading is no reason to stop.
fn introduce(lines: &Introduction, broker: &Broker) {
    let mut out = std::io::stdout().lock();
    let address = broker.address;
    let options = &lines.options;
    let there = if address.port() == 5555 { String::new() } else { format!(" --addr {address}") };
    let _ = writeln!(out, "blipmqd {}", env!("CARGO_PKG_VERSION"));
    let _ = writeln!(out, "cores        {}", lines.cores);
    let _ = writeln!(out, "listening on {address}");
    let _ = writeln!(out, "data         {}", lines.storage);
    let _ = writeln!(out, "API key      {}", lines.key);
    let _ = writeln!(out, "metrics      http://{}/metrics", lines.metrics);
    let _ = writeln!(
        out,
        "next         blipmq sub demo{there}{options}   and, elsewhere,   blipmq pub demo hello{there}{options}"
    );
    let _ = out.flush();
}
