//! Records that ran out of retries: to their dead-letter topic, or counted and dropped.

use bytes::Bytes;

use super::Core;
use super::letter::Letter;
use super::session::Route;
use super::timers::Timer;
use crate::broker::{Held, Retry};
use crate::model::record_batch::{self, BatchBuilder, RecordExtras};
use crate::model::{Instant, Offset, ShardId, Timestamp, TopicName};

/// Records on their way to a dead-letter topic.
#[derive(Debug)]
pub struct Grave {
    subscription: usize,
    serial: u64,
    first: Offset,
    end: Offset,
}

/// Whom to tell when a dead letter is committed.
#[derive(Debug, Clone, Copy)]
pub struct Burial {
    pub shard: ShardId,
    pub grave: u64,
}

/// A burial that was refused is tried again after this long.
const AGAIN_MS: u64 = 1000;

impl Core {
    /// Takes the first batch of dead records off the redeliveries. False if they have to be read first.
    pub(super) fn bury(&mut self, index: usize, retry: Retry) -> bool {
        let Some(dead_letter) = self.subscriptions[index].sub.retry.dead_letter.clone() else {
            return self.drop_dead(index, retry);
        };
        let Some(held) = self.held(index, retry.first) else {
            self.fetch(index, retry.first);
            return false;
        };
        let end = retry.end.min(held.end());
        let (letters, end) = self.dead_letters(index, &held, (retry.first, end), retry.attempts);
        let sub = &mut self.subscriptions[index].sub;
        sub.bury(retry, end);
        let serial = sub.serial;
        let grave = self.next_serial();
        let dug = Grave { subscription: index, serial, first: retry.first, end };
        self.graves.insert(grave, dug);
        let owner = self.owner(&dead_letter);
        if owner == self.options.shard {
            self.bury_here(owner, grave, &dead_letter, letters);
        } else {
            self.write_letter(owner, Letter::Bury { grave, topic: dead_letter, batch: letters });
        }
        true
    }

    fn drop_dead(&mut self, index: usize, retry: Retry) -> bool {
        let records = retry.end.since(retry.first);
        let sub = &mut self.subscriptions[index].sub;
        sub.counters.dead += records;
        sub.settle(retry.first, retry.end);
        self.stats.dead_dropped += records;
        self.cursor_moved(index);
        true
    }

    /// The records as they were, as many as one batch may have, and where they end.
    fn dead_letters(&self, index: usize, held: &Held, range: (Offset, Offset), attempts: u16) -> (Bytes, Offset) {
        let sub = &self.subscriptions[index].sub;
        let topic = self.partitions[sub.partition].topic.as_bytes();
        let from = Origin { topic, subscription: sub.name.as_bytes(), attempts: &attempts.to_string() };
        letters(held, range, &from, (self.now.timestamp(), self.options.limits.frame_max))
    }

    /// Appends dead letters to a topic of this shard.
    pub(super) fn bury_here(&mut self, from: ShardId, grave: u64, topic: &TopicName, batch: Bytes) {
        let burial = Burial { shard: from, grave };
        let index = match self.locate(topic) {
            Ok(Route::Here(index)) => index,
            _ => return self.buried(burial, false),
        };
        let accepts = !self.has_logs() || self.logs[self.partitions[index].log].accepts().is_ok();
        if !accepts {
            return self.buried(burial, false);
        }
        let mut bytes = bytes::BytesMut::from(&batch[..]);
        let base = self.partitions[index].next();
        record_batch::set_base_offset(&mut bytes, base);
        let count = record_batch::header(&bytes).map_or(1, |header| header.count);
        let held = Held { base, count, expires_at: Instant::NEVER, bytes: bytes.freeze(), at: self.now, own: true };
        self.append_waiting(index, held, None, Some(burial));
    }

    pub(super) fn buried(&mut self, burial: Burial, ok: bool) {
        if burial.shard == self.options.shard {
            self.grave_closed(burial.grave, ok);
        } else {
            self.write_letter(burial.shard, Letter::Buried { grave: burial.grave, ok });
        }
    }

    /// The dead letter is safe: the record is settled. Or it was refused: the burial is tried again.
    pub(super) fn grave_closed(&mut self, grave: u64, ok: bool) {
        if self.holds_burial(grave, ok) {
            return;
        }
        let Some(Grave { subscription, serial, first, end }) = self.graves.remove(&grave) else {
            return self.replay_closed(grave, ok);
        };
        let Some(serving) = self.subscriptions.get_mut(subscription) else { return };
        if serving.sub.serial != serial {
            return;
        }
        let sub = &mut serving.sub;
        if ok {
            sub.buried(first, end);
            self.stats.dead_lettered += end.since(first);
            self.cursor_moved(subscription);
            return self.make_ready(subscription);
        }
        sub.unburied(self.now.plus_ms(AGAIN_MS), first, end);
        self.arm_subscription(subscription);
        if !std::mem::replace(&mut self.timers.graves_set, true) {
            log::warn!("a dead letter was refused: trying again every {AGAIN_MS} ms");
            self.timers.set(self.now.plus_ms(AGAIN_MS), Timer::Graves);
        }
    }

    pub(super) fn dig_again(&mut self) {
        self.timers.graves_set = false;
    }
}

/// What the headers of a dead letter say.
struct Origin<'a> {
    topic: &'a [u8],
    subscription: &'a [u8],
    attempts: &'a str,
}

/// The header of a dead letter that says from which topic it comes, and how all of them begin.
pub const FROM: &[u8] = b"blipmq-dead-topic";
pub const OURS: &[u8] = b"blipmq-dead-";

/// Each record of `first..end` with headers that say where it comes from and why; one that has died before keeps what it
/// says of that, or it would grow with each death until it fits nowhere. Headers can make a batch of small
/// records many times as large as it came: no batch is larger than `most`, but for one record alone, or else it would
/// fit into no frame and into no segment. Answers also with where it ends.
fn letters(
    held: &Held,
    (first, end): (Offset, Offset),
    from: &Origin<'_>,
    (now, most): (Timestamp, usize),
) -> (Bytes, Offset) {
    let mut builder = BatchBuilder::new();
    for record in record_batch::records(&held.bytes) {
        let offset = held.base.plus(u64::from(record.offset_delta));
        if offset < first || offset >= end {
            continue;
        }
        let number = offset.to_string();
        let mut headers: Vec<(&[u8], &[u8])> = record_batch::headers(&record).collect();
        if !headers.iter().any(|(name, _)| *name == FROM) {
            headers.push((FROM, from.topic));
            headers.push((b"blipmq-dead-offset", number.as_bytes()));
            headers.push((b"blipmq-dead-subscription", from.subscription));
            headers.push((b"blipmq-dead-attempts", from.attempts.as_bytes()));
        }
        if !builder.is_empty() && builder.len() + size_max(record.value, record.key, &headers) > most {
            return (builder.finish(Offset::ZERO, None), offset);
        }
        builder.push_with(now, record.value, RecordExtras { key: record.key, headers: &headers });
    }
    (builder.finish(Offset::ZERO, None), end)
}

/// Bytes of a record in a batch at most: each length and number takes up to ten.
pub fn size_max(value: &[u8], key: Option<&[u8]>, headers: &[(&[u8], &[u8])]) -> usize {
    let headers: usize = headers.iter().map(|(name, value)| name.len() + value.len() + 20).sum();
    value.len() + key.map_or(0, <[u8]>::len) + headers + 60
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(records: usize, len: usize) -> Held {
        let mut builder = BatchBuilder::new();
        (0..records).for_each(|_| builder.push(Timestamp(1), &vec![7; len]));
        let (base, count, bytes) = (Offset(5), builder.count(), builder.finish(Offset(5), None));
        Held { base, count, expires_at: Instant::NEVER, bytes, at: Held::BACK, own: true }
    }

    /// Records and bytes of each batch of dead letters.
    fn buried(held: &Held, most: usize) -> Vec<(u32, usize)> {
        let from = Origin { topic: b"orders", subscription: b"worker", attempts: "3" };
        let (mut first, mut batches) = (held.base, Vec::new());
        while first < held.end() {
            let (batch, end) = letters(held, (first, held.end()), &from, (Timestamp(2), most));
            let header = record_batch::check(&batch).unwrap();
            assert_eq!(u64::from(header.count), end.since(first));
            batches.push((header.count, batch.len()));
            first = end;
        }
        batches
    }

    #[test]
    fn dead_letters_of_many_small_records_come_in_batches_that_fit_into_a_frame() {
        let held = held(1000, 8);
        assert!(held.bytes.len() < 32 * 1024);
        let batches = buried(&held, 32 * 1024);
        assert!(batches.len() > 3 && batches.iter().all(|(_, bytes)| *bytes <= 32 * 1024), "{batches:?}");
        assert_eq!(batches.iter().map(|(count, _)| *count).sum::<u32>(), 1000);
    }

    #[test]
    fn a_dead_letter_that_dies_again_says_where_it_came_from_first_and_does_not_grow() {
        let first = Origin { topic: b"orders", subscription: b"worker", attempts: "3" };
        let again = Origin { topic: b"dead", subscription: b"undertaker", attempts: "9" };
        let record = held(1, 100);
        let whole = (Timestamp(2), usize::MAX);
        let (once, _) = letters(&record, (record.base, record.end()), &first, whole);
        let letter = Held { bytes: once.clone(), base: Offset::ZERO, ..record };
        let (twice, _) = letters(&letter, (Offset::ZERO, Offset(1)), &again, whole);
        assert_eq!(twice, once);
    }

    #[test]
    fn a_record_that_is_as_large_as_a_frame_is_buried_alone() {
        let counts: Vec<u32> = buried(&held(3, 4096), 4096).into_iter().map(|(count, _)| count).collect();
        assert_eq!(counts, [1, 1, 1]);
    }
}
