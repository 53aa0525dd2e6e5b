//! Every entry of a log looked at, for `blipmq wal check`, `dump` and `truncate`.
//!
//! To check: run [`super::Recovery`] in the mode `refuse`; where it comes back, read each of
//! [`Recovered::segments`] whole and walk over it with [`Recovered::entries`]. To truncate: run it in the mode
//! `truncate`, sync the segment files, and save [`Recovered::checkpoint`] as the log's checkpoint: what was cut stays cut.

use bytes::Bytes;

use super::checkpoint::Snapshot;
use super::entry::BLOCK;
use super::recovery::Recovered;
use super::scan::{Corruption, FoundEntry, Walk};
use crate::model::{LogId, Lsn};

/// The entries of one segment and its bad places, in order. What recovery has cut off or left out before is passed over.
#[derive(Debug)]
pub struct SegmentEntries<'a> {
    recovered: &'a Recovered,
    log: LogId,
    segment: Lsn,
    bytes: Bytes,
    walk: Walk,
}

impl Recovered {
    /// The segments that hold entries, by the LSN of their first byte.
    pub fn segments(&self) -> &[Lsn] {
        &self.found.used
    }

    /// Bytes of a segment.
    pub fn segment_size(&self) -> u64 {
        self.segment_size
    }

    /// The end of the log's last entry.
    pub fn end(&self) -> Lsn {
        self.end
    }

    /// Walks over a segment, of which `bytes` is the whole file.
    pub fn entries(&self, log: LogId, segment: Lsn, bytes: Bytes) -> SegmentEntries<'_> {
        let walk = self.walk(&bytes, segment, segment.plus(BLOCK as u64));
        SegmentEntries { recovered: self, log, segment, bytes, walk }
    }

    fn walk(&self, bytes: &Bytes, segment: Lsn, from: Lsn) -> Walk {
        let hole = self.holes.range(from..).next().map_or(Lsn(u64::MAX), |(hole, _)| *hole);
        Walk::new(bytes.clone(), segment, from, hole.min(self.end), self.segment_size)
    }

    /// The checkpoint file that makes this recovery's decisions last.
    pub fn checkpoint(&self, log: LogId) -> Bytes {
        let Recovered { epoch, segment_size, end, last, next, .. } = *self;
        let Recovered { found, holes, catalog, index, .. } = self;
        let segments = &found.used;
        let clean = false;
        Snapshot { log, clean, epoch, segment_size, end, last, next, segments, holes, catalog, index }.encode()
    }
}

impl Iterator for SegmentEntries<'_> {
    type Item = Result<FoundEntry, Corruption>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let bad = match self.walk.next() {
                Some(Ok(found)) => return Some(Ok(found)),
                Some(Err(bad)) => (bad.lsn, bad.what),
                None if self.walk.short() > 0 => {
                    let at = self.walk.at();
                    self.walk = self.recovered.walk(&Bytes::new(), self.segment, Lsn(u64::MAX));
                    (at, "the segment is cut short")
                }
                None => {
                    let hole = self.recovered.holes.get(&self.walk.at()).filter(|_| !self.walk.is_finished())?;
                    self.walk = self.recovered.walk(&self.bytes, self.segment, *hole);
                    continue;
                }
            };
            let (segment, position, what) = (self.segment, bad.0.since(self.segment), bad.1.into());
            return Some(Err(Corruption { log: self.log, segment, position, what }));
        }
    }
}
