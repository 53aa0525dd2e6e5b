//! This shard's part of a subscription: the partitions that its topic or pattern names, each with its cursor.

use super::Core;
use super::confirm::Entries;
use super::letter::Ending;
use super::link::{Binding, LinkIndex, SourceSlot};
use super::refusal::Refusal;
use super::stats::Reason;
use super::subscribe::SubscribeOptions;
use crate::broker::{Durability, Member};
use crate::model::{Offset, Pattern, StartAt, SubscriptionMode};
use crate::protocol::ErrorCode;

/// A client's number for a source: the shard in the upper bits, its place in the binding in the lower ones.
pub(super) const SOURCE_BITS: u32 = 20;

/// What a shard answers to a subscribe: how many sources, and where the first begins.
pub type Bound = (u32, u64);

impl Core {
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
        !name.is_empty() && self.subscriptions.iter().any(|(_, serving)| serving.is_named(&name))
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
}
