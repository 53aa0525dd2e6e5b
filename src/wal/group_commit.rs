//! What is ordered, written, synced and committed, and what to write or sync next.
//!
//! Entries are gathered into groups. A group is one write; it starts on a block boundary, so that no write ever
//! touches a block of an earlier one. While writes are in flight, everything that arrives forms the next group.

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

#[cfg(test)]
mod tests {
    use fastrand::Rng;
    use proptest::prelude::*;

    use super::*;
    use crate::wal::entry::end_header;

    const SIZE: u64 = 4 << 20;

    fn log(policy: FsyncPolicy) -> GroupCommit {
        let (synced, end, next) = (Lsn::ZERO, Lsn::ZERO, Lsn(BLOCK as u64));
        GroupCommit::new(
            policy,
            THROUGH_MAX,
            Position { epoch: 1, segment_size: SIZE, synced, last: end, end, next },
            |_| true,
        )
    }

    fn push(log: &mut GroupCommit, now: u64, body: usize, records: u64) -> Lsn {
        log.push(Instant(now), end_header(), Bytes::from(vec![0; body]), records)
    }

    fn write(log: &mut GroupCommit, ticket: u64) -> Group {
        log.next_write().expect("there is something to write");
        log.take_group(Ticket(ticket))
    }

    fn written(log: &mut GroupCommit, ticket: u64) {
        log.written_one(Instant(0), Ticket(ticket), &mut Timings::default());
    }

    fn sync(log: &mut GroupCommit, ticket: u64) {
        let segment = log.next_sync(Instant(0)).expect("a sync is due");
        log.start_sync(Ticket(ticket), segment);
        log.synced_one(Instant(0), Ticket(ticket), &mut Timings::default());
    }

    #[test]
    fn what_arrives_while_writes_are_in_flight_is_one_group() {
        let mut log = log(FsyncPolicy::None);
        for ticket in 0..2 {
            push(&mut log, 0, 100, 1);
            assert_eq!(write(&mut log, ticket).pieces.len(), 1);
        }
        for _ in 0..50 {
            push(&mut log, 0, 100, 1);
        }
        assert_eq!(log.next_write(), None, "two writes are in flight");
        written(&mut log, 0);
        let group = write(&mut log, 2);
        assert_eq!((group.pieces.len(), group.start), (50, Lsn(3 * BLOCK as u64)));
    }

    #[test]
    fn groups_are_cut_at_their_bound_unless_one_entry_is_bigger() {
        let mut log = log(FsyncPolicy::None);
        push(&mut log, 0, GROUP_MAX - 1000, 1);
        push(&mut log, 0, 2000, 1);
        push(&mut log, 0, 2 * GROUP_MAX, 1);
        let groups: Vec<_> = (0..2).map(|ticket| write(&mut log, ticket)).collect();
        assert!(groups[0].used <= GROUP_MAX && groups[1].used <= GROUP_MAX);
        written(&mut log, 0);
        assert!(write(&mut log, 2).used > GROUP_MAX);
    }

    #[test]
    fn written_moves_in_order_when_writes_are_answered_out_of_order() {
        let mut log = log(FsyncPolicy::None);
        let first = push(&mut log, 0, 10, 1);
        write(&mut log, 0);
        push(&mut log, 0, 10, 1);
        write(&mut log, 1);
        written(&mut log, 1);
        assert!(log.written() <= first);
        written(&mut log, 0);
        assert_eq!((log.written(), log.backlog()), (log.appended(), 0));
    }

    #[test]
    fn a_full_segment_ends_with_an_entry_that_says_so() {
        let mut log = log(FsyncPolicy::None);
        push(&mut log, 0, body_max(SIZE), 1);
        let next = push(&mut log, 0, 10, 1);
        assert_eq!(next, Lsn(SIZE + BLOCK as u64));
        let group = write(&mut log, 0);
        assert_eq!((group.pieces.len(), group.used as u64 <= SIZE - BLOCK as u64), (2, true));
        assert_eq!(group.pieces[1].header[28], entry::Kind::End as u8);
    }

    #[test]
    fn under_always_only_what_is_synced_is_committed() {
        let mut log = log(FsyncPolicy::Always);
        push(&mut log, 0, THROUGH_MAX, 1);
        write(&mut log, 0);
        written(&mut log, 0);
        assert_eq!(log.committed(), Lsn::ZERO);
        sync(&mut log, 1);
        assert_eq!(log.committed(), log.appended());
    }

    #[test]
    fn a_small_group_with_nothing_unsynced_before_it_goes_through() {
        let mut log = log(FsyncPolicy::Always);
        for ticket in 0..2 {
            push(&mut log, 0, 10, 1);
            assert!(write(&mut log, ticket).through);
        }
        written(&mut log, 1);
        assert_eq!(log.committed(), Lsn::ZERO, "what is before it is not durable");
        written(&mut log, 0);
        assert_eq!((log.committed(), log.next_sync(Instant(0))), (log.appended(), None));
    }

    #[test]
    fn a_group_that_is_large_or_follows_one_that_waits_for_a_sync_does_not_go_through() {
        let mut log = log(FsyncPolicy::Always);
        let largest = THROUGH_MAX - ENTRY_HEADER;
        for (ticket, (body, through)) in [(largest, true), (largest + 1, false), (10, false)].into_iter().enumerate() {
            push(&mut log, 0, body, 1);
            assert_eq!(write(&mut log, ticket as u64).through, through, "{body}");
            if ticket == 0 {
                written(&mut log, 0);
            }
        }
        written(&mut log, 1);
        push(&mut log, 0, 10, 1);
        assert!(!write(&mut log, 3).through, "one before it is written, and not synced");
        written(&mut log, 2);
        written(&mut log, 3);
        sync(&mut log, 4);
        push(&mut log, 0, 10, 1);
        assert!(write(&mut log, 5).through);
    }

    #[test]
    fn no_group_goes_through_where_a_sync_is_not_waited_for() {
        for policy in [FsyncPolicy::EveryN(1), FsyncPolicy::Interval(Duration::from_millis(80)), FsyncPolicy::None] {
            let mut log = log(policy);
            push(&mut log, 0, 10, 1);
            assert!(!write(&mut log, 0).through, "{policy}");
        }
    }

    #[test]
    fn an_interval_and_an_idle_tail_are_synced_in_time() {
        for (policy, ms) in [
            (FsyncPolicy::Interval(Duration::from_millis(80)), 40),
            (FsyncPolicy::EveryN(1000), FsyncPolicy::IDLE_TAIL.as_millis() as u64),
        ] {
            let mut log = log(policy);
            push(&mut log, 0, 10, 1);
            write(&mut log, 0);
            written(&mut log, 0);
            assert_eq!((log.committed(), log.next_sync(Instant(0))), (log.appended(), None));
            let due = Instant(0).plus_ms(ms);
            assert_eq!(log.poll_timeout(), Some(due));
            assert_eq!(log.next_sync(due), Some(Lsn::ZERO));
        }
    }

    /// A write each millisecond, and a full segment every 128.
    #[test]
    fn an_interval_holds_where_segments_end_as_long_as_a_sync_takes_less_than_half_of_it() {
        let (every_ms, body) = (100, Bytes::from(vec![0; 30_000]));
        for sync_ms in [1, 20, 30, 45, 49] {
            let mut log = log(FsyncPolicy::Interval(std::time::Duration::from_millis(every_ms)));
            let (mut acknowledged, mut syncing, mut next) = (VecDeque::new(), VecDeque::new(), 0..);
            for ms in 0..3000 {
                let now = Instant(0).plus_ms(ms);
                log.push(now, end_header(), body.clone(), 1);
                while log.next_write().is_some() {
                    let ticket = next.next().unwrap();
                    log.take_group(Ticket(ticket));
                    written(&mut log, ticket);
                    // The time of a write is that of its answer.
                    log.unsynced.back_mut().unwrap().at = now;
                }
                acknowledged.push_back((ms, log.committed()));
                while syncing.front().is_some_and(|(done, _)| *done <= ms) {
                    let (_, ticket) = syncing.pop_front().unwrap();
                    log.synced_one(now, Ticket(ticket), &mut Timings::default());
                }
                while let Some(segment) = log.next_sync(now) {
                    let ticket = next.next().unwrap();
                    log.start_sync(Ticket(ticket), segment);
                    syncing.push_back((ms + sync_ms, ticket));
                }
                acknowledged.retain(|(_, end)| *end > log.synced());
                let oldest = acknowledged.front().map_or(0, |(at, _)| ms - at);
                assert!(oldest <= every_ms, "a sync takes {sync_ms} ms, and the oldest is {oldest} ms old");
            }
        }
    }

    #[test]
    fn without_a_policy_a_segment_is_synced_when_the_next_one_is_written() {
        let mut log = log(FsyncPolicy::None);
        push(&mut log, 0, body_max(SIZE), 1);
        push(&mut log, 0, 10, 1);
        write(&mut log, 0);
        written(&mut log, 0);
        assert_eq!(log.next_sync(Instant(u64::MAX - 1)), None);
        write(&mut log, 1);
        written(&mut log, 1);
        assert_eq!(log.next_sync(Instant(0)), Some(Lsn::ZERO));
    }

    #[test]
    fn what_recovery_found_is_committed_when_it_is_synced_under_every_policy() {
        let interval = FsyncPolicy::Interval(Duration::from_millis(80));
        for policy in [FsyncPolicy::Always, FsyncPolicy::EveryN(2), interval, FsyncPolicy::None] {
            let (synced, end) = (Lsn(3 * BLOCK as u64), Lsn(SIZE + 5 * BLOCK as u64));
            let position = Position { epoch: 2, segment_size: SIZE, synced, last: synced, end, next: end };
            let mut log = GroupCommit::new(policy, THROUGH_MAX, position, |_| true);
            let ends = [0, 1].map(|ticket| {
                assert!(log.committed() == log.synced() && log.synced() < end, "{policy}: {:?}", log.committed());
                sync(&mut log, ticket);
                log.committed()
            });
            assert_eq!(ends, [Lsn(SIZE), end], "{policy}");
        }
    }

    proptest! {
        #[test]
        fn no_more_than_n_acknowledged_records_are_ever_unsynced(n in 1u32..60, seed: u64) {
            let mut log = log(FsyncPolicy::EveryN(n));
            let mut rng = Rng::with_seed(seed);
            let (mut ends, mut tickets, mut syncing, mut next) = (Vec::new(), Vec::new(), None, 0);
            for now in 0..600u64 {
                match rng.u8(0..6) {
                    0 | 1 => {
                        let records = rng.u64(0..20);
                        let size = rng.usize(0..9000);
                        push(&mut log, now, size, records);
                        ends.push((log.appended(), records));
                    }
                    2 if log.next_write().is_some() => {
                        log.take_group(Ticket(next));
                        tickets.push(next);
                        next += 1;
                    }
                    3 if !tickets.is_empty() => {
                        let ticket = tickets.swap_remove(rng.usize(0..tickets.len()));
                        log.written_one(Instant(now), Ticket(ticket), &mut Timings::default());
                    }
                    4 => if let Some(segment) = log.next_sync(Instant(now)) {
                        log.start_sync(Ticket(next), segment);
                        syncing = Some(next);
                        next += 1;
                    },
                    _ => if let Some(ticket) = syncing.take() {
                        log.synced_one(Instant(now), Ticket(ticket), &mut Timings::default());
                    },
                }
                let at_risk = ends.iter().filter(|(end, _)| *end <= log.committed() && *end > log.synced());
                prop_assert!(at_risk.map(|(_, records)| records).sum::<u64>() <= u64::from(n));
                prop_assert!(log.synced() <= log.committed() && log.committed() <= log.written());
                let stuck = log.committed() < log.written() && syncing.is_none();
                prop_assert!(!stuck || log.next_sync(Instant(now)).is_some(), "what waits for a sync gets one");
            }
        }
    }
}
