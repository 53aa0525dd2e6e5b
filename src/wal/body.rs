//! The bodies of entries that are not batches.
//!
//! Texts are a length in two bytes and UTF-8; numbers are little-endian.
//!
//! - partition: topic, `u32` number, `u64` time to live in ms.
//! - subscription: `u32` partition, `u8` mode, `u8` flags (1: retries are bounded, 2: has a dead letter topic, 4: a
//!   version 1 session), `u16` retries, `u32` retry delay in ms, `u64` start, `i64` created at, name, dead letter topic.
//! - pattern: `u8` mode, `u8` flags (1 and 2, as of a subscription), `u16` retries, `u32` retry delay in ms, `i64`
//!   created at, dead letter topic, and then as a pattern that was deleted: name, pattern.
//! - ranges of a cursor: `u32` how many, then for each `u64` from and `u64` to, half open, sorted, apart.

use bytes::{BufMut, Bytes, BytesMut};

use super::entry::{PartitionMeta, PatternKey, PatternMeta, SubscriptionMeta};
use super::take::{Take, put_text};
use crate::model::{Offset, PartitionId, Pattern, SubscriptionMode, Timestamp, TopicName};

const BOUNDED: u8 = 1;
const DEAD_LETTER: u8 = 2;
const SESSION: u8 = 4;

pub(super) fn partition(out: &mut BytesMut, meta: &PartitionMeta) -> Bytes {
    put_partition(out, meta);
    out.split().freeze()
}

pub(super) fn put_partition(out: &mut BytesMut, meta: &PartitionMeta) {
    put_text(out, meta.topic.as_str());
    out.put_u32_le(meta.number);
    out.put_u64_le(meta.ttl_ms);
}

pub(super) fn subscription(out: &mut BytesMut, meta: &SubscriptionMeta) -> Bytes {
    put_subscription(out, meta);
    out.split().freeze()
}

pub(super) fn put_subscription(out: &mut BytesMut, meta: &SubscriptionMeta) {
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    out.put_u32_le(meta.partition.0);
    out.put_u8(meta.mode as u8);
    out.put_u8(
        flag(meta.max_retries.is_some(), BOUNDED)
            | flag(meta.dead_letter.is_some(), DEAD_LETTER)
            | flag(meta.session, SESSION),
    );
    out.put_u16_le(meta.max_retries.unwrap_or(0));
    out.put_u32_le(meta.retry_delay_ms);
    out.put_u64_le(meta.start.0);
    out.put_i64_le(meta.created_at.0);
    put_text(out, &meta.name);
    put_text(out, meta.dead_letter.as_ref().map_or("", TopicName::as_str));
}

pub(super) fn pattern(out: &mut BytesMut, key: &PatternKey, meta: &PatternMeta) -> Bytes {
    put_pattern(out, key, meta);
    out.split().freeze()
}

pub(super) fn put_pattern(out: &mut BytesMut, key: &PatternKey, meta: &PatternMeta) {
    let bounded = if meta.max_retries.is_some() { BOUNDED } else { 0 };
    let buries = if meta.dead_letter.is_some() { DEAD_LETTER } else { 0 };
    out.put_u8(meta.mode as u8);
    out.put_u8(bounded | buries);
    out.put_u16_le(meta.max_retries.unwrap_or(0));
    out.put_u32_le(meta.retry_delay_ms);
    out.put_i64_le(meta.created_at.0);
    put_text(out, meta.dead_letter.as_ref().map_or("", TopicName::as_str));
    put_pattern_key(out, key);
}

pub(super) fn pattern_key(out: &mut BytesMut, key: &PatternKey) -> Bytes {
    put_pattern_key(out, key);
    out.split().freeze()
}

fn put_pattern_key(out: &mut BytesMut, key: &PatternKey) {
    put_text(out, &key.name);
    put_text(out, key.pattern.as_str());
}

pub(super) fn ranges(out: &mut BytesMut, ranges: &[(Offset, Offset)]) -> Bytes {
    put_ranges(out, ranges);
    out.split().freeze()
}

pub(super) fn put_ranges(out: &mut BytesMut, ranges: &[(Offset, Offset)]) {
    out.put_u32_le(u32::try_from(ranges.len()).expect("a cursor's ranges are bounded"));
    for (from, to) in ranges {
        out.put_u64_le(from.0);
        out.put_u64_le(to.0);
    }
}

pub(super) fn take_partition(body: &[u8]) -> Option<PartitionMeta> {
    whole(body, partition_from)
}

pub(super) fn take_subscription(body: &[u8]) -> Option<SubscriptionMeta> {
    whole(body, subscription_from)
}

pub(super) fn take_pattern(body: &[u8]) -> Option<(PatternKey, PatternMeta)> {
    whole(body, pattern_from)
}

pub(super) fn take_pattern_key(body: &[u8]) -> Option<PatternKey> {
    whole(body, pattern_key_from)
}

pub(super) fn take_ranges(body: &[u8], floor: Offset) -> Option<Vec<(Offset, Offset)>> {
    whole(body, |take| ranges_from(take, floor))
}

pub(super) fn partition_from(take: &mut Take<'_>) -> Option<PartitionMeta> {
    let topic = TopicName::parse(take.text()?.as_bytes()).ok()?;
    Some(PartitionMeta { topic, number: take.u32()?, ttl_ms: take.u64()? })
}

pub(super) fn subscription_from(take: &mut Take<'_>) -> Option<SubscriptionMeta> {
    let partition = PartitionId(take.u32()?);
    let mode = mode_from(take)?;
    let flags = take.u8()?;
    let max_retries = take.u16()?;
    let retry_delay_ms = take.u32()?;
    let start = Offset(take.u64()?);
    let created_at = Timestamp(take.i64()?);
    let name = take.text()?.to_owned();
    let dead_letter = dead_letter_from(take, flags)?;
    Some(SubscriptionMeta {
        partition,
        name,
        mode,
        start,
        retry_delay_ms,
        max_retries: (flags & BOUNDED != 0).then_some(max_retries),
        dead_letter,
        session: flags & SESSION != 0,
        created_at,
    })
}

fn mode_from(take: &mut Take<'_>) -> Option<SubscriptionMode> {
    match take.u8()? {
        0 => Some(SubscriptionMode::Exclusive),
        1 => Some(SubscriptionMode::Shared),
        _ => None,
    }
}

/// `None` where there is nothing sound, `Some(None)` where there is none.
fn dead_letter_from(take: &mut Take<'_>, flags: u8) -> Option<Option<TopicName>> {
    let topic = take.text()?;
    match flags & DEAD_LETTER != 0 {
        true => Some(Some(TopicName::parse(topic.as_bytes()).ok()?)),
        false => Some(None),
    }
}

pub(super) fn pattern_from(take: &mut Take<'_>) -> Option<(PatternKey, PatternMeta)> {
    let mode = mode_from(take)?;
    let flags = take.u8()?;
    let max_retries = take.u16()?;
    let retry_delay_ms = take.u32()?;
    let created_at = Timestamp(take.i64()?);
    let dead_letter = dead_letter_from(take, flags)?;
    let max_retries = (flags & BOUNDED != 0).then_some(max_retries);
    let meta = PatternMeta { mode, retry_delay_ms, max_retries, dead_letter, created_at };
    Some((pattern_key_from(take)?, meta))
}

fn pattern_key_from(take: &mut Take<'_>) -> Option<PatternKey> {
    let name = take.text()?.to_owned();
    Some(PatternKey { name, pattern: Pattern::parse(take.text()?.as_bytes()).ok()? })
}

pub(super) fn ranges_from(take: &mut Take<'_>, floor: Offset) -> Option<Vec<(Offset, Offset)>> {
    let count = take.count(16)?;
    let mut ranges = Vec::with_capacity(count);
    let mut before = floor;
    for _ in 0..count {
        let (from, to) = (Offset(take.u64()?), Offset(take.u64()?));
        if from < before || to <= from {
            return None;
        }
        before = to;
        ranges.push((from, to));
    }
    Some(ranges)
}

fn whole<'a, T>(body: &'a [u8], parse: impl FnOnce(&mut Take<'a>) -> Option<T>) -> Option<T> {
    let mut take = Take::new(body);
    let value = parse(&mut take)?;
    take.is_empty().then_some(value)
}
