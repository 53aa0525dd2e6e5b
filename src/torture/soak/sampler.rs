//! One look a second at the daemon: what it holds, what it counts, how fast it answers.

use std::thread::sleep;
use std::time::{Duration, Instant};

use super::stage::{Stage, lock};
use crate::bench::cpu;
use crate::bench::failure::Failure;
use crate::client::blocking::Client;
use crate::torture::daemon::Daemon;

/// Between two samples.
const EVERY: Duration = Duration::from_secs(1);
/// A sample that comes so much too late says that this machine stood still.
const LATE: Duration = Duration::from_secs(3);

/// Looks that may fail one after another before the daemon is taken for gone.
const TRIES: usize = 4;

/// The columns of a sample.
pub const COLUMNS: [&str; 20] = [
    "seconds",
    "rss_bytes",
    "fds",
    "threads",
    "log_bytes",
    "log_live_bytes",
    "segments",
    "connections",
    "topics",
    "subscriptions",
    "message_bytes",
    "in_flight",
    "busy_share",
    "cpu_share",
    "ping_us",
    "published",
    "delivered",
    "redelivered",
    "dropped",
    "held",
];

/// One row, in the order of [`COLUMNS`].
pub type Sample = [f64; COLUMNS.len()];

/// Looks at one daemon.
pub struct Sampler<'a> {
    stage: &'a Stage,
    daemon: &'a Daemon,
    client: Client,
    began: Instant,
    last: Option<Last>,
    /// What was seen.
    pub samples: Vec<Sample>,
}

#[derive(Clone, Copy)]
struct Last {
    at: Instant,
    busy_seconds: f64,
    cpu_ns: u64,
}

impl<'a> Sampler<'a> {
    pub fn new(stage: &'a Stage, daemon: &'a Daemon) -> Result<Sampler<'a>, Failure> {
        let client = stage.connect(2).map_err(|error| Failure::Broker(error.to_string()))?;
        Ok(Sampler { stage, daemon, client, began: Instant::now(), last: None, samples: Vec::new() })
    }

    /// Until `done`, and once more then.
    pub fn run(&mut self, done: impl Fn() -> bool) -> Result<(), Failure> {
        let mut due = Instant::now();
        loop {
            let last = done();
            self.look_again_and_again()?;
            if last {
                return Ok(());
            }
            due += EVERY;
            sleep(due.saturating_duration_since(Instant::now()));
            if due.elapsed() > LATE {
                due = Instant::now();
                let mut stood_still = lock(&self.stage.stood_still);
                stood_still.times += 1;
                stood_still.last = Some(due);
            }
        }
    }

    /// Somebody may have stopped the whole machine for longer than an answer is waited for.
    fn look_again_and_again(&mut self) -> Result<(), Failure> {
        for _ in 1..TRIES {
            if self.look().is_ok() {
                return Ok(());
            }
            sleep(EVERY);
        }
        self.look()
    }

    fn look(&mut self) -> Result<(), Failure> {
        let figures = self.stage.http.figures()?;
        let usage = self.daemon.usage()?;
        let ping = self.client.ping().map_err(|error| Failure::Broker(format!("no answer to PING: {error}")))?;
        let cpu_ns = cpu::Usage::of_process(self.daemon.pid()).unwrap_or_default().total();
        let now = Last { at: Instant::now(), busy_seconds: figures.sum("blipmq_shard_busy_seconds_total"), cpu_ns };
        let before = self.last.replace(now).unwrap_or(now);
        let seconds = (now.at - before.at).as_secs_f64().max(1e-9);
        self.samples.push([
            self.began.elapsed().as_secs_f64(),
            usage.rss_bytes as f64,
            usage.descriptors as f64,
            usage.threads as f64,
            figures.sum("blipmq_wal_disk_bytes"),
            figures.sum("blipmq_wal_live_bytes"),
            figures.sum("blipmq_wal_segments"),
            figures.sum("blipmq_connections"),
            figures.sum("blipmq_topics"),
            figures.sum("blipmq_subscriptions"),
            figures.sum("blipmq_memory_bytes"),
            figures.sum("blipmq_messages_inflight"),
            (now.busy_seconds - before.busy_seconds) / seconds,
            now.cpu_ns.saturating_sub(before.cpu_ns) as f64 / 1e9 / seconds,
            ping.as_secs_f64() * 1e6,
            figures.sum("blipmq_messages_published_total"),
            figures.sum("blipmq_messages_delivered_total"),
            figures.sum("blipmq_messages_redelivered_total"),
            figures.sum("blipmq_messages_dropped_total"),
            figures.sum("blipmq_connections_held"),
        ]);
        Ok(())
    }
}

/// One column of many samples, against time.
pub fn column(samples: &[Sample], name: &str) -> Vec<(f64, f64)> {
    let at = COLUMNS.iter().position(|column| *column == name).expect("a column of the table");
    samples.iter().map(|sample| (sample[0], sample[at])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_is_found_by_its_name() {
        let mut sample: Sample = [0.0; COLUMNS.len()];
        (sample[0], sample[2]) = (5.0, 7.0);
        assert_eq!(column(&[sample], "fds"), [(5.0, 7.0)]);
    }
}
