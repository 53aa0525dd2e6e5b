//! What is ordered, written, synced and committed, and what to write or sync next.
//!
//! Entries are gathered into groups. A group is one write; it starts on a block boundary, so that no write ever
//! touches a block of an earlier one. While writes are in flight, everything that arrives forms the next group.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use super::action::{GroupPiece, Ticket};
use super::entry::{self, BLOCK, ENTRY_HEADER, Header, entry_size};
use super::stats::{Timing, Timings};
use crate::model::{FsyncPolicy, Instant, Lsn};

/// Writes given to the device and not answered.
pub const WRITES_IN_FLIGHT: usize = 2;
/// Syncs given to the device and not answered, each of another segment.
pub const SYNCS_IN_FLIGHT: usize = 4;
/// Bytes of a group, unless one entry alone is bigger.
pub const GROUP_MAX: usize = 1024 * 1024;
/// Bytes of a group that may go through to the medium in one operation, instead of a write and then a sync: up to
/// there a second trip to the device costs more than what it saves by syncing several groups at once.
pub const THROUGH_MAX: usize = 256 * 1024;

/// The order of one log's entries and how far each fact about them has come. All positions only grow, and
/// `synced <= committed <= written <= appended`. Committed is synced under [`FsyncPolicy::Always`], and under every
/// policy for what recovery found.
#[derive(Debug)]
pub(super) struct GroupCommit {
    policy: FsyncPolicy,
    through_max: usize,
    segment_size: u64,
    epoch: u32,
    /// Where the next group starts if none is open.
    next: Lsn,
    /// Groups that are not handed to the device yet.
    pending: VecDeque<Group>,
    /// Whether the last of `pending` may still grow.
    open: bool,
    in_flight: VecDeque<Flight>,
    /// Written groups, in order, that are not synced.
    unsynced: VecDeque<Landed>,
    /// How many of `unsynced` may be acknowledged under `every_n`, and the records in them.
    allowed: usize,
    allowed_records: u64,
    unsynced_records: u64,
    /// Syncs that are not answered, each of another segment, in order.
    syncs: VecDeque<SyncFlight>,
    /// How many of `unsynced` they cover.
    covered: usize,
    /// A sync up to here was asked for, whatever the policy.
    sync_wanted: Lsn,
    /// What is before was found by recovery. The process before this one may have acknowledged as much of it as the
    /// policy lets be unsynced, and nobody knows when: none of it is committed before it is synced.
    recovered: Lsn,
    /// Where the last entry starts, and where it ends.
    last: Lsn,
    appended: Lsn,
    written: Lsn,
    synced: Lsn,
    /// The end of the groups that `every_n` allows to be acknowledged.
    acknowledgeable: Lsn,
    backlog: usize,
    pieces_guess: usize,
}

/// Entries that go to the device in one write.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) start: Lsn,
    pub(super) pieces: Vec<GroupPiece>,
    /// Bytes of the pieces with their padding.
    pub(super) used: usize,
    /// Durable when its write is answered. Known when it is taken.
    pub(super) through: bool,
    records: u64,
    opened: Instant,
}

#[derive(Debug)]
struct Flight {
    ticket: Ticket,
    end: Lsn,
    used: usize,
    records: u64,
    opened: Instant,
    through: bool,
    done: bool,
}

#[derive(Debug)]
struct Landed {
    end: Lsn,
    records: u64,
    at: Instant,
}

#[derive(Debug)]
struct SyncFlight {
    ticket: Ticket,
    upto: Lsn,
    done: bool,
}

/// Where a log takes up its work.
#[derive(Clone, Copy, Debug)]
pub(super) struct Position {
    pub(super) epoch: u32,
    pub(super) segment_size: u64,
    /// Everything before is durable.
    pub(super) synced: Lsn,
    /// The start and the end of the last entry.
    pub(super) last: Lsn,
    pub(super) end: Lsn,
    /// Where the next group starts.
    pub(super) next: Lsn,
}

impl Group {
    fn end(&self) -> Lsn {
        self.start.plus(self.used as u64)
    }
}

/// The segment that holds the byte *before* `end`: that of the entry that ends there.
pub(super) fn segment_before(end: Lsn, size: u64) -> Lsn {
    segment_of(Lsn(end.0.saturating_sub(1)), size)
}

/// The segment that holds a byte.
pub(super) fn segment_of(lsn: Lsn, size: u64) -> Lsn {
    Lsn(lsn.0 - lsn.0 % size)
}

/// Where a group may start at or after `end`: on a block boundary, and not on a segment's header.
pub(super) fn next_group(end: Lsn, size: u64) -> Lsn {
    let next = Lsn(end.0.next_multiple_of(BLOCK as u64));
    if next.0 % size == 0 { next.plus(BLOCK as u64) } else { next }
}

/// The largest body an entry may have in segments of `size` bytes.
pub(super) fn body_max(size: u64) -> usize {
    size as usize - BLOCK - 2 * ENTRY_HEADER - 8
}

impl GroupCommit {
    pub(super) fn new(
        policy: FsyncPolicy,
        through_max: usize,
        position: Position,
        exists: impl Fn(Lsn) -> bool,
    ) -> GroupCommit {
        let Position { epoch, segment_size, synced, last, end, next } = position;
        assert!(synced <= end && end <= next && next.0 % BLOCK as u64 == 0, "recovery knows where the log ends");
        let mut log = GroupCommit {
            policy,
            through_max,
            segment_size,
            epoch,
            next,
            pending: VecDeque::new(),
            open: false,
            in_flight: VecDeque::new(),
            unsynced: VecDeque::new(),
            allowed: 0,
            allowed_records: 0,
            unsynced_records: 0,
            syncs: VecDeque::new(),
            covered: 0,
            sync_wanted: end,
            recovered: end,
            last,
            appended: end,
            written: end,
            synced,
            acknowledgeable: synced,
            backlog: 0,
            pieces_guess: 16,
        };
        log.recovered_tail(exists);
        log
    }

    /// What was found and may not be durable is synced, segment by segment, before anything is written after it.
    fn recovered_tail(&mut self, exists: impl Fn(Lsn) -> bool) {
        let mut segment = segment_of(self.synced, self.segment_size);
        while segment < self.written {
            let end = self.written.min(segment.plus(self.segment_size));
            if end > self.synced && exists(segment) {
                self.unsynced.push_back(Landed { end, records: 0, at: Instant::default() });
            }
            segment = segment.plus(self.segment_size);
        }
        if self.unsynced.is_empty() {
            self.synced = self.written;
            self.acknowledgeable = self.written;
        }
    }

    pub(super) fn appended(&self) -> Lsn {
        self.appended
    }

    pub(super) fn last(&self) -> Lsn {
        self.last
    }

    pub(super) fn written(&self) -> Lsn {
        self.written
    }

    pub(super) fn synced(&self) -> Lsn {
        self.synced
    }

    pub(super) fn backlog(&self) -> usize {
        self.backlog
    }

    pub(super) fn next(&self) -> Lsn {
        self.next
    }

    pub(super) fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.in_flight.is_empty()
    }

    /// What may be acknowledged and delivered: the one place that knows. Everything that ends at or before it.
    #[inline]
    pub(super) fn committed(&self) -> Lsn {
        match self.policy {
            _ if self.synced < self.recovered => self.synced,
            FsyncPolicy::Always => self.synced,
            FsyncPolicy::EveryN(_) => self.acknowledgeable,
            FsyncPolicy::Interval(_) | FsyncPolicy::None => self.written,
        }
    }

    /// Gives an entry its place; answers with its address. `records` counts towards `every_n`.
    pub(super) fn push(&mut self, now: Instant, header: Header, body: Bytes, records: u64) -> Lsn {
        let size = entry_size(body.len());
        let lsn = self.make_room(now, size);
        self.put(Header { lsn, epoch: self.epoch, ..header }, body, size, records);
        lsn
    }

    fn put(&mut self, header: Header, body: Bytes, size: usize, records: u64) {
        let group = self.pending.back_mut().expect("room was made in it");
        group.pieces.push(GroupPiece { header: header.encode(), body });
        group.used += size;
        group.records += records;
        self.backlog += size;
        self.last = header.lsn;
        self.appended = group.end();
    }

    fn make_room(&mut self, now: Instant, size: usize) -> Lsn {
        assert!(size <= entry_size(body_max(self.segment_size)), "an entry fits into a segment");
        if let Some(group) = self.pending.back().filter(|_| self.open) {
            let end = group.end();
            if !self.fits(end, size) {
                self.roll(now);
            } else if group.used + size <= GROUP_MAX {
                return end;
            } else {
                self.close_group();
            }
        }
        if !self.fits(self.next, size) {
            self.roll(now);
        }
        self.open_group(now);
        self.next
    }

    /// An entry leaves room for the one that ends the segment.
    fn fits(&self, at: Lsn, size: usize) -> bool {
        at.0 % self.segment_size + (size + ENTRY_HEADER) as u64 <= self.segment_size
    }

    fn open_group(&mut self, now: Instant) {
        let pieces = Vec::with_capacity(self.pieces_guess);
        self.pending.push_back(Group { start: self.next, pieces, used: 0, through: false, records: 0, opened: now });
        self.open = true;
    }

    /// From now on entries go into another group.
    pub(super) fn close_group(&mut self) {
        if let Some(group) = self.pending.back().filter(|_| self.open) {
            self.next = next_group(group.end(), self.segment_size);
            self.open = false;
        }
    }

    /// Ends the segment: its last entry says so, and what follows starts in the next one.
    fn roll(&mut self, now: Instant) {
        if !self.open {
            self.open_group(now);
        }
        let lsn = self.pending.back().expect("a group is open").end();
        let header = Header { lsn, epoch: self.epoch, ..entry::end_header() };
        self.put(header, Bytes::new(), ENTRY_HEADER, 0);
        self.open = false;
        self.next = segment_of(lsn, self.segment_size).plus(self.segment_size + BLOCK as u64);
    }

    /// Where the next write goes, if one may be started.
    pub(super) fn next_write(&self) -> Option<Lsn> {
        let group = self.pending.front().filter(|_| self.in_flight.len() < WRITES_IN_FLIGHT)?;
        Some(segment_of(group.start, self.segment_size))
    }

    /// Cuts the group that [`GroupCommit::next_write`] spoke of.
    pub(super) fn take_group(&mut self, ticket: Ticket) -> Group {
        if self.pending.len() == 1 {
            self.close_group();
        }
        let mut group = self.pending.pop_front().expect("a write was to be started");
        let last = group.pieces.len() - 1;
        for (index, piece) in group.pieces.iter_mut().enumerate() {
            entry::seal(&mut piece.header, &piece.body, self.synced, index == last);
        }
        self.pieces_guess = group.pieces.len().clamp(4, 4096);
        group.through = self.may_go_through(group.used);
        let Group { used, records, opened, through, .. } = group;
        self.in_flight.push_back(Flight { ticket, end: group.end(), used, records, opened, through, done: false });
        group
    }

    /// A small group that has to be durable before anybody hears of it, with nothing before it that waits for a sync:
    /// its own write makes it so. Then all of `in_flight` that goes through is before all that does not.
    fn may_go_through(&self, used: usize) -> bool {
        self.policy == FsyncPolicy::Always
            && used <= self.through_max
            && self.unsynced.is_empty()
            && self.in_flight.iter().all(|flight| flight.through)
    }

    /// A write was answered. Writes may be answered in any order; `written` moves in order only.
    pub(super) fn written_one(&mut self, now: Instant, ticket: Ticket, timings: &mut Timings) {
        let flight = self.in_flight.iter_mut().find(|flight| flight.ticket == ticket);
        flight.expect("a write is answered once").done = true;
        while self.in_flight.front().is_some_and(|flight| flight.done) {
            let flight = self.in_flight.pop_front().expect("just seen");
            assert!(self.written <= flight.end && flight.end <= self.appended, "writes are in order");
            self.written = flight.end;
            self.backlog -= flight.used;
            timings.push(Timing::Written { after: now.since(flight.opened), records: flight.records });
            if flight.through {
                assert!(self.unsynced.is_empty(), "nothing before it waits for a sync");
                self.synced = flight.end;
                self.acknowledgeable = flight.end;
                timings.push(Timing::Synced { after: Duration::ZERO, records: flight.records });
            } else {
                self.unsynced_records += flight.records;
                self.unsynced.push_back(Landed { end: flight.end, records: flight.records, at: now });
            }
        }
        self.allow();
    }

    /// Everything up to `lsn` is to be synced, whatever the policy says.
    pub(super) fn want_sync(&mut self, lsn: Lsn) {
        self.sync_wanted = self.sync_wanted.max(lsn);
    }

    /// The segment to be synced now, if one is due.
    pub(super) fn next_sync(&self, now: Instant) -> Option<Lsn> {
        let oldest = self.uncovered()?;
        (self.sync_is_due(oldest) || now >= self.sync_at(oldest)).then(|| segment_before(oldest.end, self.segment_size))
    }

    /// The oldest write that no sync covers, if one may be started for it. One segment does not wait for the sync of
    /// another: at the end of a segment two that take T/2 each would take longer than an interval allows.
    fn uncovered(&self) -> Option<&Landed> {
        let oldest = self.unsynced.get(self.covered)?;
        let segment = |end| segment_before(end, self.segment_size);
        let apart = self.syncs.back().is_none_or(|sync| segment(sync.upto) != segment(oldest.end));
        (apart && self.syncs.len() < SYNCS_IN_FLIGHT).then_some(oldest)
    }

    fn sync_is_due(&self, oldest: &Landed) -> bool {
        let segment = |end| segment_before(end, self.segment_size);
        let asked_for = self.syncs.back().map_or(self.synced, |sync| sync.upto);
        asked_for < self.sync_wanted
            || match self.policy {
                FsyncPolicy::Always => true,
                FsyncPolicy::EveryN(n) => {
                    self.allowed < self.unsynced.len() || self.unsynced_records >= u64::from(n.div_ceil(2))
                }
                FsyncPolicy::Interval(_) => false,
                FsyncPolicy::None => segment(oldest.end) != segment(self.written),
            }
    }

    /// When time alone makes a sync due. An interval is halved, so that the sync also ends within it.
    fn sync_at(&self, oldest: &Landed) -> Instant {
        match self.policy {
            FsyncPolicy::EveryN(_) => oldest.at + FsyncPolicy::IDLE_TAIL,
            FsyncPolicy::Interval(every) => oldest.at + every / 2,
            FsyncPolicy::Always | FsyncPolicy::None => Instant::NEVER,
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        Some(self.sync_at(self.uncovered()?)).filter(|at| *at != Instant::NEVER)
    }

    /// The sync that [`GroupCommit::next_sync`] spoke of is asked for: it covers what is written in that segment by now.
    pub(super) fn start_sync(&mut self, ticket: Ticket, segment: Lsn) {
        let inside = |landed: &&Landed| segment_before(landed.end, self.segment_size) == segment;
        self.covered += self.unsynced.iter().skip(self.covered).take_while(inside).count();
        let upto = self.unsynced.get(self.covered.wrapping_sub(1)).expect("a sync was due").end;
        self.syncs.push_back(SyncFlight { ticket, upto, done: false });
    }

    /// A sync was answered. Syncs of several segments may be answered in any order; `synced` moves in order only.
    pub(super) fn synced_one(&mut self, now: Instant, ticket: Ticket, timings: &mut Timings) {
        let sync = self.syncs.iter_mut().find(|sync| sync.ticket == ticket && !sync.done);
        sync.expect("a sync is answered once").done = true;
        while self.syncs.front().is_some_and(|sync| sync.done) {
            let sync = self.syncs.pop_front().expect("just seen");
            self.synced_upto(now, sync.upto, timings);
        }
        self.allow();
    }

    fn synced_upto(&mut self, now: Instant, upto: Lsn, timings: &mut Timings) {
        while self.unsynced.front().is_some_and(|landed| landed.end <= upto) {
            let landed = self.unsynced.pop_front().expect("just seen");
            self.covered -= 1;
            self.unsynced_records -= landed.records;
            if self.allowed > 0 {
                self.allowed -= 1;
                self.allowed_records -= landed.records;
            }
            timings.push(Timing::Synced { after: now.since(landed.at), records: landed.records });
        }
        self.synced = upto;
        self.acknowledgeable = self.acknowledgeable.max(self.synced);
        assert!(self.synced <= self.written && self.written <= self.appended, "a sync covers what was written");
    }

    /// Lets written groups be acknowledged as long as no more than N unsynced records are. A group that holds more is
    /// not acknowledged before it is synced, so that the bound holds at all times.
    fn allow(&mut self) {
        let FsyncPolicy::EveryN(n) = self.policy else { return };
        if self.synced < self.recovered {
            return;
        }
        while let Some(landed) = self.unsynced.get(self.allowed) {
            if self.allowed_records + landed.records > u64::from(n) {
                break;
            }
            self.allowed += 1;
            self.allowed_records += landed.records;
            self.acknowledgeable = landed.end;
        }
    }
}
