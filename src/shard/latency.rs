//! How long the ways of a message take on one shard.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::Core;
use crate::broker::Held;
use crate::wal::Timing;

/// A way through the shard that is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Path {
    /// From the step that received a QoS 1 publish to the one that commits it: it may be acknowledged.
    PublishAcknowledged,
    /// From the step that received a publish to its first DELIVER.
    PublishDelivered,
    /// From the first append of a group to the device's word that it is written.
    GroupWritten,
    /// From written to synced.
    GroupSynced,
    /// How much later than asked for the shard's timer came while it had work. The runtime measures it.
    LoopStall,
}

impl Path {
    pub const ALL: [Path; 5] =
        [Path::PublishAcknowledged, Path::PublishDelivered, Path::GroupWritten, Path::GroupSynced, Path::LoopStall];

    /// As metrics and dumps spell it.
    pub fn name(self) -> &'static str {
        match self {
            Path::PublishAcknowledged => "publish_ack",
            Path::PublishDelivered => "publish_deliver",
            Path::GroupWritten => "wal_write",
            Path::GroupSynced => "wal_sync",
            Path::LoopStall => "loop_stall",
        }
    }
}

/// One histogram for each path, in microseconds: exact to one part in a hundred, from 1 us to [`Latency::MAX_US`].
/// Recorded once per batch with the batch's number of records, so the cost is by batch. About 15 KB a path: a scrape
/// copies it.
#[derive(Clone, Debug)]
pub struct Latency {
    paths: [Histogram<u64>; Path::ALL.len()],
    /// Sums in microseconds: the histograms know only classes.
    sums_us: [u64; Path::ALL.len()],
}

impl Latency {
    /// Beyond, a sample counts as this long: 100 s.
    pub const MAX_US: u64 = 100_000_000;
    const DIGITS: u8 = 2;

    pub fn new() -> Latency {
        let histogram = || Histogram::new_with_bounds(1, Latency::MAX_US, Latency::DIGITS).expect("bounds are sound");
        Latency { paths: std::array::from_fn(|_| histogram()), sums_us: [0; Path::ALL.len()] }
    }

    /// `records` took `time` each. Call it once for each batch.
    #[inline]
    pub fn record(&mut self, path: Path, time: Duration, records: u64) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX).clamp(1, Latency::MAX_US);
        self.paths[path as usize].saturating_record_n(us, records);
        let sum = &mut self.sums_us[path as usize];
        *sum = sum.wrapping_add(us.wrapping_mul(records));
    }

    /// Adds another shard's.
    pub fn add(&mut self, other: &Latency) {
        for path in Path::ALL {
            let at = path as usize;
            self.paths[at].add(&other.paths[at]).expect("all have the same bounds");
            self.sums_us[at] = self.sums_us[at].wrapping_add(other.sums_us[at]);
        }
    }

    /// What came since `before`, which is an older copy of this.
    #[must_use]
    pub fn since(&self, before: &Latency) -> Latency {
        let mut since = self.clone();
        for path in Path::ALL {
            let at = path as usize;
            since.paths[at].subtract(&before.paths[at]).expect("counts only grow");
            since.sums_us[at] = since.sums_us[at].wrapping_sub(before.sums_us[at]);
        }
        since
    }

    pub fn of(&self, path: Path) -> &Histogram<u64> {
        &self.paths[path as usize]
    }

    /// Microseconds of all samples together.
    pub fn sum_us(&self, path: Path) -> u64 {
        self.sums_us[path as usize]
    }
}

impl Core {
    /// `records` of a batch go out for the first time.
    #[inline]
    pub(super) fn time_delivery(&mut self, held: &Held, records: u64) {
        if held.at != Held::BACK {
            self.latency.record(Path::PublishDelivered, self.now.since(held.at), records);
        }
    }

    /// What a log has measured of its device since it was last asked.
    pub(super) fn time_groups(&mut self, index: usize) {
        let Core { logs, latency, .. } = self;
        logs[index].log.drain_timings(|timing| match timing {
            Timing::Written { after, .. } => latency.record(Path::GroupWritten, after, 1),
            Timing::Synced { after, .. } => latency.record(Path::GroupSynced, after, 1),
        });
    }
}

impl Default for Latency {
    fn default() -> Latency {
        Latency::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_counts_as_many_as_it_holds_and_shards_add_up() {
        let (mut one, mut two) = (Latency::new(), Latency::new());
        one.record(Path::PublishAcknowledged, Duration::from_micros(100), 10);
        two.record(Path::PublishAcknowledged, Duration::from_millis(5), 30);
        one.add(&two);
        let both = one.of(Path::PublishAcknowledged);
        assert_eq!(both.len(), 40);
        assert!((4950..=5100).contains(&both.value_at_quantile(0.99)));
        assert_eq!(one.sum_us(Path::PublishAcknowledged), 10 * 100 + 30 * 5000);
        assert_eq!(one.of(Path::GroupSynced).len(), 0);
    }

    #[test]
    fn what_came_since_an_older_copy_is_told_apart() {
        let mut latency = Latency::new();
        latency.record(Path::GroupSynced, Duration::from_micros(100), 10);
        let before = latency.clone();
        latency.record(Path::GroupSynced, Duration::from_micros(900), 2);
        let since = latency.since(&before);
        assert_eq!((since.of(Path::GroupSynced).len(), since.sum_us(Path::GroupSynced)), (2, 1800));
        assert_eq!(since.since(&since).of(Path::GroupSynced).len(), 0);
    }

    #[test]
    fn what_is_out_of_bounds_counts_at_the_bound() {
        let mut latency = Latency::new();
        latency.record(Path::GroupSynced, Duration::ZERO, 1);
        latency.record(Path::GroupSynced, Duration::from_secs(1000), 1);
        assert_eq!(latency.of(Path::GroupSynced).min(), 1);
        assert!(latency.of(Path::GroupSynced).max() >= Latency::MAX_US / 100 * 99);
    }

    #[test]
    fn every_path_has_a_name_of_its_own() {
        for (at, path) in Path::ALL.into_iter().enumerate() {
            assert_eq!(path as usize, at);
            assert!(Path::ALL[..at].iter().all(|other| other.name() != path.name()));
        }
    }
}
