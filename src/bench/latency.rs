//! Latencies of a run: in all, and interval by interval.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Nothing above is told apart.
const LONGEST: Duration = Duration::from_secs(3600);
/// What a histogram promises.
const DIGITS: u8 = 3;

/// Nanoseconds, to three digits.
pub type Latencies = Histogram<u64>;

/// An empty histogram.
pub fn empty() -> Latencies {
    Histogram::new_with_bounds(1, LONGEST.as_nanos() as u64, DIGITS).expect("the bounds are right")
}

/// One stretch of a run.
#[derive(Clone, Debug)]
pub struct Interval {
    /// Nanoseconds since the run began.
    pub from: u64,
    /// Nanoseconds since the run began.
    pub to: u64,
    /// Messages delivered in it.
    pub delivered: u64,
    /// Latencies of those.
    pub latencies: Latencies,
}

/// Records latencies and cuts them into intervals.
#[derive(Debug)]
pub struct Recorder {
    current: Latencies,
    total: Latencies,
    intervals: Vec<Interval>,
}

impl Default for Recorder {
    fn default() -> Recorder {
        Recorder { current: empty(), total: empty(), intervals: Vec::new() }
    }
}

impl Recorder {
    /// `count` messages took `nanos` each.
    #[inline]
    pub fn record(&mut self, nanos: u64, count: u64) {
        self.current.saturating_record_n(nanos.max(1), count);
    }

    /// Ends an interval.
    pub fn cut(&mut self, from: u64, to: u64, delivered: u64) {
        self.fold();
        let latencies = std::mem::replace(&mut self.current, empty());
        self.intervals.push(Interval { from, to, delivered, latencies });
    }

    fn fold(&mut self) {
        self.total.add(&self.current).expect("same bounds");
    }

    /// What was recorded since the last cut counts, but belongs to no interval.
    pub fn end(mut self) -> (Latencies, Vec<Interval>) {
        self.fold();
        (self.total, self.intervals)
    }
}

/// The quantiles that are reported.
pub const QUANTILES: [(&str, f64); 6] =
    [("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999)];

/// A time as people read it: `41 us`, `1.25 ms`.
pub fn spoken(nanos: u64) -> String {
    let value = nanos as f64;
    match nanos {
        0..10_000 => format!("{:.2} us", value / 1e3),
        10_000..100_000 => format!("{:.1} us", value / 1e3),
        100_000..1_000_000 => format!("{:.0} us", value / 1e3),
        1_000_000..1_000_000_000 => format!("{:.2} ms", value / 1e6),
        _ => format!("{:.2} s", value / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_add_up_to_the_total() {
        let mut recorder = Recorder::default();
        recorder.record(1000, 3);
        recorder.cut(0, 10, 3);
        recorder.record(0, 1);
        recorder.cut(10, 20, 1);
        recorder.record(u64::MAX, 1);
        let (total, intervals) = recorder.end();
        assert_eq!((total.len(), intervals.len()), (5, 2));
        assert_eq!(intervals[0].latencies.len(), 3);
        assert!(total.max() >= LONGEST.as_nanos() as u64);
    }

    #[test]
    fn times_are_spoken_with_three_digits() {
        let said = [41, 12_345, 412_000, 1_250_000, 2_000_000_000].map(spoken);
        assert_eq!(said, ["0.04 us", "12.3 us", "412 us", "1.25 ms", "2.00 s"]);
    }
}
