//! One log, whole: entries in; writes, syncs, segments and checkpoints out. It opens nothing and reads no clock.
//!
//! Tell it what happened ([`Log::append`], [`Log::handle`]), then ask it what to do ([`Log::poll`], until `None`), and
//! come back at [`Log::poll_timeout`] if nothing happens first. A log lives on one core.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Bytes, BytesMut};

use super::action::{LogAction, LogEvent, LogFailure, ReadFor, Ticket};
use super::catalog::Catalog;
use super::checkpoint::Snapshot;
use super::cleaning::Cleaner;
use super::entry::{BLOCK, Entry, Header, Kind, entry_size};
use super::group_commit::{GroupCommit, Position, body_max, segment_of};
use super::index::{Index, Indexed};
use super::reading::Place;
use super::recovery::Recovered;
use super::scan::Corruption;
use super::segments::Segments;
use super::stats::{LogStats, Timing, Timings};
use crate::model::{FsyncPolicy, Instant, LogId, Lsn, PartitionId, SubscriptionId};

/// What the operator decides about a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// Which log of the data directory it is: written into its files.
    pub log: LogId,
    /// Bytes of a segment, for a log that has none yet; one that has keeps its size.
    pub segment_size: u64,
    /// What an acknowledgement means.
    pub fsync: FsyncPolicy,
    /// Zero: records do not go by age.
    pub retention_ms: u64,
    /// Bytes of live batches in this log; the oldest go. Zero: no bound.
    pub retention_bytes: u64,
    /// Free bytes of the filesystem below which QoS 1 is refused.
    pub low_water: u64,
    /// Bytes of the index at most. On the way there its runs get longer; there QoS 1 is refused.
    pub index_max: usize,
    /// Bytes of a group that may become durable by its write alone: [`super::THROUGH_MAX`], but for trials.
    pub through_max: usize,
}

/// Whether a log takes what must not be lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogState {
    /// It does.
    Ready,
    /// There is too little space, on the device or in the index; ready again by itself when there is.
    Full { reason: String },
    /// The device failed: nothing more is written, and nothing is tried again.
    Stopped { failure: LogFailure },
}

/// The log of one shard, or one of them.
#[derive(Debug)]
pub struct Log {
    pub(super) options: LogOptions,
    epoch: u32,
    pub(super) commit: GroupCommit,
    pub(super) segments: Segments,
    pub(super) index: Index,
    pub(super) catalog: Catalog,
    pub(super) cleaner: Cleaner,
    /// Bytes that are not part of the log although they lie in it: from, to.
    pub(super) holes: BTreeMap<Lsn, Lsn>,
    /// Reads of subscriptions that are not answered.
    pub(super) reads: Vec<(Ticket, Place)>,
    pub(super) stats: LogStats,
    timings: Timings,
    corruptions: Vec<Corruption>,
    /// Bad places that were counted and told.
    bad_places: BTreeSet<(Lsn, u64)>,
    checkpoint: Checkpointing,
    /// Whether the first checkpoint of this run is saved: nothing is written before.
    opened: bool,
    end: Ending,
    failure: Option<LogFailure>,
    free: Option<u64>,
    /// Where small bodies are made.
    scratch: BytesMut,
    next_ticket: u64,
}

/// How far the next checkpoint is.
#[derive(Debug)]
enum Checkpointing {
    /// The last one knows everything up to here; so many bytes may follow before the next.
    Idle {
        known: Lsn,
        after: u64,
    },
    /// It is made, and must not be saved before what it knows is durable.
    Waiting(Made),
    /// The disk had no room for it.
    Refused(Made),
    Saving {
        ticket: Ticket,
        made: Made,
    },
}

#[derive(Debug)]
struct Made {
    end: Lsn,
    bytes: Bytes,
    /// Segments that it does not speak of any more.
    dropped: Vec<Lsn>,
    clean: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    No,
    /// Everything is to be written, synced and remembered.
    Closing,
    /// The last checkpoint is made: nothing is taken any more.
    Sealed,
    Closed,
}

/// Bad places remembered. Beyond: those that are not are counted whenever they are met.
const BAD_PLACES_MAX: usize = 1024;
/// Bytes appended between two checkpoints at most, but for logs whose checkpoint is big itself.
const CHECKPOINT_EVERY: u64 = 64 * 1024 * 1024;
/// Bytes appended for each byte of a checkpoint at least.
const CHECKPOINT_SHARE: u64 = 8;

impl Log {
    /// Goes on where recovery found the end. Nothing is written before the first checkpoint of this run is saved.
    pub fn new(options: LogOptions, recovered: Recovered) -> Log {
        let Recovered { epoch, segment_size, synced, last, end, next, .. } = recovered;
        let Recovered { found, catalog, mut index, holes, stats, .. } = recovered;
        index.bound(options.index_max);
        index.keep_within(&holes);
        let position = Position { epoch, segment_size, synced, last, end, next };
        let mut log = Log {
            commit: GroupCommit::new(options.fsync, options.through_max, position, |segment| {
                found.used.contains(&segment)
            }),
            segments: Segments::new(options.log, segment_size, epoch, found),
            options,
            epoch,
            index,
            catalog,
            cleaner: Cleaner::default(),
            holes,
            reads: Vec::new(),
            stats,
            timings: Timings::default(),
            corruptions: Vec::new(),
            bad_places: BTreeSet::new(),
            checkpoint: Checkpointing::Idle { known: end, after: 0 },
            opened: false,
            end: Ending::No,
            failure: None,
            free: None,
            scratch: BytesMut::with_capacity(64 * 1024),
            next_ticket: 0,
        };
        log.make_checkpoint();
        log.refresh_stats();
        log
    }

    /// What is kept, how much space is left free and what the index may take, from now on.
    pub fn keep(&mut self, retention_ms: u64, retention_bytes: u64, low_water: u64, index_max: usize) {
        self.options = LogOptions { retention_ms, retention_bytes, low_water, index_max, ..self.options.clone() };
        self.index.bound(index_max);
    }

    /// What the log remembers, everything appended included.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// A number that no partition of this log ever had. Remembered once an entry with it is appended.
    pub fn new_partition_id(&mut self) -> PartitionId {
        let id = PartitionId(self.catalog.next_partition);
        self.catalog.next_partition += 1;
        id
    }

    /// A number that no subscription of this log ever had. Remembered once an entry with it is appended.
    pub fn new_subscription_id(&mut self) -> SubscriptionId {
        let id = SubscriptionId(self.catalog.next_subscription);
        self.catalog.next_subscription += 1;
        id
    }

    /// The largest batch this log can hold.
    pub fn batch_max(&self) -> usize {
        body_max(self.segments.size)
    }

    /// Orders an entry; answers with the LSN of its end. After it returns the entry is ordered, not durable. A batch
    /// follows its partition's last one, and its partition is known. What comes after the log has stopped or closed is
    /// not kept, and its LSN is never committed.
    ///
    /// # Panics
    /// If a batch is larger than [`Log::batch_max`].
    pub fn append(&mut self, now: Instant, entry: Entry) -> Lsn {
        if self.failure.is_some() || self.is_sealed() {
            return self.commit.appended().plus(1);
        }
        debug_assert!(self.follows(&entry), "a batch follows the last one of its partition: {entry:?}");
        self.catalog.fold(&entry);
        match &entry {
            Entry::PartitionDeleted { id } => self.index.forget(*id),
            Entry::PartitionStart { id, start } => self.index.forget_before(*id, *start),
            _ => {}
        }
        let (header, body) = entry.into_parts(&mut self.scratch);
        let size = entry_size(body.len()) as u64;
        let records = if header.kind == Kind::Batch { u64::from(header.count) } else { 0 };
        let lsn = self.order(now, header, body, records);
        if header.kind == Kind::Batch {
            let Header { id, base, count, appended_at, .. } = header;
            self.index.append(&Indexed { partition: PartitionId(id), base, count, lsn, size, appended_at });
            self.index.keep_within(&self.holes);
        }
        self.stats.appends += 1;
        self.stats.records += records;
        self.stats.bytes += size;
        lsn.plus(size)
    }

    fn follows(&self, entry: &Entry) -> bool {
        let Entry::Batch { partition, base, .. } = entry else { return true };
        self.catalog.partitions.get(partition).is_some_and(|state| state.next <= *base)
    }

    /// Gives an entry its place.
    pub(super) fn order(&mut self, now: Instant, header: Header, body: Bytes, records: u64) -> Lsn {
        assert!(!self.is_sealed(), "nothing is written after the last checkpoint was made");
        let lsn = self.commit.push(now, header, body, records);
        self.segments.enter(now, segment_of(lsn, self.segments.size));
        lsn
    }

    /// The device has answered. What it says after it has failed once is not listened to.
    pub fn handle(&mut self, now: Instant, event: LogEvent) {
        if self.failure.is_some() {
            return;
        }
        match event {
            LogEvent::Prepared { segment } => {
                self.segments.prepared(segment);
                self.stats.segments_prepared += 1;
            }
            LogEvent::Written { ticket } => {
                self.commit.written_one(now, ticket, &mut self.timings);
                self.moved();
            }
            LogEvent::Synced { ticket } => self.commit.synced_one(now, ticket, &mut self.timings),
            LogEvent::Read { purpose: ReadFor::Cleaning, bytes, .. } => self.cleaning_read(now, bytes),
            LogEvent::Read { ticket, purpose: ReadFor::Subscription(_), .. } => drop(self.read_answered(ticket)),
            LogEvent::Removed { segment } => {
                self.segments.removed(segment);
                self.stats.segments_removed += 1;
            }
            LogEvent::CheckpointSaved { ticket } => self.checkpoint_saved(ticket),
            LogEvent::Space { free } => self.space(free),
            LogEvent::Failed(failure) => self.failed(failure),
        }
        self.refresh_stats();
    }

    fn space(&mut self, free: u64) {
        self.free = Some(free);
        if free >= self.segments.size.saturating_add(self.options.low_water) {
            self.segments.try_again();
        }
        self.checkpoint =
            match std::mem::replace(&mut self.checkpoint, Checkpointing::Idle { known: Lsn::ZERO, after: 0 }) {
                Checkpointing::Refused(made) if free > made.bytes.len() as u64 => Checkpointing::Waiting(made),
                other => other,
            };
    }

    fn failed(&mut self, failure: LogFailure) {
        match (failure.operation, failure.full) {
            ("prepare", true) => self.segments.refused(),
            ("checkpoint", true) => self.checkpoint_refused(),
            _ => self.failure = Some(failure),
        }
    }

    /// What to do next; ask until `None` after every append and every event.
    pub fn poll(&mut self, now: Instant) -> Option<LogAction> {
        if self.failure.is_some() || self.is_closed() {
            return None;
        }
        self.poll_sync(now)
            .or_else(|| self.poll_write())
            .or_else(|| self.poll_checkpoint(now))
            .or_else(|| self.poll_segments())
            .or_else(|| self.poll_cleaning())
    }

    /// When to ask again if nothing happens first.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.commit.poll_timeout().filter(|_| self.failure.is_none())
    }

    fn poll_sync(&mut self, now: Instant) -> Option<LogAction> {
        let segment = self.commit.next_sync(now)?;
        let ticket = self.ticket();
        self.commit.start_sync(ticket, segment);
        self.stats.syncs += 1;
        Some(LogAction::Sync { ticket, segment })
    }

    fn poll_write(&mut self) -> Option<LogAction> {
        let segment = self.commit.next_write()?;
        if !self.opened || !self.segments.is_ready(segment) {
            return None;
        }
        let ticket = self.ticket();
        let group = self.commit.take_group(ticket);
        let len = group.used.next_multiple_of(BLOCK);
        self.stats.groups += 1;
        self.stats.group_bytes += len as u64;
        self.stats.syncs += u64::from(group.through);
        let position = group.start.since(segment);
        Some(LogAction::Write { ticket, segment, position, pieces: group.pieces, len, through: group.through })
    }

    fn poll_segments(&mut self) -> Option<LogAction> {
        let action = self.segments.poll()?;
        if let LogAction::Prepare { recycle: Some(_), .. } = action {
            self.stats.segments_recycled += 1;
        }
        Some(action)
    }

    fn poll_checkpoint(&mut self, now: Instant) -> Option<LogAction> {
        if self.checkpoint_is_due() {
            self.make_checkpoint();
            if let Some(sync) = self.poll_sync(now) {
                return Some(sync);
            }
        }
        let ready = matches!(&self.checkpoint, Checkpointing::Waiting(made) if made.end <= self.commit.synced());
        if !ready {
            return None;
        }
        let ticket = self.ticket();
        let idle = Checkpointing::Idle { known: Lsn::ZERO, after: 0 };
        let Checkpointing::Waiting(made) = std::mem::replace(&mut self.checkpoint, idle) else {
            unreachable!("just seen")
        };
        let bytes = made.bytes.clone();
        self.checkpoint = Checkpointing::Saving { ticket, made };
        Some(LogAction::SaveCheckpoint { ticket, bytes })
    }

    fn checkpoint_is_due(&mut self) -> bool {
        let Checkpointing::Idle { known, after } = self.checkpoint else { return false };
        // The index must not lag behind the entries that the checkpoint knows.
        if self.cleaner.is_moving() {
            return false;
        }
        if self.end == Ending::Closing {
            return self.commit.is_idle();
        }
        let emptied = self.index.take_emptied() && !self.dead_segments().is_empty();
        emptied || self.commit.appended().since(known) >= after
    }

    /// Segments in which nothing is live. What they hold of partitions and cursors is in the checkpoint.
    fn dead_segments(&self) -> Vec<Lsn> {
        let head = segment_of(self.commit.next(), self.segments.size);
        self.segments.used().filter(|segment| *segment < head && self.index.live_in(*segment) == 0).collect()
    }

    /// Segments that a checkpoint made now speaks of.
    pub(super) fn live_segments(&self) -> Vec<Lsn> {
        let dead = self.dead_segments();
        self.segments.used().filter(|segment| !dead.contains(segment)).collect()
    }

    /// Everything that is known now, with these segments, as a checkpoint has it. It is true when everything appended so
    /// far is durable.
    pub(super) fn snapshot(&mut self, segments: &[Lsn], clean: bool) -> Bytes {
        self.commit.close_group();
        let snapshot = Snapshot {
            log: self.options.log,
            clean,
            epoch: self.epoch,
            segment_size: self.segments.size,
            end: self.commit.appended(),
            last: self.commit.last(),
            next: self.commit.next(),
            segments,
            holes: &self.holes,
            catalog: &self.catalog,
            index: &self.index,
        };
        snapshot.encode()
    }

    /// Whether it is in use: neither starting nor ending.
    pub(super) fn is_open(&self) -> bool {
        self.opened && self.end == Ending::No && self.failure.is_none()
    }

    /// Takes down everything that is known now; it is saved when everything appended so far is durable.
    fn make_checkpoint(&mut self) {
        self.commit.close_group();
        let (dropped, segments) = (self.dead_segments(), self.live_segments());
        self.forget_holes(&segments);
        let clean = self.end == Ending::Closing;
        let end = self.commit.appended();
        let bytes = self.snapshot(&segments, clean);
        if clean {
            self.end = Ending::Sealed;
        }
        self.commit.want_sync(end);
        self.checkpoint = Checkpointing::Waiting(Made { end, bytes, dropped, clean });
    }

    fn forget_holes(&mut self, segments: &[Lsn]) {
        let size = self.segments.size;
        self.holes.retain(|from, _| segments.contains(&segment_of(*from, size)));
    }

    fn checkpoint_saved(&mut self, answered: Ticket) {
        let idle = Checkpointing::Idle { known: Lsn::ZERO, after: 0 };
        let Checkpointing::Saving { ticket, made } = std::mem::replace(&mut self.checkpoint, idle) else {
            panic!("a checkpoint is answered once");
        };
        assert_eq!(ticket, answered, "one checkpoint is saved at a time");
        let len = made.bytes.len() as u64;
        let after = CHECKPOINT_EVERY.min(self.segments.size).max(CHECKPOINT_SHARE * len);
        self.checkpoint = Checkpointing::Idle { known: made.end, after };
        self.segments.retire(made.dropped);
        self.stats.checkpoints += 1;
        self.stats.checkpoint_bytes = len;
        self.opened = true;
        if made.clean {
            self.end = Ending::Closed;
        }
    }

    fn checkpoint_refused(&mut self) {
        let idle = Checkpointing::Idle { known: Lsn::ZERO, after: 0 };
        self.checkpoint = match std::mem::replace(&mut self.checkpoint, idle) {
            Checkpointing::Saving { made, .. } => Checkpointing::Refused(made),
            other => other,
        };
    }

    /// Everything that has a place, in order; not yet on the device.
    pub fn appended(&self) -> Lsn {
        self.commit.appended()
    }

    /// Everything before is on the device; a killed process loses none of it.
    pub fn written(&self) -> Lsn {
        self.commit.written()
    }

    /// Everything before survives power loss.
    pub fn synced(&self) -> Lsn {
        self.commit.synced()
    }

    /// What may be acknowledged and delivered under the policy: every entry that ends at or before it.
    #[inline]
    pub fn committed(&self) -> Lsn {
        self.commit.committed()
    }

    /// Bytes appended and not yet written.
    #[inline]
    pub fn backlog(&self) -> usize {
        self.commit.backlog()
    }

    /// Whether QoS 1 is taken. Cheap while it is.
    pub fn state(&self) -> LogState {
        if let Some(failure) = &self.failure {
            return LogState::Stopped { failure: failure.clone() };
        }
        if self.segments.is_refused() || matches!(self.checkpoint, Checkpointing::Refused(_)) {
            return LogState::Full { reason: "no space left on device".into() };
        }
        if self.index.is_full() {
            return LogState::Full {
                reason: format!(
                    "its index has {} bytes, the most it may have (max_index_bytes): take messages out, or raise it",
                    self.index.bytes()
                ),
            };
        }
        match self.free.filter(|free| *free < self.options.low_water) {
            Some(free) => LogState::Full {
                reason: format!("{free} bytes are free, fewer than the low-water mark of {}", self.options.low_water),
            },
            None => LogState::Ready,
        }
    }

    /// A graceful end: everything is written out, synced and remembered in a checkpoint that carries the clean mark.
    /// Go on polling until [`Log::is_closed`].
    pub fn close(&mut self, _now: Instant) {
        if self.end == Ending::No {
            self.end = Ending::Closing;
        }
    }

    /// Everything is written, synced and remembered; nothing more is taken or asked for.
    pub fn is_closed(&self) -> bool {
        self.end == Ending::Closed
    }

    /// The last checkpoint is made: it covers everything that was ever written.
    fn is_sealed(&self) -> bool {
        matches!(self.end, Ending::Sealed | Ending::Closed)
    }

    pub(super) fn is_closing(&self) -> bool {
        self.end != Ending::No
    }

    /// Counters and gauges, as of the last event.
    pub fn stats(&self) -> &LogStats {
        &self.stats
    }

    /// How long groups took since this was last asked; of many, the newest.
    pub fn drain_timings(&mut self, f: impl FnMut(Timing)) {
        self.timings.drain(f);
    }

    /// Bad places that somebody has met for the first time since this was last asked.
    pub fn take_corruptions(&mut self) -> Vec<Corruption> {
        std::mem::take(&mut self.corruptions)
    }

    /// A reader, or cleaning, has met a bad place. Each is counted and told once, as long as they can be told apart.
    pub fn corrupted(&mut self, corruption: Corruption) {
        if self.bad_places.len() < BAD_PLACES_MAX && !self.bad_places.insert((corruption.segment, corruption.position))
        {
            return;
        }
        self.stats.corruptions += 1;
        if self.corruptions.len() < BAD_PLACES_MAX {
            self.corruptions.push(corruption);
        }
    }

    pub(super) fn ticket(&mut self) -> Ticket {
        self.next_ticket += 1;
        Ticket(self.next_ticket)
    }

    fn refresh_stats(&mut self) {
        self.stats.segments = self.segments.count();
        self.stats.disk_bytes = self.stats.segments * self.segments.size;
        self.stats.live_bytes = self.index.live_total();
        self.stats.index_bytes = self.index.bytes() as u64;
        self.stats.free_bytes = self.free.unwrap_or(0);
        self.stats.backlog_bytes = self.commit.backlog() as u64;
    }
}
