//! Version 1 asks for messages one by one.

use super::Core;
use super::letter::Letter;
use super::link::LinkIndex;
use super::refusal::Refusal;
use super::serving::RecordPlace;
use super::session::Conn;
use crate::broker::{Due, Held};
use crate::model::record_batch::{self, BATCH_HEADER};
use crate::model::{Offset, Qos};
use crate::protocol::native::reply;

/// Polls that wait for one read of the log; more are answered with nothing, which is what version 1 expects when
/// nothing is there.
const WAITING_POLLS_MAX: usize = 1024;
/// A message at least this long is not copied into its delivery.
const SHARE_FROM: usize = 16 * 1024;

/// A record found for a poll.
struct Found {
    held: Held,
    offset: Offset,
    attempt: u16,
    volatile: bool,
}

impl Core {
    /// POLL, on the shard that holds the connection.
    #[inline]
    pub(super) fn polled(&mut self, conn: &mut Conn, correlation: u64, subscription: u64) {
        let Some(state) = conn.session.subscription(subscription) else {
            return self.refuse(conn.link, correlation, &Refusal::unknown("unknown subscription"));
        };
        let shard = state.shards[0].shard;
        if shard == self.options.shard {
            self.poll_here(conn.link, correlation, subscription);
        } else {
            self.write_letter(shard, Letter::Poll { conn: conn.id, correlation, subscription });
        }
    }

    /// POLL, on the shard that holds the topic: one message, or nothing.
    #[inline]
    pub(super) fn poll_here(&mut self, link: LinkIndex, correlation: u64, subscription: u64) {
        if self.links[link].backlog() > 2 * self.options.limits.outbox_max {
            return; // the peer of another shard's connection does not read: there is nothing for it
        }
        let Some(binding) = self.links[link].binding(subscription) else {
            return self.refuse(link, correlation, &Refusal::unknown("unknown subscription"));
        };
        let Some(index) = binding.sources.first().and_then(|source| source.subscription) else {
            return self.refuse(link, correlation, &Refusal::unknown("unknown subscription"));
        };
        if let Some(found) = self.find_record(index, correlation) {
            self.deliver_record(link, correlation, index, &found);
        }
    }

    /// The record that a poll gets.
    fn find_record(&mut self, index: usize, correlation: u64) -> Option<Found> {
        loop {
            let serving = &mut self.subscriptions[index];
            let partition = &self.partitions[serving.sub.partition];
            let (offset, attempt) = match serving.sub.due(self.now, partition.start, partition.committed) {
                Due::New { first, .. } => (first, 1),
                Due::Again(retry) => (retry.first, retry.attempts.saturating_add(1)),
                Due::Dead(retry) if self.bury(index, retry) => continue,
                Due::Dead(_) | Due::Nothing => return self.find_volatile(index),
            };
            let Some(held) = self.held(index, offset) else {
                let serving = &mut self.subscriptions[index];
                if serving.polls.len() < WAITING_POLLS_MAX {
                    serving.polls.push(correlation);
                }
                self.fetch(index, offset);
                return None;
            };
            if held.expires_at > self.now {
                return Some(Found { held, offset, attempt, volatile: false });
            }
            self.stats.expired += 1;
            self.subscriptions[index].sub.expire(offset, offset.plus(1));
            self.cursor_moved(index);
        }
    }

    fn find_volatile(&mut self, index: usize) -> Option<Found> {
        loop {
            let sub = &mut self.subscriptions[index].sub;
            let volatile = &self.partitions[sub.partition].volatile;
            let offset = sub.volatile_next.max(volatile.first());
            let held = volatile.at(offset)?.clone();
            if held.expires_at > self.now {
                return Some(Found { held, offset, attempt: 1, volatile: true });
            }
            let gone = held.end().since(offset);
            self.stats.expired += gone;
            sub.counters.expired += gone;
            sub.volatile_next = held.end();
            self.touched.push(sub.partition);
        }
    }

    /// PUBLISH to the client: the delivery tag is the offset + 1, so that it is never zero.
    fn deliver_record(&mut self, link: LinkIndex, poll: u64, index: usize, found: &Found) {
        let serving = &mut self.subscriptions[index];
        let at = place_of(serving.place, found);
        let Ok((record, next)) = record_batch::record_at(&found.held.bytes, at) else {
            log::error!("a held batch is malformed at byte {at}");
            return;
        };
        let following = found.offset.plus(1);
        serving.place =
            Some(RecordPlace { base: found.held.base, volatile: found.volatile, offset: following, at: next });
        let partition = &self.partitions[serving.sub.partition];
        let tracked = !found.volatile && serving.sub.qos == Qos::AtLeastOnce;
        let (qos, tag) = if tracked { (Qos::AtLeastOnce, following.0) } else { (Qos::AtMostOnce, poll) };
        let (topic, message) = (partition.topic.as_bytes(), record.value);
        let out = &mut self.links[link];
        let before = out.written();
        if message.len() < SHARE_FROM {
            out.write(|out| reply::publish(out, tag, qos, topic, message));
        } else {
            out.write(|out| reply::publish_head(out, tag, qos, topic, message.len()));
            out.push(&[], found.held.bytes.slice_ref(message));
        }
        self.memory.output += out.written() - before;
        self.mark_dirty(link);
        self.stats.messages_delivered += 1;
        if found.offset == found.held.base && found.attempt == 1 {
            self.time_delivery(&found.held, 1);
        }
        self.record_delivered(index, found);
    }

    fn record_delivered(&mut self, index: usize, found: &Found) {
        let dice = self.roll();
        let sub = &mut self.subscriptions[index].sub;
        let end = found.offset.plus(1);
        if found.volatile {
            sub.counters.delivered += 1;
            sub.volatile_next = end;
            if end == found.held.end() {
                self.touched.push(sub.partition);
            }
            return;
        }
        if found.attempt > 1 {
            sub.redelivery.take_front(1);
            self.stats.messages_redelivered += 1;
        }
        let Some(member) = sub.members.first().copied() else { return };
        sub.delivered(self.now, found.offset, end, found.attempt, &member, dice);
        self.settled_if_untracked(index, &member);
        self.arm_subscription(index);
    }

    /// The log has answered: the polls that waited are answered too.
    pub(super) fn answer_waiting_polls(&mut self, index: usize) {
        let serving = &mut self.subscriptions[index];
        let polls = std::mem::take(&mut serving.polls);
        let Some(member) = serving.sub.members.first().copied() else { return };
        for correlation in polls {
            self.poll_here(member.link, correlation, member.binding);
        }
    }
}

/// Where the record starts in its batch: where the last one ended, if that was the one before; else it is walked to.
fn place_of(place: Option<RecordPlace>, found: &Found) -> usize {
    let (mut offset, mut at) = (found.held.base, BATCH_HEADER);
    if let Some(place) = place {
        let same = place.base == found.held.base && place.volatile == found.volatile;
        if same && place.offset <= found.offset {
            (offset, at) = (place.offset, place.at);
        }
    }
    while offset < found.offset {
        at = record_batch::record_at(&found.held.bytes, at).map_or(found.held.bytes.len(), |(_, next)| next);
        offset = offset.plus(1);
    }
    at
}
