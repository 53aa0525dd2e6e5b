//! At a start all logs are compared, and what one of them knows of pattern subscriptions, all know again.
//!
//! A log that was cut or mended may have lost its word of one. It is better that a subscription is owed too much than too
//! little: a deletion that had not reached all logs when the process died, and of which nobody was told, did not happen.
//!
//! And it may know one that was deleted since, and made again otherwise. Of what the logs say, one word holds, the same
//! on every shard: the mode of the one that was made last, by the clock of that time (of equal ones: shared). Nothing
//! orders the other settings: of the words with that mode, one with a dead letter topic holds, so that nothing is given
//! up that would have gone there; of several, the one that was made last. Who subscribes again says them anew anyway.

use std::collections::BTreeMap;

use super::Core;
use super::patterns::Known;
use crate::model::{LogId, SubscriptionMode, Timestamp, TopicName};
use crate::wal::{Entry, Log, PatternKey, PatternMeta};

/// What logs say of durable pattern subscriptions, each different word once.
pub type Patterns = BTreeMap<PatternKey, Vec<PatternMeta>>;

/// Adds what these logs, which have come back, know of pattern subscriptions.
pub fn gather_patterns(patterns: &mut Patterns, logs: &[(LogId, Log)]) {
    for (key, meta) in logs.iter().flat_map(|(_, log)| &log.catalog().patterns) {
        let words = patterns.entry(key.clone()).or_default();
        if !words.contains(meta) {
            words.push(meta.clone());
        }
    }
}

/// Which word holds, in whatever order they were gathered.
fn agreed(words: &[PatternMeta]) -> Option<&PatternMeta> {
    let last = words.iter().max_by_key(|word| (word.created_at, word.mode as u8))?;
    words.iter().filter(|word| word.mode == last.mode).max_by_key(|word| standing(word))
}

type Standing<'a> = (bool, Timestamp, Option<&'a TopicName>, Option<u16>, u32);

fn standing(word: &PatternMeta) -> Standing<'_> {
    let dead_letter = word.dead_letter.as_ref();
    (dead_letter.is_some(), word.created_at, dead_letter, word.max_retries, word.retry_delay_ms)
}

/// But for when it was made: each shard has its own time.
fn says_the_same(one: &PatternMeta, other: &PatternMeta) -> bool {
    let PatternMeta { mode, retry_delay_ms, max_retries, dead_letter, created_at: _ } = one;
    (mode, retry_delay_ms) == (&other.mode, &other.retry_delay_ms)
        && (max_retries, dead_letter) == (&other.max_retries, &other.dead_letter)
}

/// The words that hold.
type Agreed = BTreeMap<PatternKey, PatternMeta>;

/// What the cursors of a subscription in one partition need.
#[derive(Debug, Default)]
struct Mending {
    /// It has none that is to stay.
    begins: bool,
    /// Those of another mode, of a subscription that was deleted.
    stale: Vec<usize>,
}

impl Core {
    /// What the logs of all shards know, before anybody is served and before anything is trimmed: what others have
    /// settled may be owed to a subscription that is learned of.
    pub(super) fn learn_patterns(&mut self, all: &Patterns) {
        let agreed: Agreed =
            all.iter().filter_map(|(key, words)| Some((key.clone(), agreed(words)?.clone()))).collect();
        let mut stale = Vec::new();
        for (key, meta) in &agreed {
            let known = self.known_patterns.entry(key.clone()).or_insert_with(|| Known::new(meta.clone()));
            if !says_the_same(&known.meta, meta) {
                known.meta = meta.clone();
            }
            for log in 0..self.logs.len() {
                stale.extend(self.learn_pattern(log, key, &agreed));
            }
        }
        // Not before all have begun: what goes holds on to records that they are owed.
        for index in stale {
            self.remove_subscription(index);
        }
    }

    /// Makes what a log knows of a subscription what all know; answers with cursors that have to go. A log that lost its
    /// word may have lost cursors, too, and did not begin those of topics that came since: they begin with the first
    /// record that is there. So do those that take the place of an earlier subscription's, and what that was owed they
    /// are owed.
    fn learn_pattern(&mut self, log: usize, key: &PatternKey, agreed: &Agreed) -> Vec<usize> {
        let meta = self.known_patterns[key].meta.clone();
        let word = self.logs[log].log.catalog().patterns.get(key).cloned();
        let news = word.as_ref().is_none_or(|word| !says_the_same(word, &meta));
        let ours = |partition: &crate::broker::Partition| {
            partition.log == log && key.pattern.matches(partition.topic.as_str())
        };
        let ours: Vec<usize> =
            self.partitions.iter().filter(|(_, partition)| ours(partition)).map(|(index, _)| index).collect();
        let mut stale = Vec::new();
        for index in ours {
            let mending = self.mending(index, key, word.as_ref().map(|word| word.mode), agreed);
            if mending.begins && news {
                self.begin_owed(index, vec![(key.clone(), meta.clone())]);
            }
            stale.extend(mending.stale);
        }
        if news {
            let (id, PatternKey { name, pattern }) = (self.logs[log].id, key);
            match word {
                None => log::warn!("log {id}: did not know the subscription {name} to {pattern}, and does again"),
                Some(_) => log::warn!("log {id}: knew the subscription {name} to {pattern} as it was before"),
            }
            let end = self.logs[log].log.append(self.now, Entry::Pattern { key: key.clone(), meta });
            self.known_patterns.get_mut(key).expect("it is known").note(log, end);
        }
        stale
    }

    /// `before`: the mode that the log knew.
    fn mending(
        &self,
        partition: usize,
        key: &PatternKey,
        before: Option<SubscriptionMode>,
        agreed: &Agreed,
    ) -> Mending {
        let mode = self.known_patterns[key].meta.mode;
        let named = self.partitions[partition].subscriptions.iter().copied();
        let named: Vec<usize> = named.filter(|index| self.subscriptions[*index].is_named(&key.name)).collect();
        let (ours, others): (Vec<usize>, Vec<usize>) =
            named.into_iter().partition(|index| self.subscriptions[*index].sub.mode == mode);
        let topic = self.partitions[partition].topic.as_str();
        // Of another pattern that has the name, too; each partition knows cursors by their names.
        let claimed = agreed
            .iter()
            .any(|(other, meta)| other.name == key.name && meta.mode != mode && other.pattern.matches(topic));
        // One of that name and mode that the log did not know by its pattern may be a subscription to the topic itself.
        let stale = !claimed && (!ours.is_empty() || before.is_some_and(|before| before != mode));
        match (ours.is_empty(), others.is_empty()) {
            (true, true) => Mending { begins: true, stale: Vec::new() },
            (begins, _) if stale => Mending { begins, stale: others },
            _ => Mending::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::CoreOptions;
    use super::*;
    use crate::auth::KeyRing;
    use crate::config::TopicRules;
    use crate::model::SubscriptionMode::{Exclusive, Shared};
    use crate::model::record_batch::BatchBuilder;
    use crate::model::{
        Backoff, FsyncPolicy, Instant, Limits, Lsn, Offset, OverflowPolicy, PartitionId, Pattern, ShardId,
        SubscriptionMode, Timestamp, TopicName,
    };
    use crate::wal::{LogOptions, PartitionMeta, Recovered, SubscriptionMeta};

    const NOW: Instant = Instant(1_700_000_000_000_000_000);
    const SEGMENT: u64 = 1 << 20;
    const RECORDS: u64 = 9;

    fn log(id: u16) -> (LogId, Log) {
        let options = LogOptions {
            log: LogId(id),
            segment_size: SEGMENT,
            fsync: FsyncPolicy::Always,
            retention_ms: 0,
            retention_bytes: 0,
            low_water: 0,
            index_max: usize::MAX,
            through_max: usize::MAX,
        };
        (LogId(id), Log::new(options, Recovered::nothing(SEGMENT)))
    }

    /// A topic with some records, and durable subscriptions that are so far.
    fn topic(log: &mut Log, name: &str, subscriptions: &[(&str, SubscriptionMode, u64)]) {
        let topic = TopicName::parse(name.as_bytes()).unwrap();
        let id = log.new_partition_id();
        log.append(NOW, Entry::Partition { id, meta: PartitionMeta { topic, number: 0, ttl_ms: 0 } });
        let mut builder = BatchBuilder::new();
        (0..RECORDS).for_each(|_| builder.push(Timestamp(1), b"a record"));
        let (base, count) = (Offset::ZERO, builder.count());
        let bytes = builder.finish(base, None);
        let (appended_at, expires_at) = (Timestamp(1), Timestamp(0));
        log.append(NOW, Entry::Batch { partition: id, base, count, appended_at, expires_at, bytes });
        subscriptions.iter().for_each(|(name, mode, floor)| cursor(log, id, name, *mode, *floor));
    }

    fn cursor(log: &mut Log, partition: PartitionId, name: &str, mode: SubscriptionMode, floor: u64) {
        let id = log.new_subscription_id();
        let meta = SubscriptionMeta {
            partition,
            name: name.into(),
            mode,
            start: Offset::ZERO,
            retry_delay_ms: 0,
            max_retries: None,
            dead_letter: None,
            session: false,
            created_at: Timestamp(1),
        };
        log.append(NOW, Entry::Subscription { id, meta });
        log.append(NOW, Entry::Cursor { id, floor: Offset(floor), above: Vec::new() });
    }

    fn key(pattern: &str) -> PatternKey {
        PatternKey { name: "billing".into(), pattern: Pattern::parse(pattern.as_bytes()).unwrap() }
    }

    fn made(mode: SubscriptionMode, created_at: i64) -> PatternMeta {
        let created_at = Timestamp(created_at);
        PatternMeta { mode, retry_delay_ms: 0, max_retries: None, dead_letter: None, created_at }
    }

    fn with_dead_letters(meta: PatternMeta) -> PatternMeta {
        PatternMeta { dead_letter: Some(TopicName::parse(b"dead").unwrap()), ..meta }
    }

    fn say(log: &mut Log, pattern: &str, meta: PatternMeta) {
        log.append(NOW, Entry::Pattern { key: key(pattern), meta });
    }

    /// A broker of so many shards starts on these logs.
    fn started(logs: Vec<(LogId, Log)>, shards: u16) -> Vec<Core> {
        let (mut patterns, count) = (Patterns::new(), logs.len() as u16);
        gather_patterns(&mut patterns, &logs);
        let mut of_shards: Vec<Vec<(LogId, Log)>> = (0..shards).map(|_| Vec::new()).collect();
        logs.into_iter().for_each(|(id, log)| of_shards[usize::from(id.0 % shards)].push((id, log)));
        let core = |(shard, logs): (usize, Vec<(LogId, Log)>)| {
            let options = CoreOptions {
                shard: ShardId(shard as u16),
                shards,
                logs: count,
                overflow: OverflowPolicy::Block,
                limits: Limits::default(),
                keys: KeyRing::default(),
                max_retries: 0,
                retry: Backoff { base: std::time::Duration::from_millis(10), cap: std::time::Duration::from_secs(1) },
                topics: TopicRules::default(),
                seed: 1,
            };
            Core::new(options, NOW, logs, &patterns)
        };
        of_shards.into_iter().enumerate().map(core).collect()
    }

    /// What the process leaves when it is killed, in the order of the logs.
    fn killed(cores: Vec<Core>) -> Vec<(LogId, Log)> {
        let mut logs: Vec<_> = cores.into_iter().flat_map(|core| core.logs).map(|log| (log.id, log.log)).collect();
        logs.sort_by_key(|(id, _)| *id);
        logs
    }

    /// What one log says of the pattern.
    fn word<'a>(logs: &'a [(LogId, Log)], log: usize, pattern: &str) -> &'a PatternMeta {
        &logs[log].1.catalog().patterns[&key(pattern)]
    }

    /// The durable subscriptions of one log: topic, name, mode and floor.
    fn cursors(log: &Log) -> Vec<(String, String, SubscriptionMode, u64)> {
        let catalog = log.catalog();
        let row = |state: &crate::wal::catalog::SubscriptionState| {
            let topic = catalog.partitions[&state.meta.partition].meta.topic.as_str().to_owned();
            (topic, state.meta.name.clone(), state.meta.mode, state.floor.0)
        };
        catalog.subscriptions.values().map(row).collect()
    }

    fn cursor_of(
        topic: &str,
        name: &str,
        mode: SubscriptionMode,
        floor: u64,
    ) -> (String, String, SubscriptionMode, u64) {
        (topic.into(), name.into(), mode, floor)
    }

    /// Another start finds nothing to do.
    #[track_caller]
    fn is_settled(logs: Vec<(LogId, Log)>, shards: u16) {
        let ends = |logs: &[(LogId, Log)]| logs.iter().map(|(_, log)| log.appended()).collect::<Vec<Lsn>>();
        let before = ends(&logs);
        assert_eq!(ends(&killed(started(logs, shards))), before);
    }

    #[test]
    fn what_another_subscription_has_settled_is_owed_to_one_that_a_log_learns_of() {
        let (mut knows, mut cut) = (log(0), log(1));
        say(&mut knows.1, "orders.>", made(Shared, 5));
        topic(&mut cut.1, "orders.a", &[("others", Exclusive, 6)]);
        let logs = killed(started(vec![knows, cut], 2));
        let both = [cursor_of("orders.a", "others", Exclusive, 6), cursor_of("orders.a", "billing", Shared, 0)];
        assert_eq!(cursors(&logs[1].1), both);
        is_settled(logs, 2);
    }

    #[test]
    fn logs_that_know_it_in_different_modes_agree_on_the_one_that_was_made_last_and_nothing_owed_is_lost() {
        for (new, old, shards) in [(0, 1, 2), (1, 0, 2), (0, 1, 1), (1, 0, 1)] {
            let mut logs = vec![log(0), log(1)];
            topic(&mut logs[new].1, "orders.new", &[("billing", Shared, 3)]);
            say(&mut logs[new].1, "orders.>", made(Shared, 20));
            topic(&mut logs[old].1, "orders.old", &[("billing", Exclusive, 5), ("others", Exclusive, 7)]);
            topic(&mut logs[old].1, "unmatched", &[("billing", Exclusive, 5)]);
            say(&mut logs[old].1, "orders.>", made(Exclusive, 10));
            let logs = killed(started(logs, shards));
            for log in [0, 1] {
                assert_eq!(word(&logs, log, "orders.>"), &made(Shared, 20));
            }
            assert_eq!(cursors(&logs[new].1), [cursor_of("orders.new", "billing", Shared, 3)]);
            let owed = [
                cursor_of("orders.old", "others", Exclusive, 7),
                cursor_of("unmatched", "billing", Exclusive, 5),
                cursor_of("orders.old", "billing", Shared, 0),
            ];
            assert_eq!(cursors(&logs[old].1), owed);
            is_settled(logs, shards);
        }
    }

    #[test]
    fn a_start_that_was_cut_short_over_the_mode_is_brought_to_its_end_by_the_next() {
        for word_of_old in [made(Exclusive, 10), made(Shared, 20)] {
            let (mut new, mut old) = (log(0), log(1));
            say(&mut new.1, "orders.>", made(Shared, 20));
            topic(&mut old.1, "orders.old", &[("billing", Exclusive, 5), ("billing", Shared, 2)]);
            say(&mut old.1, "orders.>", word_of_old);
            let logs = killed(started(vec![new, old], 2));
            assert_eq!(word(&logs, 1, "orders.>"), &made(Shared, 20));
            assert_eq!(cursors(&logs[1].1), [cursor_of("orders.old", "billing", Shared, 2)]);
            is_settled(logs, 2);
        }
    }

    #[test]
    fn a_cursor_that_another_pattern_of_the_same_name_has_keeps_its_mode() {
        let (mut new, mut old) = (log(0), log(1));
        say(&mut new.1, "orders.>", made(Shared, 20));
        topic(&mut old.1, "orders.old", &[("billing", Exclusive, 5)]);
        say(&mut old.1, "orders.>", made(Exclusive, 10));
        say(&mut old.1, "orders.*", made(Exclusive, 11));
        let logs = killed(started(vec![new, old], 2));
        assert_eq!(word(&logs, 1, "orders.>"), &made(Shared, 20));
        assert_eq!(word(&logs, 0, "orders.*"), &made(Exclusive, 11));
        assert_eq!(cursors(&logs[1].1), [cursor_of("orders.old", "billing", Exclusive, 5)]);
        is_settled(logs, 2);
    }

    #[test]
    fn logs_that_know_it_with_different_settings_agree_on_those_that_give_nothing_up() {
        for dead_letters_in in [0, 1] {
            let mut logs = vec![log(0), log(1)];
            for (at, (_, log)) in logs.iter_mut().enumerate() {
                topic(log, "orders.a", &[("billing", Shared, 5)]);
                let meta = made(Shared, 20 + at as i64);
                say(log, "orders.>", if at == dead_letters_in { with_dead_letters(meta) } else { meta });
            }
            let logs = killed(started(logs, 2));
            for log in [0, 1] {
                let kept = with_dead_letters(made(Shared, 20 + dead_letters_in as i64));
                assert_eq!(word(&logs, log, "orders.>"), &kept);
                assert_eq!(cursors(&logs[log].1), [cursor_of("orders.a", "billing", Shared, 5)]);
            }
            is_settled(logs, 2);
        }
    }

    #[test]
    fn each_shard_says_itself_when_it_was_made() {
        let mut logs = vec![log(0), log(1)];
        say(&mut logs[0].1, "orders.>", made(Shared, 20));
        say(&mut logs[1].1, "orders.>", made(Shared, 21));
        is_settled(logs, 2);
    }
}
