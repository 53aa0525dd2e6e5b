//! Where recovery begins: what the segments and the checkpoint say of themselves.

use super::{Advance, CUT_SHORT, Recovery, Stage, Window, unknown_version};
use crate::model::Lsn;
use crate::wal::checkpoint::Checkpoint;
use crate::wal::entry::{BLOCK, Header};
use crate::wal::group_commit::segment_of;
use crate::wal::index::Index;
use crate::wal::segment::{FORMAT_VERSION, NotASegment, SegmentHeader};

impl Recovery {
    pub(super) fn next_segment_header(&mut self) -> Advance {
        match self.headers.last() {
            Some(first) => Advance::Read { at: *first, len: BLOCK },
            None => {
                self.begin();
                Advance::Again
            }
        }
    }

    pub(super) fn segment_header(&mut self) {
        let first = self.headers.pop().expect("its header was asked for");
        let decoded = SegmentHeader::decode(&self.window.bytes);
        if let (Ok(header), None) = (&decoded, &self.checkpoint)
            && header.first == first
            && self.report.segment_size == 0
        {
            self.size = header.size;
            self.report.segment_size = header.size;
        }
        let bad = match decoded {
            Ok(header) if header.first != first => Some("the segment is another one: it was renamed"),
            Ok(header) if header.log != self.log => Some("the segment belongs to another log"),
            Ok(header) if header.size != self.size => Some("the segment's size is not that of the log's segments"),
            Ok(_) => None,
            Err(NotASegment::Version(version)) => {
                return self.fail(first, unknown_version("segment", version, FORMAT_VERSION));
            }
            Err(NotASegment::Bad(what)) => Some(what),
        };
        self.files.get_mut(&first).expect("its header was asked for").bad = bad;
    }

    fn begin(&mut self) {
        self.window = Window::default();
        self.report.segment_size = self.size;
        self.stage = Stage::Scan;
        let strangers: Vec<Lsn> = self.files.keys().copied().filter(|first| first.0 % self.size != 0).collect();
        for stranger in &strangers {
            self.files.remove(stranger);
            self.corrupt(*stranger, "no segment of this log begins where this file's name says");
        }
        self.strangers = strangers;
        match self.checkpoint.take() {
            Some(checkpoint) => self.begin_at(checkpoint),
            None => self.begin_without(),
        }
    }

    fn begin_at(&mut self, checkpoint: Checkpoint) {
        let Checkpoint { clean, epoch, end, last, next, segments, holes, catalog, index, .. } = checkpoint;
        self.last = last;
        (self.at, self.end, self.epoch, self.epoch_max) = (next, end, epoch, epoch);
        (self.synced, self.catalog, self.index, self.holes) = (end, catalog, index, holes);
        self.index.bound(self.index_max);
        self.index.keep_within(&self.holes);
        self.index.fence(next);
        for segment in segments {
            match self.files.get(&segment).map(|file| file.bad) {
                Some(Some(what)) if !self.holes.contains_key(&segment) => self.corrupt(segment, what),
                Some(_) => {}
                None => {
                    self.corrupt(segment, "the segment is missing");
                    let (bytes, records) = self.index.forget_range(segment, segment.plus(self.size));
                    self.lost(segment, bytes, 0, records);
                    continue;
                }
            }
            self.use_segment(segment);
            self.look_for_a_cut(segment, end);
        }
        self.report.clean = clean;
        if self.used.contains(&segment_of(last, self.size)) && last < end {
            self.stage = Stage::Last;
        } else if clean {
            self.stage = Stage::Done;
        }
    }

    /// A file that ends although the log is known to reach `known`: readers would run into its end. Where the log has gone
    /// on in the next segment that is told too, whether or not anything stood there: the next start has only the
    /// checkpoint to ask, and that does not know where the last entry of a segment was.
    pub(super) fn look_for_a_cut(&mut self, segment: Lsn, known: Lsn) {
        let len = self.files.get(&segment).map_or(0, |file| file.len);
        let (cut, end) = (segment.plus(len), segment.plus(self.size));
        let told = self.holes.range(..=cut).next_back().is_some_and(|(_, to)| *to > cut);
        if len < self.size && cut < known && !told {
            self.corrupt(cut, CUT_SHORT);
            let next = self.holes.range(cut..).next().map_or(end, |(hole, _)| end.min(*hole));
            self.holes.insert(cut, next);
            let (bytes, records) = self.index.forget_range(cut, next);
            self.lost(cut, bytes, 0, records);
        }
    }

    /// A header that is not believed is a hole: it was told once, and what follows it speaks for itself.
    pub(super) fn use_segment(&mut self, segment: Lsn) {
        self.used.insert(segment);
        if self.files.get(&segment).is_some_and(|file| file.bad.is_some()) {
            self.holes.insert(segment, segment.plus(BLOCK as u64));
        }
    }

    /// A checkpoint is saved after what it knows is durable: if that is not there, the files are not those it was made
    /// for, or they were damaged.
    pub(super) fn look_at_last(&mut self) -> Advance {
        let within = |window: &Window, at| window.start <= at && at < window.end();
        if !within(&self.window, self.last)
            && let Some(read) = self.read(self.last, 2 * BLOCK as u64)
        {
            return read;
        }
        let Window { start, bytes } = &self.window;
        let rest = if within(&self.window, self.last) { &bytes[self.last.since(*start) as usize..] } else { &[] };
        match Header::decode(rest, self.last) {
            Ok(header) if header.end() == self.end => {}
            _ if self.doubted != Some(self.last) => {
                self.doubted = Some(self.last);
                self.window = Window::default();
                return Advance::Again;
            }
            _ => {
                self.corrupt(self.last, "the last entry that the checkpoint knows is not there");
                // The next checkpoint does not vouch for it again.
                self.last = self.end;
            }
        }
        self.stage = if self.report.clean { Stage::Done } else { Stage::Scan };
        Advance::Again
    }

    /// Without a checkpoint everything there is has to be looked at; and it has to be everything.
    fn begin_without(&mut self) {
        self.index = Index::new(self.size, self.index_max);
        self.report.rebuilt = true;
        let Some(first) = self.files.keys().next().copied() else {
            self.stage = Stage::Done;
            return;
        };
        if first != Lsn::ZERO {
            self.corrupt(first, "the checkpoint is missing, and the log's beginning with it");
            let first = segment_of(first, self.size);
            (self.at, self.last, self.end, self.synced) = (first.plus(BLOCK as u64), first, first, first);
        }
    }
}
