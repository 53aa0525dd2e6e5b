//! Subscriptions to one partition: made with a cursor and written down, removed with it.

use std::time::Duration;

use super::Core;
use super::refusal::Refusal;
use super::serving::Serving;
use super::stats::Reason;
use super::subscribe::SubscribeOptions;
use crate::broker::{Cursor, Durability, InFlight, Redelivery, RetryPolicy, Subscription};
use crate::model::{Backoff, Lsn, Offset, Qos, StartAt, SubscriptionId};
use crate::wal::{Entry, SubscriptionMeta};

impl Core {
    pub(super) fn new_subscription(
        &mut self,
        partition: usize,
        options: &SubscribeOptions,
        start: StartAt,
    ) -> Result<usize, Refusal> {
        if self.subscriptions.len() >= self.options.limits.subscriptions_max {
            return Err(Refusal::limit(Reason::SubscriptionLimit, "too many subscriptions"));
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
