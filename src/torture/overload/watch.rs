//! What the daemon holds and how fast it answers, while something is done to it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

use super::{connect, told};
use crate::bench::failure::Failure;
use crate::bench::latency;
use crate::torture::daemon::Daemon;
use crate::torture::http::Http;
use crate::torture::verdict::Verdict;

/// Between two PINGs, and between two looks at the memory.
const STEP: Duration = Duration::from_millis(20);
/// A look at the memory for every so many PINGs.
const LOOK: u64 = 10;

/// The most that was ever seen.
pub struct Watch<'a> {
    daemon: &'a Daemon,
    http: &'a Http,
    pub rss_most: u64,
    pub message_bytes_most: u64,
    pub connections_most: u64,
}

impl<'a> Watch<'a> {
    pub fn new(daemon: &'a Daemon, http: &'a Http) -> Result<Watch<'a>, Failure> {
        Ok(Watch { daemon, http, rss_most: 0, message_bytes_most: 0, connections_most: 0 })
    }

    /// Watches while `act` acts; states how long PINGs took meanwhile.
    pub fn during(
        &mut self,
        what: &str,
        verdict: &mut Verdict,
        act: impl FnOnce(&mut Verdict) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let over = AtomicBool::new(false);
        let (acted, watched) = std::thread::scope(|scope| {
            let watching = scope.spawn(|| self.watch(&over));
            let acted = act(verdict);
            over.store(true, Ordering::Relaxed);
            (acted, watching.join())
        });
        acted?;
        let pings = watched.map_err(|_| Failure::Local("the watching thread panicked".to_owned()))??;
        let millis = |nanos: u64| nanos as f64 / 1e6;
        for (quantile, value) in
            [("p50", pings.value_at_quantile(0.5)), ("p99", pings.value_at_quantile(0.99)), ("max", pings.max())]
        {
            verdict.figure(format!("{what}_ping_{quantile}_ms"), (millis(value) * 100.0).round() / 100.0);
        }
        Ok(())
    }

    fn watch(&mut self, over: &AtomicBool) -> Result<latency::Latencies, Failure> {
        let client = connect(self.daemon).map_err(told)?;
        let mut pings = latency::empty();
        let mut nth = 0;
        while !over.load(Ordering::Relaxed) {
            pings.saturating_record(client.ping().map_err(told)?.as_nanos() as u64);
            if nth % LOOK == 0 {
                self.look()?;
            }
            nth += 1;
            sleep(STEP);
        }
        Ok(pings)
    }

    fn look(&mut self) -> Result<(), Failure> {
        let figures = self.http.figures()?;
        self.rss_most = self.rss_most.max(self.daemon.usage()?.rss_bytes);
        self.message_bytes_most = self.message_bytes_most.max(figures.sum("blipmq_memory_bytes") as u64);
        self.connections_most = self.connections_most.max(figures.sum("blipmq_connections") as u64);
        Ok(())
    }
}
