//! What the devices really have, whatever the broker believes.
//!
//! The ledger reads every group that is written and follows it until it has landed and until it is synced. A message is
//! *written* when its group and every earlier one of its log has landed, and *durable* when all those are synced: only
//! then is it sure that recovery, which reads from the front and stops at a gap, finds it.

use std::collections::BTreeMap;

use super::disk::WriteFate;
use super::messages::{MessageId, Messages, Stage};
use super::violation::{Checked, must};
use crate::model::{Instant, LogId, Lsn, Offset, Qos, record_batch};
use crate::wal::GroupPiece;
use crate::wal::entry::{FLAG_MOVED, Kind};

#[derive(Debug, Default)]
pub struct Ledger {
    logs: Vec<LogLedger>,
    /// Where a write stands, by the disk's number for it.
    writes: BTreeMap<u64, (LogId, Lsn)>,
}

#[derive(Debug, Default)]
struct LogLedger {
    /// Not yet durable, by LSN.
    open: BTreeMap<Lsn, Group>,
    /// Durable ranges: first LSN and length.
    durable: BTreeMap<Lsn, u64>,
    /// Messages that have a durable copy in a segment.
    held: BTreeMap<Lsn, Vec<MessageId>>,
}

#[derive(Debug)]
struct Group {
    write: u64,
    /// When it was given to the device.
    at: Instant,
    segment: Lsn,
    len: u64,
    state: State,
    messages: Vec<Copied>,
}

/// A message in a group.
#[derive(Clone, Copy, Debug)]
struct Copied {
    id: MessageId,
    offset: Offset,
    /// Written before, elsewhere: it is no less safe for being on its way.
    moved: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    Flying,
    Landed,
    Synced,
}

impl Ledger {
    pub fn new(logs: usize) -> Ledger {
        Ledger { logs: (0..logs).map(|_| LogLedger::default()).collect(), writes: BTreeMap::new() }
    }

    /// A group was handed to the device.
    pub fn submitted(
        &mut self,
        messages: &mut Messages,
        (now, write, log): (Instant, u64, LogId),
        (segment, position, len): (Lsn, u64, usize),
        pieces: &[GroupPiece],
    ) -> Checked {
        let first = segment.plus(position);
        let ledger = &mut self.logs[log.index()];
        ledger.check_untouched(first, len as u64)?;
        let mut group = Group { write, at: now, segment, len: len as u64, state: State::Flying, messages: Vec::new() };
        for piece in pieces {
            read_piece(messages, log, piece, &mut group.messages)?;
        }
        group.messages.iter().for_each(|copied| messages.of_mut(copied.id).logged_at = Some(now));
        ledger.open.insert(first, group);
        self.writes.insert(write, (log, first));
        Ok(())
    }

    /// A write has landed whole.
    pub fn landed(&mut self, messages: &mut Messages, write: u64) {
        self.reach(messages, write, State::Landed);
    }

    /// Writes have become durable.
    pub fn synced(&mut self, messages: &mut Messages, writes: &[u64]) {
        writes.iter().for_each(|write| self.reach(messages, *write, State::Synced));
    }

    fn reach(&mut self, messages: &mut Messages, write: u64, state: State) {
        let Some((log, first)) = self.writes.get(&write).copied() else { return };
        let ledger = &mut self.logs[log.index()];
        if let Some(group) = ledger.open.get_mut(&first).filter(|group| group.write == write) {
            group.state = group.state.max(state);
            ledger.advance(messages);
        }
    }

    /// A segment is gone, and with it what it had.
    pub fn gone(&mut self, messages: &mut Messages, log: LogId, segment: Lsn, size: u64) {
        let ledger = &mut self.logs[log.index()];
        let end = segment.plus(size);
        ledger.durable.retain(|first, _| *first < segment || *first >= end);
        ledger.open.retain(|_, group| group.segment != segment);
        for id in ledger.held.remove(&segment).unwrap_or_default() {
            let message = messages.of_mut(id);
            message.copies -= 1;
            if message.copies == 0 && message.stage == Stage::Durable {
                message.stage = Stage::Removed;
            }
        }
    }

    /// The process was killed; the writes in flight had these fates.
    pub fn killed(&mut self, messages: &mut Messages, fates: &[(u64, WriteFate)]) {
        for (write, fate) in fates {
            match fate {
                WriteFate::Landed => self.landed(messages, *write),
                WriteFate::Lost | WriteFate::Torn => {}
            }
        }
        self.logs.iter_mut().for_each(|ledger| ledger.cut_at_gap(messages));
    }

    /// Nothing is certain of this log that was not durable.
    pub fn power_cut(&mut self, messages: &mut Messages, log: LogId) {
        let open = std::mem::take(&mut self.logs[log.index()].open);
        open.into_values().for_each(|group| group.fall_into_limbo(messages));
    }

    /// Durable bytes have changed: nothing is certain any more.
    pub fn distrust(&mut self, messages: &mut Messages) {
        self.logs.iter_mut().for_each(|ledger| *ledger = LogLedger::default());
        for (_, message) in messages.iter_mut().filter(|(_, message)| message.stage != Stage::Unwritten) {
            (message.stage, message.offset, message.copies) = (Stage::Limbo, None, 0);
            message.partition = None;
        }
    }

    /// A group that was given to a device and is not durable.
    pub fn first_open(&self) -> Option<(LogId, Lsn)> {
        let open = self.logs.iter().enumerate().find_map(|(log, ledger)| Some((log, *ledger.open.keys().next()?)));
        open.map(|(log, first)| (LogId(log as u16), first))
    }

    /// Since when some group has been with a device and is not durable.
    pub fn oldest_open(&self) -> Option<Instant> {
        self.logs.iter().flat_map(|ledger| ledger.open.values()).map(|group| group.at).min()
    }

    /// Every log lost power.
    pub fn power_cut_everywhere(&mut self, messages: &mut Messages) {
        (0..self.logs.len() as u16).for_each(|log| self.power_cut(messages, LogId(log)));
    }
}

impl LogLedger {
    fn check_untouched(&self, first: Lsn, len: u64) -> Checked {
        let end = first.plus(len);
        let before = |range: Option<(Lsn, u64)>| range.is_none_or(|(start, len)| start.plus(len) <= first);
        let durable = self.durable.range(..end).next_back().map(|(start, len)| (*start, *len));
        let open = self.open.range(..end).next_back().map(|(start, group)| (*start, group.len));
        must(before(durable) && before(open), "a block that was given to the device is never written again", || {
            format!("write of {len} bytes at lsn {first}, durable {durable:?}, open {open:?}")
        })
    }

    /// Moves the borders of what is written and of what is durable.
    fn advance(&mut self, messages: &mut Messages) {
        while let Some(first) = self.open.first_entry().filter(|entry| entry.get().state == State::Synced) {
            let (lsn, group) = first.remove_entry();
            self.durable.insert(lsn, group.len);
            for copied in &group.messages {
                messages.of_mut(copied.id).reach(Stage::Durable, copied.offset);
                messages.of_mut(copied.id).copies += 1;
                self.held.entry(group.segment).or_default().push(copied.id);
            }
        }
        for group in self.open.values().take_while(|group| group.state >= State::Landed) {
            for copied in group.messages.iter().filter(|copied| !copied.moved) {
                messages.of_mut(copied.id).reach(Stage::Written, copied.offset);
            }
        }
    }

    /// After a kill, recovery reads up to the first group that did not land whole; perhaps a little further.
    fn cut_at_gap(&mut self, messages: &mut Messages) {
        let Some(gap) = self.open.iter().find(|(_, group)| group.state == State::Flying).map(|(lsn, _)| *lsn) else {
            return;
        };
        self.open.split_off(&gap).into_values().for_each(|group| group.fall_into_limbo(messages));
    }
}

impl Group {
    fn fall_into_limbo(&self, messages: &mut Messages) {
        for copied in self.messages.iter().filter(|copied| !copied.moved) {
            let message = messages.of_mut(copied.id);
            if message.copies == 0 {
                message.stage = Stage::Limbo;
                (message.offset, message.partition) = (None, None);
            }
        }
    }
}

impl super::messages::Message {
    fn reach(&mut self, stage: Stage, offset: Offset) {
        if self.stage < stage {
            self.stage = stage;
        }
        self.offset = Some(offset);
    }
}

/// Bytes of an entry's header, by the table of [`crate::wal::entry`].
const AT_KIND: usize = 28;
const AT_FLAGS: usize = 29;
const AT_PARTITION: usize = 32;

/// Finds the messages in one piece of a group, if it is a record batch.
fn read_piece(messages: &mut Messages, log: LogId, piece: &GroupPiece, found: &mut Vec<Copied>) -> Checked {
    if piece.header[AT_KIND] != Kind::Batch as u8 {
        return Ok(());
    }
    let partition = u32::from_le_bytes(piece.header[AT_PARTITION..AT_PARTITION + 4].try_into().expect("four bytes"));
    let header = record_batch::header(&piece.body);
    must(header.is_ok(), "a logged batch is whole", || format!("log {log} partition {partition}: {header:?}"))?;
    let moved = piece.header[AT_FLAGS] & FLAG_MOVED != 0;
    let base = header.expect("checked").base_offset;
    for record in record_batch::records(&piece.body) {
        let offset = base.plus(u64::from(record.offset_delta));
        let Some(id) = messages.identify(record.value) else {
            return must(false, "nothing is logged that was not published", || format!("log {log} offset {offset}"));
        };
        // A dead letter is a record of its own.
        if record_batch::headers(&record).any(|(name, _)| name == b"blipmq-dead-topic") {
            continue;
        }
        let message = messages.of_mut(id);
        let home = message.partition.is_none_or(|home| home == (log, partition));
        let (before, number) = (message.partition, id.0);
        must(home, "a record stays in its partition", || {
            format!("message {number} of {before:?} in log {log}, partition {partition}")
        })?;
        message.partition = Some((log, partition));
        let handed = message.handed.is_some();
        must(handed, "nothing is logged that was not published", || format!("message {} at {offset}", id.0))?;
        let logged = message.qos == Qos::AtLeastOnce;
        must(logged, "a QoS 0 message is never logged", || format!("message {} at {offset}", id.0))?;
        let same = !message.idempotent || message.offset.is_none_or(|before| before == offset);
        let (before, number) = (message.offset, id.0);
        must(same, "what is said twice with one sequence number is logged once", || {
            format!("message {number} at {before:?} and at {offset}")
        })?;
        message.log = log;
        found.push(Copied { id, offset, moved });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;
    use crate::model::record_batch::BatchBuilder;
    use crate::sim::messages::TopicId;
    use crate::sim::scheduler::EPOCH;

    const LOG: LogId = LogId(0);

    struct Bench {
        messages: Messages,
        ledger: Ledger,
    }

    impl Bench {
        fn new(count: usize) -> Bench {
            let mut messages = Messages::default();
            for _ in 0..count {
                let id = messages.add(TopicId(0), Qos::AtLeastOnce, 20, 0, (0, true));
                messages.of_mut(id).handed = Some(EPOCH);
            }
            Bench { messages, ledger: Ledger::new(1) }
        }

        /// Write `number` carries message `number` in block `number`.
        fn write(&mut self, number: u32) -> Checked {
            let mut builder = BatchBuilder::new();
            builder.push(Timestamp(1), &self.messages.value(MessageId(number)));
            let body = builder.finish(Offset(u64::from(number)), None);
            let mut header = [0; 64];
            header[AT_KIND] = Kind::Batch as u8;
            let pieces = [GroupPiece { header, body }];
            let place = (Lsn(0), u64::from(number) * 4096, 4096);
            self.ledger.submitted(&mut self.messages, (EPOCH, u64::from(number), LOG), place, &pieces)
        }

        fn stage(&self, number: u32) -> Stage {
            self.messages.of(MessageId(number)).stage
        }
    }

    #[test]
    fn a_message_is_only_as_safe_as_everything_before_it() {
        let mut bench = Bench::new(3);
        (0..3).for_each(|number| bench.write(number).unwrap());
        bench.ledger.landed(&mut bench.messages, 1);
        bench.ledger.synced(&mut bench.messages, &[1]);
        assert_eq!(bench.stage(1), Stage::Unwritten);
        bench.ledger.landed(&mut bench.messages, 0);
        assert_eq!(
            (bench.stage(0), bench.stage(1), bench.stage(2)),
            (Stage::Written, Stage::Written, Stage::Unwritten)
        );
        bench.ledger.synced(&mut bench.messages, &[0]);
        assert_eq!((bench.stage(0), bench.stage(1)), (Stage::Durable, Stage::Durable));
    }

    #[test]
    fn a_power_cut_leaves_the_unsynced_in_limbo_and_a_kill_the_unwritten() {
        let mut bench = Bench::new(3);
        (0..3).for_each(|number| bench.write(number).unwrap());
        bench.ledger.landed(&mut bench.messages, 0);
        bench.ledger.killed(&mut bench.messages, &[(1, WriteFate::Torn), (2, WriteFate::Landed)]);
        assert_eq!((bench.stage(0), bench.stage(1), bench.stage(2)), (Stage::Written, Stage::Limbo, Stage::Limbo));
        bench.ledger.power_cut(&mut bench.messages, LOG);
        assert_eq!(bench.stage(0), Stage::Limbo);
    }

    #[test]
    fn writing_over_a_written_block_is_a_violation() {
        let mut bench = Bench::new(2);
        bench.write(1).unwrap();
        bench.write(0).unwrap();
        assert!(bench.write(1).is_err());
        bench.ledger.landed(&mut bench.messages, 0);
        bench.ledger.synced(&mut bench.messages, &[0]);
        assert!(bench.write(0).is_err());
    }

    #[test]
    fn a_message_whose_last_segment_is_gone_is_removed() {
        let mut bench = Bench::new(1);
        bench.write(0).unwrap();
        bench.ledger.landed(&mut bench.messages, 0);
        bench.ledger.synced(&mut bench.messages, &[0]);
        bench.ledger.gone(&mut bench.messages, LOG, Lsn(0), 65536);
        assert_eq!(bench.stage(0), Stage::Removed);
    }
}
