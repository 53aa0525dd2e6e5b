//! What must be true of every run: one sentence, one struct.

pub mod bounds;
pub mod committed;
pub mod expiry;
pub mod finish;
pub mod order;
pub mod promise;
pub mod published;
pub mod settled;

use std::time::Duration;

use super::book::Book;
use super::messages::MessageId;
use super::subs::SubId;
use super::violation::{Checked, must};
use super::witness::{Delivery, ENDED, Fact};
use crate::model::{FsyncPolicy, Instant};
use crate::protocol::native::reply::Subscribed;

/// What this run's broker has promised.
#[derive(Clone, Debug)]
pub struct Rules {
    pub fsync: FsyncPolicy,
    /// With `wal = off` there is nothing to be kept.
    pub logged: bool,
    /// How long letters between shards may be under way, there and back.
    pub grace: Duration,
    pub in_flight_max: usize,
    /// `overflow = drop_oldest` without a log.
    pub drops: bool,
}

/// All of them.
#[derive(Debug)]
pub struct Checkers {
    pub rules: Rules,
    promise: promise::Promise,
    committed: committed::Committed,
    published: published::Published,
    order: order::Order,
    bounds: bounds::Bounds,
    settled: settled::Settled,
    expiry: expiry::Expiry,
    /// Messages delivered, redeliveries included.
    pub delivered: u64,
}

impl Checkers {
    pub fn new(rules: Rules) -> Checkers {
        Checkers {
            promise: promise::Promise { fsync: rules.fsync, logged: rules.logged },
            committed: committed::Committed { fsync: rules.fsync, logged: rules.logged },
            published: published::Published,
            order: order::Order,
            bounds: bounds::Bounds { in_flight_max: rules.in_flight_max, drops: rules.drops, grace: rules.grace },
            settled: settled::Settled { grace: rules.grace },
            expiry: expiry::Expiry { grace: rules.grace, waits: !rules.logged },
            rules,
            delivered: 0,
        }
    }

    /// Something was said across the border.
    pub fn fact(&mut self, book: &mut Book, now: Instant, fact: Fact) -> Checked {
        match fact {
            Fact::Published { ids, said } => self.promise.published(book, now, &ids, &said),
            Fact::Refused { ids, code } => {
                refused(book, &ids, code);
                Ok(())
            }
            Fact::Subscribed { sub, link, said, credit } => {
                let shards = book.shards;
                let attached = book.subs.of_mut(sub);
                // Where several shards serve a subscription, each begins with at least one message and one byte.
                let least = if attached.wanted.spread { i64::from(shards) } else { 1 };
                let credit = [credit.0, credit.1].map(|credit| i64::from(credit).max(least * i64::from(credit.min(1))));
                attached.credit.insert(link, (credit[0], credit[1]));
                attached.held.insert(link, now);
                attached.split |= attached.wanted.version == 1 && attached.credit.len() > 1;
                subscribed(book, now, sub, said);
                Ok(())
            }
            Fact::Sent { sub, link, records, bytes } => self.bounds.sent(book, sub, link, (records, bytes)),
            Fact::Delivered(delivery) => self.delivery(book, now, &delivery),
            Fact::Credited { sub, link, messages, bytes } => {
                if let Some(credit) = book.subs.of_mut(sub).credit.get_mut(&link) {
                    *credit = (credit.0 + i64::from(messages), credit.1 + i64::from(bytes));
                }
                Ok(())
            }
            Fact::Settled { sub, link, topic, which } => {
                book.subs.settled((sub, link, topic), which);
                Ok(())
            }
            Fact::Unsubscribed { sub, link } => {
                book.subs.leave(sub, link);
                Ok(())
            }
        }
    }

    fn delivery(&mut self, book: &mut Book, now: Instant, delivery: &Delivery) -> Checked {
        self.delivered += 1;
        self.published.delivered(book, delivery)?;
        self.committed.delivered(book, delivery)?;
        self.expiry.delivered(book, now, delivery)?;
        if delivery.topic != book.messages.of(delivery.id).topic {
            // A dead letter is a record of its own, and each subscription that gave up makes one.
            return Ok(());
        }
        if book.subs.of(delivery.sub).split {
            book.subs.delivered(now, delivery);
            return Ok(());
        }
        self.settled.delivered(book, now, delivery)?;
        self.bounds.attempt(book, now, delivery)?;
        if delivery.late {
            return self.late(book, now, delivery);
        }
        self.order.delivered(book, delivery)?;
        book.subs.delivered(now, delivery);
        self.bounds.in_flight(book, now, delivery)
    }

    /// What had been sent before its shard heard of an UNSUBSCRIBE comes no later than letters take. It is an attempt
    /// like any other, and in flight to nobody.
    fn late(&self, book: &mut Book, now: Instant, delivery: &Delivery) -> Checked {
        let left = book.subs.of(delivery.sub).left.get(&delivery.link).copied();
        let under_way = left.is_some_and(|left| now <= left + self.rules.grace);
        must(under_way, ENDED, || format!("since {left:?}: {delivery:?}"))?;
        book.subs.delivered(now, delivery);
        Ok(())
    }

    /// Power is about to be lost.
    pub fn power_cut(&self, book: &Book, now: Instant, longest_sync: Duration) -> Checked {
        self.promise.power_cut(book, now, longest_sync)
    }
}

/// A refusal is the broker's word that it does not have it; except that a failed device may have it all the same, and
/// that what was said before may have been taken then.
fn refused(book: &mut Book, ids: &[MessageId], code: u16) {
    for id in ids {
        let message = book.messages.of_mut(*id);
        message.refused |= code != 500 && message.sayings == 1;
    }
}

fn subscribed(book: &mut Book, now: Instant, id: SubId, said: Option<Subscribed>) {
    let sub = book.subs.of_mut(id);
    sub.alive = true;
    if sub.since.is_none() || sub.uncertain {
        sub.since = Some(now);
    }
    if let (Some(said), [topic]) = (said, &sub.wanted.topics[..]) {
        let source = sub.sources.entry(*topic).or_default();
        if said.sources == 1 && (source.start.is_none() || sub.uncertain) {
            source.start = Some(said.next_offset);
        }
    }
    // Of a pattern's topics nobody is told where they begin: it shows again.
    if sub.uncertain && sub.wanted.topics.len() > 1 {
        sub.sources.values_mut().for_each(|source| source.start = None);
    }
    sub.uncertain = false;
}
