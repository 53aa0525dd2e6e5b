//! A cut through a log that is in use: what a backup has to copy, and what must not go meanwhile.

use bytes::Bytes;

use super::log::Log;
use crate::model::{LogId, Lsn};

/// Everything that was appended before one moment. Its segments stay until [`Log::release`]: they may die, and are not
/// removed or used again.
#[derive(Clone, Debug)]
pub struct Cut {
    pub log: LogId,
    /// Where its last entry ends. What stands behind is not part of it.
    pub end: Lsn,
    pub segment_size: u64,
    /// The segments that are part of it, by the LSN of their first byte.
    pub segments: Vec<Lsn>,
    /// The checkpoint file that belongs to them. It carries the clean mark: nothing behind the cut is looked at.
    pub checkpoint: Bytes,
}

impl Log {
    /// Cuts here. The cut may be copied once [`Log::synced`] has reached its end. `None` while the log starts or ends, or
    /// while cleaning is under way with some batches: ask again after the next event.
    pub fn cut(&mut self) -> Option<Cut> {
        if !self.is_open() || self.cleaner.is_moving() {
            return None;
        }
        self.commit.close_group();
        let segments = self.live_segments();
        let checkpoint = self.snapshot(&segments, true);
        let end = self.commit.appended();
        self.commit.want_sync(end);
        segments.iter().for_each(|segment| self.segments.reading(*segment));
        Some(Cut { log: self.options.log, end, segment_size: self.segments.size, segments, checkpoint })
    }

    /// Nobody copies this cut any more.
    pub fn release(&mut self, cut: &Cut) {
        cut.segments.iter().for_each(|segment| self.segments.read(*segment));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{FsyncPolicy, Offset, PartitionId, RecoveryMode};
    use crate::wal::crash_tests::{Story, options};
    use crate::wal::entry::BLOCK;
    use crate::wal::test_device::{Bench, Device};

    const P: PartitionId = PartitionId(0);

    fn publish(story: &mut Story, batches: usize) {
        for _ in 0..batches {
            story.publish(P, 2, 3000);
            story.bench.settle();
        }
    }

    /// As a backup does it: what is behind the cut is not copied.
    fn copied(bench: &Bench, cut: &Cut) -> Device {
        let mut copy = Device::new();
        copy.checkpoint = Some(cut.checkpoint.clone());
        for segment in &cut.segments {
            let mut bytes = bench.device.segments[segment].clone();
            let len = (cut.end.0.saturating_sub(segment.0) as usize).min(bytes.len());
            bytes[len..].fill(0);
            copy.segments.insert(*segment, bytes);
        }
        copy
    }

    #[test]
    fn a_cut_comes_back_as_it_was_whatever_happens_to_the_log_meanwhile() {
        let mut story = Story::begin(options(FsyncPolicy::Always));
        story.partition("orders");
        story.bench.settle();
        publish(&mut story, 40);
        let next = story.bench.log.catalog().partitions[&P].next;
        let cut = story.bench.log.cut().expect("nothing is moved");
        let before = story.bench.read(P, Offset::ZERO);
        // Everything in it dies, and the log goes on long enough to want the room.
        publish(&mut story, 5);
        story.bench.log.set_live_from(P, next);
        publish(&mut story, 60);
        assert!(cut.segments.iter().all(|segment| story.bench.device.segments.contains_key(segment)), "they stay");

        let copy = copied(&story.bench, &cut);
        let (recovered, report) = copy.recover(&options(FsyncPolicy::Always), RecoveryMode::Refuse).unwrap();
        assert!(report.clean && recovered.end() == cut.end);
        let mut restored = Bench::start(options(FsyncPolicy::Always), copy);
        assert_eq!(restored.log.catalog().partitions[&P].next, next);
        assert_eq!(restored.read(P, Offset::ZERO), before);

        story.bench.log.release(&cut);
        publish(&mut story, 40);
        let first = cut.segments.first().unwrap();
        assert!(!story.bench.device.segments.contains_key(first), "and then they go");
    }

    #[test]
    fn a_restored_log_goes_on_behind_the_cut_and_never_believes_what_stood_there() {
        let mut story = Story::begin(options(FsyncPolicy::Always));
        story.partition("orders");
        story.bench.settle();
        publish(&mut story, 3);
        let cut = story.bench.log.cut().unwrap();
        publish(&mut story, 3);
        // A careless copy: whole files, with entries behind the cut.
        let segments = cut.segments.iter().map(|segment| (*segment, story.bench.device.segments[segment].clone()));
        let mut copy = Device::new();
        (copy.checkpoint, copy.segments) = (Some(cut.checkpoint.clone()), segments.collect());
        let mut restored = Bench::start(options(FsyncPolicy::Always), copy);
        restored.settle();
        assert_eq!(restored.log.catalog().partitions[&P].next, Offset(6));
        assert_eq!(restored.log.appended().0 / BLOCK as u64, cut.end.0 / BLOCK as u64);
        let again = Bench::start(options(FsyncPolicy::Always), restored.device);
        assert_eq!(again.log.catalog().partitions[&P].next, Offset(6));
    }

    #[test]
    fn a_log_that_starts_or_ends_cannot_be_cut() {
        let mut story = Story::begin(options(FsyncPolicy::Always));
        assert!(story.bench.log.cut().is_none(), "its first checkpoint is not saved");
        story.bench.settle();
        assert!(story.bench.log.cut().is_some());
        story.bench.log.close(story.bench.now);
        assert!(story.bench.log.cut().is_none());
    }
}
