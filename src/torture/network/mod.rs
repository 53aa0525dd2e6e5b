//! A bad network: thousands that come and vanish, peers that go silent in the middle of a word, and a subscriber that
//! stalls beside one that does not. Afterwards everything is where it was.

mod peers;
mod stall;

use std::thread::sleep;
use std::time::{Duration, Instant};

use clap::Args;
use fastrand::Rng;

use self::peers::Ways;
use super::cli::Common;
use super::daemon::{Daemon, Usage, Workspace};
use super::http::Http;
use super::verdict::Verdict;
use crate::bench::failure::Failure;
use crate::bench::size;
use crate::model::Limits;

/// Resident memory may have grown by so much when all are gone: what the allocator keeps.
const RSS_GROWTH_MAX: u64 = 48 << 20;
/// Descriptors may differ by so much: a connection of metrics.
const DESCRIPTORS_GROWTH_MAX: u64 = 1;
/// For the broker to notice that everybody has gone.
const REST: Duration = Duration::from_secs(30);
/// Between two looks.
const STEP: Duration = Duration::from_millis(100);
/// Silence after which the broker closes: how it finds out who is half open.
const IDLE: Duration = Duration::from_secs(3);

/// Thousands of bad connections; afterwards nothing is left of them
#[derive(Args, Clone, Debug)]
pub struct Network {
    #[command(flatten)]
    pub common: Common,
    /// Connections that come and vanish
    #[arg(long, value_name = "N", value_parser = size::count, default_value = "5000")]
    pub connections: u64,
    /// Half-open peers: they stop reading and writing, and their sockets stay open
    #[arg(long, value_name = "N", value_parser = size::count, default_value = "50")]
    pub half_open: u64,
    /// How long one subscriber stalls beside another
    #[arg(long, value_name = "TIME", value_parser = size::duration, default_value = "10s")]
    pub stall: Duration,
    /// Cores of the broker
    #[arg(long, value_name = "N", default_value = "2")]
    pub cores: u32,
}

/// Runs it.
pub fn run(network: &Network, seed: u64) -> Result<Verdict, Failure> {
    let workspace = Workspace::make(&network.common)?;
    let daemon = workspace.spawn(workspace.command(&[
        ("cores", network.cores.to_string()),
        ("segment_bytes", (8u64 << 20).to_string()),
        ("max_frame_bytes", (4u64 << 20).to_string()),
        ("max_tail_bytes", (8u64 << 20).to_string()),
        ("idle_timeout_ms", IDLE.as_millis().to_string()),
        ("max_connections", "2000".to_owned()),
    ]))?;
    let http = Http::of(&daemon)?;
    let mut verdict = Verdict::new();
    // Once before anything is measured: buffers and caches that every broker has.
    Ways::new(&daemon.addr, Rng::with_seed(seed)).come_and_go(200)?;
    let before = rest(&daemon, &http, &mut verdict)?;
    let mut ways = Ways::new(&daemon.addr, Rng::with_seed(!seed));
    let began = Instant::now();
    ways.come_and_go(network.connections)?;
    verdict.figure("connections", network.connections);
    verdict.figure("seconds", began.elapsed().as_secs_f64());
    ways.counts.iter().for_each(|(way, count)| verdict.figure(*way, *count));
    half_open(network, &daemon, &http, &mut verdict)?;
    stall::beside(&daemon, &http, network.stall, &mut verdict)?;
    let after = rest(&daemon, &http, &mut verdict)?;
    compare(before, after, &mut verdict);
    segments_open(network.cores, after, &mut verdict);
    agree(&http, &mut verdict)?;
    Ok(verdict)
}

/// Peers that have said something and will never say anything again, nor close.
fn half_open(network: &Network, daemon: &Daemon, http: &Http, verdict: &mut Verdict) -> Result<(), Failure> {
    let count = network.half_open;
    let peers = (0..count).map(|nth| peers::half_open(&daemon.addr, nth)).collect::<Result<Vec<_>, _>>()?;
    let deadline = Instant::now() + IDLE + REST;
    while http.figures()?.sum("blipmq_connections") > 0.0 {
        if Instant::now() > deadline {
            verdict.broken(format!("of {count} half-open peers some are still thought to be there"));
            break;
        }
        sleep(STEP);
    }
    verdict.figure("half_open_found_out", count);
    drop(peers);
    Ok(())
}

/// Waits until no connection is left; what the process holds then.
fn rest(daemon: &Daemon, http: &Http, verdict: &mut Verdict) -> Result<Usage, Failure> {
    let deadline = Instant::now() + REST;
    while http.figures()?.sum("blipmq_connections") > 0.0 {
        if Instant::now() > deadline {
            verdict.broken("connections are left when everybody has gone".to_owned());
            break;
        }
        sleep(STEP);
    }
    // Descriptors are closed, and memory given back, a moment after they are no longer counted.
    sleep(Duration::from_secs(2));
    daemon.usage()
}

fn compare(before: Usage, after: Usage, verdict: &mut Verdict) {
    verdict.figure("rss_bytes_before", before.rss_bytes);
    verdict.figure("rss_bytes_after", after.rss_bytes);
    verdict.figure("fds_before", before.descriptors);
    verdict.figure("fds_after", after.descriptors);
    let grown = after.rss_bytes.saturating_sub(before.rss_bytes);
    if grown > RSS_GROWTH_MAX {
        verdict.broken(format!("resident memory grew by {grown} bytes, and {RSS_GROWTH_MAX} is the most"));
    }
    if after.descriptors > before.descriptors + DESCRIPTORS_GROWTH_MAX {
        verdict.broken(format!("descriptors grew from {} to {}", before.descriptors, after.descriptors));
    }
}

/// A log grows by what is published; what it keeps open has a bound.
fn segments_open(logs: u32, after: Usage, verdict: &mut Verdict) {
    verdict.figure("segments_open", after.segments);
    let most = u64::from(logs) * (Limits::SEGMENTS_OPEN_MAX as u64 + 1);
    if after.segments > most {
        verdict.broken(format!("{} segments are open, and {most} is the most", after.segments));
    }
}

/// What is counted adds up.
fn agree(http: &Http, verdict: &mut Verdict) -> Result<(), Failure> {
    let figures = http.figures()?;
    let [opened, closed, open] =
        ["blipmq_connections_opened_total", "blipmq_connections_closed_total", "blipmq_connections"]
            .map(|name| figures.sum(name));
    verdict.figure("connections_opened_total", opened);
    verdict.figure("connections_closed_total", closed);
    if opened != closed + open {
        verdict.broken(format!("{opened} connections were opened, {closed} closed, and {open} are open"));
    }
    for class in ["input", "output"] {
        let bytes = figures.labelled("blipmq_memory_bytes", "class", class);
        if bytes > 0.0 {
            verdict.broken(format!("{bytes} bytes of {class} belong to nobody"));
        }
    }
    Ok(())
}
