//! `blipmq bench`: its arguments, and which of the benchmarks they ask for.

use std::net::ToSocketAddrs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::connect;
use super::failure::{EXIT_CODES, Failure};
use super::floor::disk::DiskFloor;
use super::plan::{self, Plan};
use super::report::Report;
use super::size;
use super::slo::Slo;
use super::stage;
use super::{hdr, machine};

/// Measure a broker: an embedded one, or a running one with --addr
///
/// Without a mode: QoS 0 and durable QoS 1 on an embedded broker, each against the machine's own limits, in under 20
/// seconds and two lines of result.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = EXIT_CODES)]
pub struct Arguments {
    /// What to measure
    #[arg(value_enum)]
    pub mode: Option<Mode>,
    /// Publishers; number i sends to topic i mod TOPICS [default: 1; scaled: 4]
    #[arg(long, value_name = "N")]
    pub publishers: Option<u16>,
    /// Subscribers; number i listens to topic i mod TOPICS [default: 1; scaled: 4]
    #[arg(long, value_name = "N")]
    pub subscribers: Option<u16>,
    /// Topics [default: 1; scaled: 4]
    #[arg(long, value_name = "N")]
    pub topics: Option<u16>,
    /// Bytes of a message
    #[arg(long, value_name = "BYTES", value_parser = size::bytes, default_value = "128")]
    pub size: usize,
    /// Messages handed over at once: a record batch in version 2 [default: 16 KiB of them, 100 at most; 1 with --rate]
    #[arg(long, value_name = "N")]
    pub batch: Option<usize>,
    /// Messages of one publisher on their way at once [default: by mode]
    #[arg(long, value_name = "N", value_parser = size::count, conflicts_with = "rate")]
    pub window: Option<u64>,
    /// Open loop: messages a second over all publishers; latency counts from when each was to be sent
    #[arg(long, value_name = "N", value_parser = size::count)]
    pub rate: Option<u64>,
    /// How long to measure [default: 5s]
    #[arg(long, value_name = "TIME", value_parser = size::duration, conflicts_with = "count")]
    pub duration: Option<Duration>,
    /// Measure so many messages instead
    #[arg(long, value_name = "N", value_parser = size::count)]
    pub count: Option<u64>,
    /// Before anything counts
    #[arg(long, value_name = "TIME", value_parser = size::duration, default_value = "1s")]
    pub warmup: Duration,
    /// Protocol version, or PUBLISHERS:SUBSCRIBERS, such as 1:2
    #[arg(long, value_name = "V", default_value = "2")]
    pub protocol: plan::Versions,
    /// When the embedded broker syncs, in mode durable: always, every_n:N, interval_ms:T or none
    #[arg(long, value_name = "POLICY", default_value = "always")]
    pub fsync: crate::model::FsyncPolicy,
    /// Messages to publish before subscribers take the first one: they catch up while publishing goes on
    #[arg(long, value_name = "N", value_parser = size::count, default_value = "0")]
    pub backlog: u64,
    /// Connections of mode connect
    #[arg(long, value_name = "N", value_parser = size::count, default_value = "10000")]
    pub connections: u64,
    /// Idle connections beside those that are measured
    #[arg(long, value_name = "N", value_parser = size::count, default_value = "0")]
    pub idle: u64,
    /// A running broker instead of an embedded one; its key comes from BLIPMQ_API_KEY
    #[arg(long, value_name = "HOST:PORT")]
    pub addr: Option<String>,
    /// Process of the running broker, to know its CPU time and memory
    #[arg(long, value_name = "PID", requires = "addr")]
    pub pid: Option<u32>,
    /// The running broker is another one
    #[arg(long, value_enum, requires = "addr")]
    pub peer: Option<Peer>,
    /// Speak TLS, trusting these authorities (PEM); an embedded broker gets its certificate by --set tls_cert=FILE
    /// --set tls_key=FILE, with the name 127.0.0.1 in it
    #[arg(long, value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,
    /// Program of the embedded broker [default: blipmqd beside this program]
    #[arg(long, value_name = "FILE", conflicts_with = "addr")]
    pub broker: Option<PathBuf>,
    /// Where the embedded broker's data directory is made, and the device's floor measured
    #[arg(long, value_name = "DIR", default_value = "/var/tmp")]
    pub data_dir: PathBuf,
    /// Any key of the embedded broker's configuration
    #[arg(long, value_name = "KEY=VALUE", value_parser = plan::pair)]
    pub set: Vec<(String, String)>,
    /// CPUs of the embedded broker and of the floor, such as 0 or 0,1 [default: the first]
    #[arg(long, value_name = "CPUS", value_delimiter = ',')]
    pub broker_cpus: Option<Vec<usize>>,
    /// CPU of the load [default: the second]
    #[arg(long, value_name = "CPU")]
    pub load_cpu: Option<usize>,
    /// Let the system place broker and load
    #[arg(long, conflicts_with_all = ["broker_cpus", "load_cpu"])]
    pub no_pin: bool,
    /// Never sleep while waiting for deliveries (an open loop never does)
    #[arg(long)]
    pub spin: bool,
    /// Check the checksum of every delivered batch
    #[arg(long)]
    pub verify: bool,
    /// Also measure a bare relay and the device, and compare; without a mode: only these
    #[arg(long)]
    pub floor: bool,
    /// Write latencies to FILE.hgrm (percentiles, milliseconds) and FILE.hlog (intervals)
    #[arg(long, value_name = "FILE")]
    pub hdr: Option<PathBuf>,
    /// Fail when latency is above, such as p99=1ms,p99.9=5ms
    #[arg(long, value_name = "OBJECTIVES")]
    pub slo: Option<Slo>,
    /// Name of the run in its report [default: the mode]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
}

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Messages relayed through memory
    Qos0,
    /// Messages acknowledged to the publisher and by the subscriber, kept in memory
    Qos1,
    /// The same through the log
    Durable,
    /// Four topics, on one core, then two, and so on
    Scaled,
    /// Connections: how fast they open, what an idle one costs
    Connect,
}

/// Other brokers that the load can speak to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Peer {
    /// Core NATS
    Nats,
    /// Redis publish and subscribe
    Redis,
    /// Redis streams: XADD and XREAD
    RedisStream,
}

/// Runs what was asked for and writes the results to standard output; `json` makes each an object on a line.
pub fn run(arguments: &Arguments, json: bool) -> Result<(), Failure> {
    let began = SystemTime::now();
    check_addr(arguments)?;
    let reports = match (arguments.mode, arguments.floor) {
        (None, true) => return floors(arguments, json),
        (Some(Mode::Connect), _) => return connections(arguments, json),
        (None, false) => stage::canonical(arguments)?,
        (Some(Mode::Scaled), _) => stage::scaled(arguments)?,
        (Some(mode), _) => vec![stage::single(arguments, &plan::of(arguments, mode)?)?],
    };
    let machine = machine::describe(&arguments.data_dir);
    for report in &reports {
        if json { object(report.json(), &machine) } else { println!("{}", report.line()) }
    }
    write_histograms(arguments, &reports, began)?;
    verdict(arguments, &reports)
}

fn check_addr(arguments: &Arguments) -> Result<(), Failure> {
    let Some(addr) = &arguments.addr else { return Ok(()) };
    let found = addr.to_socket_addrs().map(|mut found| found.next());
    match found {
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err(Failure::Usage(format!("{addr} is no address"))),
        Err(error) => Err(Failure::Unreachable { addr: addr.clone(), error }),
    }
}

fn object(mut report: Value, machine: &Value) {
    report["machine"] = machine.clone();
    println!("{report}");
}

fn write_histograms(arguments: &Arguments, reports: &[Report], began: SystemTime) -> Result<(), Failure> {
    let Some(file) = &arguments.hdr else { return Ok(()) };
    for report in reports {
        let name = |part: &str| {
            let name = if reports.len() > 1 { format!("-{}", report.name) } else { String::new() };
            PathBuf::from(format!("{}{name}{part}", hdr::named(file, "").display().to_string().trim_end_matches('.')))
        };
        hdr::write(&name(""), &report.outcome.latencies, &report.outcome.intervals, began)?;
        if let Some(acknowledgements) = &report.outcome.acknowledgements {
            hdr::write_percentiles(&name("-ack"), acknowledgements)?;
        }
    }
    Ok(())
}

/// Losing a message is a failure, and so is missing an objective.
fn verdict(arguments: &Arguments, reports: &[Report]) -> Result<(), Failure> {
    let lost: u64 = reports.iter().map(|report| report.outcome.lost).sum();
    if lost > 0 {
        return Err(Failure::Lost(lost));
    }
    let Some(slo) = &arguments.slo else { return Ok(()) };
    let missed: Vec<String> = reports.iter().flat_map(|report| slo.missed(&report.outcome.latencies)).collect();
    if missed.is_empty() { Ok(()) } else { Err(Failure::Slo(missed.join(", "))) }
}

fn connections(arguments: &Arguments, json: bool) -> Result<(), Failure> {
    let result = connect::measure(arguments, &plan::of(arguments, Mode::Connect)?)?;
    if json {
        object(result.json(), &machine::describe(&arguments.data_dir))
    } else {
        println!("{}", result.line())
    }
    Ok(())
}

/// Only the floors: the relay at three sizes, and the device.
fn floors(arguments: &Arguments, json: bool) -> Result<(), Failure> {
    let machine = machine::describe(&arguments.data_dir);
    for size in [128, 1024, 4096] {
        let sized = Arguments { size, ..arguments.clone() };
        let plan: Plan = plan::of(&sized, Mode::Qos0)?;
        let relay = stage::relay(&plan, plan::FLOOR)?;
        let report = Report { name: format!("relay {size} B"), ..stage::relay_report(&plan, relay) };
        if json { object(report.json(), &machine) } else { println!("{}", report.line()) }
    }
    let disk = DiskFloor::measure(&arguments.data_dir, plan::DISK_FLOOR)?;
    if json {
        object(json!({ "name": "device", "device": disk.json() }), &machine);
    } else {
        println!("device   {}", disk.line());
    }
    Ok(())
}
