//! Stories of crashes: whatever happens, what comes back is a prefix, and what was promised is in it.

use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use proptest::prelude::*;

use super::entry::{BLOCK, Entry, PartitionMeta};
use super::log::LogOptions;
use super::test_device::{Bench, Device};
use crate::model::record_batch::BatchBuilder;
use crate::model::{FsyncPolicy, LogId, Lsn, Offset, PartitionId, Timestamp, TopicName};

pub(super) const SEGMENT: u64 = 64 * 1024;

pub(super) fn options(fsync: FsyncPolicy) -> LogOptions {
    LogOptions {
        log: LogId(3),
        segment_size: SEGMENT,
        fsync,
        retention_ms: 0,
        retention_bytes: 0,
        low_water: 0,
        index_max: usize::MAX,
        through_max: 2 * BLOCK,
    }
}

/// What a publisher knows of a batch it sent.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sent {
    pub(super) partition: PartitionId,
    pub(super) base: Offset,
    pub(super) count: u32,
    pub(super) bytes: Bytes,
    pub(super) end: Lsn,
}

/// A log in use.
pub(super) struct Story {
    pub(super) bench: Bench,
    pub(super) sent: Vec<Sent>,
}

impl Story {
    pub(super) fn begin(options: LogOptions) -> Story {
        Story { bench: Bench::start(options, Device::new()), sent: Vec::new() }
    }

    pub(super) fn partition(&mut self, topic: &str) -> PartitionId {
        let id = self.bench.log.new_partition_id();
        let topic = TopicName::parse(topic.as_bytes()).unwrap();
        let meta = PartitionMeta { topic, number: 0, ttl_ms: 0 };
        self.bench.log.append(self.bench.now, Entry::Partition { id, meta });
        id
    }

    pub(super) fn publish(&mut self, partition: PartitionId, count: u32, size: usize) -> Lsn {
        let base = self.bench.log.catalog().partitions[&partition].next;
        let mut builder = BatchBuilder::new();
        for nth in 0..count {
            let fill = (base.0 as u8).wrapping_add(nth as u8);
            builder.push(self.bench.now.timestamp(), &vec![fill; size]);
        }
        let bytes = builder.finish(base, None);
        let appended_at = self.bench.now.timestamp();
        let entry =
            Entry::Batch { partition, base, count, appended_at, expires_at: Timestamp(0), bytes: bytes.clone() };
        let end = self.bench.log.append(self.bench.now, entry);
        self.sent.push(Sent { partition, base, count, bytes, end });
        end
    }

    /// Every batch is found in a segment that is there.
    pub(super) fn check_index(&self) {
        let log = &self.bench.log;
        for sent in &self.sent {
            if log.catalog().partitions[&sent.partition].start > sent.base {
                continue;
            }
            let Some(run) = log.index.find(sent.partition, sent.base) else { panic!("lost: {sent:?}") };
            assert!(run.base <= sent.base && sent.base < run.next, "{} is not in {run:?}", sent.base);
            let segment = Lsn(run.lsn.0 / SEGMENT * SEGMENT);
            assert!(log.segments.used().any(|used| used == segment), "{run:?} is in no segment");
        }
    }

    /// One thing happens, as the dice say.
    pub(super) fn step(&mut self, rng: &mut Rng, partitions: &[PartitionId]) {
        match rng.u8(0..10) {
            0..4 => {
                let partition = partitions[rng.usize(0..partitions.len())];
                let size = if rng.u8(0..20) == 0 { rng.usize(0..9_000) } else { rng.usize(0..300) };
                self.publish(partition, rng.u32(1..6), size);
                if rng.bool() {
                    self.bench.poll();
                }
            }
            4 => self.bench.pass(rng.u64(0..80)),
            5 if rng.u8(0..6) == 0 && !self.sent.is_empty() => {
                // Most of it is acknowledged; the last partition keeps everything.
                let sent = &self.sent[rng.usize(0..self.sent.len())];
                if sent.partition != partitions[partitions.len() - 1] {
                    self.bench.log.set_live_from(sent.partition, sent.base);
                    self.bench.poll();
                }
            }
            _ if !self.bench.asked.is_empty() => self.bench.answer(rng.usize(0..self.bench.asked.len())),
            _ => self.bench.poll(),
        }
        self.check_index();
    }

    /// The process ends here, with or without the power.
    pub(super) fn crash(self, rng: &mut Rng, power: bool) -> (Device, Vec<Sent>, Lsn) {
        let Bench { mut device, asked, log, .. } = self.bench;
        let committed = log.committed();
        device.kill(asked, rng);
        if power {
            device.lose_power(rng);
        }
        (device, self.sent, committed)
    }
}

/// What came back is a prefix of what was sent, but for what was acknowledged; answers with how many batches did.
pub(super) fn check_prefix(bench: &mut Bench, sent: &[Sent], partitions: &[PartitionId]) -> usize {
    let mut back = 0;
    for partition in partitions {
        let state = bench.log.catalog().partitions.get(partition);
        let (start, next) = state.map_or((Offset::ZERO, Offset::ZERO), |state| (state.start, state.next));
        let read = bench.read(*partition, start);
        let ours = || sent.iter().filter(|sent| sent.partition == *partition);
        let live: Vec<_> = ours().filter(|sent| sent.base >= start).collect();
        assert!(read.len() <= live.len());
        for (read, sent) in read.iter().zip(&live) {
            assert_eq!((read.0, read.1), (sent.base, sent.count), "after {}", sent.end);
            assert_eq!(read.2, sent.bytes);
        }
        let end = read.last().map_or(start, |(base, count, _)| base.plus((*count).into()));
        assert_eq!(next, end, "the catalogue and the log agree");
        back += ours().filter(|sent| sent.base < next).count();
    }
    back
}

fn policies() -> impl Strategy<Value = FsyncPolicy> {
    prop_oneof![
        Just(FsyncPolicy::Always),
        (1u32..40).prop_map(FsyncPolicy::EveryN),
        (1u64..200).prop_map(|ms| FsyncPolicy::Interval(Duration::from_millis(ms))),
        Just(FsyncPolicy::None),
    ]
}

/// Runs, crashes, comes back, runs on, crashes again: and checks the promises each time.
fn live_through(policy: FsyncPolicy, seed: u64, steps: usize, power: bool) {
    let mut rng = Rng::with_seed(seed);
    let mut story = Story::begin(options(policy));
    let partitions = [story.partition("orders"), story.partition("payments")];
    story.bench.settle();
    for _ in 0..4 {
        for id in partitions {
            if story.bench.log.catalog().partitions.contains_key(&id) {
                continue;
            }
            let meta = PartitionMeta { topic: TopicName::parse(b"again").unwrap(), number: id.0, ttl_ms: 0 };
            story.bench.log.append(story.bench.now, Entry::Partition { id, meta });
        }
        for _ in 0..rng.usize(0..steps) {
            story.step(&mut rng, &partitions);
        }
        let (device, mut sent, committed) = story.crash(&mut rng, power);
        let mut bench = Bench::start(options(policy), device);
        let back = check_prefix(&mut bench, &sent, &partitions);
        let lost: u64 =
            sent[back..].iter().filter(|sent| sent.end <= committed).map(|sent| u64::from(sent.count)).sum();
        let most = match policy {
            _ if !power => 0,
            FsyncPolicy::Always => 0,
            FsyncPolicy::EveryN(n) => u64::from(n),
            _ => u64::MAX,
        };
        assert!(lost <= most, "{policy}: {lost} acknowledged records are lost");
        sent.truncate(back);
        story = Story { bench, sent };
        if rng.bool() {
            story.bench.settle();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_kill_loses_nothing_acknowledged(policy in policies(), seed: u64) {
        live_through(policy, seed, 150, false);
    }

    #[test]
    fn a_power_cut_loses_no_more_than_the_policy_says(policy in policies(), seed: u64) {
        live_through(policy, seed, 150, true);
    }
}
