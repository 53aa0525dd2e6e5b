//! What clients say of what they got: acknowledged, given back, more please.

use super::Core;
use super::bind::SOURCE_BITS;
use super::letter::{Letter, Settle};
use super::link::LinkIndex;
use super::refusal::Refusal;
use super::session::Conn;
use super::timers::{CURSOR_DELAY_MS, Timer};
use crate::broker::Member;
use crate::model::{ConnId, Offset, ShardId, SubscriptionMode};
use crate::wal::Entry;

impl Core {
    /// SETTLE or ACK, on the shard that holds the connection.
    pub(super) fn settle(&mut self, conn: &mut Conn, correlation: u64, subscription: u64, settle: Settle) {
        let Some(state) = conn.session.subscription(subscription) else {
            return self.refuse(conn.link, correlation, &Refusal::unknown("unknown subscription or delivery tag"));
        };
        let shard = match settle {
            Settle::Tag { .. } => state.shards[0].shard,
            Settle::Ack { source, .. } | Settle::UpTo { source, .. } | Settle::Nack { source, .. } => {
                ShardId((source >> SOURCE_BITS) as u16)
            }
        };
        if !state.shards.iter().any(|share| share.shard == shard) {
            return self.refuse(conn.link, correlation, &Refusal::unknown("unknown source"));
        }
        if shard == self.options.shard {
            self.settle_here(conn.link, correlation, subscription, settle);
        } else {
            self.write_letter(shard, Letter::Settle { conn: conn.id, correlation, subscription, settle });
        }
    }

    /// SETTLE or ACK, on the shard that holds the topic.
    pub(super) fn settle_here(&mut self, link: LinkIndex, correlation: u64, subscription: u64, settle: Settle) {
        let slot = match settle {
            Settle::Tag { .. } => 0,
            Settle::Ack { source, .. } | Settle::UpTo { source, .. } | Settle::Nack { source, .. } => {
                (source & ((1 << SOURCE_BITS) - 1)) as usize
            }
        };
        let binding = self.links[link].binding(subscription);
        let source = binding.and_then(|binding| binding.sources.get(slot)).and_then(|source| source.subscription);
        let settled = match source {
            Some(index) => self.settle_source(index, link, subscription, settle),
            None => false,
        };
        if !settled {
            self.refuse(link, correlation, &Refusal::unknown("unknown subscription or delivery tag"));
        }
    }

    /// False if the client names what it never got.
    fn settle_source(&mut self, index: usize, link: LinkIndex, binding: u64, settle: Settle) -> bool {
        let dice = self.roll();
        let sub = &mut self.subscriptions[index].sub;
        let settled = match settle {
            Settle::Ack { first, end, .. } => sub.settle(first, end),
            Settle::UpTo { end, .. } if sub.mode == SubscriptionMode::Exclusive => sub.settle(Offset::ZERO, end),
            Settle::UpTo { end, .. } => {
                let of_binding = |member: &&Member| member.link == link && member.binding == binding;
                let member = sub.members.iter().find(of_binding).map_or(0, |member| member.serial);
                settle_of_member(sub, member, end)
            }
            Settle::Tag { tag: 0 } => return false,
            Settle::Tag { tag } => {
                let settled = sub.settle(Offset(tag - 1), Offset(tag));
                if settled == 0 {
                    return false;
                }
                settled
            }
            Settle::Nack { first, end, delay_ms, .. } => {
                sub.nack(self.now, first, end, delay_ms, dice);
                self.arm_subscription(index);
                self.make_ready(index);
                return true;
            }
        };
        self.stats.messages_settled += settled;
        if settled > 0 {
            self.cursor_moved(index);
            self.make_ready(index);
        }
        true
    }

    /// A cursor moved: it is to be logged soon, and what everybody has settled may go.
    pub(super) fn cursor_moved(&mut self, index: usize) {
        let serving = &mut self.subscriptions[index];
        let (serial, partition) = (serving.sub.serial, serving.sub.partition);
        if serving.sub.logged_id().is_some() && !std::mem::replace(&mut serving.unlogged, true) {
            self.unlogged.push((index, serial));
            if !std::mem::replace(&mut self.timers.cursors_set, true) {
                self.timers.set(self.now.plus_ms(CURSOR_DELAY_MS), Timer::Cursors);
            }
        }
        self.trim_settled(partition);
    }

    /// Writes down where the cursors are that moved.
    pub(super) fn log_cursors(&mut self) {
        self.timers.cursors_set = false;
        for (index, serial) in std::mem::take(&mut self.unlogged) {
            let Some(serving) = self.subscriptions.get_mut(index) else { continue };
            let Some(id) = serving.sub.logged_id().filter(|_| serving.sub.serial == serial) else { continue };
            serving.unlogged = false;
            let cursor = &serving.sub.cursor;
            let entry = Entry::Cursor { id, floor: cursor.floor(), above: cursor.above().collect() };
            let partition = serving.sub.partition;
            serving.logged_floor = cursor.floor();
            let log = self.partitions[partition].log;
            self.logs[log].log.append(self.now, entry);
            self.trim_settled(partition);
        }
    }

    /// CREDIT, on the shard that holds the connection: goes to the shards in the measure that they used it.
    pub(super) fn credited(&mut self, conn: &mut Conn, correlation: u64, subscription: u64, messages: u64, bytes: u64) {
        let Some(state) = conn.session.subscription(subscription) else {
            return self.refuse(conn.link, correlation, &Refusal::unknown("unknown subscription"));
        };
        let shares = state.shards.len() as u64;
        let (mut messages, mut bytes) = (messages, bytes);
        let mut given = Vec::with_capacity(state.shards.len());
        for share in &mut state.shards {
            let back = (share.spent_messages.min(messages), share.spent_bytes.min(bytes));
            share.spent_messages -= back.0;
            share.spent_bytes -= back.1;
            messages -= back.0;
            bytes -= back.1;
            given.push((share.shard, back));
        }
        for (nth, (shard, back)) in given.into_iter().enumerate() {
            // What is more than was used is new room: everybody gets the same, the first ones the rest.
            let extra = |all: u64| all / shares + u64::from((nth as u64) < all % shares);
            let (messages, bytes) = (back.0 + extra(messages), back.1 + extra(bytes));
            if messages == 0 && bytes == 0 {
                continue;
            }
            if shard == self.options.shard {
                self.give_credit(conn.link, subscription, messages, bytes);
            } else {
                self.write_letter(shard, Letter::Credit { conn: conn.id, subscription, messages, bytes });
            }
        }
    }

    /// Tells the connection's shard that credit was used here.
    pub(super) fn tell_spent(&mut self, taker: &Member, messages: u64, bytes: u64) {
        let conn = self.links[taker.link].conn;
        let subscription = taker.binding;
        if conn.shard == self.options.shard {
            self.credit_spent(self.options.shard, conn, subscription, messages, bytes);
        } else {
            self.write_letter(conn.shard, Letter::Spent { conn, subscription, messages, bytes });
        }
    }

    pub(super) fn credit_spent(&mut self, by: ShardId, conn: ConnId, subscription: u64, messages: u64, bytes: u64) {
        let slot = self.conns.get_mut(conn.slot as usize).and_then(Option::as_mut);
        let Some(conn) = slot.filter(|holder| holder.id == conn) else { return };
        let Some(state) = conn.session.subscription(subscription) else { return };
        if let Some(share) = state.shards.iter_mut().find(|share| share.shard == by) {
            share.spent_messages += messages;
            share.spent_bytes += bytes;
        }
    }
}

/// Of a shared subscription, "everything up to" means what this member got.
fn settle_of_member(sub: &mut crate::broker::Subscription, member: u64, end: Offset) -> u64 {
    let of_member = |flight: &&crate::broker::Flight| flight.member == member && flight.first < end;
    let got: Vec<_> = sub.in_flight.flights().filter(of_member).map(|flight| (flight.first, flight.end)).collect();
    got.into_iter().map(|(first, last)| sub.settle(first, last.min(end))).sum()
}
