//! SUBSCRIBE: what a client wants, which shards serve it, and what they have answered.

use super::Core;
use super::bind::Bound;
use super::confirm::{Confirmation, Confirmed, Entries};
use super::letter::{Ending, ForeignSubscribe, Letter};
use super::receive::Flow;
use super::refusal::Refusal;
use super::session::{Conn, Hold, Route, Share, Subscribed};
use super::stats::Reason;
use crate::model::{ConnId, Limits, Offset, Pattern, Qos, ShardId, StartAt, SubscriptionMode, TopicName};
use crate::protocol::ErrorCode;
use crate::protocol::native::reply;
use crate::protocol::native::request::SubscribeWith;

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
        if options.name.len() > Limits::SUBSCRIPTION_NAME_MAX {
            return Err(Refusal::bad("the subscription's name is longer than 512 bytes"));
        }
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
}
