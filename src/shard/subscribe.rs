//! Subscriptions begin and end: whose they are, where they start, which shards serve them.

use super::Core;
use super::confirm::{Confirmation, Confirmed, Entries};
use super::letter::{Ending, ForeignSubscribe, Letter};
use super::link::{Binding, LinkIndex, SourceSlot};
use super::receive::Flow;
use super::refusal::Refusal;
use super::serving::Serving;
use super::session::{Conn, Hold, Route, Share, Subscribed};
use super::stats::Reason;
use crate::broker::{Cursor, Durability, InFlight, Member, Redelivery, RetryPolicy, Subscription};
use crate::model::{
    Backoff, ConnId, Lsn, Offset, Pattern, Qos, ShardId, StartAt, SubscriptionId, SubscriptionMode, TopicName,
};
use crate::protocol::ErrorCode;
use crate::protocol::native::reply;
use crate::protocol::native::request::SubscribeWith;
use crate::wal::{Entry, SubscriptionMeta};

use std::time::Duration;

/// What a client wants of a subscription.
#[derive(Clone, Debug)]
pub struct SubscribeOptions {
    pub qos: Qos,
    pub mode: SubscriptionMode,
    /// Settled when sent.
    pub auto_settle: bool,
    pub start: StartAt,
    pub credit_messages: u64,
    pub credit_bytes: u64,
    /// Zero: the broker's default.
    pub retry_delay_ms: u32,
    pub max_retries: Option<u16>,
    /// Empty: not durable. With `session`, what the names of this key's sessions begin with.
    pub name: String,
    pub dead_letter: Option<TopicName>,
    /// A version 1 QoS 1 subscription: takes over a session of its key that nobody holds.
    pub session: bool,
    /// Version 1: delivered on POLL.
    pub polled: bool,
    /// Several shards serve it.
    pub spread: bool,
}

impl SubscribeOptions {
    /// QoS 1 from the latest record on, exclusive or shared, with the broker's defaults and no credit; durable if it has
    /// a name.
    pub(super) fn plain(name: String, mode: SubscriptionMode) -> SubscribeOptions {
        SubscribeOptions {
            qos: Qos::AtLeastOnce,
            mode,
            auto_settle: false,
            start: StartAt::Latest,
            credit_messages: 0,
            credit_bytes: 0,
            retry_delay_ms: 0,
            max_retries: None,
            name,
            dead_letter: None,
            session: false,
            polled: false,
            spread: false,
        }
    }
}

/// A client's number for a source: the shard in the upper bits, its place in the binding in the lower ones.
pub(super) const SOURCE_BITS: u32 = 20;

/// What a shard answers to a subscribe: how many sources, and where the first begins.
pub type Bound = (u32, u64);

impl Core {
    /// Version 1: one topic, polled; durable by key and topic with QoS 1.
    pub(super) fn subscribe_v1(&mut self, conn: &mut Conn, correlation: u64, topic: &[u8], qos: Qos) -> Flow {
        let identity = conn.session.identity.as_ref().expect("an open session has an identity");
        let session = qos == Qos::AtLeastOnce;
        let name = if session { format!("v1:{}:", identity.name) } else { String::new() };
        let options = SubscribeOptions {
            qos,
            session,
            polled: true,
            ..SubscribeOptions::plain(name, SubscriptionMode::Exclusive)
        };
        let pattern = TopicName::parse(topic).and_then(|topic| Pattern::parse(topic.as_bytes()));
        let wanted = pattern.map(|pattern| (pattern, options)).map_err(Refusal::topic);
        self.subscribe(conn, correlation, wanted)
    }

    /// Version 2: a topic or a pattern, and all that can be said of a subscription.
    pub(super) fn subscribe_with(&mut self, conn: &mut Conn, correlation: u64, said: &SubscribeWith<'_>) -> Flow {
        let wanted = self.wanted(conn, said);
        self.subscribe(conn, correlation, wanted)
    }

    fn wanted(&self, conn: &Conn, said: &SubscribeWith<'_>) -> Result<(Pattern, SubscribeOptions), Refusal> {
        let pattern = Pattern::parse(said.pattern).map_err(Refusal::topic)?;
        let dead_letter = match said.dead_letter {
            [] => None,
            topic => Some(TopicName::parse(topic).map_err(Refusal::topic)?),
        };
        // What this subscription gives up goes there in the name of this key.
        dead_letter.iter().try_for_each(|topic| self.may_publish(conn, topic))?;
        let options = SubscribeOptions {
            qos: said.qos,
            mode: said.mode,
            auto_settle: said.auto_acknowledge,
            start: said.start,
            credit_messages: u64::from(said.credit_messages),
            credit_bytes: u64::from(said.credit_bytes),
            retry_delay_ms: said.retry_delay_ms,
            max_retries: said.max_retries,
            name: said.name.to_owned(),
            dead_letter,
            session: false,
            polled: false,
            spread: pattern.exact().is_none() && self.options.shards > 1,
        };
        Ok((pattern, options))
    }

    fn subscribe(
        &mut self,
        conn: &mut Conn,
        correlation: u64,
        wanted: Result<(Pattern, SubscribeOptions), Refusal>,
    ) -> Flow {
        match wanted.and_then(|(pattern, options)| self.try_subscribe(conn, correlation, pattern, options)) {
            Ok(flow) => flow,
            Err(refusal) => {
                self.refuse(conn.link, correlation, &refusal);
                Flow::Go
            }
        }
    }

    fn try_subscribe(
        &mut self,
        conn: &mut Conn,
        correlation: u64,
        pattern: Pattern,
        options: SubscribeOptions,
    ) -> Result<Flow, Refusal> {
        self.may_subscribe(conn, &pattern)?;
        let shards = match pattern.exact() {
            None => (0..self.options.shards).map(ShardId).collect(),
            Some(topic) => {
                let owner = self.owner(&topic);
                let route = if owner == self.options.shard { Route::Unknown } else { Route::There(owner) };
                if let Some(shard) = self.should_move(conn, route) {
                    return Ok(Flow::Hold(Hold::Moving(shard)));
                }
                vec![owner]
            }
        };
        conn.session.subscriptions.push(Some(Subscribed {
            pattern: pattern.clone(),
            pending: shards.len(),
            shards: shards.iter().map(|shard| Share { shard: *shard, spent_messages: 0, spent_bytes: 0 }).collect(),
            correlation,
            credit: (options.credit_messages, options.credit_bytes),
            sources: 0,
            next_offset: 0,
            refused: None,
        }));
        let subscription = conn.session.subscriptions.len() as u64;
        for shard in shards {
            if shard == self.options.shard {
                let outcome = self.bind(conn.link, subscription, pattern.clone(), options.clone());
                self.bound_here(conn, subscription, outcome);
            } else {
                let letter = Letter::Subscribe(Box::new(ForeignSubscribe {
                    conn: conn.id,
                    version: conn.session.version,
                    subscription,
                    pattern: pattern.clone(),
                    options: options.clone(),
                }));
                self.write_letter(shard, letter);
            }
        }
        Ok(Flow::Go)
    }

    fn may_subscribe(&self, conn: &Conn, pattern: &Pattern) -> Result<(), Refusal> {
        if self.drain.is_on() {
            return Err(Refusal::draining());
        }
        let open = conn.session.subscriptions.iter().flatten().count() + conn.session.leaving.len();
        if open >= self.options.limits.subscriptions_per_connection_max {
            return Err(Refusal::limit(Reason::SubscriptionLimit, "too many subscriptions on this connection"));
        }
        let identity = conn.session.identity.as_ref().expect("an open session has an identity");
        match identity.permissions.may_subscribe(pattern) {
            true => Ok(()),
            false => Err(Refusal::forbidden("subscribe to", pattern.as_str())),
        }
    }

    /// This shard's own part.
    fn bound_here(&mut self, conn: &mut Conn, subscription: u64, outcome: Result<(Bound, Entries), Refusal>) {
        let outcome = match outcome {
            Ok((bound, entries)) => {
                let (holder, what) = (self.options.shard, Confirmed::Begun(bound));
                let confirmation = Confirmation { holder, conn: conn.id, subscription, what, entries };
                if self.unless_waiting(confirmation).is_none() {
                    return;
                }
                Ok(bound)
            }
            Err(refusal) => Err(refusal),
        };
        self.subscribe_answered(conn, subscription, outcome);
    }

    pub(super) fn foreign_subscribed(
        &mut self,
        id: ConnId,
        subscription: u64,
        outcome: Result<Bound, (ErrorCode, String)>,
    ) {
        let Some(mut conn) = self.take_conn(id) else { return };
        let outcome = outcome.map_err(|(code, text)| Refusal::new(code, Reason::SubscriptionLimit, text));
        self.subscribe_answered(&mut conn, subscription, outcome);
        self.put_conn(conn);
        self.release(id, Hold::Subscribing);
    }

    /// One shard has answered; when all have, the client hears of it.
    fn subscribe_answered(&mut self, conn: &mut Conn, subscription: u64, outcome: Result<Bound, Refusal>) {
        let Some(state) = conn.session.subscription(subscription) else { return };
        state.pending -= 1;
        match outcome {
            Ok((sources, next)) => {
                state.sources += sources;
                state.next_offset = state.next_offset.max(next);
            }
            Err(refusal) => state.refused = Some(refusal),
        }
        if state.pending > 0 {
            return;
        }
        let correlation = state.correlation;
        if let Some(refusal) = state.refused.take() {
            self.refuse(conn.link, correlation, &refusal);
            self.end_subscription(conn, subscription, Ending::Undone);
            return;
        }
        // A shard that begins without credit would never deliver, and so never get any back: each begins with at least
        // one message and one byte.
        let shares = state.shards.len() as u64;
        let least = |credit: u64| if credit == 0 { 0 } else { credit.max(shares) };
        let (credit, subscribed) = (
            (least(state.credit.0), least(state.credit.1)),
            reply::Subscribed { subscription, next_offset: Offset(state.next_offset), sources: state.sources },
        );
        if conn.session.version == 1 {
            self.reply(conn.link, |out| reply::ack(out, correlation, subscription));
        } else {
            self.reply(conn.link, |out| reply::subscribed(out, correlation, &subscribed));
            self.credited(conn, correlation, subscription, credit.0, credit.1);
        }
    }

    /// UNSUBSCRIBE.
    pub(super) fn unsubscribe(&mut self, conn: &mut Conn, correlation: u64, subscription: u64, delete: bool) {
        if conn.session.subscription(subscription).is_none() {
            return self.refuse(conn.link, correlation, &Refusal::unknown("unknown subscription"));
        }
        if delete {
            return self.delete_subscription(conn, correlation, subscription);
        }
        self.end_subscription(conn, subscription, Ending::Left);
        self.reply(conn.link, |out| reply::ack(out, correlation, subscription));
    }

    /// Ends all shards' parts; answers with what that says in the logs of this one, if it has a part.
    pub(super) fn end_subscription(&mut self, conn: &mut Conn, subscription: u64, ending: Ending) -> Option<Entries> {
        let state = conn.session.subscriptions.get_mut(subscription as usize - 1)?.take()?;
        let mut here = None;
        for share in state.shards {
            if share.shard == self.options.shard {
                here = Some(self.unbind(conn.link, subscription, ending));
            } else {
                self.write_letter(share.shard, Letter::Unsubscribe { conn: conn.id, subscription, ending });
            }
        }
        here
    }

    /// Makes this shard's part of a subscription.
    pub(super) fn bind(
        &mut self,
        link: LinkIndex,
        id: u64,
        pattern: Pattern,
        options: SubscribeOptions,
    ) -> Result<(Bound, Entries), Refusal> {
        let exact = pattern.exact();
        let binding = Binding {
            id,
            auto_settle: options.auto_settle,
            polled: options.polled,
            credit_messages: 0,
            credit_bytes: 0,
            pattern: exact.is_none().then_some(pattern.clone()),
            spread: options.spread,
            options,
            sources: Vec::new(),
        };
        let start = binding.options.start;
        self.links[link].bindings.push(binding);
        let mut entries = Entries::default();
        let bound = match exact {
            Some(topic) => self.partition(&topic).and_then(|index| {
                let next = self.attach(link, id, index, start, &mut entries)?;
                Ok((1, next.0))
            }),
            None => self.attach_all(link, id, &pattern, start, &mut entries),
        };
        if bound.is_err() {
            self.unbind(link, id, Ending::Undone);
        }
        Ok((bound?, entries))
    }

    fn attach_all(
        &mut self,
        link: LinkIndex,
        id: u64,
        pattern: &Pattern,
        start: StartAt,
        entries: &mut Entries,
    ) -> Result<Bound, Refusal> {
        self.patterns.push((link, id));
        let binding = self.links[link].binding(id).expect("just bound");
        if let Some(key) = binding.pattern_key() {
            let options = binding.options.clone();
            self.may_know(&key, &options)?;
        }
        let matching: Vec<usize> =
            self.topics.iter().filter(|(topic, _)| pattern.matches(topic.as_str())).map(|(_, index)| *index).collect();
        let start = if self.is_known(link, id) { StartAt::Earliest } else { start };
        let mut next = 0;
        for (nth, index) in matching.iter().enumerate() {
            let begins = self.attach(link, id, *index, start, entries)?;
            next = if nth == 0 { begins.0 } else { next };
        }
        // After the cursors in what is there: a log that knows the pattern knows all that it is owed.
        self.know_pattern(link, id, entries);
        Ok((matching.len() as u32, next))
    }

    /// A durable subscription that is back: topics it has no cursor in came while nobody held it, so all of them is new.
    /// There are such only in logs that were written before they knew patterns.
    fn is_known(&mut self, link: LinkIndex, id: u64) -> bool {
        let Some(binding) = self.links[link].binding(id) else { return false };
        if binding.pattern_key().is_some_and(|key| self.known_patterns.contains_key(&key)) {
            return true;
        }
        let Some(binding) = self.links[link].binding(id) else { return false };
        let name = binding.options.name.clone();
        let known = |serving: &Serving| serving.sub.is_durable() && serving.sub.name == name;
        !name.is_empty() && self.subscriptions.iter().any(|(_, serving)| known(serving))
    }

    /// A new topic joins the subscriptions whose pattern it matches, from its first record.
    pub(super) fn join_patterns(&mut self, index: usize) {
        for at in 0..self.patterns.len() {
            let (link, id) = self.patterns[at];
            let topic = self.partitions[index].topic.clone();
            let Some(binding) = self.links[link].binding(id) else { continue };
            if binding.pattern.as_ref().is_some_and(|pattern| pattern.matches(topic.as_str())) {
                // Nobody waits for what this says in the log: it stands there before all that comes to the topic.
                let mut entries = Entries::default();
                if let Err(refusal) = self.attach(link, id, index, StartAt::Earliest, &mut entries) {
                    log::warn!("topic {topic} cannot join a pattern subscription: {}", refusal.text);
                    self.stats.refused[refusal.reason as usize] += 1;
                }
            }
        }
    }

    /// Joins, or makes, the subscription of a binding to one partition; returns where it begins. What must be committed
    /// before anybody is told goes into `entries`.
    fn attach(
        &mut self,
        link: LinkIndex,
        id: u64,
        partition: usize,
        start: StartAt,
        entries: &mut Entries,
    ) -> Result<Offset, Refusal> {
        let options = self.links[link].binding(id).expect("just bound").options.clone();
        let known = self.find_subscription(partition, &options)?;
        let index = match known {
            Some(index) => index,
            None => self.new_subscription(partition, &options, start)?,
        };
        let serial = self.next_serial();
        let source = u32::from(self.options.shard.0) << SOURCE_BITS;
        let binding = self.links[link].binding(id).expect("just bound");
        let member = Member {
            serial,
            link,
            binding: id,
            source: source | binding.sources.len() as u32,
            auto_settle: binding.auto_settle,
        };
        binding.sources.push(SourceSlot { subscription: Some(index), announced: false, fresh: known.is_none() });
        let serving = &mut self.subscriptions[index];
        serving.detached = None;
        serving.sub.members.push(member);
        if serving.sub.logged_id().is_some() {
            entries.add(self.partitions[partition].log, serving.logged);
        }
        let next = serving.sub.cursor.floor();
        self.make_ready(index);
        self.arm_subscription(index);
        Ok(next)
    }

    /// An existing subscription that fits what is wanted.
    fn find_subscription(&self, partition: usize, options: &SubscribeOptions) -> Result<Option<usize>, Refusal> {
        if options.name.is_empty() {
            return Ok(None);
        }
        let conflict = |text| Err(Refusal::new(ErrorCode::Conflict, Reason::BadRequest, text));
        for index in &self.partitions[partition].subscriptions {
            let sub = &self.subscriptions[*index].sub;
            if options.session {
                let ours = matches!(sub.durability, Durability::Session { .. }) && sub.name.starts_with(&options.name);
                if ours && sub.members.is_empty() {
                    return Ok(Some(*index));
                }
            } else if sub.name == options.name {
                return match (sub.mode == options.mode, sub.mode) {
                    (false, _) => conflict("the subscription has another mode"),
                    (true, SubscriptionMode::Exclusive) if !sub.members.is_empty() => {
                        conflict("the subscription is exclusive and somebody holds it")
                    }
                    (true, _) => Ok(Some(*index)),
                };
            }
        }
        Ok(None)
    }

    fn new_subscription(
        &mut self,
        partition: usize,
        options: &SubscribeOptions,
        start: StartAt,
    ) -> Result<usize, Refusal> {
        if self.subscriptions.len() >= self.options.limits.subscriptions_max {
            return Err(Refusal::limit(Reason::SubscriptionLimit, "too many subscriptions"));
        }
        if options.name.len() > TopicName::MAX {
            return Err(Refusal::bad("subscription name is too long"));
        }
        let durable = !options.name.is_empty() && options.qos == Qos::AtLeastOnce;
        if let Some(log) = self.logs.get(self.partitions[partition].log).filter(|_| durable) {
            log.takes("subscribe")?;
        }
        Ok(self.make_subscription(partition, options, self.start_offset(partition, start)))
    }

    /// A subscription that there is room for.
    pub(super) fn make_subscription(&mut self, partition: usize, options: &SubscribeOptions, begins: Offset) -> usize {
        let mut sub = self.idle(partition, options, Cursor::new(begins));
        if options.name.is_empty() || options.qos == Qos::AtMostOnce {
            return self.add_subscription(sub);
        }
        let logged = self.make_durable(&mut sub, options);
        let index = self.add_subscription(sub);
        self.subscriptions[index].logged = logged;
        index
    }

    /// As somebody wants it who does not hold it yet: it begins at its cursor, and nothing of it is written down.
    pub(super) fn idle(&mut self, partition: usize, options: &SubscribeOptions, cursor: Cursor) -> Subscription {
        Subscription {
            name: options.name.clone(),
            serial: self.next_serial(),
            partition,
            qos: options.qos,
            mode: options.mode,
            durability: Durability::Ephemeral,
            retry: self.retry_policy(partition, options),
            in_flight_max: self.options.limits.in_flight_max,
            next: cursor.floor(),
            cursor,
            volatile_next: self.partitions[partition].volatile.next(),
            in_flight: InFlight::default(),
            redelivery: Redelivery::default(),
            burying: InFlight::default(),
            members: Vec::new(),
            turn: 0,
            counters: Default::default(),
        }
    }

    pub(super) fn add_subscription(&mut self, sub: Subscription) -> usize {
        let partition = sub.partition;
        let index = self.subscriptions.insert(Serving::new(sub));
        self.partitions[partition].subscriptions.push(index);
        index
    }

    pub(super) fn start_offset(&self, partition: usize, start: StartAt) -> Offset {
        let partition = &self.partitions[partition];
        let wanted = match start {
            StartAt::Latest => partition.next(),
            StartAt::Earliest => partition.start,
            StartAt::Offset(offset) => offset,
            StartAt::Time(time) => match partition.id {
                Some(id) => self.logs[partition.log].log.offset_at(id, time),
                None => partition.start,
            },
        };
        wanted.clamp(partition.start, partition.next())
    }

    pub(super) fn retry_policy(&self, partition: usize, options: &SubscribeOptions) -> RetryPolicy {
        let topic = &self.partitions[partition].topic;
        let default = self.options.retry;
        let base = match options.retry_delay_ms {
            0 => default.base,
            ms => Duration::from_millis(u64::from(ms)),
        };
        let dead_letter = options.dead_letter.clone().or_else(|| self.options.topics.dead_letter(topic));
        RetryPolicy {
            backoff: Backoff { base, cap: default.cap.max(base) },
            max_retries: options.max_retries.unwrap_or(self.options.max_retries),
            // A dead letter that is not settled either does not go round in circles.
            dead_letter: dead_letter.filter(|dead| dead != topic),
        }
    }

    /// Writes a durable subscription down; answers with where its entry ends.
    fn make_durable(&mut self, sub: &mut Subscription, options: &SubscribeOptions) -> Lsn {
        let id = self.has_logs().then(|| self.log_subscription_id(sub.partition));
        sub.durability = match options.session {
            true => Durability::Session { id },
            false => Durability::Named { id },
        };
        if options.session {
            // The log's number is unique in the log; without a log, this core's serial is.
            let unique = id.map_or(sub.serial, |id| u64::from(id.0));
            sub.name = format!("{}{unique}", options.name);
        }
        let Some(id) = id else { return Lsn::ZERO };
        let partition = self.logged_partition(sub.partition);
        let meta = SubscriptionMeta {
            partition,
            name: sub.name.clone(),
            mode: sub.mode,
            start: sub.cursor.floor(),
            retry_delay_ms: options.retry_delay_ms,
            max_retries: options.max_retries,
            dead_letter: options.dead_letter.clone(),
            session: options.session,
            created_at: self.now.timestamp(),
        };
        let log = self.partitions[sub.partition].log;
        self.logs[log].log.append(self.now, Entry::Subscription { id, meta })
    }

    fn log_subscription_id(&mut self, partition: usize) -> SubscriptionId {
        let log = self.partitions[partition].log;
        self.logs[log].log.new_subscription_id()
    }

    /// Ends this shard's part of a connection's subscription; answers with what that says in the logs.
    pub(super) fn unbind(&mut self, link: LinkIndex, id: u64, ending: Ending) -> Entries {
        let mut entries = Entries::default();
        let bindings = &mut self.links[link].bindings;
        let Ok(at) = bindings.binary_search_by_key(&id, |binding| binding.id) else { return entries };
        let binding = bindings.remove(at);
        if binding.pattern.is_some() {
            self.patterns.retain(|joined| *joined != (link, id));
        }
        let key = binding.pattern_key();
        let goes = match (ending, &key) {
            (Ending::Left, _) => false,
            (Ending::Deleted, _) => true,
            (Ending::Undone, Some(key)) => self.is_of_maker(key, link, id),
            (Ending::Undone, None) => false,
        };
        if let Some(key) = key.filter(|_| goes)
            && !self.is_held(&key)
        {
            self.forget_pattern(&key, &mut entries);
        }
        for (index, fresh) in binding.sources.iter().filter_map(|source| Some((source.subscription?, source.fresh))) {
            self.leave(index, link, id);
            let goes = goes && (fresh || ending == Ending::Deleted);
            if goes && self.subscriptions.get(index).is_some_and(|serving| serving.sub.members.is_empty()) {
                if let Some((log, end)) = self.remove_subscription(index) {
                    entries.add(log, end);
                }
            }
        }
        entries
    }

    /// Ends everything that a link subscribes to on this shard.
    pub(super) fn detach_link(&mut self, link: LinkIndex) {
        while let Some(id) = self.links[link].bindings.last().map(|binding| binding.id) {
            self.unbind(link, id, Ending::Left);
        }
        self.forget_confirmations(self.links[link].conn);
    }

    fn leave(&mut self, index: usize, link: LinkIndex, binding: u64) {
        let serving = &mut self.subscriptions[index];
        let of_binding = |member: &&Member| member.link == link && member.binding == binding;
        let Some(member) = serving.sub.members.iter().find(of_binding).copied() else { return };
        serving.sub.leave(self.now, member.serial);
        serving.place = None;
        if !serving.sub.members.is_empty() {
            return self.make_ready(index);
        }
        serving.detached = Some(self.now);
        let waiting = serving.history.drain(..).map(|held| held.bytes.len()).sum::<usize>();
        self.memory.history -= waiting;
        if serving.sub.durability == Durability::Ephemeral {
            self.remove_subscription(index);
        }
    }

    /// Removes a subscription, and its cursor from the log; answers with where the entry ends that says so.
    pub(super) fn remove_subscription(&mut self, index: usize) -> Option<(usize, Lsn)> {
        let serving = self.subscriptions.remove(index);
        let sub = serving.sub;
        self.memory.history -= serving.history.iter().map(|held| held.bytes.len()).sum::<usize>();
        self.stats.missed += sub.counters.missed;
        self.reads.remove(&sub.serial);
        let partition = &mut self.partitions[sub.partition];
        partition.subscriptions.retain(|other| *other != index);
        let log = partition.log;
        let ended =
            sub.logged_id().map(|id| (log, self.logs[log].log.append(self.now, Entry::SubscriptionDeleted { id })));
        for member in &sub.members {
            if let Some(binding) = self.links.get_mut(member.link).and_then(|link| link.binding(member.binding)) {
                binding.sources.iter_mut().for_each(|source| {
                    if source.subscription == Some(index) {
                        source.subscription = None;
                    }
                });
            }
        }
        self.touched.push(sub.partition);
        self.release_unread(sub.partition);
        ended
    }

    /// Without a log, records that nobody subscribes to are nobody's.
    fn release_unread(&mut self, index: usize) {
        let partition = &mut self.partitions[index];
        if !partition.subscriptions.is_empty() {
            return self.trim_settled(index);
        }
        if !self.has_logs() {
            let partition = &mut self.partitions[index];
            let end = partition.next();
            self.memory.tail -= partition.tail.forget_before(end);
            partition.start = end;
        }
    }
}
