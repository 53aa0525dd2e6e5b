//! What is behind a bad place, and so what is to be done about it.

use super::{Advance, CUT_SHORT, File, OVERLAP, Recovery, Search, Stage, Window, records_of};
use crate::model::{Lsn, RecoveryMode};
use crate::wal::entry::BLOCK;
use crate::wal::group_commit::segment_of;
use crate::wal::scan::next_header;

impl Recovery {
    pub(super) fn search(&mut self) -> Advance {
        let Stage::Search(search) = &mut self.stage else { unreachable!("asked for in this stage") };
        let Some((file, len)) = self.files.range(segment_of(search.at, self.size)..).next().map(|(f, s)| (*f, s.len))
        else {
            return self.decide();
        };
        search.at = search.at.max(file.plus(BLOCK as u64));
        let end = file.plus(len);
        if search.at >= end {
            search.at = search.at.max(file.plus(self.size));
            return Advance::Again;
        }
        let Window { start, bytes } = &self.window;
        let window_end = self.window.end();
        if search.at < *start || search.at >= window_end || *start < file {
            let at = search.at;
            return self.read(at, BLOCK as u64).expect("the window is elsewhere");
        }
        let from = search.at.since(*start) as usize;
        let Some(header) = next_header(bytes, *start, from, 0) else {
            search.at = if window_end < end { search.at.max(Lsn(window_end.0 - OVERLAP)) } else { end };
            self.window = Window::default();
            return Advance::Again;
        };
        search.at = header.end().min(file.plus(self.size));
        self.epoch_max = self.epoch_max.max(header.epoch);
        if header.epoch < self.epoch {
            return Advance::Again;
        }
        self.synced = self.synced.max(header.synced);
        search.first.get_or_insert(header.lsn);
        search.found += 1;
        search.records += records_of(&header);
        search.last_end = header.end();
        if self.surveyed { self.decide() } else { Advance::Again }
    }

    /// The table at the top of this page.
    fn decide(&mut self) -> Advance {
        let Stage::Search(search) = std::mem::replace(&mut self.stage, Stage::Scan) else {
            unreachable!("decided after a search")
        };
        self.surveyed = true;
        self.window = Window::default();
        let corrupt = self.synced > search.bad || self.is_cut_short(&search);
        if corrupt {
            self.corrupt(search.bad, search.what);
        }
        match search.first.filter(|_| corrupt && self.mode == RecoveryMode::Skip) {
            Some(next) => self.leave_out(next, search.here),
            None => self.cut(&search),
        }
        Advance::Again
    }

    /// Whether the log comes to the end of a file that is not whole. A segment has its full size, synced, before the
    /// first entry goes into it: no crash takes the rest away.
    fn is_cut_short(&self, search: &Search) -> bool {
        let short = |file: &File| file.bad.is_none() && file.len < self.size;
        search.what == CUT_SHORT && self.files.get(&segment_of(search.bad, self.size)).is_some_and(short)
    }

    /// The log goes on at `next`.
    fn leave_out(&mut self, next: Lsn, (entries, records): (u64, u64)) {
        self.use_segment(segment_of(next, self.size));
        if next > self.at {
            self.holes.insert(self.at, next);
            self.lost(self.at, next.since(self.at), entries, records);
        }
        self.at = next;
        self.index.fence(next);
    }

    fn cut(&mut self, search: &Search) {
        self.stage = Stage::Done;
        let (entries, records) = (search.found + search.here.0, search.records + search.here.1);
        self.report.cut_entries = entries.max(u64::from(!self.whole));
        self.report.cut_bytes = search.last_end.since(search.bad);
        if self.report.cut_entries > 0 {
            self.lost(search.bad, self.report.cut_bytes, self.report.cut_entries, records);
        }
    }
}
