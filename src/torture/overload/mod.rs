//! Twice what the machine takes, from everybody at once: every queue at its bound, the memory below its budget, and
//! what is dropped or refused counted to the last message.

mod crowds;
mod flood;
mod frames;
mod watch;

use std::time::Duration;

use clap::Args;

use self::watch::Watch;
use super::cli::Common;
use super::daemon::{Daemon, Workspace};
use super::http::Http;
use super::verdict::Verdict;
use crate::bench::failure::Failure;
use crate::bench::size;
use crate::client::ClientError;
use crate::client::blocking::{Client, ConnectOptions};
use crate::model::Limits;
use crate::torture::daemon::KEY;

/// Resident memory beside the budget for messages: the program, its logs' buffers and segments, what the allocators
/// of its threads keep of what was freed.
const BESIDE_MAX: u64 = 128 << 20;
/// Bytes of the broker's largest frame.
const FRAME_MAX: usize = Limits::FRAME_MAX;
/// Connections of the whole broker, and from one address.
const CONNECTIONS_MAX: usize = 1500;
const PER_ADDRESS_MAX: usize = 1200;
/// For handshakes.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Answers under overload take their time.
const PATIENCE: Duration = Duration::from_secs(120);

/// More than fits: every queue at its bound, memory below its budget, every drop and refusal counted
#[derive(Args, Clone, Debug)]
pub struct Overload {
    #[command(flatten)]
    pub common: Common,
    /// How long publishers send as fast as their sockets take it
    #[arg(long, value_name = "TIME", value_parser = size::duration, default_value = "2m")]
    pub duration: Duration,
    /// Topics that are flooded at the same time
    #[arg(long, value_name = "N", default_value = "16")]
    pub topics: u32,
    /// Connections that never finish their handshake
    #[arg(long, value_name = "N", default_value = "1000")]
    pub loris: usize,
    /// Publishers that send a frame of 16 MiB at the same time
    #[arg(long, value_name = "N", default_value = "100")]
    pub large: usize,
    /// Bytes of messages the broker may hold
    #[arg(long, value_name = "BYTES", value_parser = size::bytes, default_value = "128m")]
    pub memory: usize,
    /// Cores of the broker
    #[arg(long, value_name = "N", default_value = "2")]
    pub cores: u32,
}

/// Runs it.
pub fn run(overload: &Overload, _seed: u64) -> Result<Verdict, Failure> {
    let workspace = Workspace::make(&overload.common)?;
    let daemon = workspace.spawn(workspace.command(&configuration(overload)))?;
    let http = Http::of(&daemon)?;
    let mut verdict = Verdict::new();
    let mut watch = Watch::new(&daemon, &http)?;
    watch.during("loris", &mut verdict, |verdict| crowds::loris(&daemon, &http, overload.loris, verdict))?;
    watch.during("crowd", &mut verdict, |verdict| crowds::beyond_the_bounds(&daemon, &http, verdict))?;
    watch.during("large", &mut verdict, |verdict| frames::all_at_once(&daemon, overload.large, verdict))?;
    watch.during("flood", &mut verdict, |verdict| flood::run(&daemon, &http, overload, verdict))?;
    budget(overload, &watch, &mut verdict);
    Ok(verdict)
}

fn configuration(overload: &Overload) -> [(&'static str, String); 11] {
    [
        ("cores", overload.cores.to_string()),
        ("memory_limit", overload.memory.to_string()),
        ("max_frame_bytes", FRAME_MAX.to_string()),
        ("max_tail_bytes", (16 << 20).to_string()),
        ("max_log_backlog_bytes", (8 << 20).to_string()),
        ("max_qos0_backlog_bytes", (16 << 20).to_string()),
        ("max_connections", CONNECTIONS_MAX.to_string()),
        ("max_connections_per_address", PER_ADDRESS_MAX.to_string()),
        ("handshake_timeout_ms", HANDSHAKE.as_millis().to_string()),
        ("retry_backoff_ms", PATIENCE.as_millis().to_string()),
        ("retry_backoff_cap_ms", PATIENCE.as_millis().to_string()),
    ]
}

fn budget(overload: &Overload, watch: &Watch<'_>, verdict: &mut Verdict) {
    let most = overload.memory as u64 + BESIDE_MAX + watch.connections_most * Limits::READ as u64;
    verdict.figure("memory_limit", overload.memory as u64);
    verdict.figure("message_bytes_most", watch.message_bytes_most);
    verdict.figure("rss_bytes_most", watch.rss_most);
    verdict.figure("rss_bytes_bound", most);
    if watch.rss_most > most {
        verdict.broken(format!("{} bytes were resident, and {most} is the most", watch.rss_most));
    }
    let messages = overload.memory as u64 + watch.connections_most * Limits::READ as u64;
    if watch.message_bytes_most > messages {
        verdict.broken(format!("{} bytes of messages were held, of {messages}", watch.message_bytes_most));
    }
}

/// A client with patience.
fn connect(daemon: &Daemon) -> Result<Client, ClientError> {
    let options = ConnectOptions::new(&daemon.addr).api_key(KEY);
    Client::connect(&options.connect_timeout(PATIENCE).answer_timeout(PATIENCE).write_timeout(PATIENCE))
}

fn told(error: ClientError) -> Failure {
    Failure::Broker(error.to_string())
}
