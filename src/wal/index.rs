//! Where the batches of a partition are, sparsely, and so which bytes of which segment are live.

use std::collections::{BTreeMap, VecDeque};
use std::mem::size_of;

use super::grain::Grain;
use super::group_commit::segment_of;
use crate::model::{Lsn, Offset, PartitionId, Timestamp};

/// Batches of one partition that stand near each other in one segment: offsets `base .. next`, of which a few may not
/// exist, in entries of `bytes` bytes in all, the first at `lsn`, the last ending at `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) base: Offset,
    pub(super) next: Offset,
    pub(super) lsn: Lsn,
    pub(super) end: Lsn,
    pub(super) bytes: u64,
    pub(super) last_at: Timestamp,
}

/// The runs of each partition, sorted by offset; only live ones.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Index {
    segment_size: u64,
    grain: Grain,
    runs: BTreeMap<PartitionId, VecDeque<Run>>,
    /// Runs of all partitions.
    count: usize,
    /// Live bytes by segment.
    live: BTreeMap<Lsn, u64>,
    live_total: u64,
    /// Runs that start before are not added to: something lies between that is not to be read.
    fence: Lsn,
    /// Whether a segment lost its last live byte since somebody asked.
    emptied: bool,
    /// Bytes that have died so far.
    died: u64,
}

/// A batch as the index sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Indexed {
    pub(super) partition: PartitionId,
    pub(super) base: Offset,
    pub(super) count: u32,
    pub(super) lsn: Lsn,
    pub(super) size: u64,
    pub(super) appended_at: Timestamp,
}

impl Indexed {
    fn run(&self) -> Run {
        Run {
            base: self.base,
            next: self.base.plus(self.count.into()),
            lsn: self.lsn,
            end: self.lsn.plus(self.size),
            bytes: self.size,
            last_at: self.appended_at,
        }
    }
}

impl Run {
    fn takes(&self, other: &Run, segment_size: u64, span: u64) -> bool {
        let near = other.lsn >= self.end && other.lsn.since(self.lsn) < span;
        near && other.base >= self.next && segment_of(self.lsn, segment_size) == segment_of(other.lsn, segment_size)
    }

    fn holds(&self, batch: &Indexed) -> bool {
        self.lsn <= batch.lsn && batch.lsn < self.end && self.base <= batch.base && batch.base < self.next
    }

    fn take(&mut self, other: &Run) {
        self.next = other.next;
        self.end = other.end;
        self.bytes += other.bytes;
        self.last_at = self.last_at.max(other.last_at);
    }
}

/// Whether a hole has bytes between the two.
fn reaches(holes: &BTreeMap<Lsn, Lsn>, from: Lsn, end: Lsn) -> bool {
    holes.range(..end).next_back().is_some_and(|(_, to)| *to > from)
}

impl Index {
    pub(super) fn new(segment_size: u64, bytes_max: usize) -> Index {
        Index {
            segment_size,
            grain: Grain::new(bytes_max),
            runs: BTreeMap::new(),
            count: 0,
            live: BTreeMap::new(),
            live_total: 0,
            fence: Lsn::ZERO,
            emptied: false,
            died: 0,
        }
    }

    /// Something lies before `lsn` that readers must not run into.
    pub(super) fn fence(&mut self, lsn: Lsn) {
        self.fence = lsn;
    }

    /// Adds a batch at the end of its partition.
    pub(super) fn append(&mut self, batch: &Indexed) {
        let run = batch.run();
        let (size, fence, span) = (self.segment_size, self.fence, self.grain.span());
        self.count_in(run.lsn, run.bytes);
        let runs = self.runs_mut(batch.partition);
        match runs.back_mut() {
            Some(last) if last.lsn >= fence && last.takes(&run, size, span) => last.take(&run),
            _ => {
                runs.push_back(run);
                self.count += 1;
            }
        }
    }

    /// From now on the index may have so many bytes.
    pub(super) fn bound(&mut self, bytes_max: usize) {
        self.grain = Grain::new(bytes_max);
    }

    /// Makes the runs longer where there are too many of them for its bound. None reaches over one of `holes`.
    #[inline]
    pub(super) fn keep_within(&mut self, holes: &BTreeMap<Lsn, Lsn>) {
        if self.grain.is_too_fine(self.count) {
            self.coarsen(holes);
        }
    }

    fn coarsen(&mut self, holes: &BTreeMap<Lsn, Lsn>) {
        while self.grain.is_too_fine(self.count) && self.grain.coarser() {
            let (size, span) = (self.segment_size, self.grain.span());
            for runs in self.runs.values_mut() {
                let before = runs.len();
                let fine = std::mem::take(runs);
                for run in fine {
                    match runs.back_mut() {
                        Some(last) if last.takes(&run, size, span) && !reaches(holes, last.end, run.lsn) => {
                            last.take(&run);
                        }
                        _ => runs.push_back(run),
                    }
                }
                self.count -= before - runs.len();
            }
        }
    }

    /// Whether there is no room for what would be found apart.
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.grain.is_full(self.count)
    }

    /// Of its runs.
    pub(super) fn bytes(&self) -> usize {
        self.count * size_of::<Run>()
    }

    /// A batch was written again further on: it is found there from now on. Nothing changes if it is dead already.
    /// The batches of a run are moved front to back, so what a run has before a moved batch is dead.
    pub(super) fn moved(&mut self, batch: &Indexed) {
        let new = batch.run();
        let (size, fence, span) = (self.segment_size, self.fence, self.grain.span());
        let runs = self.runs_mut(batch.partition);
        let before = runs.len();
        let at = runs.partition_point(|run| run.next <= new.base);
        let home = |old: &Run| old.base <= new.base && new.next <= old.next && old.lsn < new.lsn;
        let Some(old) = runs.get(at).copied().filter(home) else { return };
        let rest = Run { base: new.next, bytes: old.bytes.saturating_sub(new.bytes), ..old };
        runs.remove(at);
        let mut kept = 0;
        if rest.base < rest.next {
            kept = rest.bytes;
            runs.insert(at, rest);
        }
        match at.checked_sub(1).map(|before| &mut runs[before]) {
            Some(before) if before.lsn >= fence && before.takes(&new, size, span) => before.take(&new),
            _ => runs.insert(at, new),
        }
        let after = runs.len();
        self.count = self.count + after - before;
        self.count_out(old.lsn, old.bytes - kept);
        self.count_in(new.lsn, new.bytes);
    }

    /// Batches that end at or before `offset` are dead.
    pub(super) fn forget_before(&mut self, partition: PartitionId, offset: Offset) {
        while let Some(run) = self.pop_before(partition, offset) {
            self.died += run.bytes;
            self.count_out(run.lsn, run.bytes);
        }
        self.grain.finer(self.count);
    }

    fn pop_before(&mut self, partition: PartitionId, offset: Offset) -> Option<Run> {
        let runs = self.runs.get_mut(&partition)?;
        runs.front().filter(|run| run.next <= offset)?;
        let run = runs.pop_front();
        self.count -= usize::from(run.is_some());
        if runs.is_empty() {
            // Partitions come and go for as long as the log lives.
            self.runs.remove(&partition);
        }
        run
    }

    pub(super) fn forget(&mut self, partition: PartitionId) {
        self.forget_before(partition, Offset::MAX);
    }

    /// What begins from `from` to `to` is gone; answers with its live bytes, and about how many records.
    pub(super) fn forget_range(&mut self, from: Lsn, to: Lsn) -> (u64, u64) {
        let mut gone: Vec<Run> = Vec::new();
        for runs in self.runs.values_mut() {
            runs.retain(|run| {
                let is_gone = from <= run.lsn && run.lsn < to;
                gone.extend(is_gone.then_some(*run));
                !is_gone
            });
        }
        gone.iter().for_each(|run| self.count_out(run.lsn, run.bytes));
        self.count -= gone.len();
        (gone.iter().map(|run| run.bytes).sum(), gone.iter().map(|run| run.next.since(run.base)).sum())
    }

    /// Of the runs that `holes` reach into, only the batches among `whole` are left, found apart where a hole lies
    /// between them, or one of `older`; answers with about how many records are gone.
    pub(super) fn leave_out(
        &mut self,
        holes: &BTreeMap<Lsn, Lsn>,
        older: &BTreeMap<Lsn, Lsn>,
        whole: &[Indexed],
    ) -> u64 {
        let (size, span) = (self.segment_size, self.grain.span());
        let between = |from, to| reaches(holes, from, to) || reaches(older, from, to);
        let (mut lost, mut before, mut after) = (0, Vec::new(), Vec::new());
        for (partition, runs) in &mut self.runs {
            for run in std::mem::take(runs) {
                if !reaches(holes, run.lsn, run.end) {
                    runs.push_back(run);
                    continue;
                }
                let mut left = run.next.since(run.base);
                let mut next = run.base;
                before.push((run.lsn, run.bytes));
                for batch in whole.iter().filter(|batch| batch.partition == *partition && run.holds(batch)) {
                    if batch.base < next {
                        continue;
                    }
                    next = batch.base.plus(batch.count.into());
                    left = left.saturating_sub(batch.count.into());
                    let own = batch.run();
                    after.push((own.lsn, own.bytes));
                    match runs.back_mut() {
                        Some(last) if last.takes(&own, size, span) && !between(last.end, own.lsn) => last.take(&own),
                        _ => runs.push_back(own),
                    }
                }
                lost += left;
            }
        }
        after.into_iter().for_each(|(lsn, bytes)| self.count_in(lsn, bytes));
        before.into_iter().for_each(|(lsn, bytes)| self.count_out(lsn, bytes));
        self.count = self.runs.values().map(VecDeque::len).sum();
        lost
    }

    /// The first run that has `offset` or something after it.
    pub(super) fn find(&self, partition: PartitionId, offset: Offset) -> Option<&Run> {
        let runs = self.runs.get(&partition)?;
        runs.get(runs.partition_point(|run| run.next <= offset))
    }

    /// The runs from that one on.
    pub(super) fn runs_from(&self, partition: PartitionId, offset: Offset) -> impl Iterator<Item = &Run> {
        let runs = self.runs.get(&partition);
        let from = runs.map_or(0, |runs| runs.partition_point(|run| run.next <= offset));
        runs.into_iter().flat_map(move |runs| runs.range(from..))
    }

    pub(super) fn nth(&self, partition: PartitionId, nth: usize) -> Option<&Run> {
        self.runs.get(&partition)?.get(nth)
    }

    pub(super) fn runs(&self, partition: PartitionId) -> impl Iterator<Item = &Run> {
        self.runs.get(&partition).into_iter().flatten()
    }

    /// Every partition that has runs.
    pub(super) fn partitions(&self) -> impl Iterator<Item = (PartitionId, &VecDeque<Run>)> {
        self.runs.iter().filter(|(_, runs)| !runs.is_empty()).map(|(id, runs)| (*id, runs))
    }

    /// Puts back a run that a checkpoint remembers; in order.
    pub(super) fn restore(&mut self, partition: PartitionId, run: Run) {
        self.count_in(run.lsn, run.bytes);
        self.runs_mut(partition).push_back(run);
        self.count += 1;
    }

    pub(super) fn died(&self) -> u64 {
        self.died
    }

    pub(super) fn take_emptied(&mut self) -> bool {
        std::mem::take(&mut self.emptied)
    }

    pub(super) fn live_in(&self, segment: Lsn) -> u64 {
        self.live.get(&segment).copied().unwrap_or(0)
    }

    pub(super) fn live_total(&self) -> u64 {
        self.live_total
    }

    fn runs_mut(&mut self, partition: PartitionId) -> &mut VecDeque<Run> {
        self.runs.entry(partition).or_default()
    }

    fn count_in(&mut self, lsn: Lsn, bytes: u64) {
        *self.live.entry(segment_of(lsn, self.segment_size)).or_default() += bytes;
        self.live_total += bytes;
    }

    fn count_out(&mut self, lsn: Lsn, bytes: u64) {
        let segment = segment_of(lsn, self.segment_size);
        let live = self.live.get_mut(&segment).expect("live bytes were counted in");
        *live -= bytes;
        if *live == 0 {
            self.live.remove(&segment);
            self.emptied = true;
        }
        self.live_total -= bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wal::grain::RUN_SPAN;

    const SIZE: u64 = 1 << 20;
    const P: PartitionId = PartitionId(0);

    fn batch(base: u64, count: u32, lsn: u64) -> Indexed {
        Indexed {
            partition: P,
            base: Offset(base),
            count,
            lsn: Lsn(lsn),
            size: 200,
            appended_at: Timestamp(lsn as i64),
        }
    }

    fn index(batches: &[Indexed]) -> Index {
        let mut index = Index::new(SIZE, usize::MAX);
        batches.iter().for_each(|batch| index.append(batch));
        index
    }

    fn bounds(index: &Index) -> Vec<(u64, u64, u64)> {
        index.runs(P).map(|run| (run.base.0, run.next.0, run.lsn.0)).collect()
    }

    #[test]
    fn batches_near_each_other_are_one_run() {
        let index =
            index(&[batch(0, 2, 4096), batch(2, 1, 8192), batch(3, 1, 4096 + RUN_SPAN), batch(4, 1, SIZE + 4096)]);
        assert_eq!(bounds(&index), [(0, 3, 4096), (3, 4, 4096 + RUN_SPAN), (4, 5, SIZE + 4096)]);
        assert_eq!((index.live_in(Lsn(0)), index.live_in(Lsn(SIZE)), index.live_total()), (600, 200, 800));
    }

    #[test]
    fn nothing_is_added_to_a_run_before_the_fence() {
        let mut index = index(&[batch(0, 1, 4096)]);
        index.fence(Lsn(8192));
        index.append(&batch(1, 1, 8192));
        assert_eq!(bounds(&index), [(0, 1, 4096), (1, 2, 8192)]);
    }

    #[test]
    fn an_offset_is_found_in_its_run_or_the_next() {
        let index = index(&[batch(5, 2, 4096), batch(20, 1, SIZE + 4096)]);
        let found = |offset| index.find(P, Offset(offset)).map(|run| run.base.0);
        assert_eq!([found(0), found(6), found(7), found(20), found(21)], [Some(5), Some(5), Some(20), Some(20), None]);
        assert!(index.find(PartitionId(9), Offset(0)).is_none());
    }

    #[test]
    fn moved_batches_are_found_at_their_new_place_and_free_the_old_one() {
        let mut index = index(&[batch(0, 2, 4096), batch(2, 1, 8192), batch(3, 1, SIZE + 4096)]);
        index.moved(&batch(0, 2, 2 * SIZE + 4096));
        assert_eq!(bounds(&index), [(0, 2, 2 * SIZE + 4096), (2, 3, 4096), (3, 4, SIZE + 4096)]);
        index.moved(&batch(2, 1, 2 * SIZE + 4296));
        assert_eq!(bounds(&index), [(0, 3, 2 * SIZE + 4096), (3, 4, SIZE + 4096)]);
        assert_eq!((index.live_in(Lsn(0)), index.live_in(Lsn(2 * SIZE)), index.live_total()), (0, 400, 600));
        assert!(index.take_emptied() && !index.take_emptied());
    }

    #[test]
    fn a_batch_that_died_on_its_way_is_not_brought_back() {
        let mut index = index(&[batch(0, 1, 4096)]);
        index.forget_before(P, Offset(1));
        index.moved(&batch(0, 1, SIZE + 4096));
        assert_eq!((bounds(&index), index.live_total(), index.died()), (vec![], 0, 200));
    }

    #[test]
    fn batches_in_a_hole_are_left_out_and_those_around_it_are_found_apart() {
        let batches = [batch(0, 2, 4096), batch(2, 3, 4296), batch(5, 1, 4496), batch(6, 1, SIZE + 4096)];
        let mut index = index(&batches);
        let holes = [(Lsn(4296), Lsn(4496))].into();
        assert_eq!(index.leave_out(&holes, &BTreeMap::new(), &[batches[0], batches[2]]), 3);
        assert_eq!(bounds(&index), [(0, 2, 4096), (5, 6, 4496), (6, 7, SIZE + 4096)]);
        assert_eq!((index.live_in(Lsn(0)), index.live_total()), (400, 600));
    }

    #[test]
    fn batches_between_two_holes_are_found_whichever_hole_was_seen_first() {
        let batches = [batch(0, 2, 4096), batch(2, 3, 4296), batch(5, 1, 4496), batch(6, 1, 4696), batch(7, 1, 4896)];
        let whole = [batches[0], batches[2], batches[4]];
        let holes = [(Lsn(4296), Lsn(4496)), (Lsn(4696), Lsn(4896))];
        for order in [[0, 1], [1, 0]] {
            let mut index = index(&batches);
            let mut older = BTreeMap::new();
            for hole in order.map(|nth| holes[nth]) {
                index.leave_out(&[hole].into(), &older, &whole);
                older.extend([hole]);
            }
            assert_eq!(bounds(&index), [(0, 2, 4096), (5, 6, 4496), (7, 8, 4896)]);
            assert_eq!(index.live_total(), 600);
        }
    }

    /// Batches of two partitions in turn, each a run of its own while the index is fine.
    fn crowd(count: u64) -> Vec<Indexed> {
        let apart =
            |n: u64| Indexed { partition: PartitionId(n as u32 % 2), ..batch(n / 2, 1, 4096 + n * RUN_SPAN / 2) };
        (0..count).map(apart).collect()
    }

    #[test]
    fn an_index_that_fills_its_bound_gets_coarser_and_still_finds_everything() {
        let (batches, none) = (crowd(1600), BTreeMap::new());
        let mut index = Index::new(1 << 30, 800 * size_of::<Run>());
        let mut most = 0;
        for batch in &batches {
            index.append(batch);
            index.keep_within(&none);
            most = most.max(index.count);
        }
        assert!(most <= 401, "half of what one run a batch would be, and less: {most}");
        assert_eq!(index.count, index.runs.values().map(VecDeque::len).sum::<usize>());
        assert!(!index.is_full() && index.bytes() == index.count * size_of::<Run>());
        for batch in &batches {
            let run = index.find(batch.partition, batch.base).unwrap();
            assert!(run.holds(batch), "{batch:?} in {run:?}");
        }
        assert_eq!(index.live_total(), 1600 * 200);
    }

    #[test]
    fn at_its_bound_an_index_is_full_and_when_half_is_gone_it_is_not() {
        let mut index = Index::new(4096 * 2, 8 * size_of::<Run>());
        for n in 0..8 {
            assert!(!index.is_full());
            index.append(&batch(n, 1, 8192 * n + 4096));
            index.keep_within(&BTreeMap::new());
        }
        assert!(index.is_full(), "each has a segment to itself");
        index.forget_before(P, Offset(1));
        assert!(!index.is_full());
    }

    #[test]
    fn no_run_reaches_over_a_hole_however_coarse() {
        let batches = [batch(0, 1, 4096), batch(1, 1, 4096 + RUN_SPAN), batch(2, 1, 4096 + 2 * RUN_SPAN)];
        let mut index = Index::new(SIZE, size_of::<Run>());
        batches.iter().for_each(|batch| index.append(batch));
        index.keep_within(&[(Lsn(8192), Lsn(8192 + 512))].into());
        assert_eq!(bounds(&index), [(0, 1, 4096), (1, 3, 4096 + RUN_SPAN)]);
    }

    #[test]
    fn a_segment_that_is_gone_takes_its_runs() {
        let mut index = index(&[batch(0, 1, 4096), batch(1, 1, SIZE + 4096)]);
        assert_eq!(index.forget_range(Lsn(0), Lsn(SIZE)), (200, 1));
        assert_eq!((bounds(&index), index.live_total()), (vec![(1, 2, SIZE + 4096)], 200));
    }
}
