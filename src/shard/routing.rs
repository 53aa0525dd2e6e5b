//! Where a topic lives: here, or on another shard; and whether its connection should move there.

use super::Core;
use super::receive::Flow;
use super::refusal::Refusal;
use super::session::{Alias, Conn, Hold, Route};
use super::stats::Reason;
use crate::broker::Partition;
use crate::model::{Limits, Offset, ShardId, TopicName, placement};
use crate::protocol::native::reply;

impl Core {
    /// The shard of a topic, by the function that every restart agrees on.
    pub(super) fn owner(&self, topic: &TopicName) -> ShardId {
        placement::shard_of(placement::log_of(topic, 0, self.options.logs), self.options.shards)
    }

    /// Where a topic lives; makes it if it is this shard's and new.
    pub(super) fn locate(&mut self, topic: &TopicName) -> Result<Route, Refusal> {
        let owner = self.owner(topic);
        if owner != self.options.shard {
            return Ok(Route::There(owner));
        }
        self.partition(topic).map(Route::Here)
    }

    /// A route that is still true: a topic may have been deleted since it was asked for.
    #[inline]
    pub(super) fn confirm(&mut self, alias: &mut Alias) -> Result<Route, Refusal> {
        let known = match alias.route {
            Route::Here(index) => self.partitions.get(index).is_some_and(|partition| partition.topic == alias.topic),
            Route::There(_) => true,
            Route::Unknown => false,
        };
        if !known {
            alias.route = self.locate(&alias.topic)?;
        }
        Ok(alias.route)
    }

    /// The partition of a topic of this shard; makes it if it is new.
    pub(super) fn partition(&mut self, topic: &TopicName) -> Result<usize, Refusal> {
        if let Some(index) = self.topics.get(topic) {
            return Ok(*index);
        }
        if self.topics.len() >= self.options.limits.topics_max {
            return Err(Refusal::limit(Reason::TopicLimit, "too many topics"));
        }
        let owed = self.owed(topic)?;
        let log = placement::log_of(topic, 0, self.options.logs).index() / usize::from(self.options.shards);
        let partition = Partition::new(topic.clone(), 0, log, Offset::ZERO, Offset::ZERO);
        let index = self.add_partition(partition);
        self.begin_owed(index, owed);
        self.join_patterns(index);
        Ok(index)
    }

    pub(super) fn add_partition(&mut self, partition: Partition) -> usize {
        let topic = partition.topic.clone();
        let index = self.partitions.insert(partition);
        self.topics.insert(topic, index);
        self.set_ttl(index);
        index
    }

    /// What an operator set for the topic, or else what is configured.
    pub(super) fn set_ttl(&mut self, index: usize) {
        let partition = &mut self.partitions[index];
        partition.ttl_ms = match partition.ttl_set {
            0 => self.options.topics.ttl_ms(&partition.topic),
            set => set,
        };
    }

    /// A connection moves when the first topic it names lives elsewhere: what it does next is most likely to be about
    /// that topic. One that already uses other topics, or subscribes, stays, and its frames are forwarded.
    pub(super) fn should_move(&self, conn: &Conn, route: Route) -> Option<ShardId> {
        let Route::There(shard) = route else { return None };
        let session = &conn.session;
        let unattached = session.aliases.is_empty() && session.last.is_none() && session.subscriptions.is_empty();
        let may = unattached && session.moves < Limits::MOVES_MAX && !self.drain.is_on();
        may.then_some(shard)
    }

    /// ALIAS: a number for a topic.
    pub(super) fn alias(&mut self, conn: &mut Conn, correlation: u64, number: u32, topic: &[u8]) -> Flow {
        match self.try_alias(conn, number, topic) {
            Ok(Flow::Go) => self.reply(conn.link, |out| reply::aliased(out, correlation, number, 1)),
            Ok(flow) => return flow,
            Err(refusal) => self.refuse(conn.link, correlation, &refusal),
        }
        Flow::Go
    }

    fn try_alias(&mut self, conn: &mut Conn, number: u32, topic: &[u8]) -> Result<Flow, Refusal> {
        if number >= self.options.limits.aliases_max {
            return Err(Refusal::limit(Reason::AliasLimit, "alias is out of bounds"));
        }
        let topic = TopicName::parse(topic).map_err(Refusal::topic)?;
        self.may_publish(conn, &topic)?;
        let route = self.locate(&topic)?;
        if let Some(shard) = self.should_move(conn, route) {
            return Ok(Flow::Hold(Hold::Moving(shard)));
        }
        let alias = Alias { topic, route };
        match conn.session.find_alias(number) {
            Ok(at) => conn.session.aliases[at].1 = alias,
            Err(at) => conn.session.aliases.insert(at, (number, alias)),
        }
        Ok(Flow::Go)
    }

    pub(super) fn may_publish(&self, conn: &Conn, topic: &TopicName) -> Result<(), Refusal> {
        let identity = conn.session.identity.as_ref().expect("an open session has an identity");
        match identity.permissions.may_publish(topic) {
            true => Ok(()),
            false => Err(Refusal::forbidden("publish to", topic.as_str())),
        }
    }
}
