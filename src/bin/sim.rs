//! Replays seeds of the simulator.
//!
//! ```text
//! sim --seed 7 --trace         one run, with everything that happens in it
//! sim --seeds 0..2000          many runs; the first violation of each is printed
//! sim --seeds 0..200 --plant AckAtAppend
//! ```

use std::ops::Range;
use std::panic::PanicHookInfo;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use blipmq::sim::plant::Plant;
use blipmq::sim::run::run;
use blipmq::sim::world::{End, Report, World};
use clap::Parser;

/// Runs the broker in a simulated world, decided by a seed.
#[derive(Parser)]
struct Arguments {
    /// Run this seed, twice, and compare.
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Run all of these: FIRST..END.
    #[arg(long, value_parser = range)]
    seeds: Option<Range<u64>>,
    /// Print everything that happens.
    #[arg(long)]
    trace: bool,
    /// Plant a bug, to see it found.
    #[arg(long)]
    plant: Option<Plant>,
    /// Go on after a violation.
    #[arg(long)]
    keep_going: bool,
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let (first, end) = text.split_once("..").ok_or("expected FIRST..END")?;
    let number = |text: &str| text.parse::<u64>().map_err(|error| format!("{text}: {error}"));
    Ok(number(first)?..number(end)?)
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let good = match (arguments.seed, arguments.seeds.clone()) {
        (Some(seed), _) => one(seed, &arguments),
        (None, seeds) => many(seeds.unwrap_or(0..100), &arguments),
    };
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn one(seed: u64, arguments: &Arguments) -> bool {
    if arguments.trace {
        println!("{:#?}", World::new(seed, arguments.plant, false).shape());
    }
    let first = run(seed, arguments.plant, arguments.trace);
    match &first {
        Ok(report) => println!("seed {seed}: {report:?}"),
        Err(violation) => println!("seed {seed}: {violation}"),
    }
    let again = arguments.trace || run(seed, arguments.plant, false) == first;
    if !again {
        println!("seed {seed}: not true: \"one seed, one run\"");
    }
    again && first.is_ok()
}

fn many(seeds: Range<u64>, arguments: &Arguments) -> bool {
    std::panic::set_hook(Box::new(panicked));
    let (began, count) = (Instant::now(), seeds.end.saturating_sub(seeds.start));
    let mut total = Totals::default();
    for seed in seeds {
        SEED.store(seed, Ordering::Relaxed);
        match run(seed, arguments.plant, arguments.trace) {
            Ok(report) => total.add(&report),
            Err(violation) => {
                println!("seed {seed}: {violation}");
                total.violations += 1;
                if !arguments.keep_going {
                    break;
                }
            }
        }
    }
    println!("{total:?} of {count} seeds in {:.1?}", began.elapsed());
    total.violations == 0
}

/// The seed that runs.
static SEED: AtomicU64 = AtomicU64::new(0);

/// A build that aborts on a panic has no other chance to say which seed it was.
fn panicked(info: &PanicHookInfo<'_>) {
    if cfg!(panic = "abort") {
        println!("seed {}: {info}", SEED.load(Ordering::Relaxed));
    }
}

#[derive(Debug, Default)]
#[allow(dead_code, reason = "printed")]
struct Totals {
    finished: u64,
    refused: u64,
    violations: u64,
    lives: u64,
    messages: u64,
    deliveries: u64,
    steps: u64,
}

impl Totals {
    fn add(&mut self, report: &Report) {
        match report.end {
            End::Finished => self.finished += 1,
            End::Refused => self.refused += 1,
        }
        self.lives += u64::from(report.lives);
        self.messages += report.messages as u64;
        self.deliveries += report.delivered;
        self.steps += report.steps;
    }
}
