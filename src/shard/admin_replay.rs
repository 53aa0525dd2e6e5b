//! Dead letters published again to where they came from.

use std::collections::BTreeMap;

use serde_json::json;

use super::Core;
use super::admin_read::{Browse, Found, Purpose};
use super::ask::Answer;
use super::bury::{FROM, OURS, size_max};
use super::letter::Letter;
use crate::model::record_batch::{self, BatchBuilder, RecordExtras};
use crate::model::{Offset, Timestamp, TopicName};

/// Replays that wait for the topics they publish to, by the token of who asked.
#[derive(Debug, Default)]
pub struct Replays {
    running: BTreeMap<u64, Replay>,
    /// Which replay a batch belongs to, by the number it is buried under.
    batches: BTreeMap<u64, (u64, u64)>,
}

#[derive(Debug, Default)]
struct Replay {
    open: usize,
    replayed: u64,
    refused: u64,
    /// Records that do not say where they came from.
    skipped: u64,
    next: Offset,
}

impl Replays {
    pub fn len(&self) -> usize {
        self.running.len()
    }
}

impl Core {
    pub(super) fn replay(&mut self, token: u64, topic: TopicName, first: Offset, end: Offset, most: u32) {
        self.browse(Browse { token, topic, first, end, most, purpose: Purpose::Replay });
    }

    /// Publishes what was found, each topic's in batches that fit into a frame, and answers when all of them are committed. The dead letters
    /// stay where they are until they are purged: a replay that fails half-way loses nothing.
    pub(super) fn replay_found(&mut self, token: u64, from: &TopicName, found: &Found) {
        let (by_topic, skipped) = by_origin(from, found, self.options.limits.frame_max);
        let topics = by_topic.len();
        let each = |(topic, batches): (TopicName, Vec<BatchBuilder>)| {
            batches.into_iter().map(move |batch| (topic.clone(), batch))
        };
        let batches: Vec<_> = by_topic.into_iter().flat_map(each).collect();
        let mut replay = Replay { skipped, next: found.next(), open: batches.len(), ..Replay::default() };
        log::info!("replaying {} of {from} to {} topics", found.next().since(found.first), topics);
        if batches.is_empty() {
            return self.answer_replay(token, &replay);
        }
        replay.open = batches.len();
        self.replays.running.insert(token, replay);
        for (topic, mut builder) in batches {
            let number = self.next_serial();
            self.replays.batches.insert(number, (token, builder.count().into()));
            let batch = builder.finish(Offset::ZERO, None);
            let owner = self.owner(&topic);
            if owner == self.options.shard {
                self.bury_here(owner, number, &topic, batch);
            } else {
                self.write_letter(owner, Letter::Bury { grave: number, topic, batch });
            }
        }
    }

    /// One batch of a replay is committed, or was refused.
    pub(super) fn replay_closed(&mut self, number: u64, ok: bool) {
        let Some((token, records)) = self.replays.batches.remove(&number) else { return };
        let Some(replay) = self.replays.running.get_mut(&token) else { return };
        *(if ok { &mut replay.replayed } else { &mut replay.refused }) += records;
        replay.open -= 1;
        if replay.open == 0 {
            let replay = self.replays.running.remove(&token).expect("just found");
            self.answer_replay(token, &replay);
        }
    }

    fn answer_replay(&mut self, token: u64, replay: &Replay) {
        let answer = json!({
            "replayed": replay.replayed,
            "refused": replay.refused,
            "skipped": replay.skipped,
            "next": replay.next.0,
        });
        self.answer_admin(token, Ok(Answer::Object(answer)));
    }
}

/// The records by the topic they came from, without what the burial added, in batches of `most` bytes but for a record
/// that is larger alone; and how many do not say, or say it was `from`.
fn by_origin(from: &TopicName, found: &Found, most: usize) -> (BTreeMap<TopicName, Vec<BatchBuilder>>, u64) {
    let mut batches: BTreeMap<TopicName, Vec<BatchBuilder>> = BTreeMap::new();
    let mut skipped = 0;
    for (_, held, record) in found.records() {
        let origin = record_batch::headers(&record).find(|(name, _)| *name == FROM);
        let topic = origin.and_then(|(_, topic)| TopicName::parse(topic).ok()).filter(|topic| topic != from);
        let Some(topic) = topic else {
            skipped += 1;
            continue;
        };
        let headers: Vec<_> = record_batch::headers(&record).filter(|(name, _)| !name.starts_with(OURS)).collect();
        let base = record_batch::header(&held.bytes).map_or(0, |header| header.base_timestamp.0);
        let timestamp = Timestamp(base.saturating_add(record.timestamp_delta));
        let extras = RecordExtras { key: record.key, headers: &headers };
        let batches = batches.entry(topic).or_default();
        let size = size_max(record.value, record.key, &headers);
        if batches.last().is_none_or(|last| last.len() + size > most) {
            batches.push(BatchBuilder::new());
        }
        batches.last_mut().expect("just made").push_with(timestamp, record.value, extras);
    }
    (batches, skipped)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::Held;
    use crate::model::Instant;

    #[test]
    fn dead_letters_go_back_to_where_they_came_from_as_they_were() {
        let mut builder = BatchBuilder::new();
        let dead =
            |topic: &'static [u8]| [(&b"mine"[..], &b"kept"[..]), (FROM, topic), (&b"blipmq-dead-attempts"[..], b"4")];
        for (topic, value) in [(&b"a"[..], &b"1"[..]), (b"b", b"2"), (b"a", b"3"), (b"dead", b"4")] {
            builder.push_with(Timestamp(7), value, RecordExtras { key: Some(b"k"), headers: &dead(topic) });
        }
        builder.push(Timestamp(7), b"no origin");
        let held = Held {
            base: Offset::ZERO,
            count: builder.count(),
            expires_at: Instant::NEVER,
            bytes: builder.finish(Offset::ZERO, None),
            at: Held::BACK,
            own: true,
        };
        let found = Found { batches: vec![held], first: Offset::ZERO, end: Offset(5) };
        let (mut batches, skipped) = by_origin(&TopicName::parse(b"dead").unwrap(), &found, usize::MAX);
        assert_eq!((skipped, batches.len()), (2, 2));
        let of_a = batches.get_mut(&TopicName::parse(b"a").unwrap()).unwrap();
        assert_eq!(of_a.len(), 1);
        let batch = of_a[0].finish(Offset::ZERO, None);
        let values: Vec<_> = record_batch::records(&batch).map(|record| record.value.to_vec()).collect();
        assert_eq!(values, [b"1", b"3"]);
        let record = record_batch::records(&batch).next().unwrap();
        assert_eq!(record_batch::headers(&record).collect::<Vec<_>>(), [(&b"mine"[..], &b"kept"[..])]);
        assert_eq!(record.key, Some(&b"k"[..]));
    }

    #[test]
    fn more_than_fits_into_a_frame_goes_back_in_several_batches() {
        let mut builder = BatchBuilder::new();
        let headers = [(FROM, &b"a"[..])];
        (0..100)
            .for_each(|_| builder.push_with(Timestamp(7), &[7; 500], RecordExtras { key: None, headers: &headers }));
        let (base, count, at) = (Offset::ZERO, builder.count(), Held::BACK);
        let bytes = builder.finish(Offset::ZERO, None);
        let held = Held { base, count, expires_at: Instant::NEVER, bytes, at, own: true };
        let found = Found { batches: vec![held], first: base, end: Offset(100) };
        let (mut batches, _) = by_origin(&TopicName::parse(b"dead").unwrap(), &found, 4096);
        let of_a = batches.get_mut(&TopicName::parse(b"a").unwrap()).unwrap();
        assert_eq!(of_a.iter().map(|batch| batch.count()).sum::<u32>(), 100);
        assert!(of_a.len() > 10 && of_a.iter_mut().all(|batch| batch.finish(Offset::ZERO, None).len() <= 4096));
    }
}
