//! Records for operators to look at, from memory or from the log.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};

use super::Core;
use super::ask::Answer;
use super::event::Action;
use super::refusal::Refusal;
use crate::broker::Held;
use crate::model::record_batch::{self, Record};
use crate::model::{Instant, Offset, TopicName};

/// Somebody wants to see a topic's records from `first` up to, not including, `end`.
#[derive(Debug)]
pub struct Browse {
    pub token: u64,
    pub topic: TopicName,
    pub first: Offset,
    pub end: Offset,
    pub most: u32,
    pub purpose: Purpose,
}

/// What for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Show,
    Replay,
}

/// What was found of it.
#[derive(Debug)]
pub struct Found {
    pub batches: Vec<Held>,
    pub first: Offset,
    /// Records at or after this were not asked for, or are not committed.
    pub end: Offset,
}

/// Bytes of values in one answer at most, but for the first record.
const SHOWN_MAX: usize = 1024 * 1024;

impl Core {
    pub(super) fn show(&mut self, token: u64, topic: TopicName, first: Offset, most: u32) {
        self.browse(Browse { token, topic, first, end: Offset::MAX, most, purpose: Purpose::Show });
    }

    /// Finds the records in memory, or has them read.
    pub(super) fn browse(&mut self, mut browse: Browse) {
        let index = match self.known_topic(&browse.topic) {
            Ok(index) => index,
            Err(refusal) => return self.answer_admin(browse.token, Err(refusal)),
        };
        let partition = &self.partitions[index];
        browse.end = browse.end.min(partition.committed);
        browse.first = browse.first.max(partition.start).min(browse.end);
        let in_memory = browse.first >= browse.end || browse.first >= partition.tail.first();
        let place = match (partition.id, self.logs.get(partition.log)) {
            (Some(id), Some(log)) if !in_memory => log.log.find(id, browse.first),
            _ => None,
        };
        match place {
            Some(place) => self.read_for(index, place, browse),
            None => {
                let batches = self.held_from(index, browse.first, browse.end, browse.most);
                self.browsed(browse, batches);
            }
        }
    }

    fn read_for(&mut self, index: usize, place: crate::wal::Place, browse: Browse) {
        let serial = self.next_serial();
        self.browses.insert(serial, browse);
        let log = &mut self.logs[self.partitions[index].log];
        let action = log.log.place_read(place, serial);
        self.actions.push_back(Action::Log { log: log.id, action });
    }

    fn held_from(&self, index: usize, first: Offset, end: Offset, most: u32) -> Vec<Held> {
        let tail = &self.partitions[index].tail;
        let mut batches = Vec::new();
        let mut next = first.max(tail.first());
        while next < end.min(first.plus(most.into())) {
            let Some(held) = tail.at(next) else { break };
            next = held.end();
            batches.push(held.clone());
        }
        batches
    }

    /// The log's answer to a read that no subscription asked for.
    pub(super) fn browse_read(&mut self, log: usize, ticket: crate::wal::Ticket, serial: u64, bytes: &Bytes) {
        let Some(browse) = self.browses.remove(&serial) else {
            self.logs[log].log.read_answered(ticket);
            return;
        };
        let id = self.known_topic(&browse.topic).ok().and_then(|index| self.partitions[index].id);
        let Some(id) = id else {
            self.logs[log].log.read_answered(ticket);
            return self.answer_admin(browse.token, Err(Refusal::unknown("the topic was deleted meanwhile")));
        };
        let mut batches = Vec::new();
        self.logs[log].take_read(ticket, id, bytes, &mut batches);
        self.tell_corruptions(log);
        self.browsed(browse, batches);
    }

    fn browsed(&mut self, browse: Browse, batches: Vec<Held>) {
        let Browse { token, first, end, most, purpose, .. } = browse;
        let end = end.min(first.plus(most.into()));
        let found = Found { batches, first, end };
        match purpose {
            Purpose::Show => {
                let answer = found.shown();
                self.answer_admin(token, Ok(Answer::Object(answer)));
            }
            Purpose::Replay => self.replay_found(token, &browse.topic, &found),
        }
    }
}

impl Found {
    /// The records that were asked for, each with its offset and the time base of its batch.
    pub fn records(&self) -> impl Iterator<Item = (Offset, &Held, Record<'_>)> {
        self.batches
            .iter()
            .flat_map(|held| record_batch::records(&held.bytes).map(move |record| (held, record)))
            .map(|(held, record)| (held.base.plus(record.offset_delta.into()), held, record))
            .filter(|(offset, _, _)| self.first <= *offset && *offset < self.end)
    }

    /// Where to go on when all of this was taken: behind the last batch, or, where there is none, behind the hole.
    pub fn next(&self) -> Offset {
        let behind = self.batches.last().map_or(self.end, Held::end);
        behind.min(self.end).max(self.first)
    }

    fn shown(&self) -> Value {
        let mut shown = Vec::new();
        let mut bytes = 0;
        let mut next = self.next();
        for (offset, held, record) in self.records() {
            bytes += record.value.len();
            if bytes > SHOWN_MAX && !shown.is_empty() {
                next = offset;
                break;
            }
            shown.push(show(offset, held, &record));
        }
        json!({ "messages": shown, "next": next.0 })
    }
}

fn show(offset: Offset, held: &Held, record: &Record<'_>) -> Value {
    let base = record_batch::header(&held.bytes).map_or(0, |header| header.base_timestamp.0);
    let headers =
        record_batch::headers(record).map(|(name, value)| json!({ "name": text(name).0, "value": text(value).0 }));
    let (value, encoding) = text(record.value);
    json!({
        "offset": offset.0,
        "timestamp_ms": base.saturating_add(record.timestamp_delta),
        "expires_at_ms": (held.expires_at != Instant::NEVER).then(|| held.expires_at.timestamp().0),
        "key": record.key.map(|key| text(key).0),
        "value": value,
        "encoding": encoding,
        "headers": headers.collect::<Vec<_>>(),
    })
}

/// Bytes as text where they are text, else as base64, and which of the two.
fn text(bytes: &[u8]) -> (String, &'static str) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (text.to_owned(), "text"),
        Err(_) => (STANDARD.encode(bytes), "base64"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;
    use crate::model::record_batch::{BatchBuilder, RecordExtras};

    fn held(base: u64, values: &[&[u8]]) -> Held {
        let mut builder = BatchBuilder::new();
        for value in values {
            let headers: &[(&[u8], &[u8])] = &[(b"a", b"b")];
            builder.push_with(Timestamp(1000), value, RecordExtras { key: Some(b"k"), headers });
        }
        let bytes = builder.finish(Offset(base), None);
        Held {
            base: Offset(base),
            count: values.len() as u32,
            expires_at: Instant::NEVER,
            bytes,
            at: Held::BACK,
            own: true,
        }
    }

    #[test]
    fn only_what_was_asked_for_is_shown_and_the_next_step_begins_behind_it() {
        let batches = vec![held(5, &[b"five", b"six"]), held(7, &[b"seven", b"\xff\xfe"])];
        let found = Found { batches, first: Offset(6), end: Offset(8) };
        let shown = found.shown();
        let offsets: Vec<_> = shown["messages"].as_array().unwrap().iter().map(|row| row["offset"].clone()).collect();
        assert_eq!((offsets, shown["next"].as_u64()), (vec![json!(6), json!(7)], Some(8)));
        assert_eq!(shown["messages"][0]["value"], "six");
        assert_eq!(shown["messages"][0]["timestamp_ms"], 1000);
        assert_eq!(shown["messages"][0]["headers"], json!([{ "name": "a", "value": "b" }]));
    }

    #[test]
    fn bytes_that_are_no_text_are_base64() {
        let found = Found { batches: vec![held(0, &[b"\xff\xfe"])], first: Offset(0), end: Offset(9) };
        assert_eq!(found.shown()["messages"][0]["value"], "//4=");
        assert_eq!(found.shown()["messages"][0]["encoding"], "base64");
    }

    #[test]
    fn an_answer_has_a_bound_but_always_one_record() {
        let big = vec![b'x'; SHOWN_MAX + 1];
        let found = Found { batches: vec![held(0, &[&big, b"y"])], first: Offset(0), end: Offset(2) };
        let shown = found.shown();
        assert_eq!((shown["messages"].as_array().unwrap().len(), shown["next"].as_u64()), (1, Some(1)));
    }

    #[test]
    fn a_hole_is_stepped_over() {
        let found = Found { batches: Vec::new(), first: Offset(3), end: Offset(9) };
        assert_eq!(found.shown()["next"], 9);
    }
}
