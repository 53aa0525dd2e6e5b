//! `blipmq torture slow-disk`: every write and every sync of the log's device takes long.
//!
//! Publishers of QoS 1 wait; what waits stays within the memory that was given; QoS 0 and PING on the same daemon go on
//! as before; and what was acknowledged is there after a SIGKILL.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use clap::Args;

use super::cli::Common;
use super::daemon::{Daemon, KEY, Workspace};
use super::faults;
use super::losses;
use super::verdict::Verdict;
use crate::bench::failure::Failure;
use crate::bench::size;
use crate::client::blocking::{Client, ConnectOptions};
use crate::client::{ClientError, ProducerOptions, PublishOptions, SubscribeOptions};

/// Publishers of QoS 1, each with a topic of its own.
const PUBLISHERS: usize = 6;
/// Bytes of their messages, and messages of a batch, and batches that wait for their answers.
const SIZE: usize = 1000;
const BATCH: u32 = 100;
const WINDOW: usize = 64;
/// What the daemon may hold of messages.
const MEMORY: u64 = 64 << 20;
/// What it may need beside: the sockets' buffers, the allocator's reserve.
const BESIDE: u64 = 48 << 20;
/// Messages of QoS 0 sent at once, and the pause after them.
const VOLATILE: u32 = 20;
const PAUSE: Duration = Duration::from_millis(10);
/// Between two PINGs, and two looks at the memory.
const LOOK: Duration = Duration::from_millis(50);
/// An answer that takes longer is none. Longer than many writes of the slowest device.
const PATIENCE: Duration = Duration::from_secs(60);

/// Slow the log's device down; publishers wait, nobody else does. Needs a daemon with the feature `faults`
#[derive(Args, Clone, Debug)]
pub struct Arguments {
    #[command(flatten)]
    pub common: Common,
    /// Milliseconds that each write and sync takes longer, one daemon after another
    #[arg(long, value_name = "MS", value_delimiter = ',', default_value = "0,10,100,1000")]
    pub delays: Vec<u64>,
    /// How long each of them is watched
    #[arg(long, value_name = "TIME", value_parser = size::duration, default_value = "5s")]
    pub duration: Duration,
}

/// What all threads of one load share.
#[derive(Debug, Default)]
struct Load {
    over: AtomicBool,
    /// By topic: one after the last offset that was acknowledged.
    ends: Mutex<BTreeMap<String, u64>>,
    acknowledged: AtomicU64,
    volatile_sent: AtomicU64,
    volatile_came: AtomicU64,
    slowest_ping_us: AtomicU64,
    pings: AtomicU64,
    broken: Mutex<Vec<String>>,
}

/// Runs it; answers with the seed.
pub fn run(arguments: &Arguments) -> Result<(u64, Verdict), Failure> {
    let seed = arguments.common.seed();
    let mut verdict = Verdict::new();
    for delay in &arguments.delays {
        let workspace = Workspace::make(&arguments.common)?;
        faults::require(&workspace)?;
        slow(&workspace, *delay, arguments.duration, &mut verdict)?;
    }
    Ok((seed, verdict))
}

fn slow(workspace: &Workspace, delay: u64, duration: Duration, verdict: &mut Verdict) -> Result<(), Failure> {
    let set = [
        ("fsync_policy", "always".to_owned()),
        ("cores", "2".into()),
        ("memory_limit", MEMORY.to_string()),
        ("segment_bytes", "1 MiB".into()),
        ("max_frame_bytes", "256 KiB".into()),
        ("max_tail_bytes", "8 MiB".into()),
        ("max_log_backlog_bytes", "4 MiB".into()),
        ("max_mesh_bytes", "1 MiB".into()),
        ("max_qos0_backlog_bytes", "4 MiB".into()),
    ];
    let mut command = workspace.command(&set);
    command.env(faults::VARIABLE, format!("delay_ms={delay}"));
    let daemon = workspace.spawn(command)?;
    let load = Arc::new(Load::default());
    let before = daemon.usage()?.rss_bytes;
    let threads = load.start(&daemon.addr)?;
    let (most, duration) = load.watch(&daemon, duration)?;
    // Those who wait for a slow answer go on waiting: the daemon is killed under them.
    load.over.store(true, Ordering::Relaxed);
    daemon.kill()?;
    for thread in threads {
        if thread.join().is_err() {
            verdict.broken("a client of the trial panicked".into());
        }
    }
    let daemon = workspace.spawn(workspace.command(&set))?;
    let ends = losses::ends(&daemon)?;
    daemon.kill()?;
    load.judge(&ends, verdict, delay);
    if most > before + MEMORY + BESIDE {
        verdict.broken(format!("delay {delay} ms: {most} bytes resident, {before} at the start, {MEMORY} allowed"));
    }
    load.tell(verdict, delay, duration, (before, most));
    Ok(())
}

impl Load {
    fn start(self: &Arc<Self>, addr: &str) -> Result<Vec<JoinHandle<()>>, Failure> {
        let options = ConnectOptions::new(addr).api_key(KEY).answer_timeout(PATIENCE).write_timeout(PATIENCE);
        let mut threads = Vec::new();
        for nth in 0..PUBLISHERS {
            threads.push(self.run(&options, move |load, client| load.publish(client, &format!("durable.{nth}")))?);
        }
        threads.push(self.run(&options, |load, client| load.subscribe_volatile(client))?);
        threads.push(self.run(&options, |load, client| load.publish_volatile(client))?);
        threads.push(self.run(&options, |load, client| load.ping(client))?);
        Ok(threads)
    }

    /// The most memory that was resident, and how long it was watched: longer where nothing has come about yet, because
    /// the first segment is not even ready, or the machine is busy with something else.
    fn watch(&self, daemon: &Daemon, duration: Duration) -> Result<(u64, Duration), Failure> {
        let began = Instant::now();
        let mut most = 0;
        let counts = [&self.acknowledged, &self.volatile_came, &self.pings];
        let nothing_yet = || counts.iter().any(|count| count.load(Ordering::Relaxed) == 0);
        let waits = || began.elapsed() < PATIENCE && nothing_yet();
        while began.elapsed() < duration || waits() {
            most = most.max(daemon.usage()?.rss_bytes);
            sleep(LOOK);
        }
        Ok((most, began.elapsed()))
    }

    /// What ends with the daemon ends well.
    fn run(
        self: &Arc<Self>,
        options: &ConnectOptions,
        act: impl FnOnce(&Load, &Client) -> Result<(), ClientError> + Send + 'static,
    ) -> Result<JoinHandle<()>, Failure> {
        let (load, options) = (self.clone(), options.clone());
        let run = move || {
            let done = Client::connect(&options).and_then(|client| act(&load, &client));
            if let Some(error) = done.err().filter(|_| !load.is_over()) {
                load.broken.lock().unwrap_or_else(PoisonError::into_inner).push(error.to_string());
            }
        };
        Ok(thread::Builder::new().spawn(run)?)
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn publish(&self, client: &Client, topic: &str) -> Result<(), ClientError> {
        let options = ProducerOptions::at_least_once().batch(BATCH, 1 << 18).window(WINDOW).outcomes();
        let mut publisher = client.publisher(topic, options)?;
        let value = vec![7; SIZE];
        while !self.is_over() {
            let sent = publisher.publish(&value);
            for published in publisher.take_outcomes().into_iter().filter_map(|outcome| outcome.result.ok()) {
                let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
                let end = ends.entry(topic.to_owned()).or_default();
                *end = (*end).max(published.base_offset.0 + u64::from(published.count));
                self.acknowledged.fetch_add(published.count.into(), Ordering::Relaxed);
            }
            sent?;
        }
        Ok(())
    }

    fn publish_volatile(&self, client: &Client) -> Result<(), ClientError> {
        while !self.is_over() {
            for _ in 0..VOLATILE {
                client.send("volatile", &[7; 100], &PublishOptions::at_most_once())?;
            }
            client.flush()?;
            self.volatile_sent.fetch_add(VOLATILE.into(), Ordering::Relaxed);
            sleep(PAUSE);
        }
        Ok(())
    }

    fn subscribe_volatile(&self, client: &Client) -> Result<(), ClientError> {
        let mut subscription = client.subscribe(&SubscribeOptions::new("volatile"))?;
        while !self.is_over() {
            if let Some(batch) = subscription.next_batch(Some(LOOK))? {
                self.volatile_came.fetch_add(batch.count().into(), Ordering::Relaxed);
            }
        }
        Ok(())
    }

    fn ping(&self, client: &Client) -> Result<(), ClientError> {
        while !self.is_over() {
            let took = client.ping()?;
            self.slowest_ping_us.fetch_max(took.as_micros() as u64, Ordering::Relaxed);
            self.pings.fetch_add(1, Ordering::Relaxed);
            sleep(LOOK);
        }
        Ok(())
    }

    fn judge(&self, ends: &BTreeMap<String, u64>, verdict: &mut Verdict, delay: u64) {
        for error in self.broken.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            verdict.broken(format!("delay {delay} ms: a client was turned away: {error}"));
        }
        for (topic, end) in self.ends.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let there = ends.get(topic).copied().unwrap_or(0);
            if there < *end {
                verdict.broken(format!("delay {delay} ms: {topic}: acknowledged up to {end}, {there} are there"));
            }
        }
        for (what, count) in [
            ("a message of QoS 0 came", &self.volatile_came),
            ("a PING was answered", &self.pings),
            ("a message of QoS 1 was acknowledged", &self.acknowledged),
        ] {
            if count.load(Ordering::Relaxed) == 0 {
                verdict.broken(format!("delay {delay} ms: it never happened that {what}"));
            }
        }
    }

    fn tell(&self, verdict: &mut Verdict, delay: u64, duration: Duration, (before, most): (u64, u64)) {
        let rate = |count: &AtomicU64| (count.load(Ordering::Relaxed) as f64 / duration.as_secs_f64()).round() as u64;
        let text = format!(
            "QoS 1 {}/s, QoS 0 {}/s of {}/s, slowest of {} pings {:.1} ms, memory {} MiB, at most {} MiB",
            rate(&self.acknowledged),
            rate(&self.volatile_came),
            rate(&self.volatile_sent),
            self.pings.load(Ordering::Relaxed),
            self.slowest_ping_us.load(Ordering::Relaxed) as f64 / 1000.0,
            before >> 20,
            most >> 20,
        );
        verdict.figure(name(delay), text);
    }
}

/// Figures have names that are known before.
fn name(delay: u64) -> &'static str {
    match delay {
        0 => "no delay",
        1..=10 => "10 ms or less",
        11..=100 => "100 ms or less",
        _ => "more than 100 ms",
    }
}
