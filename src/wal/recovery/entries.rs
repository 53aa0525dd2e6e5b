//! Entry after entry, from where the checkpoint ends.

use super::{Advance, CUT_SHORT, READ, Recovery, Search, Stage, Window, records_of};
use crate::model::{Lsn, PartitionId};
use crate::wal::entry::{BLOCK, Entry, Header, Kind, NotAnEntry, claimed_epoch, claims};
use crate::wal::group_commit::{next_group, segment_of};
use crate::wal::index::Indexed;
use crate::wal::scan::{FoundEntry, entry_at};

impl Recovery {
    pub(super) fn scan(&mut self) -> Advance {
        let segment = segment_of(self.at, self.size);
        let Some(file) = self.files.get(&segment) else {
            return self.bad_place("the segment is missing");
        };
        if let Some(what) = file.bad.filter(|_| !self.used.contains(&segment)) {
            return self.bad_place(what);
        }
        match self.look() {
            Ok(found) => self.take(found),
            Err(NotAnEntry::Short(needed)) => {
                let read = self.read(self.at, needed as u64);
                read.unwrap_or_else(|| self.bad_place(CUT_SHORT))
            }
            Err(NotAnEntry::Bad(what)) => self.bad_place(what),
        }
    }

    fn look(&self) -> Result<FoundEntry, NotAnEntry> {
        let Window { start, bytes } = &self.window;
        if self.at < *start || self.at > self.window.end() {
            return Err(NotAnEntry::Short(BLOCK));
        }
        let found = entry_at(bytes, self.at.since(*start) as usize, self.at)?;
        let fresh = found.header.epoch >= self.epoch;
        if fresh { Ok(found) } else { Err(NotAnEntry::Bad("the entry is left over from before a cut")) }
    }

    /// A read that brings `needed` bytes at `at` or as much of them as the file has; `None` if that much is there already.
    pub(super) fn read(&self, at: Lsn, needed: u64) -> Option<Advance> {
        let segment = segment_of(at, self.size);
        let start = Lsn(at.0 - at.0 % BLOCK as u64);
        let file_end = segment.plus(self.files[&segment].len);
        let len = READ.max((at.since(start) + needed).next_multiple_of(BLOCK as u64)).min(file_end.since(start));
        let window = &self.window;
        if len == 0 || (window.start <= start && start < window.end() && window.end() >= start.plus(len)) {
            return None;
        }
        Some(Advance::Read { at: start, len: len as usize })
    }

    fn take(&mut self, found: FoundEntry) -> Advance {
        let FoundEntry { header, body } = found;
        match Entry::from_parts(&header, body) {
            Ok(Some(entry)) => self.fold(&header, &entry),
            Ok(None) => {}
            Err(what) => return self.bad_place(what),
        }
        self.use_segment(segment_of(self.at, self.size));
        self.report.entries += 1;
        self.report.bytes += header.size() as u64;
        self.epoch = header.epoch;
        self.epoch_max = self.epoch_max.max(header.epoch);
        self.synced = self.synced.max(header.synced);
        self.last = header.lsn;
        self.end = header.end();
        self.whole = header.is_last();
        self.at = match (header.kind, self.whole) {
            (Kind::End, _) => segment_of(header.lsn, self.size).plus(self.size + BLOCK as u64),
            (_, true) => next_group(self.end, self.size),
            (_, false) => self.end,
        };
        if header.kind == Kind::End {
            self.look_for_a_cut(segment_of(header.lsn, self.size), self.at);
        }
        Advance::Again
    }

    fn fold(&mut self, header: &Header, entry: &Entry) {
        match entry {
            Entry::Batch { .. } => return self.fold_batch(header, entry),
            Entry::PartitionDeleted { id } => self.index.forget(*id),
            Entry::PartitionStart { id, start } => self.index.forget_before(*id, *start),
            _ => {}
        }
        self.catalog.fold(entry);
    }

    fn fold_batch(&mut self, header: &Header, entry: &Entry) {
        let partition = PartitionId(header.id);
        self.report.batches += 1;
        self.report.records += u64::from(header.count);
        let known = self.catalog.partitions.get(&partition);
        let Some(state) = known.filter(|state| header.is_moved() || state.next <= header.base) else {
            self.report.orphans += 1;
            return;
        };
        let live = header.base.plus(header.count.into()) > state.start;
        let (lsn, size, count) = (header.lsn, header.size() as u64, header.count);
        let batch = Indexed { partition, base: header.base, count, lsn, size, appended_at: header.appended_at };
        match (live, header.is_moved()) {
            (true, false) => self.index.append(&batch),
            (true, true) => self.fold_moved(&batch),
            (false, _) => {}
        }
        self.index.keep_within(&self.holes);
        self.catalog.fold(entry);
    }

    /// What a run has before a moved batch was dead when it was moved, whether or not the checkpoint knew that yet.
    fn fold_moved(&mut self, batch: &Indexed) {
        let run = self.index.find(batch.partition, batch.base);
        if run.is_some_and(|run| run.base < batch.base && run.lsn < batch.lsn) {
            self.catalog.start(batch.partition, batch.base);
            self.index.forget_before(batch.partition, batch.base);
        }
        self.index.moved(batch);
    }

    /// Believed when it was read twice.
    fn bad_place(&mut self, what: &'static str) -> Advance {
        if self.doubted != Some(self.at) {
            self.doubted = Some(self.at);
            self.window = Window::default();
            return Advance::Again;
        }
        let bad = self.at;
        let here = self.stands_at(bad);
        let header = here.flatten().filter(|header| header.end() <= segment_of(bad, self.size).plus(self.size));
        let records = header.as_ref().map_or(0, records_of);
        let here = (u64::from(here.is_some()), records);
        let last_end = header.map_or(bad, |header| header.end());
        let mut search = Search { bad, what, at: bad, first: None, found: 0, records: 0, last_end, here };
        if self.window.start <= bad && bad < self.window.end() {
            search.at = bad.plus(8);
        }
        self.stage = Stage::Search(search);
        Advance::Again
    }

    /// Whether an entry of this log stands, or stood, at a place where none is whole; and its header, if that is.
    fn stands_at(&self, at: Lsn) -> Option<Option<Header>> {
        let Window { start, bytes } = &self.window;
        if at < *start || at >= self.window.end() {
            return None;
        }
        let bytes = &bytes[at.since(*start) as usize..];
        let header = Header::decode(bytes, at).ok();
        (claims(bytes, at) && claimed_epoch(bytes) >= self.epoch).then_some(header)
    }
}
