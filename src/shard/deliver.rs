//! A message goes out: from where it is held to who has room and credit for it, by the batch.

use super::Core;
use super::link::{Link, LinkIndex};
use crate::broker::{Due, Held, Member};
use crate::model::{Offset, Qos};
use crate::protocol::native::reply::{self, Deliver, Source};

/// What came of one try to deliver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Something moved: try again.
    Went,
    /// Nothing to deliver, or not yet.
    Rest,
}

/// What is delivered of one batch.
#[derive(Clone, Copy, Debug)]
struct Part {
    first: Offset,
    end: Offset,
    attempt: u16,
    qos: Qos,
}

impl Core {
    /// Puts a subscription into the list of those that may have something to deliver.
    #[inline]
    pub(super) fn make_ready(&mut self, index: usize) {
        if let Some(serving) = self.subscriptions.get_mut(index) {
            if !serving.queued {
                serving.queued = true;
                self.ready.push_back(index);
            }
        }
    }

    /// Something was appended to a partition, or committed.
    #[inline]
    pub(super) fn wake_partition(&mut self, index: usize) {
        for at in 0..self.partitions[index].subscriptions.len() {
            self.make_ready(self.partitions[index].subscriptions[at]);
        }
    }

    /// A link has room again.
    pub(super) fn wake_link(&mut self, index: LinkIndex) {
        for at in 0..self.links[index].bindings.len() {
            self.wake_binding(index, at);
        }
    }

    fn wake_binding(&mut self, index: LinkIndex, at: usize) {
        for source in 0..self.links[index].bindings[at].sources.len() {
            if let Some(subscription) = self.links[index].bindings[at].sources[source].subscription {
                self.make_ready(subscription);
            }
        }
    }

    /// More credit for this shard's part of a subscription.
    pub(super) fn give_credit(&mut self, link: LinkIndex, id: u64, messages: u64, bytes: u64) {
        let bindings = &mut self.links[link].bindings;
        let Ok(at) = bindings.binary_search_by_key(&id, |binding| binding.id) else { return };
        let binding = &mut bindings[at];
        binding.credit_messages = binding.credit_messages.saturating_add(messages);
        binding.credit_bytes = binding.credit_bytes.saturating_add(i64::try_from(bytes).unwrap_or(i64::MAX));
        self.wake_binding(link, at);
    }

    pub(super) fn deliver_ready(&mut self) {
        while let Some(index) = self.ready.pop_front() {
            let Some(serving) = self.subscriptions.get_mut(index) else { continue };
            if std::mem::take(&mut serving.queued) {
                while self.deliver_one(index) == Step::Went {}
                self.arm_subscription(index);
            }
        }
    }

    /// Delivers one batch, or a part of one, of what is due first.
    fn deliver_one(&mut self, index: usize) -> Step {
        let Some(serving) = self.subscriptions.get_mut(index) else { return Step::Rest };
        let partition = &self.partitions[serving.sub.partition];
        let due = match serving.sub.members.is_empty() {
            true => Due::Nothing,
            false => serving.sub.due(self.now, partition.start, partition.committed),
        };
        match due {
            Due::Dead(retry) => {
                if self.bury(index, retry) {
                    Step::Went
                } else {
                    self.deliver_volatile(index)
                }
            }
            Due::New { first, end } => self.deliver_range(index, first, end, 1),
            Due::Again(retry) => self.deliver_range(index, retry.first, retry.end, retry.attempts.saturating_add(1)),
            Due::Nothing => self.deliver_volatile(index),
        }
    }

    /// Delivers the first batch of a range of QoS 1 records.
    fn deliver_range(&mut self, index: usize, first: Offset, end: Offset, attempt: u16) -> Step {
        let Some(taker) = self.taker(index) else { return Step::Rest };
        let Some(held) = self.held(index, first) else {
            self.fetch(index, first);
            return self.deliver_volatile(index);
        };
        let sub = &self.subscriptions[index].sub;
        let part = Part { first, end: end.min(held.end()), attempt, qos: sub.qos };
        if held.expires_at <= self.now {
            self.expire(index, part);
            return Step::Went;
        }
        let sent = self.push_delivery(index, &taker, &held, part);
        let dice = self.roll();
        let serving = &mut self.subscriptions[index];
        if attempt > 1 {
            serving.sub.redelivery.take_front(sent.since(first));
            self.stats.messages_redelivered += sent.since(first);
        }
        serving.sub.delivered(self.now, first, sent, attempt, &taker, dice);
        self.settled_if_untracked(index, &taker);
        Step::Went
    }

    /// What needs no acknowledgement moves the cursor as it goes.
    pub(super) fn settled_if_untracked(&mut self, index: usize, taker: &Member) {
        let sub = &self.subscriptions[index].sub;
        if taker.auto_settle || sub.qos == Qos::AtMostOnce {
            self.cursor_moved(index);
        }
    }

    /// Records whose time is over are settled without being delivered.
    fn expire(&mut self, index: usize, part: Part) {
        self.stats.expired += part.end.since(part.first);
        self.subscriptions[index].sub.expire(part.first, part.end);
        self.cursor_moved(index);
    }

    /// Delivers one batch of the QoS 0 stream.
    fn deliver_volatile(&mut self, index: usize) -> Step {
        let sub = &self.subscriptions[index].sub;
        let volatile = &self.partitions[sub.partition].volatile;
        if sub.volatile_next >= volatile.next() {
            return Step::Rest;
        }
        let first = sub.volatile_next.max(volatile.first());
        let Some(taker) = self.taker(index) else { return Step::Rest };
        let sub = &self.subscriptions[index].sub;
        let Some(held) = self.partitions[sub.partition].volatile.at(first).cloned() else { return Step::Rest };
        let part = Part { first, end: held.end(), attempt: 1, qos: Qos::AtMostOnce };
        if held.expires_at <= self.now {
            self.stats.expired += part.end.since(first);
            let sub = &mut self.subscriptions[index].sub;
            sub.counters.expired += part.end.since(first);
            sub.volatile_next = part.end;
            return Step::Went;
        }
        let sent = self.push_delivery(index, &taker, &held, part);
        let sub = &mut self.subscriptions[index].sub;
        sub.counters.delivered += sent.since(first);
        sub.volatile_next = sent;
        Step::Went
    }

    /// The batch that holds a QoS 1 record: in the tail, or read back.
    pub(super) fn held(&self, index: usize, offset: Offset) -> Option<Held> {
        let serving = &self.subscriptions[index];
        let tail = &self.partitions[serving.sub.partition].tail;
        tail.at(offset).or_else(|| serving.remembered(offset)).cloned()
    }

    /// The next member with room and credit, going round.
    fn taker(&mut self, index: usize) -> Option<Member> {
        let most = self.options.limits.outbox_max;
        let short = self.is_short();
        let sub = &mut self.subscriptions[index].sub;
        let members = sub.members.len();
        for nth in 0..members {
            let at = (sub.turn + nth) % members;
            let member = sub.members[at];
            let link = &mut self.links[member.link];
            // At the memory bound nothing is added to what a socket has not taken.
            let room = link.has_room(most) && !(short && link.backlog() > 0);
            let Some(binding) = link.binding(member.binding) else { continue };
            if binding.polled || !binding.has_credit() {
                continue;
            }
            if room {
                sub.turn = (at + 1) % members;
                return Some(member);
            }
            link.wanted = true;
        }
        None
    }

    /// Writes a DELIVER frame: our header, and the batch as it is held. Returns the end of what was delivered, which
    /// is less than asked where credit is short.
    fn push_delivery(&mut self, index: usize, taker: &Member, held: &Held, part: Part) -> Offset {
        let shard_sub = &self.subscriptions[index].sub;
        let partition = shard_sub.partition;
        let link = &mut self.links[taker.link];
        let version_bytes = held.bytes.len();
        let binding = link.binding(taker.binding).expect("taker() found it");
        let end = part.end.min(part.first.plus(binding.credit_messages));
        let records = end.since(part.first);
        binding.credit_messages -= records;
        binding.credit_bytes -= (reply::DELIVER_FIELDS + version_bytes) as i64;
        let spread = binding.spread;
        let slot = (taker.source & ((1 << super::bind::SOURCE_BITS) - 1)) as usize;
        let announced = std::mem::replace(&mut binding.sources[slot].announced, true);
        if !announced {
            self.announce(taker, partition, part.first);
        }
        let deliver = Deliver {
            subscription: taker.binding,
            source: taker.source,
            qos: part.qos,
            redelivery: part.attempt > 1,
            attempt: part.attempt,
            first_offset: part.first,
            count: records as u32,
        };
        let head = reply::deliver_head(&deliver, version_bytes);
        self.push(taker.link, &head, held.bytes.clone());
        self.stats.messages_delivered += records;
        if part.attempt == 1 {
            self.time_delivery(held, records);
        }
        if spread {
            self.tell_spent(taker, records, (reply::DELIVER_FIELDS + version_bytes) as u64);
        }
        end
    }

    /// SOURCE: what the client may call the partition.
    fn announce(&mut self, taker: &Member, partition: usize, next_offset: Offset) {
        let partition = &self.partitions[partition];
        let source = Source {
            subscription: taker.binding,
            source: taker.source,
            partition: partition.number,
            next_offset,
            topic: partition.topic.as_str(),
        };
        let link: &mut Link = &mut self.links[taker.link];
        let before = link.written();
        link.write(|out| reply::source(out, &source));
        self.memory.output += link.written() - before;
        self.mark_dirty(taker.link);
    }

    /// Reads on in the log for a subscription behind the tail.
    pub(super) fn fetch(&mut self, index: usize, offset: Offset) {
        let serving = &mut self.subscriptions[index];
        if serving.reading.is_some() {
            return;
        }
        let partition = &self.partitions[serving.sub.partition];
        let (Some(id), Some(shard_log)) = (partition.id, self.logs.get_mut(partition.log)) else {
            return self.missing(index, offset, None);
        };
        let Some(place) = shard_log.log.find(id, offset) else { return self.missing(index, offset, None) };
        serving.reading = Some(offset);
        let serial = serving.sub.serial;
        self.reads.insert(serial, index);
        let action = shard_log.log.place_read(place, serial);
        self.actions.push_back(super::Action::Log { log: shard_log.id, action });
    }

    /// A record that should be there is not: said aloud, counted, and the subscription goes on after it.
    fn missing(&mut self, index: usize, offset: Offset, after: Option<Offset>) {
        let serving = &mut self.subscriptions[index];
        let partition = &mut self.partitions[serving.sub.partition];
        let in_log = || self.logs.get(partition.log)?.log.first_after(partition.id?, offset);
        let tail = partition.tail.first();
        let next = after.or_else(in_log).map_or(tail, |after| after.min(tail)).max(offset.plus(1));
        log::error!("topic {}: records {offset}..{next} are not in the log", partition.topic);
        serving.sub.counters.missed += next.since(offset);
        serving.sub.expire(offset, next);
        self.make_ready(index);
    }

    /// The bytes that a fetch asked for.
    pub(super) fn history_read(&mut self, log: usize, ticket: crate::wal::Ticket, serial: u64, bytes: &bytes::Bytes) {
        let Some(index) = self.reads.remove(&serial) else { return self.browse_read(log, ticket, serial, bytes) };
        let Some(wanted) = self.subscriptions[index].reading.take() else {
            self.logs[log].log.read_answered(ticket);
            return;
        };
        let serving = &mut self.subscriptions[index];
        let id = self.partitions[serving.sub.partition].id.expect("fetched by id");
        self.memory.history -= serving.history.iter().map(|held| held.bytes.len()).sum::<usize>();
        serving.history.clear();
        self.logs[log].take_read(ticket, id, bytes, &mut serving.history);
        self.tell_corruptions(log);
        let serving = &self.subscriptions[index];
        self.memory.history += serving.history.iter().map(|held| held.bytes.len()).sum::<usize>();
        if serving.remembered(wanted).is_none() {
            let after = serving.history.iter().map(|held| held.base).find(|base| *base > wanted);
            return self.missing(index, wanted, after);
        }
        self.make_ready(index);
        self.answer_waiting_polls(index);
    }

    /// Reads of a log that will not be answered.
    pub(super) fn forget_reads(&mut self, log: usize) {
        let Core { reads, subscriptions, partitions, .. } = self;
        reads.retain(|_, index| {
            let serving = &mut subscriptions[*index];
            let ours = partitions[serving.sub.partition].log == log;
            if ours {
                serving.reading = None;
            }
            !ours
        });
    }
}
