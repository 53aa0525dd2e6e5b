//! Where the log goes on.

use super::{File, Recovered, Recovery, RecoveryReport};
use crate::model::Lsn;
use crate::wal::entry::BLOCK;
use crate::wal::group_commit::{next_group, segment_of};
use crate::wal::segments::Found;
use crate::wal::stats::LogStats;

impl Recovery {
    pub(super) fn recovered(mut self) -> (Recovered, RecoveryReport) {
        let next = self.next_write();
        if next != self.at {
            self.holes.insert(self.at, next);
        }
        self.index.fence(next);
        let head = segment_of(next, self.size);
        let whole = |first: Lsn| self.files.get(&first).is_some_and(|file| file.bad.is_none() && file.len == self.size);
        let mut frontier = head;
        while whole(frontier) {
            frontier = frontier.plus(self.size);
        }
        let odd = self.used.iter().copied().filter(|first| !whole(*first)).collect();
        let ready = |first: Lsn| head <= first && first < frontier && first.0 % self.size == 0;
        let bad = |(first, file): (&Lsn, &File)| Some((*first, file.bad?));
        self.report.unusable =
            self.files.iter().filter_map(bad).filter(|(first, _)| !self.used.contains(first)).collect();
        let unused = self.files.keys().copied().filter(|first| !self.used.contains(first));
        let leftovers = unused.filter(|first| !ready(*first)).chain(self.strangers).collect();
        let used = self.used.into_iter().collect();
        let segment = segment_of(self.end, self.size);
        self.report.end = (segment, self.end.since(segment));
        let stats = LogStats {
            corruptions: self.report.corruptions.len() as u64,
            cut_entries: self.report.cut_entries,
            cut_bytes: self.report.cut_bytes,
            ..LogStats::default()
        };
        let recovered = Recovered {
            epoch: self.epoch_max + 1,
            segment_size: self.size,
            synced: self.synced.min(self.end),
            last: self.last,
            end: self.end,
            next,
            found: Found { used, odd, head, frontier, leftovers },
            catalog: self.catalog,
            index: self.index,
            holes: self.holes,
            stats,
        };
        (recovered, self.report)
    }

    /// The first block that nothing of this log was ever acknowledged in; in a segment that can be written whole.
    fn next_write(&self) -> Lsn {
        let next = next_group(self.at, self.size);
        let segment = segment_of(next, self.size);
        let file = self.files.get(&segment);
        let writable = file.is_some_and(|file| file.bad.is_none() && file.len == self.size);
        if writable || !self.used.contains(&segment) {
            return next;
        }
        segment.plus(self.size + BLOCK as u64)
    }
}
