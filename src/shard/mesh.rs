//! Letters between shards: written in a step, carried in one piece, never lost, bounded.

use bytes::BytesMut;

use super::Core;
use super::confirm::{Confirmation, Confirmed};
use super::event::Action;
use super::letter::{ForeignPublish, ForeignSubscribe, Letter};
use super::link::{Link, LinkIndex};
use super::publish::{Publisher, Terms};
use super::refusal::Refusal;
use super::session::Route;
use crate::model::record_batch;
use crate::model::{ConnId, ShardId};

impl Core {
    pub(super) fn other_shards(&self) -> impl Iterator<Item = ShardId> + use<> {
        let me = self.options.shard;
        (0..self.options.shards).map(ShardId).filter(move |shard| *shard != me)
    }

    pub(super) fn write_letter(&mut self, to: ShardId, letter: Letter) {
        debug_assert_ne!(to, self.options.shard, "a shard does not write to itself");
        self.peers[to.index()].letters.push(letter);
    }

    /// Sends what was written to each shard in this step.
    pub(super) fn flush_letters(&mut self) {
        if self.options.shards == 1 {
            return;
        }
        for to in self.other_shards() {
            let peer = &mut self.peers[to.index()];
            if peer.handled > 0 {
                let bytes = std::mem::take(&mut peer.handled);
                peer.letters.push(Letter::Room { bytes });
            }
            if !peer.letters.is_empty() {
                let letters = std::mem::take(&mut peer.letters);
                self.stats.letters_out += letters.len() as u64;
                self.actions.push_back(Action::Mesh { to, letters });
            }
        }
    }

    pub(super) fn letters(&mut self, from: ShardId, letters: Vec<Letter>) {
        self.stats.letters_in += letters.len() as u64;
        for letter in letters {
            self.letter(from, letter);
        }
    }

    fn letter(&mut self, from: ShardId, letter: Letter) {
        match letter {
            Letter::Publish(publish) => self.foreign_publish(from, publish),
            Letter::Subscribe(subscribe) => self.foreign_subscribe(from, *subscribe),
            Letter::Subscribed { conn, subscription, outcome } => {
                self.foreign_subscribed(conn, subscription, outcome);
            }
            Letter::Unsubscribe { conn, subscription, ending } => {
                self.foreign_unsubscribe(from, conn, subscription, ending);
            }
            Letter::Unsubscribed { conn, subscription } => self.foreign_unsubscribed(conn, subscription),
            Letter::Credit { conn, subscription, messages, bytes } => {
                if let Some(link) = self.guest(conn) {
                    self.give_credit(link, subscription, messages, bytes);
                }
            }
            Letter::Spent { conn, subscription, messages, bytes } => {
                self.credit_spent(from, conn, subscription, messages, bytes);
            }
            Letter::Settle { conn, correlation, subscription, settle } => {
                if let Some(link) = self.guest(conn) {
                    self.settle_here(link, correlation, subscription, settle);
                }
            }
            Letter::Poll { conn, correlation, subscription } => {
                if let Some(link) = self.guest(conn) {
                    self.poll_here(link, correlation, subscription);
                }
            }
            Letter::Output { conn, chunks } => self.forward_output(from, conn, chunks),
            Letter::Taken { conn, bytes } => {
                if let Some(link) = self.guest(conn) {
                    self.taken(link, bytes);
                }
            }
            Letter::Gone { conn } => self.forget_guest(conn),
            Letter::Room { bytes } => self.peers[from.index()].outstanding -= bytes,
            Letter::Bury { grave, topic, batch } => self.bury_here(from, grave, &topic, batch),
            Letter::Buried { grave, ok } => self.grave_closed(grave, ok),
            Letter::Query { conn, correlation, what, limit, sees } => {
                let rows = self.rows(what, limit as usize, &sees);
                self.write_letter(from, Letter::Answered { conn, correlation, rows });
            }
            Letter::Answered { conn, correlation, rows } => self.gather(conn, correlation, rows),
        }
    }

    pub(super) fn guest(&self, conn: ConnId) -> Option<LinkIndex> {
        self.guests.get(&conn).copied()
    }

    fn guest_or_new(&mut self, conn: ConnId, version: u8) -> LinkIndex {
        if let Some(link) = self.guests.get(&conn) {
            return *link;
        }
        let link = self.links.insert(Link::new(conn, version));
        self.guests.insert(conn, link);
        link
    }

    fn forget_guest(&mut self, conn: ConnId) {
        if let Some(link) = self.guests.remove(&conn) {
            self.detach_link(link);
            self.drop_link(link);
        }
    }

    /// A connection is a guest from its first letter to [`Letter::Gone`], also while what it published waits: that is how
    /// [`Core::unpark`] knows whether anybody is left to be told.
    fn foreign_publish(&mut self, from: ShardId, publish: Box<ForeignPublish>) {
        self.guest_or_new(publish.conn, publish.version);
        let parked = &mut self.peers[from.index()].parked;
        if !parked.is_empty() {
            return parked.push_back(publish);
        }
        if let Some(publish) = self.try_foreign_publish(from, publish) {
            self.peers[from.index()].parked.push_back(publish);
        }
    }

    /// Publishes of other shards that had to wait, as far as they need not any more. Their connections may be gone
    /// since: what they said still counts, but nobody is left to be told of it.
    pub(super) fn unpark(&mut self) {
        for from in self.other_shards() {
            while let Some(publish) = self.peers[from.index()].parked.pop_front() {
                let conn = publish.conn;
                let gone = self.guest(conn).is_none();
                let waits = self.try_foreign_publish(from, publish);
                if gone {
                    self.forget_guest(conn);
                }
                if let Some(publish) = waits {
                    self.peers[from.index()].parked.push_front(publish);
                    break;
                }
            }
        }
    }

    /// Gives the publish back if it has to wait.
    fn try_foreign_publish(&mut self, from: ShardId, publish: Box<ForeignPublish>) -> Option<Box<ForeignPublish>> {
        let link = self.guest_or_new(publish.conn, publish.version);
        let weight = publish.batch.len() + 64;
        let route = match self.drain.is_on() {
            true => Err(Refusal::draining()),
            false => self.locate(&publish.topic),
        };
        let admitted = route.and_then(|route| match route {
            Route::Here(index) => Ok((index, self.admit_here(index, publish.qos, publish.batch.len())?)),
            _ => unreachable!("shards agree on who owns a topic"),
        });
        match admitted {
            Ok((_, Some(_))) => return Some(publish),
            Ok((index, None)) => self.publish_foreign_here(index, link, *publish),
            Err(refusal) => self.refuse(link, publish.correlation, &refusal),
        }
        self.peers[from.index()].handled += weight;
        None
    }

    fn publish_foreign_here(&mut self, index: usize, link: LinkIndex, publish: ForeignPublish) {
        let ForeignPublish { conn, correlation, qos, acknowledge, mandatory, ttl_ms, batch, .. } = publish;
        let from = Publisher { link, conn, correlation, acknowledge };
        let header = record_batch::header(&batch).expect("the sending shard checked the batch");
        let batch = batch.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        self.publish_here(index, from, &Terms { qos, ttl_ms, mandatory }, &header, batch);
    }

    fn foreign_subscribe(&mut self, from: ShardId, subscribe: ForeignSubscribe) {
        let ForeignSubscribe { conn, version, subscription, pattern, options } = subscribe;
        let link = self.guest_or_new(conn, version);
        let outcome = match self.drain.is_on() {
            true => Err(Refusal::draining()),
            false => self.bind(link, subscription, pattern, options),
        };
        match outcome {
            Ok((bound, entries)) => {
                let what = Confirmed::Begun(bound);
                self.tell_when_logged(Confirmation { holder: from, conn, subscription, what, entries });
            }
            Err(refusal) => {
                let outcome = Err((refusal.code, refusal.text.into_owned()));
                self.write_letter(from, Letter::Subscribed { conn, subscription, outcome });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Action, CoreOptions, Event};
    use super::*;
    use crate::auth::KeyRing;
    use crate::config::TopicRules;
    use crate::model::record_batch::BatchBuilder;
    use crate::model::{
        Backoff, Instant, Limits, Offset, OverflowPolicy, Pattern, Qos, SubscriptionMode, Timestamp, TopicName,
    };
    use crate::shard::Patterns;
    use crate::shard::subscribe::SubscribeOptions;

    const OTHER: ShardId = ShardId(1);
    const NOW: Instant = Instant(1_700_000_000_000_000_000);

    /// The first of two shards, without a log; what other shards publish waits where one batch has filled a topic.
    fn core() -> Core {
        let options = CoreOptions {
            shard: ShardId(0),
            shards: 2,
            logs: 2,
            overflow: OverflowPolicy::Block,
            limits: Limits { memory_queue_max: 1, ..Limits::default() },
            keys: KeyRing::default(),
            max_retries: 0,
            retry: Backoff { base: std::time::Duration::from_millis(10), cap: std::time::Duration::from_secs(1) },
            topics: TopicRules::default(),
            seed: 1,
        };
        Core::new(options, NOW, Vec::new(), &Patterns::new())
    }

    fn topic_of(core: &Core) -> TopicName {
        let names = (0..).map(|nth| TopicName::parse(format!("t{nth}").as_bytes()).unwrap());
        names.into_iter().find(|topic| core.owner(topic) == ShardId(0)).unwrap()
    }

    fn conn(slot: u32) -> ConnId {
        ConnId { shard: OTHER, slot, generation: 1 }
    }

    fn publish(topic: &TopicName, slot: u32) -> Letter {
        let mut builder = BatchBuilder::new();
        builder.push(Timestamp(1), b"a record");
        Letter::Publish(Box::new(ForeignPublish {
            conn: conn(slot),
            version: 2,
            correlation: 7,
            topic: topic.clone(),
            qos: Qos::AtLeastOnce,
            acknowledge: true,
            mandatory: false,
            ttl_ms: 0,
            batch: builder.finish(Offset::ZERO, None),
        }))
    }

    fn subscribe(topic: &TopicName, slot: u32) -> Letter {
        let pattern = Pattern::parse(topic.as_bytes()).unwrap();
        let options = SubscribeOptions::plain(String::new(), SubscriptionMode::Exclusive);
        Letter::Subscribe(Box::new(ForeignSubscribe {
            conn: conn(slot),
            version: 2,
            subscription: 1,
            pattern,
            options,
        }))
    }

    /// Slots of the connections that are told something.
    fn told(core: &mut Core, letter: Letter) -> Vec<u32> {
        core.handle(NOW, Event::Mesh { from: OTHER, letters: vec![letter] });
        let mut told = Vec::new();
        while let Some(action) = core.poll() {
            let Action::Mesh { letters, .. } = action else { continue };
            told.extend(letters.iter().filter_map(|letter| match letter {
                Letter::Output { conn, .. } => Some(conn.slot),
                _ => None,
            }));
        }
        told
    }

    #[test]
    fn a_publish_that_waits_behind_another_is_answered_like_the_first() {
        let mut core = core();
        let topic = topic_of(&core);
        told(&mut core, subscribe(&topic, 0));
        assert_eq!(told(&mut core, publish(&topic, 1)), [1]);
        assert!(told(&mut core, publish(&topic, 2)).is_empty() && told(&mut core, publish(&topic, 3)).is_empty());
        let mut answered = told(&mut core, Letter::Gone { conn: conn(0) });
        answered.sort_unstable();
        assert_eq!(answered, [2, 3]);
    }

    #[test]
    fn of_a_connection_that_went_while_its_publish_waited_nothing_is_left() {
        let mut core = core();
        let topic = topic_of(&core);
        told(&mut core, subscribe(&topic, 0));
        for slot in 1..4 {
            told(&mut core, publish(&topic, slot));
        }
        told(&mut core, Letter::Gone { conn: conn(2) });
        told(&mut core, Letter::Gone { conn: conn(3) });
        assert!(told(&mut core, Letter::Gone { conn: conn(0) }).is_empty());
        assert_eq!(core.guests.keys().map(|conn| conn.slot).collect::<Vec<_>>(), [1]);
        assert_eq!((core.links.len(), core.stats.messages_published), (1, 3));
    }
}
