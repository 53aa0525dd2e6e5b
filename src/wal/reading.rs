//! Reading batches back: for subscriptions that have fallen behind the tail in memory.

use bytes::Bytes;

use super::action::{LogAction, ReadFor, Ticket};
use super::entry::{BLOCK, Kind};
use super::group_commit::segment_of;
use super::log::Log;
use super::scan::{BadPlace, Corruption, Walk};
use crate::model::{LogId, Lsn, Offset, PartitionId, Timestamp};

/// Bytes that one read asks for, unless one batch is bigger.
pub const READ_MAX: u64 = 256 * 1024;

/// Where to read, as the log stands now. Good until the next [`Log::poll`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub log: LogId,
    pub segment: Lsn,
    /// Bytes from the segment's start, and how many to read: whole blocks.
    pub position: u64,
    pub len: usize,
    from: Lsn,
    until: Lsn,
    /// Which offsets are wanted from it: others may stand between them, moved there by cleaning.
    base: Offset,
    next: Offset,
    segment_size: u64,
}

/// What the log says of a batch beside its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchPlace {
    pub lsn: Lsn,
    pub base: Offset,
    pub count: u32,
    pub appended_at: Timestamp,
    /// Zero: never.
    pub expires_at: Timestamp,
}

/// The batches of one partition in the bytes of one read; see [`Log::batches`].
#[derive(Debug)]
pub struct Batches {
    walk: Walk,
    place: Place,
    partition: PartitionId,
    ended: bool,
}

impl Iterator for Batches {
    type Item = Result<(BatchPlace, Bytes), Corruption>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let found = match self.walk.next() {
                Some(Ok(found)) => found,
                Some(Err(bad)) => return Some(Err(self.place.corruption(&bad))),
                // A place has all that it was given for, unless its file is cut.
                None if self.walk.short() > 0 && !self.ended => {
                    self.ended = true;
                    let bad = BadPlace { lsn: self.walk.at(), until: None, what: "the segment is cut short" };
                    return Some(Err(self.place.corruption(&bad)));
                }
                None => return None,
            };
            let header = found.header;
            let ours = header.kind == Kind::Batch && header.id == self.partition.0;
            if ours && self.place.base <= header.base && header.base < self.place.next {
                self.place.base = header.base.plus(header.count.into());
                let place = BatchPlace {
                    lsn: header.lsn,
                    base: header.base,
                    count: header.count,
                    appended_at: header.appended_at,
                    expires_at: header.expires_at,
                };
                return Some(Ok((place, found.body)));
            }
        }
    }
}

impl Place {
    fn corruption(&self, bad: &BadPlace) -> Corruption {
        let position = bad.lsn.since(self.segment);
        Corruption { log: self.log, segment: self.segment, position, what: bad.what.into() }
    }
}

impl Log {
    /// Where to start reading for the record at `offset`, or for the first one after it that is in the log. `None`: it
    /// is not written yet, or there is none.
    pub fn find(&self, partition: PartitionId, offset: Offset) -> Option<Place> {
        let run = self.index.find(partition, offset)?;
        let size = self.segments.size;
        let segment = segment_of(run.lsn, size);
        let hole = self.holes.range(run.lsn..).next().map_or(Lsn(u64::MAX), |(from, _)| *from);
        let limit = self.commit.written().min(segment.plus(size)).min(hole);
        if run.lsn >= limit {
            return None;
        }
        let start = Lsn(run.lsn.0 - run.lsn.0 % BLOCK as u64);
        let near = start.plus(READ_MAX).min(limit);
        let mut last = *run;
        for run in self.index.runs_from(partition, offset).skip(1) {
            if run.lsn < last.end || run.end > near {
                break;
            }
            last = *run;
        }
        let end = last.end.min(limit);
        let len = (end.since(start) as usize).next_multiple_of(BLOCK);
        let position = start.since(segment);
        Some(Place {
            log: self.options.log,
            segment,
            position,
            len,
            from: run.lsn,
            until: end,
            base: run.base,
            next: last.next,
            segment_size: size,
        })
    }

    /// The first record after `offset` that starts a piece of its own, where what stands at `offset` cannot be read.
    pub fn first_after(&self, partition: PartitionId, offset: Offset) -> Option<Offset> {
        self.index.runs_from(partition, offset).map(|run| run.base).find(|base| *base > offset)
    }

    /// The read of a place that [`Log::find`] just gave. Its segment stays until [`Log::batches`] or
    /// [`Log::read_answered`] is told of the answer.
    pub fn place_read(&mut self, place: Place, wanted_by: u64) -> LogAction {
        let ticket = self.ticket();
        self.segments.reading(place.segment);
        self.reads.push((ticket, place));
        let Place { segment, position, len, .. } = place;
        LogAction::Read { ticket, segment, position, len, purpose: ReadFor::Subscription(wanted_by) }
    }

    /// The batches of `partition` in the bytes that answer the read `ticket`, by offset, every checksum checked. The
    /// first ones may end before the offset that was asked for. A bad place is told once, and the walk goes on behind.
    pub fn batches(&mut self, ticket: Ticket, partition: PartitionId, bytes: &Bytes) -> Batches {
        let place = self.read_answered(ticket).expect("a read is answered once");
        let start = place.segment.plus(place.position);
        let walk = Walk::new(bytes.clone(), start, place.from, place.until, place.segment_size);
        Batches { walk, place, partition, ended: false }
    }

    /// A subscription's read has been answered, and nobody wants its bytes any more.
    pub fn read_answered(&mut self, ticket: Ticket) -> Option<Place> {
        let index = self.reads.iter().position(|(known, _)| *known == ticket)?;
        let (_, place) = self.reads.swap_remove(index);
        self.segments.read(place.segment);
        Some(place)
    }

    /// The offset of a batch that was appended at or shortly before `time`, so that nothing appended since is missed.
    pub fn offset_at(&self, partition: PartitionId, time: Timestamp) -> Offset {
        let run = self.index.runs(partition).find(|run| run.last_at >= time);
        let next = || self.catalog.partitions.get(&partition).map_or(Offset::ZERO, |state| state.next);
        run.map_or_else(next, |run| run.base)
    }
}
