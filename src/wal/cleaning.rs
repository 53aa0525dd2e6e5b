//! Mostly dead segments: their live batches are written again at the log's end, so that the rest can go.

use std::collections::VecDeque;

use bytes::Bytes;

use super::action::{LogAction, ReadFor};
use super::entry::{BLOCK, ENTRY_HEADER, FLAG_MOVED, Header, Kind};
use super::group_commit::{GROUP_MAX, segment_of};
use super::index::Indexed;
use super::log::Log;
use super::reading::READ_MAX;
use super::scan::{Corruption, FoundEntry, Walk};
use crate::model::{Instant, Lsn, PartitionId};

/// What cleaning is at.
#[derive(Debug, Default)]
pub(super) struct Cleaner {
    victim: Option<Victim>,
    /// Batches that are written again and not yet found at their new place, with the ends of their new entries.
    moves: VecDeque<(Lsn, Indexed)>,
    /// How things stood when there was nothing to clean: the head, and the live bytes.
    content: Option<(Lsn, u64)>,
    /// Bytes written again so far.
    spent: u64,
}

#[derive(Debug)]
struct Victim {
    segment: Lsn,
    /// The next entry to look at.
    at: Lsn,
    /// Bytes to read for it at least.
    needs: usize,
    reading: bool,
}

/// Live bytes of a segment that is worth cleaning, in hundredths of its size, at most.
const WORTH: u64 = 80;
/// Bytes that may be written again for each byte that was appended or has died: what keeps cleaning from turning over
/// batches that cannot lie any closer. Enough for the density below, which needs at most 10 for 3.
const EARNED: u64 = 4;
/// Bytes in segments to live bytes, in hundredths, beyond which cleaning begins.
const DENSITY: u64 = 130;

impl Cleaner {
    /// Whether there are batches that are not yet found at their new place.
    pub(super) fn is_moving(&self) -> bool {
        !self.moves.is_empty()
    }
}

impl Log {
    /// The next read of cleaning, at low priority: nothing while others have much to write, and one piece at a time.
    pub(super) fn poll_cleaning(&mut self) -> Option<LogAction> {
        if self.is_closing() || self.cleaner.is_moving() || self.commit.backlog() > GROUP_MAX {
            return None;
        }
        if self.cleaner.victim.is_none() {
            self.cleaner.victim = self.choose_victim();
        }
        self.read_victim()
    }

    /// The segment with the least live bytes, if there is too much between what is live. A log that is written to is
    /// granted one segment more: much of what is live there will be dead before it is worth the copy.
    fn choose_victim(&mut self) -> Option<Victim> {
        let (size, live) = (self.segments.size, self.index.live_total());
        let slack = if self.commit.is_idle() { 0 } else { size };
        let earned = EARNED * (self.stats.bytes + self.index.died()) + live.min(size);
        let dense = self.segments.sealed() * size <= live * DENSITY / 100 + slack;
        if dense || self.cleaner.spent > earned || self.nothing_changed(live) {
            return None;
        }
        let head = self.segments.head();
        let candidates = self.segments.used().filter(|segment| *segment < head && !self.segments.is_kept(*segment));
        let written = segment_of(self.commit.written(), size);
        let with_live =
            candidates.filter(|segment| *segment < written).map(|segment| (self.index.live_in(segment), segment));
        let least = with_live.filter(|(live, _)| *live > 0 && *live <= size / 100 * WORTH).min();
        let Some((_, segment)) = least else {
            self.cleaner.content = Some((head, live));
            return None;
        };
        self.segments.reading(segment);
        Some(Victim { segment, at: segment.plus(BLOCK as u64), needs: 0, reading: false })
    }

    fn nothing_changed(&self, live: u64) -> bool {
        let Some((head, before)) = self.cleaner.content else { return false };
        head == self.segments.head() && live + self.segments.size / 8 > before
    }

    fn read_victim(&mut self) -> Option<LogAction> {
        let size = self.segments.size;
        if self.cleaner.victim.as_ref().is_none_or(|victim| victim.reading) {
            return None;
        }
        let ticket = self.ticket();
        let hole = self.cleaner.victim.as_ref().and_then(|victim| self.holes.get(&victim.at).copied());
        let victim = self.cleaner.victim.as_mut()?;
        victim.at = hole.unwrap_or(victim.at);
        let end = victim.segment.plus(size);
        if victim.at >= end || self.index.live_in(victim.segment) == 0 {
            self.victim_done();
            return None;
        }
        victim.reading = true;
        let position = victim.at.since(victim.segment) / BLOCK as u64 * BLOCK as u64;
        let needed = victim.at.since(victim.segment) - position + victim.needs as u64;
        let len = READ_MAX.max(needed.next_multiple_of(BLOCK as u64)).min(size - position);
        let segment = victim.segment;
        Some(LogAction::Read { ticket, segment, position, len: len as usize, purpose: ReadFor::Cleaning })
    }

    fn victim_done(&mut self) {
        if let Some(victim) = self.cleaner.victim.take() {
            self.segments.read(victim.segment);
        }
    }

    /// A piece of the victim has been read: its live batches are appended again. A log that closes moves nothing any
    /// more: its last checkpoint may be made already, and the next process writes where that one says the log ends.
    pub(super) fn cleaning_read(&mut self, now: Instant, bytes: Bytes) {
        if self.is_closing() {
            return self.victim_done();
        }
        let Some(Victim { segment, at, needs, .. }) = self.cleaner.victim else { return };
        let start = segment.plus(at.since(segment) / BLOCK as u64 * BLOCK as u64);
        let hole = self.holes.range(at..).next().map_or(Lsn(u64::MAX), |(from, _)| *from);
        let mut walk = Walk::new(bytes, start, at, hole, self.segments.size);
        for step in walk.by_ref() {
            match step {
                Ok(found) => self.move_if_live(now, segment, found),
                Err(bad) => return self.leave_victim(segment, bad.lsn, bad.what),
            }
        }
        let (next, short) = (walk.at(), walk.short());
        if short > 0 && next == at && short <= needs {
            return self.leave_victim(segment, at, "the segment is cut short");
        }
        if walk.is_finished() {
            return self.victim_done();
        }
        self.cleaner.victim = Some(Victim { segment, at: next, needs: short, reading: false });
    }

    /// A segment that cannot be read whole stays as it is: nothing live is thrown away.
    fn leave_victim(&mut self, segment: Lsn, at: Lsn, what: &str) {
        self.segments.keep(segment);
        let position = at.since(segment);
        self.corrupted(Corruption { log: self.options.log, segment, position, what: what.into() });
        self.victim_done();
    }

    fn move_if_live(&mut self, now: Instant, segment: Lsn, found: FoundEntry) {
        let FoundEntry { header, body } = found;
        if header.kind != Kind::Batch || !self.is_live_here(segment, &header) {
            return;
        }
        let size = header.size() as u64;
        let moved = Header { flags: FLAG_MOVED, ..header };
        let lsn = self.order(now, moved, body, 0);
        self.cleaner.spent += size;
        self.stats.cleaned_batches += 1;
        self.stats.cleaned_bytes += size;
        let indexed = Indexed {
            partition: PartitionId(header.id),
            base: header.base,
            count: header.count,
            lsn,
            size,
            appended_at: header.appended_at,
        };
        self.cleaner.moves.push_back((lsn.plus(size), indexed));
    }

    fn is_live_here(&self, segment: Lsn, header: &Header) -> bool {
        let run = self.index.find(PartitionId(header.id), header.base);
        let here = |lsn| segment_of(lsn, self.segments.size) == segment;
        let end = header.base.plus(header.count.into());
        let partition = self.catalog.partitions.get(&PartitionId(header.id));
        let wanted = partition.is_some_and(|partition| partition.start < end);
        // An earlier copy that a crash left unfinished may stand before its run.
        let within = |lsn, from, to| from <= lsn && lsn < to;
        wanted
            && run.is_some_and(|run| run.base <= header.base && here(run.lsn) && within(header.lsn, run.lsn, run.end))
    }

    /// What has been written again is found at its new place from now on.
    pub(super) fn moved(&mut self) {
        let written = self.commit.written();
        while let Some((_, batch)) = self.cleaner.moves.front().filter(|(end, _)| *end <= written) {
            // It may have died on its way.
            let partition = self.catalog.partitions.get(&batch.partition);
            if partition.is_some_and(|state| state.start < batch.base.plus(batch.count.into())) {
                self.index.moved(batch);
            }
            self.cleaner.moves.pop_front();
        }
        self.index.keep_within(&self.holes);
    }
}

const _: () = assert!(READ_MAX as usize > BLOCK + ENTRY_HEADER);
