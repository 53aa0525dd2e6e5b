//! A message goes in: into the QoS 0 stream of its partition, or into the log.

use bytes::{Bytes, BytesMut};

use super::Core;
use super::letter::{ForeignPublish, Letter};
use super::link::LinkIndex;
use super::receive::{Flow, needs_log};
use super::refusal::Refusal;
use super::session::{Alias, Conn, Hold, Route};
use super::stats::Reason;
use crate::broker::Held;
use crate::model::record_batch::{self, BatchHeader};
use crate::model::{ConnId, Instant, Limits, Offset, OverflowPolicy, Qos, ShardId, TopicName};
use crate::protocol::ErrorCode;
use crate::protocol::native::reply::{self, Published, Reached};
use crate::protocol::native::request::{Publish, PublishBatch};

/// Version 1 PUBLISH frames to one topic that came one after another: they become one batch.
#[derive(Debug)]
pub struct Run {
    target: Target,
    qos: Qos,
    from: Publisher,
}

#[derive(Debug, Clone)]
enum Target {
    Here(usize),
    There(ShardId, TopicName),
}

/// Who published, to be told what became of it.
#[derive(Debug, Clone, Copy)]
pub struct Publisher {
    pub link: LinkIndex,
    pub conn: ConnId,
    pub correlation: u64,
    /// Wants to hear of success.
    pub acknowledge: bool,
}

/// How a batch is to be published.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    pub qos: Qos,
    /// Zero: the topic's.
    pub ttl_ms: u32,
    /// Refuse when nobody subscribes.
    pub mandatory: bool,
}

/// Version 1 messages are joined up to this many bytes.
const RUN_MAX: usize = 48 * 1024;

impl Core {
    /// A version 1 PUBLISH.
    #[inline]
    pub(super) fn publish_single(&mut self, conn: &mut Conn, correlation: u64, publish: &Publish<'_>) -> Flow {
        let same_topic = conn.session.last.as_ref().is_some_and(|last| last.topic.as_bytes() == publish.topic);
        let same_run = same_topic && self.run.as_ref().is_some_and(|run| run.qos == publish.qos);
        if !same_run {
            match self.start_run(conn, correlation, publish, same_topic) {
                Ok(Flow::Go) => {}
                Ok(flow) => return flow,
                Err(refusal) => return self.decline(conn.link, correlation, &refusal),
            }
        }
        self.builder.push(self.now.timestamp(), publish.message);
        if self.builder.len() >= RUN_MAX {
            self.end_run();
        }
        Flow::Go
    }

    fn start_run(
        &mut self,
        conn: &mut Conn,
        correlation: u64,
        publish: &Publish<'_>,
        same_topic: bool,
    ) -> Result<Flow, Refusal> {
        self.end_run();
        if self.is_deaf(conn.link, false) {
            return Ok(Flow::Hold(Hold::Output));
        }
        if !same_topic {
            let topic = TopicName::parse(publish.topic).map_err(Refusal::topic)?;
            self.may_publish(conn, &topic)?;
            let route = self.locate(&topic)?;
            if let Some(shard) = self.should_move(conn, route) {
                return Ok(Flow::Hold(Hold::Moving(shard)));
            }
            conn.session.last = Some(Alias { topic, route });
        }
        let last = conn.session.last.as_mut().expect("just set, or the same as before");
        let target = match self.confirm(last)? {
            Route::Here(index) => Target::Here(index),
            Route::There(shard) => Target::There(shard, last.topic.clone()),
            Route::Unknown => unreachable!("confirm() answers"),
        };
        if let Some(hold) = self.admit(&target, publish.qos, publish.message.len())? {
            return Ok(Flow::Hold(hold));
        }
        let from = Publisher { link: conn.link, conn: conn.id, correlation, acknowledge: false };
        self.run = Some(Run { target, qos: publish.qos, from });
        Ok(Flow::Go)
    }

    /// Publishes the run that was being gathered.
    pub(super) fn end_run(&mut self) {
        let Some(run) = self.run.take() else { return };
        if self.builder.is_empty() {
            return;
        }
        let count = self.builder.count();
        match run.target {
            Target::Here(index) => {
                let base = self.next_offset(index, run.qos);
                let batch = self.builder.finish(base, None);
                self.append(index, run.qos, 0, batch, base, count, Some(run.from));
            }
            Target::There(shard, topic) => {
                let batch = self.builder.finish(Offset::ZERO, None);
                let terms = Terms { qos: run.qos, ttl_ms: 0, mandatory: false };
                self.forward(shard, topic, run.from, &terms, batch, 1);
            }
        }
    }

    /// The alias of a PUBLISH_BATCH, by its index, if it may be published to now.
    #[inline]
    pub(super) fn publish_alias(
        &mut self,
        conn: &mut Conn,
        correlation: u64,
        publish: &PublishBatch,
    ) -> Result<usize, Flow> {
        match self.try_publish_alias(conn, publish) {
            Ok((at, None)) => Ok(at),
            Ok((_, Some(hold))) => Err(Flow::Hold(hold)),
            Err(refusal) => Err(self.decline(conn.link, correlation, &refusal)),
        }
    }

    fn try_publish_alias(&mut self, conn: &mut Conn, publish: &PublishBatch) -> Result<(usize, Option<Hold>), Refusal> {
        let at = conn.session.find_alias(publish.alias).map_err(|_| Refusal::unknown("unknown topic alias"))?;
        if publish.partition != 0 {
            return Err(Refusal::unknown("unknown partition"));
        }
        if self.is_deaf(conn.link, publish.acknowledge) {
            return Ok((at, Some(Hold::Output)));
        }
        let alias = &mut conn.session.aliases[at].1;
        let target = match self.confirm(alias)? {
            Route::Here(index) => Target::Here(index),
            Route::There(shard) => Target::There(shard, alias.topic.clone()),
            Route::Unknown => unreachable!("confirm() answers"),
        };
        Ok((at, self.admit(&target, publish.qos, publish.batch.len())?))
    }

    /// Whether a publisher leaves so many answers unread that it is read no further. One that asks for no answers may
    /// still be refused; deliveries alone, which may be as large as a frame, do not hold it up.
    fn is_deaf(&self, link: LinkIndex, acknowledge: bool) -> bool {
        let limits = &self.options.limits;
        let deliveries = if acknowledge { 0 } else { limits.frame_max + limits.outbox_max };
        self.links[link].backlog() > limits.outbox_max + deliveries
    }

    /// Whether a publish may go on now, has to wait, or is refused.
    fn admit(&self, target: &Target, qos: Qos, bytes: usize) -> Result<Option<Hold>, Refusal> {
        if self.drain.is_on() {
            return Err(Refusal::draining());
        }
        match target {
            Target::Here(index) => self.admit_here(*index, qos, bytes),
            Target::There(shard, _) => {
                let busy = self.peers[shard.index()].outstanding >= self.options.limits.mesh_max;
                Ok(busy.then_some(Hold::Mesh(*shard)))
            }
        }
    }

    pub(super) fn admit_here(&self, index: usize, qos: Qos, bytes: usize) -> Result<Option<Hold>, Refusal> {
        if !needs_log(qos) {
            return Ok(None);
        }
        let limits = &self.options.limits;
        if self.is_short() {
            return Ok(Some(Hold::Memory));
        }
        let partition = &self.partitions[index];
        if self.has_logs() {
            let log = &self.logs[partition.log];
            log.accepts()?;
            return Ok((log.log.backlog() >= limits.log_backlog_max).then_some(Hold::Log(partition.log)));
        }
        let full = partition.tail.bytes() > 0 && partition.tail.bytes() + bytes > limits.memory_queue_max;
        match self.options.overflow {
            OverflowPolicy::Block if full => Ok(Some(Hold::Queue(index))),
            OverflowPolicy::DropNew if full => Err(Refusal::limit(Reason::QueueFull, "the topic's queue is full")),
            _ => Ok(None),
        }
    }

    /// A version 2 PUBLISH_BATCH, already split out of the input.
    pub(super) fn publish_batch(
        &mut self,
        conn: &mut Conn,
        correlation: u64,
        publish: &PublishBatch,
        alias: usize,
        batch: BytesMut,
    ) -> Flow {
        let from = Publisher { link: conn.link, conn: conn.id, correlation, acknowledge: publish.acknowledge };
        let terms = Terms { qos: publish.qos, ttl_ms: publish.ttl_ms, mandatory: publish.must_route };
        let header = match record_batch::check(&batch) {
            Ok(header) if header.count <= Limits::BATCH_RECORDS_MAX => header,
            Ok(_) => {
                let refusal = Refusal::new(ErrorCode::TooLarge, Reason::TooLarge, "too many records in one batch");
                self.refuse(conn.link, correlation, &refusal);
                return Flow::Go;
            }
            Err(error) => {
                let refusal = Refusal::new(ErrorCode::BadRequest, Reason::BadRequest, error.to_string());
                self.refuse(conn.link, correlation, &refusal);
                return Flow::Go;
            }
        };
        let alias = &conn.session.aliases[alias].1;
        match alias.route {
            Route::Here(index) => self.publish_here(index, from, &terms, &header, batch),
            Route::There(shard) => {
                self.forward(shard, alias.topic.clone(), from, &terms, batch.freeze(), 2);
            }
            Route::Unknown => unreachable!("confirmed before the batch was split out"),
        }
        Flow::Go
    }

    /// Publishes a checked batch to a partition of this shard.
    pub(super) fn publish_here(
        &mut self,
        index: usize,
        from: Publisher,
        terms: &Terms,
        header: &BatchHeader,
        mut batch: BytesMut,
    ) {
        if terms.mandatory && self.partitions[index].subscriptions.is_empty() {
            let refusal = Refusal::new(ErrorCode::Unknown, Reason::NoSubscribers, "no responders");
            return self.refuse(from.link, from.correlation, &refusal);
        }
        if needs_log(terms.qos) && header.producer.is_some() && !self.is_fresh(index, header, &from) {
            return;
        }
        let base = self.next_offset(index, terms.qos);
        record_batch::set_base_offset(&mut batch, base);
        self.append(index, terms.qos, terms.ttl_ms, batch.freeze(), base, header.count, Some(from));
    }

    fn next_offset(&self, index: usize, qos: Qos) -> Offset {
        let partition = &self.partitions[index];
        if needs_log(qos) { partition.next() } else { partition.volatile.next() }
    }

    /// Appends a batch whose base offset is set.
    #[allow(clippy::too_many_arguments)] // one batch, said once
    pub(super) fn append(
        &mut self,
        index: usize,
        qos: Qos,
        ttl_ms: u32,
        batch: Bytes,
        base: Offset,
        count: u32,
        from: Option<Publisher>,
    ) {
        self.stats.messages_published += u64::from(count);
        let partition = &mut self.partitions[index];
        partition.published += u64::from(count);
        let ttl_ms = if ttl_ms == 0 { partition.ttl_ms } else { u64::from(ttl_ms) };
        let expires_at = if ttl_ms == 0 { Instant::NEVER } else { self.now.plus_ms(ttl_ms) };
        let held = Held { base, count, expires_at, bytes: batch, at: self.now, own: false };
        if needs_log(qos) {
            self.stats.messages_published_qos1 += u64::from(count);
            self.append_durable(index, held, from);
        } else {
            self.append_volatile(index, held, from);
        }
    }

    fn append_volatile(&mut self, index: usize, held: Held, from: Option<Publisher>) {
        let published = (held.base, held.count);
        let partition = &mut self.partitions[index];
        if partition.subscriptions.is_empty() {
            partition.volatile = crate::broker::Tail::new(held.end());
        } else {
            self.memory.volatile += held.bytes.len();
            partition.volatile.push(held);
            self.touched.push(index);
            self.wake_partition(index);
        }
        if let Some(from) = from.filter(|from| from.acknowledge) {
            self.acknowledge(&from, published.0, published.1, Reached::Memory, false);
        }
    }

    /// PUBLISHED.
    pub(super) fn acknowledge(
        &mut self,
        to: &Publisher,
        base_offset: Offset,
        count: u32,
        reached: Reached,
        duplicate: bool,
    ) {
        if self.links.get(to.link).is_some_and(|link| link.conn == to.conn) {
            let published = Published { partition: 0, base_offset, count, reached, duplicate };
            self.reply(to.link, |out| reply::published(out, to.correlation, &published));
        }
    }

    fn forward(&mut self, shard: ShardId, topic: TopicName, from: Publisher, terms: &Terms, batch: Bytes, version: u8) {
        let letter = Letter::Publish(Box::new(ForeignPublish {
            conn: from.conn,
            version,
            correlation: from.correlation,
            topic,
            qos: terms.qos,
            acknowledge: from.acknowledge,
            mandatory: terms.mandatory,
            ttl_ms: terms.ttl_ms,
            batch,
        }));
        self.peers[shard.index()].outstanding += letter.weight();
        self.write_letter(shard, letter);
    }
}
