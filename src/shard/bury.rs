//! Records that ran out of retries: to their dead-letter topic, or counted and dropped.

use bytes::Bytes;

use super::Core;
use super::letter::Letter;
use super::session::Route;
use super::timers::Timer;
use crate::broker::{Held, Retry};
use crate::model::record_batch::{self, BatchBuilder, RecordExtras};
use crate::model::{Instant, Offset, ShardId, TopicName};

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
        let letters = self.dead_letters(index, &held, retry.first, end, retry.attempts);
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

    /// The records as they were, each with headers that say where it comes from and why.
    fn dead_letters(&self, index: usize, held: &Held, first: Offset, end: Offset, attempts: u16) -> Bytes {
        let sub = &self.subscriptions[index].sub;
        let partition = &self.partitions[sub.partition];
        let attempts = attempts.to_string();
        let mut builder = BatchBuilder::new();
        for record in record_batch::records(&held.bytes) {
            let offset = held.base.plus(u64::from(record.offset_delta));
            if offset < first || offset >= end {
                continue;
            }
            let offset = offset.to_string();
            let mut headers: Vec<(&[u8], &[u8])> = record_batch::headers(&record).collect();
            headers.push((b"blipmq-dead-topic", partition.topic.as_bytes()));
            headers.push((b"blipmq-dead-offset", offset.as_bytes()));
            headers.push((b"blipmq-dead-subscription", sub.name.as_bytes()));
            headers.push((b"blipmq-dead-attempts", attempts.as_bytes()));
            let extras = RecordExtras { key: record.key, headers: &headers };
            builder.push_with(self.now.timestamp(), record.value, extras);
        }
        builder.finish(Offset::ZERO, None)
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
