//! From arguments to one benchmark: defaults by mode, and where everything runs.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::cli::{Arguments, Mode};
use super::embedded::Recipe;
use super::failure::Failure;
use super::pin;
use super::workload::{Pace, Stop, Workload};
use crate::model::Qos;

/// Of one relay run beside a benchmark.
pub const FLOOR: Duration = Duration::from_millis(1500);
/// Of the device's three figures.
pub const DISK_FLOOR: Duration = Duration::from_millis(1500);
/// Messages handed over at once: at most so many, and so many bytes.
const BATCH: usize = 100;
const BATCH_BYTES: usize = 16 * 1024;
/// Bytes on their way at once: about what the caches and socket buffers of both sides hold.
const WINDOW_BYTES: usize = 512 * 1024;
/// The same through the log: enough for several groups.
const DURABLE_WINDOW_BYTES: usize = 4 << 20;
/// Beyond, a broker stops delivering until some are settled.
const IN_FLIGHT: u64 = 60_000;
/// Measured unless told otherwise.
const DURATION: Duration = Duration::from_secs(5);

/// One benchmark, ready to be run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// As the report names it.
    pub name: String,
    /// What is sent.
    pub workload: Workload,
    /// Protocol versions.
    pub versions: Versions,
    /// CPUs of the broker and of the floor; empty: any.
    pub broker_cpus: Vec<usize>,
    /// CPU of the load.
    pub load_cpu: Option<usize>,
    /// How to start a broker.
    pub recipe: Recipe,
    /// Why a QoS 1 figure is what it is.
    pub broker: String,
}

/// Protocol versions of publishers and subscribers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// 1 or 2.
    pub publish: u8,
    /// 1 or 2.
    pub subscribe: u8,
}

impl FromStr for Versions {
    type Err = String;

    fn from_str(text: &str) -> Result<Versions, String> {
        let (publish, subscribe) = text.split_once(':').unwrap_or((text, text));
        let version = |text: &str| text.parse::<u8>().ok().filter(|version| (1..=2).contains(version));
        let both = version(publish).zip(version(subscribe));
        let (publish, subscribe) = both.ok_or("expected 1, 2, 1:2 or 2:1")?;
        Ok(Versions { publish, subscribe })
    }
}

/// `KEY=VALUE`.
pub fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok((key.trim().into(), value.trim().into()))
}

/// The benchmark of `mode` that `arguments` ask for.
pub fn of(arguments: &Arguments, mode: Mode) -> Result<Plan, Failure> {
    let workload = workload(arguments, mode);
    workload.check()?;
    let (broker_cpus, load_cpu) = cpus(arguments, mode);
    let wal = if mode == Mode::Durable { "on" } else { "off" };
    let most = (arguments.connections.max(arguments.idle) + 1000).to_string();
    let own = [
        ("wal", wal.to_owned()),
        ("fsync_policy", arguments.fsync.to_string()),
        ("max_connections", most.clone()),
        ("max_connections_per_address", most),
    ];
    let own = own.into_iter().map(|(key, value)| (key.to_owned(), value));
    let program = match &arguments.broker {
        Some(program) => program.clone(),
        None => sibling()?,
    };
    let recipe = Recipe {
        program,
        cpus: broker_cpus.clone(),
        parent: arguments.data_dir.clone(),
        set: own.chain(arguments.set.iter().cloned()).collect(),
    };
    let name = arguments.name.clone().unwrap_or_else(|| format!("{mode:?}").to_lowercase());
    let broker = if mode == Mode::Durable { format!("fsync_policy = {}", arguments.fsync) } else { "wal = off".into() };
    Ok(Plan { name, workload, versions: arguments.protocol, broker_cpus, load_cpu, recipe, broker })
}

fn workload(arguments: &Arguments, mode: Mode) -> Workload {
    let many = if mode == Mode::Scaled { 4 } else { 1 };
    let qos = if matches!(mode, Mode::Qos1 | Mode::Durable) { Qos::AtLeastOnce } else { Qos::AtMostOnce };
    let open = arguments.rate.is_some();
    let size = arguments.size.max(1);
    let batch = arguments.batch.unwrap_or(if open { 1 } else { (BATCH_BYTES / size).clamp(1, BATCH) });
    let (subscribers, topics) = (arguments.subscribers.unwrap_or(many), arguments.topics.unwrap_or(many));
    let copies = usize::from(subscribers.div_ceil(topics.max(1))).max(1);
    let pace = match arguments.rate {
        Some(rate) => Pace::Open { rate: rate as f64 },
        None => Pace::Closed { window: arguments.window.unwrap_or(window(mode, size, batch, copies)) },
    };
    let stop = match arguments.count {
        Some(count) => Stop::Count(count),
        None => Stop::After(arguments.duration.unwrap_or(DURATION)),
    };
    Workload {
        publishers: arguments.publishers.unwrap_or(many),
        subscribers,
        topics,
        size: arguments.size,
        batch,
        pace,
        stop,
        warmup: arguments.warmup,
        qos,
        durable: mode == Mode::Durable,
        backlog: arguments.backlog,
        spin: arguments.spin,
        verify: arguments.verify,
    }
}

/// What is on its way counts once for every subscriber that gets it.
fn window(mode: Mode, size: usize, batch: usize, copies: usize) -> u64 {
    let bytes = if mode == Mode::Durable { DURABLE_WINDOW_BYTES } else { WINDOW_BYTES };
    ((bytes / size / copies) as u64).min(IN_FLIGHT).max(4 * batch as u64)
}

/// The broker on the first CPU and the load on the second, where there are two.
fn cpus(arguments: &Arguments, mode: Mode) -> (Vec<usize>, Option<usize>) {
    let allowed = pin::allowed();
    if arguments.no_pin || allowed.len() < 2 {
        return (Vec::new(), None);
    }
    let broker = arguments.broker_cpus.clone().unwrap_or_else(|| vec![allowed[0]]);
    let load = arguments.load_cpu.or_else(|| (mode != Mode::Scaled).then_some(allowed[1]));
    (broker, load)
}

/// `blipmqd` beside this program.
fn sibling() -> Result<PathBuf, Failure> {
    let own = std::env::current_exe()?;
    Ok(own.with_file_name("blipmqd"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn plan(words: &str) -> Result<Plan, Failure> {
        let line = Line::try_parse_from(std::iter::once("bench").chain(words.split_whitespace())).unwrap();
        let mode = line.arguments.mode.unwrap_or(Mode::Qos0);
        of(&line.arguments, mode)
    }

    #[test]
    fn the_defaults_of_each_mode_fit_together() {
        for mode in ["qos0", "qos1", "durable", "scaled", "connect"] {
            for size in ["16", "128", "1k", "4k", "1m"] {
                let plan = plan(&format!("{mode} --size {size}")).unwrap();
                assert_eq!(plan.workload.durable, mode == "durable");
            }
        }
        assert!(plan("qos0 --size 15").is_err());
    }

    #[test]
    fn arguments_become_the_workload() {
        let made = plan("durable --rate 20k --size 256 --fsync none --protocol 1:2 --set a=b --duration 2s").unwrap();
        assert_eq!(made.workload.pace, Pace::Open { rate: 20_000.0 });
        assert_eq!((made.workload.batch, made.workload.size), (1, 256));
        assert_eq!(made.versions, Versions { publish: 1, subscribe: 2 });
        assert!(made.recipe.set.contains(&("fsync_policy".into(), "none".into())));
        assert_eq!(made.recipe.set.last(), Some(&("a".into(), "b".into())));
        assert!("3".parse::<Versions>().is_err() && "1:0".parse::<Versions>().is_err());
    }
}
