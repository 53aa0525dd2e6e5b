//! Durable subscriptions to patterns: every log knows them, and a topic that comes later is owed to them.
//!
//! In a topic that is there, a durable subscription is a cursor. In one that comes later it is the word of the log: the
//! topic begins with a cursor of every pattern subscription that it matches, before anything is published to it and
//! whether or not anybody is there to take it. So every log of every shard has the pattern subscriptions, and who makes
//! one is told when all have committed it. What a log has forgotten, `learn` tells it again at a start.

use serde_json::{Value, json};

use super::Core;
use super::ask::{Page, Row};
use super::confirm::Entries;
use super::link::{Binding, LinkIndex};
use super::refusal::Refusal;
use super::stats::Reason;
use super::subscribe::SubscribeOptions;
use crate::broker::Durability;
use crate::model::{Limits, Lsn, Pattern, Qos, StartAt, SubscriptionMode, TopicName};
use crate::protocol::ErrorCode;
use crate::wal::{Entry, PatternKey, PatternMeta};

/// A durable pattern subscription, as this shard knows it.
#[derive(Debug)]
pub struct Known {
    pub(super) meta: PatternMeta,
    /// By log: where the entry ends that makes it durable there.
    logged: Vec<Lsn>,
    /// Who made it, as long as nobody else came to rely on it.
    maker: Option<(LinkIndex, u64)>,
}

impl Known {
    pub(super) fn new(meta: PatternMeta) -> Known {
        Known { meta, logged: Vec::new(), maker: None }
    }

    pub(super) fn note(&mut self, log: usize, end: Lsn) {
        self.logged.resize(self.logged.len().max(log + 1), Lsn::ZERO);
        self.logged[log] = end;
    }
}

impl Binding {
    /// What it is known by, if it is a durable subscription to a pattern.
    pub fn pattern_key(&self) -> Option<PatternKey> {
        let pattern = self.pattern.clone()?;
        let name = self.options.name.clone();
        let durable = !name.is_empty() && self.options.qos == Qos::AtLeastOnce;
        durable.then_some(PatternKey { name, pattern })
    }
}

impl Core {
    /// What a log that has come back knows.
    pub(super) fn restore_patterns(&mut self, log: usize) {
        let end = self.logs[log].log.appended();
        for (key, meta) in &self.logs[log].log.catalog().patterns {
            let known = self.known_patterns.entry(key.clone()).or_insert_with(|| Known::new(meta.clone()));
            known.note(log, end);
        }
    }

    /// Whether a durable pattern subscription may be made, or joined.
    pub(super) fn may_know(&self, key: &PatternKey, options: &SubscribeOptions) -> Result<(), Refusal> {
        match self.known_patterns.get(key) {
            Some(known) if known.meta.mode != options.mode => Err(other_mode()),
            Some(known) if known.meta == self.pattern_meta(key, options) => Ok(()),
            None if self.known_patterns.len() >= Limits::PATTERN_SUBSCRIPTIONS_MAX => {
                Err(Refusal::limit(Reason::SubscriptionLimit, "too many durable subscriptions to patterns"))
            }
            _ => self.logs.iter().try_for_each(|log| log.takes("subscribe")),
        }
    }

    fn pattern_meta(&self, key: &PatternKey, options: &SubscribeOptions) -> PatternMeta {
        let known = self.known_patterns.get(key);
        PatternMeta {
            mode: options.mode,
            retry_delay_ms: options.retry_delay_ms,
            max_retries: options.max_retries,
            dead_letter: options.dead_letter.clone(),
            created_at: known.map_or_else(|| self.now.timestamp(), |known| known.meta.created_at),
        }
    }

    /// Writes a durable pattern subscription down in all logs that do not have it as it is. What must be committed before
    /// anybody is told goes into `entries`.
    pub(super) fn know_pattern(&mut self, link: LinkIndex, id: u64, entries: &mut Entries) {
        let binding = self.links[link].binding(id).expect("just bound");
        let Some(key) = binding.pattern_key() else { return };
        let options = binding.options.clone();
        let meta = self.pattern_meta(&key, &options);
        let maker = if self.known_patterns.contains_key(&key) { None } else { Some((link, id)) };
        let known = self.known_patterns.entry(key.clone()).or_insert_with(|| Known::new(meta.clone()));
        (known.meta, known.maker) = (meta.clone(), maker);
        for (at, log) in self.logs.iter_mut().enumerate() {
            if log.log.catalog().patterns.get(&key) != Some(&meta) {
                let (key, meta) = (key.clone(), meta.clone());
                known.note(at, log.log.append(self.now, Entry::Pattern { key, meta }));
            }
            entries.add(at, known.logged[at]);
        }
    }

    /// No log knows it any more: topics that come later have no cursor of it.
    pub(super) fn forget_pattern(&mut self, key: &PatternKey, entries: &mut Entries) {
        self.known_patterns.remove(key);
        for (at, log) in self.logs.iter_mut().enumerate() {
            if log.log.catalog().patterns.contains_key(key) {
                entries.add(at, log.log.append(self.now, Entry::PatternDeleted { key: key.clone() }));
            }
        }
    }

    /// Whether a connection holds it.
    pub(super) fn is_held(&mut self, key: &PatternKey) -> bool {
        !self.holders(key).is_empty()
    }

    fn holders(&mut self, key: &PatternKey) -> Vec<(LinkIndex, u64)> {
        let links = &mut self.links;
        let mut holds = |(link, id): &(LinkIndex, u64)| {
            links[*link].binding(*id).and_then(|binding| binding.pattern_key()).as_ref() == Some(key)
        };
        self.patterns.iter().filter(|holder| holds(holder)).copied().collect()
    }

    /// Whether what a refused SUBSCRIBE has made here can go: nobody else relies on it.
    pub(super) fn is_of_maker(&self, key: &PatternKey, link: LinkIndex, id: u64) -> bool {
        self.known_patterns.get(key).is_none_or(|known| known.maker == Some((link, id)))
    }

    /// The durable pattern subscriptions that a new topic is owed to, one of each name. A topic that there is no room to
    /// owe to all of them is not made: what came to it would be missed.
    pub(super) fn owed(&self, topic: &TopicName) -> Result<Vec<(PatternKey, PatternMeta)>, Refusal> {
        let matching = self.known_patterns.iter().filter(|(key, _)| key.pattern.matches(topic.as_str()));
        let mut owed: Vec<_> = matching.map(|(key, known)| (key.clone(), known.meta.clone())).collect();
        owed.dedup_by(|(one, _), (other, _)| one.name == other.name);
        if !owed.is_empty() && self.subscriptions.len() + owed.len() > self.options.limits.subscriptions_max {
            let text = "too many subscriptions: those to patterns that the new topic matches would miss it";
            return Err(Refusal::limit(Reason::SubscriptionLimit, text));
        }
        Ok(owed)
    }

    /// A topic gets their cursors, each before its first record. A log that is full takes them as well: what is published
    /// later, when there is room, comes after them.
    pub(super) fn begin_owed(&mut self, partition: usize, owed: Vec<(PatternKey, PatternMeta)>) {
        let begins = self.partitions[partition].start;
        for (PatternKey { name, .. }, meta) in owed {
            let PatternMeta { mode, retry_delay_ms, max_retries, dead_letter, .. } = meta;
            let options = SubscribeOptions {
                retry_delay_ms,
                max_retries,
                dead_letter,
                start: StartAt::Earliest,
                ..SubscribeOptions::plain(name, mode)
            };
            let index = self.make_subscription(partition, &options, begins);
            self.subscriptions[index].detached = Some(self.now);
        }
    }
}

/// What operators ask and order.
impl Core {
    /// The pattern subscriptions of that name that a topic matches are forgotten; without `force`, only those that nobody
    /// holds.
    pub(super) fn forget_patterns(&mut self, topic: &TopicName, name: &str, force: bool) -> Result<Entries, Refusal> {
        let matches = |key: &&PatternKey| key.name == name && key.pattern.matches(topic.as_str());
        let keys: Vec<PatternKey> = self.known_patterns.keys().filter(matches).cloned().collect();
        let (mut entries, mut found) = (Entries::default(), false);
        for key in keys {
            if force || !self.is_held(&key) {
                self.forget_pattern(&key, &mut entries);
                found = true;
            }
        }
        if found { Ok(entries) } else { Err(Refusal::unknown("no such subscription")) }
    }

    /// A pattern subscription goes, with its cursors in all topics that it matches.
    pub(super) fn delete_pattern(&mut self, pattern: &Pattern, name: &str, force: bool) -> Result<Entries, Refusal> {
        let key = PatternKey { name: name.to_owned(), pattern: pattern.clone() };
        let holders = self.holders(&key);
        if !holders.is_empty() && !force {
            let text = format!("{} connections hold the subscription", holders.len());
            return Err(Refusal::new(ErrorCode::Conflict, Reason::BadRequest, text));
        }
        // Whoever still holds it gets nothing more, as with a cursor that is deleted by force.
        self.patterns.retain(|holder| !holders.contains(holder));
        let ours = |(index, serving): (usize, &super::serving::Serving)| {
            let sub = &serving.sub;
            let named = matches!(sub.durability, Durability::Named { .. }) && sub.name == name;
            let matches = pattern.matches(self.partitions[sub.partition].topic.as_str());
            (named && matches && (force || sub.members.is_empty())).then_some(index)
        };
        let cursors: Vec<usize> = self.subscriptions.iter().filter_map(ours).collect();
        if cursors.is_empty() && !self.known_patterns.contains_key(&key) {
            return Err(Refusal::unknown("no such subscription"));
        }
        let mut entries = Entries::default();
        for index in cursors {
            if let Some((log, end)) = self.remove_subscription(index) {
                entries.add(log, end);
            }
        }
        self.forget_pattern(&key, &mut entries);
        Ok(entries)
    }

    /// Pattern subscriptions by name and pattern; every shard has the same ones.
    pub(super) fn pattern_page(&mut self, page: &Page) -> Vec<Row> {
        let keyed = self.known_patterns.keys().map(|key| (format!("{}\0{}", key.name, key.pattern), key));
        let after = keyed.filter(|(row, _)| *row > page.after).take(page.most);
        let keys: Vec<(String, PatternKey)> = after.map(|(row, key)| (row, key.clone())).collect();
        let row = |(row, key): (String, PatternKey)| Row { key: row, value: self.pattern_row(&key) };
        keys.into_iter().map(row).collect()
    }

    fn pattern_row(&mut self, key: &PatternKey) -> Value {
        let members = self.holders(key).len();
        let meta = &self.known_patterns[key].meta;
        json!({
            "pattern": key.pattern.as_str(),
            "name": key.name,
            "mode": if meta.mode == SubscriptionMode::Shared { "shared" } else { "exclusive" },
            "members": members,
            "retry_delay_ms": meta.retry_delay_ms,
            "max_retries": meta.max_retries,
            "dead_letter": meta.dead_letter.as_ref().map(TopicName::as_str),
            "created_at_ms": meta.created_at.0,
        })
    }
}

fn other_mode() -> Refusal {
    Refusal::new(ErrorCode::Conflict, Reason::BadRequest, "the subscription has another mode")
}
