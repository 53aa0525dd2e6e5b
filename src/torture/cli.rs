//! `blipmq torture`: which trials there are.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};

use super::verdict::Verdict;
use super::{crash, damage, disk_full, failing_disk, network, overload, power, slow_disk, soak};
use crate::bench::failure::Failure;

/// Attack the promises of a broker of its own: crashes, disks, networks, overload
///
/// Starts `blipmqd` in a directory of its own, does its worst, and checks that nothing acknowledged is lost. Prints the
/// seed; the same seed makes the same decisions.
#[derive(Args, Clone, Debug)]
pub struct Arguments {
    #[command(subcommand)]
    pub trial: Trial,
}

/// What every trial takes.
#[derive(Args, Clone, Debug)]
pub struct Common {
    /// Decides everything that chance decides [default: the time]
    #[arg(long)]
    pub seed: Option<u64>,
    /// The daemon's program [default: blipmqd beside this program]
    #[arg(long, value_name = "FILE")]
    pub broker: Option<PathBuf>,
    /// Where the trial's directory is made; a filesystem that takes direct I/O
    #[arg(long, value_name = "DIR", default_value = "/var/tmp")]
    pub data_dir: PathBuf,
    /// Keep the trial's directory
    #[arg(long)]
    pub keep: bool,
}

impl Common {
    /// The seed that was given, or one that the time gives; said at once, so that it is known whatever happens.
    pub fn seed(&self) -> u64 {
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let seed = self.seed.unwrap_or_else(|| now().as_nanos() as u64 % 1_000_000_007);
        eprintln!("seed {seed}");
        seed
    }
}

/// The trials.
#[derive(Subcommand, Clone, Debug)]
pub enum Trial {
    Network(network::Network),
    Overload(overload::Overload),
    Crash(crash::Arguments),
    Damage(damage::Arguments),
    Power(power::Arguments),
    FailingDisk(failing_disk::Arguments),
    SlowDisk(slow_disk::Arguments),
    DiskFull(disk_full::Arguments),
    Soak(soak::Soak),
}

/// Runs the trial; the verdict is written to standard output.
pub fn run(arguments: &Arguments, json: bool) -> Result<(), Failure> {
    let (name, seed, verdict) = judge(&arguments.trial)?;
    match json {
        true => println!("{}", verdict.to_json(name, seed)),
        false => println!("trial                        {name}, seed {seed}\n{verdict}"),
    }
    match verdict.holds() {
        true => Ok(()),
        false => Err(Failure::Local(format!("a promise was broken; again with --seed {seed} --keep"))),
    }
}

fn judge(trial: &Trial) -> Result<(&'static str, u64, Verdict), Failure> {
    match trial {
        Trial::Network(network) => {
            let seed = network.common.seed();
            Ok(("network", seed, network::run(network, seed)?))
        }
        Trial::Overload(overload) => {
            let seed = overload.common.seed();
            Ok(("overload", seed, overload::run(overload, seed)?))
        }
        Trial::Crash(arguments) => crash::run(arguments).map(|(seed, verdict)| ("crash", seed, verdict)),
        Trial::Damage(arguments) => {
            let seed = arguments.common.seed();
            Ok(("damage", seed, damage::run(arguments, seed)?))
        }
        Trial::Power(arguments) => power::run(arguments).map(|(seed, verdict)| ("power", seed, verdict)),
        Trial::FailingDisk(arguments) => {
            failing_disk::run(arguments).map(|(seed, verdict)| ("failing-disk", seed, verdict))
        }
        Trial::SlowDisk(arguments) => slow_disk::run(arguments).map(|(seed, verdict)| ("slow-disk", seed, verdict)),
        Trial::DiskFull(arguments) => disk_full::run(arguments).map(|(seed, verdict)| ("disk-full", seed, verdict)),
        Trial::Soak(soak) => {
            let seed = soak.common.seed();
            Ok(("soak", seed, soak::run(soak, seed)?))
        }
    }
}
