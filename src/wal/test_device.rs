//! A device in memory, for tests: it does what a log asks, in any order, and loses what was not synced.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use fastrand::Rng;

use super::action::{LogAction, LogEvent, LogFailure};
use super::entry::BLOCK;
use super::log::{Log, LogOptions};
use super::recovery::report::RecoveryReport;
use super::recovery::{Recovered, Recovery, RecoveryStep};
use super::scan::Corruption;
use crate::model::{Instant, Lsn, Offset, PartitionId, RecoveryMode};

/// Files, and what is asked of them and not yet done.
#[derive(Debug, Clone, Default)]
pub(super) struct Device {
    pub(super) segments: BTreeMap<Lsn, Vec<u8>>,
    pub(super) checkpoint: Option<Bytes>,
    /// Blocks that are written and not synced, with what was there before.
    unsynced: Vec<(Lsn, usize, Vec<u8>)>,
    /// Segments there is room for.
    pub(super) room: usize,
}

/// A log and its device, and a clock.
#[derive(Debug)]
pub(super) struct Bench {
    pub(super) log: Log,
    pub(super) device: Device,
    pub(super) asked: Vec<LogAction>,
    pub(super) now: Instant,
}

impl Device {
    pub(super) fn new() -> Device {
        Device { room: usize::MAX, ..Device::default() }
    }

    pub(super) fn recover(
        &self,
        options: &LogOptions,
        mode: RecoveryMode,
    ) -> Result<(Recovered, RecoveryReport), Corruption> {
        let files = self.segments.iter().map(|(first, bytes)| (*first, bytes.len() as u64)).collect();
        let mut recovery = Recovery::new(options, mode, self.checkpoint.clone(), files);
        for _ in 0..10_000 {
            let RecoveryStep::Read { segment, position, len } = recovery.poll() else { return recovery.finish() };
            recovery.handle(self.read(segment, position, len));
        }
        panic!("recovery never ends: {recovery:?}")
    }

    fn read(&self, segment: Lsn, position: u64, len: usize) -> Bytes {
        let file = &self.segments[&segment];
        let end = (position as usize + len).min(file.len());
        Bytes::copy_from_slice(&file[(position as usize).min(end)..end])
    }

    fn assemble(action: &LogAction) -> (Lsn, usize, Vec<u8>) {
        let LogAction::Write { segment, position, pieces, len, .. } = action else { panic!("not a write") };
        let mut bytes = BytesMut::new();
        for piece in pieces {
            bytes.extend_from_slice(&piece.header);
            bytes.extend_from_slice(&piece.body);
            bytes.resize(bytes.len().next_multiple_of(8), 0);
        }
        assert!(bytes.len() <= *len && len % BLOCK == 0 && len - bytes.len() < BLOCK, "a write is whole blocks");
        bytes.resize(*len, 0);
        (*segment, *position as usize, bytes.to_vec())
    }

    fn write_block(&mut self, segment: Lsn, position: usize, bytes: &[u8]) {
        let file = self.segments.get_mut(&segment).expect("segments are prepared before they are written");
        let range = position..position + bytes.len();
        self.unsynced.push((segment, position, file[range.clone()].to_vec()));
        file[range].copy_from_slice(bytes);
    }

    fn write(&mut self, action: &LogAction, mut keep: impl FnMut() -> bool) {
        let (segment, position, bytes) = Device::assemble(action);
        for (index, block) in bytes.chunks(BLOCK).enumerate() {
            if keep() {
                self.write_block(segment, position + index * BLOCK, block);
            }
        }
    }

    fn perform(&mut self, action: LogAction) -> LogEvent {
        match action {
            LogAction::Write { ticket, through, .. } => {
                let older = self.unsynced.len();
                self.write(&action, || true);
                if through {
                    let durable: Vec<_> = self.unsynced.drain(older..).map(|(segment, at, _)| (segment, at)).collect();
                    self.unsynced.retain(|(segment, at, _)| !durable.contains(&(*segment, *at)));
                }
                LogEvent::Written { ticket }
            }
            LogAction::Sync { ticket, segment } => {
                assert!(self.segments.contains_key(&segment), "what is synced exists");
                self.unsynced.retain(|(other, _, _)| *other != segment);
                LogEvent::Synced { ticket }
            }
            LogAction::Read { ticket, segment, position, len, purpose } => {
                let bytes = self.read(segment, position, len);
                assert_eq!(bytes.len(), len, "a log does not read past a segment's end");
                LogEvent::Read { ticket, purpose, bytes }
            }
            LogAction::Prepare { segment, size, header, recycle } => {
                if recycle.is_none() && self.segments.len() >= self.room {
                    return failed("prepare", true);
                }
                let old = recycle.map(|old| self.segments.remove(&old).expect("a recycled segment exists"));
                let mut file = old.unwrap_or_else(|| vec![0; size as usize]);
                assert_eq!(file.len() as u64, size);
                file[..BLOCK].copy_from_slice(&header);
                assert!(self.segments.insert(segment, file).is_none(), "a segment is made once");
                LogEvent::Prepared { segment }
            }
            LogAction::Remove { segment } => {
                self.segments.remove(&segment).expect("what is removed exists");
                LogEvent::Removed { segment }
            }
            LogAction::SaveCheckpoint { ticket, bytes } => {
                self.checkpoint = Some(bytes);
                LogEvent::CheckpointSaved { ticket }
            }
        }
    }

    /// The process ends: of what was asked for and not answered, some is done, in part.
    pub(super) fn kill(&mut self, asked: Vec<LogAction>, rng: &mut Rng) {
        for action in asked {
            match action {
                LogAction::Write { .. } => {
                    let most = rng.u8(..);
                    self.write(&action, || rng.u8(..) >= most);
                }
                LogAction::Prepare { segment, size, .. } if rng.bool() => {
                    self.segments.insert(segment, vec![0; rng.usize(0..=size as usize)]);
                }
                _ if rng.bool() => drop(self.perform(action)),
                _ => {}
            }
        }
    }

    /// Power is lost: every block that was not synced is there or not.
    pub(super) fn lose_power(&mut self, rng: &mut Rng) {
        let most = rng.u8(..);
        while let Some((segment, position, before)) = self.unsynced.pop() {
            let Some(file) = self.segments.get_mut(&segment) else { continue };
            if rng.u8(..) >= most {
                let torn = if rng.bool() { BLOCK } else { rng.usize(0..8) * 512 };
                file[position..position + torn].copy_from_slice(&before[..torn]);
            }
        }
    }
}

pub(super) fn failed(operation: &'static str, full: bool) -> LogEvent {
    LogEvent::Failed(LogFailure { operation, segment: None, full, reason: "test".into() })
}

impl Bench {
    pub(super) fn start(options: LogOptions, device: Device) -> Bench {
        Bench::start_with(options, device, RecoveryMode::Refuse).expect("the log comes back").0
    }

    pub(super) fn start_with(
        options: LogOptions,
        device: Device,
        mode: RecoveryMode,
    ) -> Result<(Bench, RecoveryReport), Corruption> {
        let (recovered, report) = device.recover(&options, mode)?;
        let log = Log::new(options, recovered);
        let mut bench = Bench { log, device, asked: Vec::new(), now: Instant(1_700_000_000_000_000_000) };
        bench.poll();
        Ok((bench, report))
    }

    pub(super) fn poll(&mut self) {
        while let Some(action) = self.log.poll(self.now) {
            self.asked.push(action);
            assert!(self.asked.len() < 100, "a log does not ask for everything at once: {:?}", self.asked);
        }
        let log = &self.log;
        assert!(log.synced() <= log.written() && log.written() <= log.appended());
        assert!(log.synced() <= log.committed() && log.committed() <= log.written());
    }

    /// One thing that was asked for is done and answered.
    pub(super) fn answer(&mut self, index: usize) {
        let action = self.asked.remove(index);
        let event = self.device.perform(action);
        self.log.handle(self.now, event);
        self.poll();
    }

    /// Everything that was asked for is done, and what that leads to.
    pub(super) fn settle(&mut self) {
        self.poll();
        for _ in 0..10_000 {
            if self.asked.is_empty() {
                return;
            }
            self.answer(0);
        }
        panic!("the log never comes to rest: {:?}", self.asked);
    }

    pub(super) fn pass(&mut self, ms: u64) {
        self.now = self.now.plus_ms(ms);
        self.poll();
    }

    /// Batches of a partition from an offset on, as a subscription would read them.
    pub(super) fn read(&mut self, partition: PartitionId, from: Offset) -> Vec<(Offset, u32, Bytes)> {
        let mut batches: Vec<(Offset, u32, Bytes)> = Vec::new();
        let mut next = from;
        while let Some(place) = self.log.find(partition, next) {
            let LogAction::Read { ticket, segment, position, len, .. } = self.log.place_read(place, 1) else {
                panic!("a place is read")
            };
            assert!(len > 0 && position as usize % BLOCK == 0);
            let bytes = self.device.read(segment, position, len);
            assert_eq!(bytes.len(), len);
            let before = next;
            for batch in self.log.batches(ticket, partition, &bytes) {
                let (place, bytes) = batch.expect("nothing is damaged");
                if place.base >= next {
                    next = place.base.plus(place.count.into());
                    batches.push((place.base, place.count, bytes));
                }
            }
            if next == before {
                // Left out, with what was damaged there: a reader goes on behind, as the shard does.
                let Some(after) = self.log.first_after(partition, next) else { break };
                next = after;
            }
        }
        batches
    }
}
