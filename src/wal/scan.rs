//! Entries out of a segment's bytes, and the places where there are none.

use std::fmt;

use bytes::Bytes;
use thiserror::Error;

use super::entry::{ENTRY_HEADER, Header, Kind, NotAnEntry, claims};
use super::group_commit::next_group;
use crate::model::{LogId, Lsn};

/// Bytes of a log that are not what was written there.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub struct Corruption {
    pub log: LogId,
    /// The segment, named by the LSN of its first byte.
    pub segment: Lsn,
    /// Bytes from the segment's start.
    pub position: u64,
    pub what: String,
}

impl fmt::Display for Corruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Corruption { log, segment, position, what } = self;
        write!(f, "log {log}, segment {segment}, byte {position}: {what}")
    }
}

/// An entry where it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundEntry {
    pub header: Header,
    pub body: Bytes,
}

/// A place without an entry where one should be; the next one is at `until`, or nowhere in these bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadPlace {
    pub lsn: Lsn,
    pub until: Option<Lsn>,
    pub what: &'static str,
}

/// The entry that starts at byte `at` of `bytes`, with all its checksums checked.
pub fn entry_at(bytes: &Bytes, at: usize, lsn: Lsn) -> Result<FoundEntry, NotAnEntry> {
    let rest = bytes.get(at..).unwrap_or_default();
    let header = Header::decode(rest, lsn)?;
    let Some(body) = rest.get(ENTRY_HEADER..header.length as usize) else {
        return Err(NotAnEntry::Short(header.size()));
    };
    header.check_body(body).map_err(NotAnEntry::Bad)?;
    Ok(FoundEntry { body: bytes.slice_ref(body), header })
}

/// The first place at or after byte `from` of `bytes`, which begin at LSN `start`, where a whole header stands that is
/// at home there and not of an epoch before `epoch`. Its body may be damaged.
pub fn next_header(bytes: &[u8], start: Lsn, from: usize, epoch: u32) -> Option<Header> {
    let mut at = from.next_multiple_of(8);
    while at + ENTRY_HEADER <= bytes.len() {
        let lsn = start.plus(at as u64);
        if claims(&bytes[at..], lsn)
            && let Ok(header) = Header::decode(&bytes[at..], lsn)
            && header.epoch >= epoch
        {
            return Some(header);
        }
        at += 8;
    }
    None
}

/// Walks over the entries of one segment in bytes read from it. Ends at the segment's last entry, at `until`, or where
/// an entry is not whole in these bytes: [`Walk::at`] tells where to go on.
#[derive(Debug)]
pub struct Walk {
    bytes: Bytes,
    start: Lsn,
    at: Lsn,
    until: Lsn,
    segment_end: Lsn,
    size: u64,
    short: usize,
    finished: bool,
}

impl Walk {
    /// `bytes` begin at LSN `start`; the first entry is at `from`, nothing at or after `until` is looked at.
    pub fn new(bytes: Bytes, start: Lsn, from: Lsn, until: Lsn, segment_size: u64) -> Walk {
        assert!(start <= from, "a walk begins in its bytes");
        let segment_end = Lsn(start.0 - start.0 % segment_size).plus(segment_size);
        let until = until.min(segment_end);
        Walk { bytes, start, at: from, until, segment_end, size: segment_size, short: 0, finished: false }
    }

    /// Where the next entry would be.
    pub fn at(&self) -> Lsn {
        self.at
    }

    /// Bytes that the entry at [`Walk::at`] needs, if it was the end of the bytes that ended the walk.
    pub fn short(&self) -> usize {
        self.short
    }

    /// Whether the segment's entries are at their end.
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    fn step(&mut self, header: &Header) {
        self.at = if header.is_last() { next_group(header.end(), self.size) } else { header.end() };
        self.finished = header.kind == Kind::End || self.at >= self.segment_end;
    }

    /// The next place that looks like an entry after a bad one.
    fn skip(&mut self, what: &'static str) -> BadPlace {
        let lsn = self.at;
        let next = next_header(&self.bytes, self.start, lsn.since(self.start) as usize + 8, 0);
        let until = next.map(|header| header.lsn).filter(|next| *next < self.until);
        self.at = until.unwrap_or(self.until);
        BadPlace { lsn, until, what }
    }
}

impl Iterator for Walk {
    type Item = Result<FoundEntry, BadPlace>;

    fn next(&mut self) -> Option<Self::Item> {
        self.short = 0;
        if self.finished || self.at >= self.until {
            return None;
        }
        let at = self.at.since(self.start) as usize;
        match entry_at(&self.bytes, at, self.at) {
            Ok(found) => {
                self.step(&found.header);
                Some(Ok(found))
            }
            Err(NotAnEntry::Short(needed)) => {
                self.short = needed;
                None
            }
            Err(NotAnEntry::Bad(what)) => Some(Err(self.skip(what))),
        }
    }
}
