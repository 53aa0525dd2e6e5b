//! Every subscription of a run: what it was given, and what it settled.

use std::collections::BTreeMap;
use std::time::Duration;

use super::messages::{MessageId, TopicId};
use super::network::LinkId;
use super::witness::{Delivery, Which};
use crate::model::{Instant, Offset, Qos};

/// A subscription's number in this run. A durable one keeps it from connection to connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubId(pub u32);

/// What makes two subscriptions the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SubKey {
    Named { pattern: Vec<u8>, name: String },
    Session { client: usize, topic: TopicId },
}

/// What was asked for.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub version: u8,
    pub qos: Qos,
    pub shared: bool,
    pub auto_acknowledge: bool,
    pub attempts_max: u16,
    /// How long an attempt has before the next one, at least.
    pub retry: Duration,
    pub dead_letter: Option<TopicId>,
    pub topics: Vec<TopicId>,
    /// By pattern: several shards may serve it.
    pub spread: bool,
}

#[derive(Clone, Debug)]
pub struct Sub {
    /// `None`: ends with its connection.
    pub key: Option<SubKey>,
    pub wanted: Wanted,
    /// It exists: the broker said so and nothing has ended it.
    pub alive: bool,
    /// Its subscriber has asked for its end.
    pub deleted: bool,
    /// When the broker said that it is deleted.
    pub gone_at: Option<Instant>,
    /// Deleted, and perhaps there all the same: nothing was said of it yet, or a crash has undone the deletion.
    pub back: bool,
    /// The deleted one that had its key before.
    pub before: Option<SubId>,
    /// When the broker first said so.
    pub since: Option<Instant>,
    /// When it lost a connection: what was under way there counts as an attempt, whether it was seen or not.
    pub lost: Vec<Instant>,
    /// When it was last ended on a connection that went on.
    pub left: BTreeMap<LinkId, Instant>,
    /// Version 1: a second session of its key was begun while this one was still held, as far as the broker knew. What
    /// it is owed waits for the next SUBSCRIBE of its key; which of the two is taken over then is the broker's choice.
    pub split: bool,
    /// Version 1: it is such a second session.
    pub second: bool,
    /// A crash may have taken its creation with it.
    pub uncertain: bool,
    pub sources: BTreeMap<TopicId, Source>,
    /// What it may still be sent, by link: records and bytes.
    pub credit: BTreeMap<LinkId, (i64, i64)>,
    /// Since when each link holds it.
    pub held: BTreeMap<LinkId, Instant>,
}

/// One topic of a subscription.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// The first record it is owed: by the broker's word or, of a pattern's topics, the first it was given.
    pub start: Option<Offset>,
    pub given: BTreeMap<MessageId, Given>,
    /// The latest record delivered for the first time, by link.
    pub front: BTreeMap<LinkId, Offset>,
    /// Everything below is settled, by the subscriber's word.
    pub floor: Offset,
    /// Messages in flight.
    pub in_flight: usize,
}

/// One message given to one subscription.
#[derive(Clone, Debug)]
pub struct Given {
    pub qos: Qos,
    pub offset: Option<Offset>,
    pub link: LinkId,
    pub attempt: u16,
    /// When it was last given.
    pub at: Instant,
    /// How often, in this process's life.
    pub times: u32,
    /// Delivered and unacknowledged, as far as the broker can know.
    pub in_flight: bool,
    /// The broker has read, in this process's life, that it is settled.
    pub said: bool,
    /// When it had come to it, in this process's life,.
    pub settled_at: Option<Instant>,
    /// Settled at any time.
    pub settled: bool,
    /// It is not given again: every attempt was made.
    pub exhausted: bool,
}

#[derive(Debug, Default)]
pub struct Subs {
    all: Vec<Sub>,
    by_key: BTreeMap<SubKey, SubId>,
    /// The latest of each key that was deleted.
    deleted: BTreeMap<SubKey, SubId>,
    /// Settled by bytes that the broker has, but perhaps has not come to yet.
    said: Vec<(LinkId, SubId, TopicId, MessageId)>,
    now: Instant,
    grace: Duration,
}

impl Subs {
    /// `grace`: how long letters between shards may be under way, there and back.
    pub fn new(grace: Duration) -> Subs {
        Subs { grace, ..Subs::default() }
    }

    /// The subscription of that key, or a new one.
    pub fn wanted(&mut self, key: Option<SubKey>, wanted: Wanted) -> SubId {
        if let Some(known) = key.as_ref().and_then(|key| self.by_key.get(key)) {
            return *known;
        }
        let id = SubId(self.all.len() as u32);
        if let Some(key) = key.clone() {
            self.by_key.insert(key, id);
        }
        let before = key.as_ref().and_then(|key| self.deleted.get(key)).copied();
        let (sources, credit) = (BTreeMap::new(), BTreeMap::new());
        self.all.push(Sub {
            key,
            wanted,
            alive: false,
            deleted: false,
            gone_at: None,
            back: false,
            before,
            since: None,
            uncertain: false,
            split: false,
            second: false,
            lost: Vec::new(),
            left: BTreeMap::new(),
            sources,
            credit,
            held: BTreeMap::new(),
        });
        id
    }

    /// Version 1: the session of that key. `crowded`: another connection of the client is still there; if that holds
    /// the session, a second one begins, and it is owed what comes after it.
    pub fn session(&mut self, key: SubKey, wanted: Wanted, crowded: bool) -> SubId {
        let id = self.wanted(Some(key.clone()), wanted.clone());
        let sub = self.of_mut(id);
        let (held, second) = (!sub.held.is_empty(), sub.second);
        sub.split |= second || crowded;
        if !crowded || !held || second {
            return id;
        }
        self.by_key.remove(&key);
        let id = self.wanted(Some(key), wanted);
        self.of_mut(id).second = true;
        id
    }

    pub fn of(&self, id: SubId) -> &Sub {
        &self.all[id.0 as usize]
    }

    pub fn of_mut(&mut self, id: SubId) -> &mut Sub {
        &mut self.all[id.0 as usize]
    }

    pub fn iter(&self) -> impl Iterator<Item = (SubId, &Sub)> {
        self.all.iter().enumerate().map(|(index, sub)| (SubId(index as u32), sub))
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Sub> {
        self.all.iter_mut()
    }

    /// It is deleted; the next one of its key is another.
    pub fn delete(&mut self, id: SubId) {
        let sub = self.of_mut(id);
        (sub.alive, sub.deleted, sub.back) = (false, true, true);
        if let Some(key) = sub.key.clone() {
            self.by_key.remove(&key);
            self.deleted.insert(key, id);
        }
    }

    /// A message was given to a subscription.
    pub fn delivered(&mut self, now: Instant, delivery: &Delivery) {
        let sub = self.of_mut(delivery.sub);
        let wanted = &sub.wanted;
        let source = sub.sources.entry(delivery.topic).or_default();
        let given = source.given.entry(delivery.id).or_insert_with(|| Given::first(delivery.link));
        given.times += 1;
        let attempt = delivery.attempt.unwrap_or(given.times.min(u32::from(u16::MAX)) as u16);
        given.attempt = given.attempt.max(attempt);
        given.at = now;
        given.offset = delivery.offset.or(given.offset);
        given.link = delivery.link;
        given.exhausted |= given.attempt >= wanted.attempts_max;
        given.settled |= wanted.auto_acknowledge;
        given.qos = delivery.qos;
        source.start = source.start.or(delivery.offset.filter(|_| delivery.qos == Qos::AtLeastOnce));
        let acknowledged = delivery.qos == Qos::AtMostOnce || wanted.auto_acknowledge;
        let waits = !acknowledged && !given.exhausted && !given.said && !delivery.late;
        source.in_flight = source.in_flight + usize::from(waits) - usize::from(given.in_flight);
        given.in_flight = waits;
    }

    /// A subscriber has said what becomes of some deliveries.
    pub fn settled(&mut self, (id, link, topic): (SubId, LinkId, TopicId), which: Which) {
        let sub = &mut self.all[id.0 as usize];
        let source = sub.sources.entry(topic).or_default();
        if let (Which::UpTo(last), false) = (which, sub.wanted.shared) {
            source.floor = source.floor.max(last.plus(1));
        }
        let in_flight = &mut source.in_flight;
        // "Everything up to" means, of a shared subscription, what this member got.
        let own = matches!(which, Which::UpTo(_)) && sub.wanted.shared;
        let named = source.given.iter_mut().filter(|(id, given)| which.names(**id, given));
        for (message, given) in named.filter(|(_, given)| !own || given.link == link) {
            *in_flight -= usize::from(given.in_flight);
            given.in_flight = false;
            if !matches!(which, Which::Refused(..)) {
                (given.settled, given.said) = (true, true);
                self.said.push((link, id, topic, *message));
            }
        }
    }

    /// Time has passed.
    pub fn at(&mut self, now: Instant) {
        self.now = now;
    }

    /// The broker has come to everything that it has read from links that it goes on reading.
    pub fn handled(&mut self, reads: impl Fn(LinkId) -> bool) {
        let Subs { all, said, now, .. } = self;
        said.retain(|(link, sub, topic, message)| {
            let handled = reads(*link);
            let source = all[sub.0 as usize].sources.get_mut(topic);
            if let Some(given) = source.and_then(|source| source.given.get_mut(message)).filter(|_| handled) {
                given.settled_at.get_or_insert(*now);
            }
            !handled
        });
    }

    /// A connection is gone.
    pub fn detach(&mut self, id: SubId, link: LinkId) {
        let now = self.now;
        self.of_mut(id).lost.push(now);
        self.end(id, link);
    }

    /// A connection goes on without the subscription: what was under way to it is seen when it comes.
    pub fn leave(&mut self, id: SubId, link: LinkId) {
        let now = self.now;
        let sub = self.of_mut(id);
        sub.left.insert(link, now);
        if sub.deleted {
            (sub.gone_at, sub.back) = (Some(now), false);
        }
        self.end(id, link);
    }

    /// A connection is gone that the subscription had left: what was under way then may not have been seen.
    pub fn vanished(&mut self, id: SubId, link: LinkId) {
        let (now, grace) = (self.now, self.grace);
        let sub = self.of_mut(id);
        sub.lost.extend(sub.left.remove(&link).filter(|left| now < *left + grace));
    }

    fn end(&mut self, id: SubId, link: LinkId) {
        self.said.retain(|said| said.0 != link || said.1 != id);
        let sub = self.of_mut(id);
        sub.credit.remove(&link);
        sub.held.remove(&link);
        if sub.key.is_none() {
            sub.alive = false;
        }
        for source in sub.sources.values_mut() {
            source.front.remove(&link);
            for given in source.given.values_mut().filter(|given| given.link == link && given.in_flight) {
                given.in_flight = false;
                source.in_flight -= 1;
            }
        }
    }

    /// Deletions that were said since `exposed` may not have outlived the process: the log may not have them.
    pub fn doubt_deletions(&mut self, exposed: Option<Instant>) {
        for sub in &mut self.all {
            sub.back |= exposed.is_some_and(|since| sub.gone_at.is_some_and(|said| said >= since));
        }
    }

    /// The process has ended. `remembers`: what was settled before then is remembered; `None`: nothing is for sure.
    pub fn process_ended(&mut self, remembers: Option<Instant>) {
        let (now, grace) = (self.now, self.grace);
        for sub in &mut self.all {
            sub.count_attempts(now, grace);
            sub.alive &= sub.key.is_some();
            sub.credit.clear();
            sub.held.clear();
            for source in sub.sources.values_mut() {
                source.front.clear();
                source.in_flight = 0;
                source.given.values_mut().for_each(|given| given.process_ended(remembers));
            }
        }
    }
}

impl Sub {
    /// A new process begins to count anew. What the last one gave up it does not give again, also when the last
    /// attempts were under way to connections that were lost, and not seen there.
    fn count_attempts(&mut self, now: Instant, grace: Duration) {
        let (lost, most) = (&self.lost, usize::from(self.wanted.attempts_max));
        let tried = self.sources.values_mut().flat_map(|source| source.given.values_mut());
        for given in tried.filter(|given| given.times > 0) {
            let unseen = lost.iter().filter(|at| **at < now && **at + grace > given.at).count();
            given.exhausted |= usize::from(given.attempt) + unseen >= most;
        }
    }
}

impl Which {
    fn names(self, id: MessageId, given: &Given) -> bool {
        match (self, given.offset.filter(|_| given.qos == Qos::AtLeastOnce)) {
            (Which::One(one), _) => one == id,
            (Which::Range(first, last) | Which::Refused(first, last), Some(at)) => first <= at && at <= last,
            (Which::UpTo(last), Some(at)) => at <= last,
            (_, None) => false,
        }
    }
}

impl Given {
    fn first(link: LinkId) -> Given {
        Given {
            qos: Qos::AtMostOnce,
            offset: None,
            link,
            attempt: 0,
            at: Instant::default(),
            times: 0,
            in_flight: false,
            said: false,
            settled_at: None,
            settled: false,
            exhausted: false,
        }
    }

    fn process_ended(&mut self, remembers: Option<Instant>) {
        (self.in_flight, self.times, self.attempt) = (false, 0, 0);
        self.settled_at = self.settled_at.filter(|at| remembers.is_some_and(|from| *at < from));
        self.said = self.settled_at.is_some();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOPIC: TopicId = TopicId(0);
    const GRACE: Duration = Duration::from_millis(1);

    fn key() -> SubKey {
        SubKey::Named { pattern: b"t0".to_vec(), name: "s".into() }
    }

    fn subs(attempts_max: u16) -> (Subs, SubId) {
        let mut subs = Subs::new(GRACE);
        let id = subs.wanted(Some(key()), wanted(attempts_max));
        (subs, id)
    }

    fn wanted(attempts_max: u16) -> Wanted {
        Wanted {
            version: 2,
            qos: Qos::AtLeastOnce,
            shared: true,
            auto_acknowledge: false,
            attempts_max,
            retry: Duration::from_millis(10),
            dead_letter: None,
            topics: vec![TOPIC],
            spread: false,
        }
    }

    fn ms(ms: u64) -> Instant {
        Instant(ms * 1_000_000)
    }

    fn give(subs: &mut Subs, at: Instant, (sub, link): (SubId, u32), attempt: u16, late: bool) {
        let (link, id, qos, offset) = (LinkId(link), MessageId(0), Qos::AtLeastOnce, Some(Offset(0)));
        let (attempt, redelivery) = (Some(attempt), attempt > 1);
        subs.delivered(at, &Delivery { sub, link, topic: TOPIC, id, qos, offset, attempt, redelivery, late });
    }

    fn given(subs: &Subs, id: SubId) -> &Given {
        &subs.of(id).sources[&TOPIC].given[&MessageId(0)]
    }

    #[test]
    fn what_comes_to_a_member_that_has_left_is_an_attempt_and_in_flight_to_nobody() {
        let (mut subs, id) = subs(3);
        give(&mut subs, ms(1), (id, 1), 1, false);
        assert_eq!(subs.of(id).sources[&TOPIC].in_flight, 1);
        subs.at(ms(20));
        subs.leave(id, LinkId(2));
        give(&mut subs, ms(20), (id, 2), 2, true);
        assert_eq!((subs.of(id).sources[&TOPIC].in_flight, given(&subs, id).attempt), (0, 2));
        assert!(!given(&subs, id).exhausted && subs.of(id).lost.is_empty());
    }

    #[test]
    fn what_was_under_way_to_a_member_that_left_may_be_lost_with_its_connection_soon_after() {
        for (closed, unseen) in [(20, 1), (22, 0)] {
            let (mut subs, id) = subs(3);
            subs.at(ms(20));
            subs.leave(id, LinkId(2));
            subs.at(ms(closed));
            subs.vanished(id, LinkId(2));
            assert_eq!(subs.of(id).lost.len(), unseen);
        }
    }

    #[test]
    fn attempts_that_a_lost_connection_did_not_show_exhaust_a_record_for_the_next_process_too() {
        for (attempts_max, exhausted) in [(2, true), (3, false)] {
            let (mut subs, id) = subs(attempts_max);
            give(&mut subs, ms(1), (id, 1), 1, false);
            subs.at(ms(20));
            subs.detach(id, LinkId(2));
            subs.at(ms(40));
            subs.process_ended(None);
            assert_eq!((given(&subs, id).exhausted, given(&subs, id).attempt), (exhausted, 0));
        }
    }

    #[test]
    fn of_two_sessions_of_a_key_the_second_is_owed_what_comes_while_it_is_held() {
        let mut subs = Subs::new(GRACE);
        let key = || SubKey::Session { client: 0, topic: TOPIC };
        let first = subs.session(key(), wanted(3), false);
        assert_eq!((subs.session(key(), wanted(3), false), subs.of(first).split), (first, false));
        subs.of_mut(first).held.insert(LinkId(1), ms(1));
        let second = subs.session(key(), wanted(3), true);
        assert!(second != first && subs.of(first).split && !subs.of(second).split);
        let third = subs.session(key(), wanted(3), false);
        assert!(third == second && subs.of(third).split, "it may be either");
    }

    #[test]
    fn a_deletion_is_undone_only_by_a_crash_that_may_have_taken_it() {
        let (mut subs, id) = subs(3);
        subs.delete(id);
        assert!(subs.of(id).back, "nothing was said of it yet");
        subs.at(ms(5));
        subs.leave(id, LinkId(1));
        for (exposed, back) in [(None, false), (Some(ms(6)), false), (Some(ms(5)), true)] {
            subs.doubt_deletions(exposed);
            assert_eq!(subs.of(id).back, back);
        }
        let next = subs.wanted(Some(key()), wanted(3));
        assert_eq!(subs.of(next).before, Some(id));
    }
}
