//! A long quiet day: topics come and go, connections end in every way, and nothing may grow, get lost or come twice
//! without a reason.
//!
//! Each `life` lives through one topic after another. `book` says what may arrive, `sampler` looks at the
//! daemon once a second, `trend` says what grew, `report` writes it down.

mod body;
mod book;
mod life;
mod publisher;
mod report;
mod sampler;
mod stage;
mod subscriber;
mod taking;
mod trend;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

use clap::Args;
use fastrand::Rng;
use nix::sys::signal::Signal;
use signal_hook::consts::{SIGINT, SIGTERM};

use self::body::Bodies;
use self::report::Report;
use self::sampler::{Sample, Sampler, column};
use self::stage::{Stage, StoodStill, Totals, lock};
use super::cli::Common;
use super::daemon::{Daemon, Workspace};
use super::http::Http;
use super::verdict::Verdict;
use crate::bench::failure::Failure;
use crate::bench::size;

/// Growth of resident memory over the second half that is taken for noise: an allocator's slack, no more.
const RSS_GROWTH_MAX: f64 = 16.0 * 1024.0 * 1024.0;
/// Growth of open descriptors: connections that happen to be open.
const DESCRIPTORS_GROWTH_MAX: f64 = 4.0;
/// Growth of threads: those that do the blocking calls of each core come and go.
const THREADS_GROWTH_MAX: f64 = 2.0;
/// Growth of the logs: segments that happen to be in use.
const LOG_GROWTH_MAX: f64 = 4.0 * SEGMENT_BYTES as f64;
/// Small segments, so that many are made, filled and given up.
const SEGMENT_BYTES: u64 = 8 << 20;
/// Small, so that subscribers read from the log as well.
const TAIL_BYTES: u64 = 8 << 20;
/// For the broker to let go of what has ended.
const REST: Duration = Duration::from_secs(15);
/// For an orderly end.
const END: Duration = Duration::from_secs(30);
/// Between two looks.
const STEP: Duration = Duration::from_millis(100);

/// Hours of ordinary life: nothing may grow, get lost, or come twice without a reason
#[derive(Args, Clone, Debug)]
pub struct Soak {
    #[command(flatten)]
    pub common: Common,
    /// How long, such as 90s, 30m or 8h
    #[arg(long, value_name = "TIME", value_parser = size::duration, default_value = "1h")]
    pub duration: Duration,
    /// Messages a second, of all topics together
    #[arg(long, value_name = "N", value_parser = size::count, default_value = "500")]
    pub rate: u64,
    /// Topics that live at the same time
    #[arg(long, value_name = "N", default_value = "8")]
    pub lanes: u32,
    /// Cores of the broker
    #[arg(long, value_name = "N", default_value = "2")]
    pub cores: u32,
    /// Write samples.csv, README.md and soak.svg to this folder
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// Runs it. SIGINT and SIGTERM end it early, with the verdict of what was until then.
pub fn run(soak: &Soak, seed: u64) -> Result<Verdict, Failure> {
    let workspace = Workspace::make(&soak.common)?;
    let mut daemon = workspace.spawn(workspace.command(&configuration(soak)))?;
    let stage = stage(soak, seed, &daemon)?;
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, stage.asked_to_end.clone())?;
    }
    let began = Instant::now();
    let samples = live(soak, seed, &stage, &mut daemon)?;
    let lived = began.elapsed();
    // Whatever happened to the daemon is part of the verdict, not the end of it.
    if let Err(failure) = leftovers(&stage) {
        stage.broken(format!("what is left cannot be looked at: {failure}"));
    }
    end(&stage, &mut daemon, &workspace)?;
    conclude(soak, stage, &samples, lived)
}

fn configuration(soak: &Soak) -> [(&'static str, String); 7] {
    [
        ("cores", soak.cores.to_string()),
        ("segment_bytes", SEGMENT_BYTES.to_string()),
        ("max_frame_bytes", (4 << 20).to_string()),
        ("max_tail_bytes", TAIL_BYTES.to_string()),
        ("retry_backoff_ms", taking::RETRY_MS.to_string()),
        ("max_retries", taking::RETRIES.to_string()),
        ("max_connections", "500".to_owned()),
    ]
}

fn stage(soak: &Soak, seed: u64, daemon: &Daemon) -> Result<Stage, Failure> {
    Ok(Stage {
        addr: daemon.addr.clone(),
        http: Http::of(daemon)?,
        bodies: Bodies::new(seed),
        rate: soak.rate as f64 / f64::from(soak.lanes.max(1)),
        until: Instant::now() + soak.duration,
        asked_to_end: Arc::new(AtomicBool::new(false)),
        totals: Mutex::default(),
        verdict: Mutex::default(),
        stood_still: Mutex::default(),
    })
}

fn live(soak: &Soak, seed: u64, stage: &Stage, daemon: &mut Daemon) -> Result<Vec<Sample>, Failure> {
    let mut dice = Rng::with_seed(seed);
    let numbers = AtomicU32::new(0);
    let (samples, watched) = std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..soak.lanes)
            .map(|_| {
                let (mut dice, numbers) = (dice.fork(), &numbers);
                scope.spawn(move || life::lane(stage, &mut dice, numbers))
            })
            .collect();
        let mut sampler = Sampler::new(stage, daemon)?;
        let watched = sampler.run(|| lanes.iter().all(|lane| lane.is_finished()));
        if watched.is_err() {
            stage.asked_to_end.store(true, Ordering::Relaxed);
        }
        Ok::<_, Failure>((sampler.samples, watched))
    })?;
    if let Err(failure) = watched {
        let ended = daemon.wait(Duration::ZERO)?.map_or("it still runs".to_owned(), |status| status.to_string());
        let words = daemon.last_words();
        stage.broken(format!("the daemon cannot be looked at: {failure}; {ended}; its last words:\n{words}"));
    }
    Ok(samples)
}

/// When everybody has gone, nothing is left.
fn leftovers(stage: &Stage) -> Result<(), Failure> {
    let names = ["blipmq_connections", "blipmq_topics", "blipmq_subscriptions", "blipmq_messages_inflight"];
    let deadline = Instant::now() + REST;
    loop {
        let figures = stage.http.figures()?;
        let left: Vec<_> = names.iter().filter(|name| figures.sum(name) > 0.0).collect();
        if left.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            left.iter().for_each(|name| stage.broken(format!("{name} is {} at the end", figures.sum(name))));
            return Ok(());
        }
        sleep(STEP);
    }
}

fn end(stage: &Stage, daemon: &mut Daemon, workspace: &Workspace) -> Result<(), Failure> {
    // It may have ended by itself: then its status says how.
    let _ = daemon.signal(Signal::SIGTERM);
    match daemon.wait(END)? {
        Some(status) if status.success() => {}
        Some(status) => stage.broken(format!("the daemon ended with {status}")),
        None => stage.broken("the daemon does not end".to_owned()),
    }
    let log = std::fs::read_to_string(workspace.log())?;
    for line in log.lines().filter(|line| line.contains("panicked")) {
        stage.broken(line.to_owned());
    }
    Ok(())
}

fn conclude(soak: &Soak, stage: Stage, samples: &[Sample], lived: Duration) -> Result<Verdict, Failure> {
    let (totals, stood_still) = (lock(&stage.totals).clone(), std::mem::take(&mut *lock(&stage.stood_still)));
    let mut verdict = stage.verdict.into_inner().unwrap_or_default();
    verdict.figure("seconds", lived.as_secs());
    figures(&mut verdict, &totals, &stood_still);
    for (name, most) in [
        ("rss_bytes", RSS_GROWTH_MAX),
        ("fds", DESCRIPTORS_GROWTH_MAX),
        ("threads", THREADS_GROWTH_MAX),
        ("log_bytes", LOG_GROWTH_MAX),
    ] {
        let growth = trend::growth(&column(samples, name));
        verdict.figure(format!("growth_{name}"), growth.round());
        if growth > most {
            verdict.broken(format!("{name} grew by {growth:.0} in the second half, and {most:.0} is the most"));
        }
    }
    let mut pings: Vec<f64> = column(samples, "ping_us").into_iter().map(|(_, ping)| ping).collect();
    verdict.figure("ping_us_median", trend::middle(&mut pings).unwrap_or(0.0).round());
    verdict.figure("ping_us_max", pings.last().copied().unwrap_or(0.0).round());
    let cpu: f64 = column(samples, "cpu_share").iter().map(|(_, share)| share).sum();
    verdict.figure("cpu_percent_mean", (cpu / samples.len().max(1) as f64 * 1000.0).round() / 10.0);
    if let Some(out) = &soak.out {
        Report { soak, samples, verdict: &verdict, lived }.write(out)?;
    }
    Ok(verdict)
}

fn figures(verdict: &mut Verdict, totals: &Totals, stood_still: &StoodStill) {
    for (name, value) in [
        ("topics_lived", totals.lives),
        ("topics_deleted", totals.topics_deleted),
        ("qos1_sent", totals.sent),
        ("qos1_acknowledged", totals.promised),
        ("qos1_received", totals.received),
        ("qos1_repeats_with_a_reason", totals.repeats),
        ("qos1_refused", totals.refused),
        ("qos1_nacked", totals.nacked),
        ("qos1_left_to_time_out", totals.left_to_time_out),
        ("qos0_sent", totals.volatile_sent),
        ("qos0_received", totals.volatile_received),
        ("publisher_disconnects", totals.publisher_disconnects),
        ("resets_in_a_batch", totals.resets_in_a_batch),
        ("subscriber_restarts", totals.subscriber_restarts),
        ("of_these_abrupt", totals.subscriber_resets),
        ("machine_stood_still", stood_still.times),
        ("lost", totals.lost),
        ("duplicates_without_a_reason", totals.duplicates),
        ("wrong_bodies", totals.wrong_bodies),
    ] {
        verdict.figure(name, value);
    }
}
