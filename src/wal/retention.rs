//! What may be forgotten: by age, by bytes, and because everybody has acknowledged it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::log::Log;
use crate::model::{Instant, Offset, PartitionId, Timestamp};

impl Log {
    /// Everything before `offset` is acknowledged by all, or expired: nobody will ask for it again. Not written down by
    /// itself; after a crash some of it may be back.
    pub fn set_live_from(&mut self, partition: PartitionId, offset: Offset) {
        let Some(state) = self.catalog.partitions.get(&partition).filter(|state| state.start < offset) else { return };
        let offset = offset.min(state.next);
        self.catalog.start(partition, offset);
        self.index.forget_before(partition, offset);
    }

    /// Forgets what is too old, or too much; answers with the starts that moved.
    pub fn retain(&mut self, now: Instant) -> Vec<(PartitionId, Offset)> {
        let mut starts = BTreeMap::new();
        if self.options.retention_ms > 0 {
            self.too_old(now, &mut starts);
        }
        if self.options.retention_bytes > 0 {
            self.too_much(&mut starts);
        }
        for (partition, start) in &starts {
            self.set_live_from(*partition, *start);
        }
        starts.into_iter().collect()
    }

    fn too_old(&self, now: Instant, starts: &mut BTreeMap<PartitionId, Offset>) {
        let age = i64::try_from(self.options.retention_ms).unwrap_or(i64::MAX);
        let oldest = Timestamp(now.timestamp().0.saturating_sub(age));
        let written = self.commit.written();
        for (partition, runs) in self.index.partitions() {
            let old = runs.iter().take_while(|run| run.last_at < oldest && run.end <= written);
            if let Some(run) = old.last() {
                starts.insert(partition, run.next);
            }
        }
    }

    /// Takes the oldest runs of all partitions until the rest is small enough.
    fn too_much(&self, starts: &mut BTreeMap<PartitionId, Offset>) {
        let mut excess = self.index.live_total().saturating_sub(self.options.retention_bytes);
        if excess == 0 {
            return;
        }
        let written = self.commit.written();
        let mut fronts: BinaryHeap<_> = self
            .index
            .partitions()
            .filter_map(|(partition, runs)| Some(Reverse((runs.front()?.last_at, partition, 0))))
            .collect();
        while let Some(Reverse((_, partition, nth))) = fronts.pop().filter(|_| excess > 0) {
            let Some(run) = self.index.nth(partition, nth).filter(|run| run.end <= written) else { continue };
            excess = excess.saturating_sub(run.bytes);
            let start = starts.entry(partition).or_insert(run.next);
            *start = run.next.max(*start);
            if let Some(next) = self.index.nth(partition, nth + 1) {
                fronts.push(Reverse((next.last_at, partition, nth + 1)));
            }
        }
    }
}
