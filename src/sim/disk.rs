//! A disk that is late, reorders, fills up, fails and loses power.
//!
//! One disk holds the logs of one data directory and outlives the processes that use it. A write lands some time
//! after it is asked for and is answered when it has landed; a sync makes durable what had landed when it was asked
//! for. A kill takes nothing that has landed; a power cut takes, block by block, whatever was not synced.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use super::dice::Dice;
use super::segment_image::{BLOCK, SECTOR, SegmentImage, Spared};
use super::violation::{Checked, Violation, must};
use crate::model::{Instant, LogId, Lsn};
use crate::wal::{GroupPiece, LogAction, LogEvent, LogFailure, ReadFor, Ticket};

/// How slow and how bad a disk is.
#[derive(Clone, Debug)]
pub struct DiskFaults {
    pub write: (Duration, Duration),
    pub sync: (Duration, Duration),
    pub other: (Duration, Duration),
    /// Operations that take `stall` longer.
    pub stall_per_mille: u32,
    pub stall: (Duration, Duration),
    pub fail_write_per_million: u32,
    pub fail_sync_per_million: u32,
    pub fail_other_per_million: u32,
    /// Reads with one bit wrong.
    pub flip_read_per_million: u32,
}

impl DiskFaults {
    /// A disk that does what it is told.
    pub fn calm() -> DiskFaults {
        let quick = (Duration::from_micros(20), Duration::from_micros(200));
        DiskFaults {
            write: quick,
            sync: quick,
            other: quick,
            stall_per_mille: 0,
            stall: (Duration::ZERO, Duration::ZERO),
            fail_write_per_million: 0,
            fail_sync_per_million: 0,
            fail_other_per_million: 0,
            flip_read_per_million: 0,
        }
    }
}

/// Lies a disk can be planted with: the answer comes at once, the deed follows at its own time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lies {
    pub written_early: bool,
    pub synced_early: bool,
}

/// A moment in an operation's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    pub operation: u64,
    pub part: Part,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Honest disks do it and say so in one moment.
    Whole,
    Answer,
    Deed,
}

/// What a moment brought.
#[derive(Debug, Default)]
pub struct Outcome {
    pub answer: Option<(LogId, LogEvent)>,
    /// The write that landed whole.
    pub landed: Option<u64>,
    /// The write that failed.
    pub failed: Option<u64>,
    /// The writes that became durable.
    pub synced: Vec<u64>,
    /// The segment that is gone, or has become another.
    pub gone: Option<(LogId, Lsn)>,
}

/// What became of a write in flight when the process died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteFate {
    Landed,
    Lost,
    Torn,
}

#[derive(Debug)]
pub struct Disk {
    logs: Vec<Device>,
    operations: BTreeMap<u64, Operation>,
    next: u64,
    pub faults: DiskFaults,
    pub lies: Lies,
    /// Bytes of the whole filesystem.
    pub capacity: u64,
    /// Bytes somebody else has taken.
    pub taken: u64,
    dice: Dice,
    /// The longest that a finished sync took.
    longest_sync: Duration,
    /// Some operation has failed, other than for want of space.
    pub has_failed: bool,
}

#[derive(Debug, Default)]
struct Device {
    segments: BTreeMap<Lsn, SegmentImage>,
    checkpoint: Option<Bytes>,
    /// A sync failed: what was not synced is lost when the process ends, however it ends.
    broken: bool,
}

#[derive(Debug)]
struct Operation {
    log: LogId,
    what: Doing,
    fails: bool,
    since: Instant,
}

#[derive(Debug)]
enum Doing {
    Write { ticket: Ticket, segment: Lsn, position: usize, bytes: Vec<u8>, through: bool },
    Sync { ticket: Ticket, segment: Lsn, covers: Vec<u64> },
    Read { ticket: Ticket, segment: Lsn, position: usize, len: usize, purpose: ReadFor },
    Prepare { segment: Lsn, size: usize, header: Bytes, recycle: Option<Lsn>, full: bool },
    Remove { segment: Lsn },
    Save { ticket: Ticket, bytes: Bytes },
}

impl Disk {
    pub fn new(logs: usize, capacity: u64, faults: DiskFaults, dice: Dice) -> Disk {
        Disk {
            logs: (0..logs).map(|_| Device::default()).collect(),
            operations: BTreeMap::new(),
            next: 0,
            faults,
            lies: Lies::default(),
            capacity,
            taken: 0,
            dice,
            longest_sync: Duration::ZERO,
            has_failed: false,
        }
    }

    /// The longest that a sync took so far, or is taking: what the promise of `interval_ms` must be measured with.
    pub fn longest_sync(&self, now: Instant) -> Duration {
        let syncs = self.operations.values().filter(|operation| matches!(operation.what, Doing::Sync { .. }));
        syncs.map(|operation| now.since(operation.since)).fold(self.longest_sync, Duration::max)
    }

    /// Takes an operation on; says when to come back for it. A request outside the contract is a violation.
    pub fn submit(&mut self, now: Instant, log: LogId, action: LogAction) -> Result<Vec<(Instant, Moment)>, Violation> {
        self.check_contract(log, &action)?;
        let (lies, range, fail) = self.temper(&action);
        let mut delay = self.dice.delay(range);
        if self.dice.chance(self.faults.stall_per_mille) {
            delay += self.dice.delay(self.faults.stall);
        }
        let what = self.begin(log, action);
        let fails = self.dice.rarely(fail) || matches!(what, Doing::Prepare { full: true, .. });
        let operation = self.next;
        self.next += 1;
        self.operations.insert(operation, Operation { log, what, fails, since: now });
        let moment = |part| Moment { operation, part };
        if lies && !fails {
            let at_once = now + Duration::from_micros(1).min(delay);
            return Ok(vec![(at_once, moment(Part::Answer)), (now + delay, moment(Part::Deed))]);
        }
        Ok(vec![(now + delay, moment(Part::Whole))])
    }

    /// Whether the disk lies about this operation, how long it takes, and how often it fails.
    fn temper(&self, action: &LogAction) -> (bool, (Duration, Duration), u32) {
        let faults = &self.faults;
        match action {
            LogAction::Write { through, .. } => {
                let lies = self.lies.written_early || *through && self.lies.synced_early;
                (lies, faults.write, faults.fail_write_per_million)
            }
            LogAction::Sync { .. } => (self.lies.synced_early, faults.sync, faults.fail_sync_per_million),
            _ => (false, faults.other, faults.fail_other_per_million),
        }
    }

    fn begin(&mut self, log: LogId, action: LogAction) -> Doing {
        match action {
            LogAction::Write { ticket, segment, position, pieces, len, through } => {
                let bytes = assemble(&pieces, len);
                Doing::Write { ticket, segment, position: position as usize, bytes, through }
            }
            LogAction::Sync { ticket, segment } => {
                Doing::Sync { ticket, segment, covers: self.logs[log.index()].segments[&segment].unsynced() }
            }
            LogAction::Read { ticket, segment, position, len, purpose } => {
                Doing::Read { ticket, segment, position: position as usize, len, purpose }
            }
            LogAction::Prepare { segment, size, header, recycle } => {
                let full = recycle.is_none() && self.free() < size;
                Doing::Prepare { segment, size: size as usize, header, recycle, full }
            }
            LogAction::Remove { segment } => Doing::Remove { segment },
            LogAction::SaveCheckpoint { ticket, bytes } => Doing::Save { ticket, bytes },
        }
    }

    /// What the log's planner must keep to, whatever it plans.
    fn check_contract(&self, log: LogId, action: &LogAction) -> Checked {
        let device = &self.logs[log.index()];
        match action {
            LogAction::Write { segment, position, pieces, len, .. } => {
                let used: usize = pieces.iter().map(piece_len).sum();
                let size = device.segments.get(segment).map_or(0, SegmentImage::len);
                let fits = *position as usize + len <= size && used <= *len;
                let aligned = *position as usize % BLOCK == 0 && len % BLOCK == 0;
                must(fits && aligned, "a write is made of whole blocks inside a prepared segment", || {
                    format!("log {log} segment {segment} of {size} bytes: {len} bytes at {position}, {used} used")
                })
            }
            LogAction::Sync { segment, .. } => {
                must(!self.syncing(log, *segment), "one sync of a segment is outstanding at a time", || {
                    format!("log {log} segment {segment}")
                })?;
                must(device.segments.contains_key(segment), "a segment that is synced exists", || {
                    format!("log {log} segment {segment}")
                })
            }
            LogAction::Read { segment, position, len, .. } => {
                must(*position as usize % BLOCK == 0 && len % BLOCK == 0, "a read is made of whole blocks", || {
                    format!("log {log} segment {segment}: {len} bytes at {position}")
                })
            }
            LogAction::Prepare { segment, size, header, recycle } => {
                let same_size = recycle
                    .is_none_or(|old| device.segments.get(&old).is_some_and(|image| image.len() as u64 == *size));
                must(header.len() == BLOCK && same_size, "a segment is prepared with one block of header", || {
                    format!("log {log} segment {segment} recycling {recycle:?}")
                })
            }
            LogAction::Remove { .. } | LogAction::SaveCheckpoint { .. } => Ok(()),
        }
    }

    fn syncing(&self, log: LogId, segment: Lsn) -> bool {
        self.operations.values().any(|operation| {
            let same = matches!(&operation.what, Doing::Sync { segment: other, .. } if *other == segment);
            same && operation.log == log && !self.lies.synced_early
        })
    }

    /// Bytes that can still be taken.
    pub fn free(&self) -> u64 {
        let held: usize = self.logs.iter().flat_map(|device| device.segments.values()).map(SegmentImage::len).sum();
        let coming: usize = self.operations.values().map(coming).sum();
        self.capacity.saturating_sub(self.taken + (held + coming) as u64)
    }

    /// A moment has come. Nothing comes of an operation whose process has died.
    pub fn step(&mut self, now: Instant, moment: Moment) -> Outcome {
        let Some(operation) = self.operations.get(&moment.operation) else { return Outcome::default() };
        if moment.part == Part::Answer {
            return Outcome { answer: early_answer(operation), ..Outcome::default() };
        }
        let operation = self.operations.remove(&moment.operation).expect("just seen");
        if operation.fails {
            return self.fail(moment.operation, operation);
        }
        if matches!(operation.what, Doing::Sync { .. }) {
            self.longest_sync = self.longest_sync.max(now.since(operation.since));
        }
        let mut outcome = self.perform(moment.operation, operation);
        if moment.part == Part::Deed {
            outcome.answer = None;
        }
        outcome
    }

    fn perform(&mut self, id: u64, operation: Operation) -> Outcome {
        let log = operation.log;
        let device = &mut self.logs[log.index()];
        let answered = |event| Outcome { answer: Some((log, event)), ..Outcome::default() };
        match operation.what {
            Doing::Write { ticket, segment, position, bytes, through } => {
                let Some(image) = device.segments.get_mut(&segment) else { return Outcome::default() };
                match through {
                    true => image.land_through(position, &bytes),
                    false => image.land(id, position, &bytes),
                }
                let synced = if through { vec![id] } else { Vec::new() };
                Outcome { landed: Some(id), synced, ..answered(LogEvent::Written { ticket }) }
            }
            Doing::Sync { ticket, segment, covers } => {
                if let Some(image) = device.segments.get_mut(&segment) {
                    image.sync(&covers);
                }
                Outcome { synced: covers, ..answered(LogEvent::Synced { ticket }) }
            }
            Doing::Read { ticket, segment, position, len, purpose } => {
                let bytes = self.read_with_flips(log, segment, position, len);
                answered(LogEvent::Read { ticket, purpose, bytes })
            }
            Doing::Prepare { segment, size, header, recycle, .. } => {
                let gone = recycle.map(|old| (log, old));
                device.prepare(segment, size, recycle);
                device.segments.get_mut(&segment).expect("prepared").overwrite(0, &header);
                Outcome { gone, ..answered(LogEvent::Prepared { segment }) }
            }
            Doing::Remove { segment } => {
                device.segments.remove(&segment);
                Outcome { gone: Some((log, segment)), ..answered(LogEvent::Removed { segment }) }
            }
            Doing::Save { ticket, bytes } => {
                device.checkpoint = Some(bytes);
                answered(LogEvent::CheckpointSaved { ticket })
            }
        }
    }

    fn read_with_flips(&mut self, log: LogId, segment: Lsn, position: usize, len: usize) -> Bytes {
        let mut bytes = self.read(log, segment, position as u64, len).to_vec();
        if !bytes.is_empty() && self.dice.rarely(self.faults.flip_read_per_million) {
            let at = self.dice.index(bytes.len());
            bytes[at] ^= 1 << self.dice.below(8);
        }
        bytes.into()
    }

    fn fail(&mut self, id: u64, operation: Operation) -> Outcome {
        let device = &mut self.logs[operation.log.index()];
        let mut outcome = Outcome::default();
        let mut full = false;
        let (name, segment) = match operation.what {
            Doing::Write { segment, position, bytes, .. } => {
                if let Some(image) = device.segments.get_mut(&segment) {
                    image.land_torn(id, position, &bytes, SECTOR, &mut self.dice);
                }
                outcome.failed = Some(id);
                ("write", Some(segment))
            }
            Doing::Sync { segment, .. } => {
                device.broken = true;
                ("sync", Some(segment))
            }
            Doing::Read { segment, .. } => ("read", Some(segment)),
            Doing::Prepare { segment, full: no_space, .. } => {
                full = no_space;
                ("prepare", Some(segment))
            }
            Doing::Remove { segment } => ("remove", Some(segment)),
            Doing::Save { .. } => ("checkpoint", None),
        };
        self.has_failed |= !full;
        let reason = if full { "no space left on device" } else { "input/output error" };
        let failure = LogFailure { operation: name, segment, full, reason: reason.into() };
        outcome.answer = Some((operation.log, LogEvent::Failed(failure)));
        outcome
    }
}

/// How a process ends, for the disk.
impl Disk {
    /// The process is killed: what was in flight lands, is lost, or lands in part. Answers with the fate of each write
    /// in flight; and the logs of which everything unsynced is lost because a sync had failed.
    pub fn kill(&mut self) -> (Vec<(u64, WriteFate)>, Vec<LogId>) {
        let fates = self.end_operations(BLOCK);
        let broken: Vec<LogId> = (0..self.logs.len() as u16).map(LogId).filter(|log| self.is_broken(*log)).collect();
        for log in &broken {
            self.cut_power_of(*log);
        }
        (fates, broken)
    }

    /// Power is lost: like a kill, and then nothing is certain that was not synced.
    pub fn cut_power(&mut self) {
        self.end_operations(SECTOR);
        for log in 0..self.logs.len() as u16 {
            self.cut_power_of(LogId(log));
        }
    }

    fn is_broken(&self, log: LogId) -> bool {
        self.logs[log.index()].broken
    }

    fn cut_power_of(&mut self, log: LogId) {
        let spared = Spared::roll(&mut self.dice);
        let device = &mut self.logs[log.index()];
        device.broken = false;
        for image in device.segments.values_mut() {
            image.cut_power(spared, &mut self.dice);
        }
    }

    fn end_operations(&mut self, unit: usize) -> Vec<(u64, WriteFate)> {
        let operations = std::mem::take(&mut self.operations);
        operations.into_iter().filter_map(|(id, operation)| Some((id, self.end(id, operation, unit)?))).collect()
    }

    fn end(&mut self, id: u64, operation: Operation, unit: usize) -> Option<WriteFate> {
        let device = &mut self.logs[operation.log.index()];
        match operation.what {
            Doing::Write { segment, position, bytes, .. } => {
                let image = device.segments.get_mut(&segment)?;
                return Some(end_write(image, id, position, &bytes, unit, &mut self.dice));
            }
            Doing::Prepare { segment, size, header, recycle, full } if !full => {
                device.half_prepare(segment, size, &header, recycle, &mut self.dice);
            }
            Doing::Remove { segment } if self.dice.chance(500) => {
                device.segments.remove(&segment);
            }
            Doing::Save { bytes, .. } if self.dice.chance(500) => device.checkpoint = Some(bytes),
            _ => {}
        }
        None
    }
}

fn end_write(
    image: &mut SegmentImage,
    id: u64,
    position: usize,
    bytes: &[u8],
    unit: usize,
    dice: &mut Dice,
) -> WriteFate {
    match dice.below(3) {
        0 => WriteFate::Lost,
        1 => {
            image.land(id, position, bytes);
            WriteFate::Landed
        }
        _ => {
            image.land_torn(id, position, bytes, unit, dice);
            WriteFate::Torn
        }
    }
}

/// What the next process finds.
impl Disk {
    /// First LSN and length of each segment, in order.
    pub fn segments(&self, log: LogId) -> Vec<(Lsn, u64)> {
        self.logs[log.index()].segments.iter().map(|(first, image)| (*first, image.len() as u64)).collect()
    }

    pub fn checkpoint(&self, log: LogId) -> Option<Bytes> {
        self.logs[log.index()].checkpoint.clone()
    }

    /// Bytes as they stand; shorter at the segment's end, empty where there is none.
    pub fn read(&self, log: LogId, segment: Lsn, position: u64, len: usize) -> Bytes {
        let image = self.logs[log.index()].segments.get(&segment);
        image.map_or(Bytes::new(), |image| Bytes::copy_from_slice(image.read(position as usize, len)))
    }

    /// Changes bytes that were written long ago.
    pub fn overwrite(&mut self, log: LogId, segment: Lsn, position: u64, bytes: &[u8]) {
        if let Some(image) = self.logs[log.index()].segments.get_mut(&segment) {
            image.overwrite(position as usize, bytes);
        }
    }
}

impl Device {
    fn prepare(&mut self, segment: Lsn, size: usize, recycle: Option<Lsn>) {
        let mut image = recycle.and_then(|old| self.segments.remove(&old)).unwrap_or_else(|| SegmentImage::new(size));
        image.settle();
        self.segments.insert(segment, image);
    }

    /// The process ended while a segment was made ready: it is not there, or there without a header, with a torn one,
    /// with its final one, or too short.
    fn half_prepare(&mut self, segment: Lsn, size: usize, header: &Bytes, recycle: Option<Lsn>, dice: &mut Dice) {
        let stage = dice.below(5);
        if stage == 0 {
            return;
        }
        if stage == 1 && recycle.is_none() {
            let short = dice.index(size / BLOCK) * BLOCK;
            self.segments.insert(segment, SegmentImage::new(short));
            return;
        }
        self.prepare(segment, size, recycle);
        let image = self.segments.get_mut(&segment).expect("prepared");
        match stage {
            3 => image.land_torn(u64::MAX, 0, header, SECTOR, dice),
            4 => image.overwrite(0, header),
            _ => {}
        }
        image.settle();
    }
}

fn coming(operation: &Operation) -> usize {
    match operation.what {
        Doing::Prepare { size, recycle: None, full: false, .. } => size,
        _ => 0,
    }
}

fn early_answer(operation: &Operation) -> Option<(LogId, LogEvent)> {
    let event = match &operation.what {
        Doing::Write { ticket, .. } => LogEvent::Written { ticket: *ticket },
        Doing::Sync { ticket, .. } => LogEvent::Synced { ticket: *ticket },
        _ => return None,
    };
    Some((operation.log, event))
}

/// Bytes of a piece with its padding.
pub fn piece_len(piece: &GroupPiece) -> usize {
    (piece.header.len() + piece.body.len()).next_multiple_of(8)
}

fn assemble(pieces: &[GroupPiece], len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len);
    for piece in pieces {
        bytes.extend_from_slice(&piece.header);
        bytes.extend_from_slice(&piece.body);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
    }
    bytes.resize(len, 0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::scheduler::EPOCH;

    const LOG: LogId = LogId(0);
    const SIZE: u64 = 16 * BLOCK as u64;

    fn disk(seed: u64) -> Disk {
        let mut disk = Disk::new(1, 4 * SIZE, DiskFaults::calm(), Dice::new(seed));
        let header = Bytes::from(vec![9; BLOCK]);
        run(&mut disk, LogAction::Prepare { segment: Lsn(0), size: SIZE, header, recycle: None });
        disk
    }

    fn run(disk: &mut Disk, action: LogAction) -> Vec<Outcome> {
        let moments = disk.submit(EPOCH, LOG, action).unwrap();
        moments.into_iter().map(|(when, moment)| disk.step(when, moment)).collect()
    }

    fn write(ticket: u64, block: u64) -> LogAction {
        let piece = GroupPiece { header: [7; 64], body: Bytes::from_static(b"body") };
        let position = block * BLOCK as u64;
        LogAction::Write {
            ticket: Ticket(ticket),
            segment: Lsn(0),
            position,
            pieces: vec![piece],
            len: BLOCK,
            through: false,
        }
    }

    fn sync() -> LogAction {
        LogAction::Sync { ticket: Ticket(99), segment: Lsn(0) }
    }

    fn block(disk: &Disk, block: u64) -> u8 {
        disk.read(LOG, Lsn(0), block * BLOCK as u64, BLOCK)[0]
    }

    #[test]
    fn a_sync_covers_what_had_landed_when_it_was_asked_for() {
        let mut disk = disk(1);
        run(&mut disk, write(1, 1));
        let asked = disk.submit(EPOCH, LOG, sync()).unwrap();
        run(&mut disk, write(2, 2));
        disk.step(asked[0].0, asked[0].1);
        disk.cut_power();
        for image in disk.logs[0].segments.values_mut() {
            image.cut_power(Spared::NOTHING, &mut Dice::new(1));
        }
        assert_eq!(block(&disk, 1), 7);
        let survivors = (0..50).filter(|seed| block(&after_power_cut(*seed), 2) == 7).count();
        assert!((5..45).contains(&survivors), "unsynced blocks sometimes survive: {survivors}");
    }

    fn after_power_cut(seed: u64) -> Disk {
        let mut disk = disk(seed);
        run(&mut disk, write(2, 2));
        disk.cut_power();
        disk
    }

    #[test]
    fn a_write_that_goes_through_is_there_after_every_power_cut() {
        for seed in 0..50 {
            let mut disk = disk(seed);
            let LogAction::Write { ticket, segment, position, pieces, len, .. } = write(1, 1) else { unreachable!() };
            run(&mut disk, LogAction::Write { ticket, segment, position, pieces, len, through: true });
            disk.cut_power();
            assert_eq!(block(&disk, 1), 7);
        }
    }

    #[test]
    fn a_kill_takes_nothing_that_has_landed() {
        for seed in 0..50 {
            let mut disk = disk(seed);
            run(&mut disk, write(1, 1));
            let unfinished = disk.submit(EPOCH, LOG, write(2, 2)).unwrap();
            let (fates, broken) = disk.kill();
            assert_eq!((fates.len(), broken.len()), (1, 0));
            assert_eq!(block(&disk, 1), 7);
            assert!(disk.step(unfinished[0].0, unfinished[0].1).answer.is_none(), "the dead hear nothing");
        }
    }

    #[test]
    fn a_full_disk_refuses_a_segment_and_takes_it_when_there_is_space() {
        let mut disk = disk(1);
        disk.taken = 3 * SIZE;
        let prepare = || LogAction::Prepare {
            segment: Lsn(SIZE),
            size: SIZE,
            header: Bytes::from(vec![9; BLOCK]),
            recycle: None,
        };
        let refused = run(&mut disk, prepare()).remove(0).answer;
        assert!(matches!(refused, Some((_, LogEvent::Failed(LogFailure { full: true, .. })))));
        disk.taken = 0;
        let taken = run(&mut disk, prepare()).remove(0).answer;
        assert!(matches!(taken, Some((_, LogEvent::Prepared { .. }))));
    }

    #[test]
    fn a_lying_disk_answers_before_the_deed() {
        let mut disk = disk(1);
        disk.lies.written_early = true;
        let moments = disk.submit(EPOCH, LOG, write(1, 1)).unwrap();
        let early = disk.step(moments[0].0, moments[0].1);
        assert!(matches!(early.answer, Some((_, LogEvent::Written { .. }))) && early.landed.is_none());
        assert_eq!(block(&disk, 1), 0);
        let deed = disk.step(moments[1].0, moments[1].1);
        assert!(deed.answer.is_none() && deed.landed.is_some());
    }

    #[test]
    fn a_write_outside_its_segment_is_a_violation() {
        let mut disk = disk(1);
        assert!(disk.submit(EPOCH, LOG, write(1, 16)).is_err());
    }
}
