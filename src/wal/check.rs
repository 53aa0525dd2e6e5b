//! A stopped log looked at and mended, for `blipmq wal check`, `dump`, `truncate` and `skip`.
//!
//! To check: [`recover`] in the mode `refuse`; where it comes back, read each of [`Recovered::segments`] whole and walk
//! over it with [`Recovered::entries`]. To mend: recover in the mode that was chosen, take out what is damaged before
//! the checkpoint, where recovery does not look ([`Recovered::leave_out`]), sync the segment files, and save
//! [`Recovered::checkpoint`] as the log's checkpoint: what was decided stays decided.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::checkpoint::Snapshot;
use super::entry::{BLOCK, Kind};
use super::group_commit::THROUGH_MAX;
use super::index::Indexed;
use super::log::LogOptions;
use super::recovery::report::{Loss, RecoveryReport};
use super::recovery::{Recovered, Recovery, RecoveryStep};
use super::scan::{BadPlace, Corruption, FoundEntry, Walk};
use crate::model::{FsyncPolicy, Limits, LogId, Lsn, PartitionId, RecoveryMode};

/// What recovery brought back, or why nothing.
pub type Outcome = Result<(Recovered, RecoveryReport), Corruption>;

/// Runs a whole recovery of a log that nobody runs. `read` gives so many bytes of a segment from a position on, or
/// fewer at its end.
pub fn recover<E>(
    log: LogId,
    mode: RecoveryMode,
    checkpoint: Option<Bytes>,
    segments: Vec<(Lsn, u64)>,
    mut read: impl FnMut(Lsn, u64, usize) -> Result<Bytes, E>,
) -> Result<Outcome, E> {
    // A log keeps its own size; where nothing is left that tells it, this is as good as any.
    let segment_size = 64 << 20;
    let (fsync, retention_ms, retention_bytes, low_water) = (FsyncPolicy::None, 0, 0, 0);
    let index_max = Limits::default().index_max;
    let through_max = THROUGH_MAX;
    let options =
        LogOptions { log, segment_size, fsync, retention_ms, retention_bytes, low_water, index_max, through_max };
    let mut recovery = Recovery::new(&options, mode, checkpoint, segments);
    while let RecoveryStep::Read { segment, position, len } = recovery.poll() {
        recovery.handle(read(segment, position, len)?);
    }
    Ok(recovery.finish())
}

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

    /// Segment files that the next start removes: nothing of the log is in them.
    pub fn leftovers(&self) -> &[Lsn] {
        &self.found.leftovers
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
        // As recovery and the log read it: what is not a whole block at the end of a file that was cut is nothing.
        let bytes = bytes.slice(..bytes.len() / BLOCK * BLOCK);
        let walk = self.walk(&bytes, segment, segment.plus(BLOCK as u64));
        SegmentEntries { recovered: self, log, segment, bytes, walk }
    }

    fn walk(&self, bytes: &Bytes, segment: Lsn, from: Lsn) -> Walk {
        Walk::new(bytes.clone(), segment, from, self.next_hole(from).min(self.end), self.segment_size)
    }

    fn next_hole(&self, from: Lsn) -> Lsn {
        self.holes.range(from..).next().map_or(Lsn(u64::MAX), |(hole, _)| *hole)
    }

    /// Takes the bad places of a segment, of which `bytes` is the whole file, out of the log: nobody reads them any
    /// more, and what stands around them is found. Answers with what they were.
    pub fn leave_out(&mut self, log: LogId, segment: Lsn, bytes: Bytes) -> Vec<(Corruption, Loss)> {
        let (mut whole, mut bad) = (Vec::new(), Vec::new());
        let mut entries = self.entries(log, segment, bytes);
        while let Some(step) = entries.step() {
            match step {
                Ok(found) => whole.extend(indexed(&found)),
                Err(place) => bad.push(place),
            }
        }
        bad.iter().map(|place| self.leave_out_one(log, segment, place, &whole)).collect()
    }

    fn leave_out_one(&mut self, log: LogId, segment: Lsn, place: &BadPlace, whole: &[Indexed]) -> (Corruption, Loss) {
        let end = segment.plus(self.segment_size).min(self.end).min(self.next_hole(place.lsn));
        let until = place.until.unwrap_or(end).max(place.lsn.plus(8));
        self.holes.insert(place.lsn, until);
        if (place.lsn..until).contains(&self.last) {
            self.last = self.end;
        }
        let records = self.index.leave_out(&BTreeMap::from([(place.lsn, until)]), &self.holes, whole);
        let corruption = corruption(log, segment, place);
        let (position, bytes) = (corruption.position, until.since(place.lsn));
        (corruption, Loss { segment, position, bytes, entries: 1, records })
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

fn indexed(found: &FoundEntry) -> Option<Indexed> {
    let header = &found.header;
    (header.kind == Kind::Batch).then(|| Indexed {
        partition: PartitionId(header.id),
        base: header.base,
        count: header.count,
        lsn: header.lsn,
        size: header.size() as u64,
        appended_at: header.appended_at,
    })
}

fn corruption(log: LogId, segment: Lsn, place: &BadPlace) -> Corruption {
    Corruption { log, segment, position: place.lsn.since(segment), what: place.what.into() }
}

impl SegmentEntries<'_> {
    fn step(&mut self) -> Option<Result<FoundEntry, BadPlace>> {
        loop {
            if let Some(step) = self.walk.next() {
                return Some(step);
            }
            let at = self.walk.at();
            if self.walk.short() > 0 {
                self.walk = self.recovered.walk(&Bytes::new(), self.segment, Lsn(u64::MAX));
                return Some(Err(BadPlace { lsn: at, until: None, what: "the segment is cut short" }));
            }
            let hole = self.recovered.holes.get(&at).filter(|_| !self.walk.is_finished())?;
            self.walk = self.recovered.walk(&self.bytes, self.segment, *hole);
        }
    }
}

impl Iterator for SegmentEntries<'_> {
    type Item = Result<FoundEntry, Corruption>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step()?;
        Some(step.map_err(|place| corruption(self.log, self.segment, &place)))
    }
}
