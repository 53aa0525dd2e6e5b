//! What a client says: encoded.
//!
//! The byte table is that of [`super::request`], which decodes it.

use bytes::{BufMut, BytesMut};

use super::frame::{FRAME_HEADER, head};
use super::kind;
use super::reply::{begin, put_sized};
use super::request::{
    CREDIT_LEN, Credit, How, MAX_RETRIES_DEFAULT, PUBLISH_BATCH_FIELDS, SETTLE_LEN, Settle, SubscribeWith, What,
    publish_flags, subscribe_flags,
};
use crate::model::{Qos, StartAt, SubscriptionMode};

pub use super::reply::{go_away, publish, publish_head};

/// Bytes of a PUBLISH_BATCH frame before its record batch.
pub const PUBLISH_BATCH_HEAD: usize = FRAME_HEADER + PUBLISH_BATCH_FIELDS;

/// What PUBLISH_BATCH says of the batch that follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct BatchFor {
    pub alias: u32,
    pub partition: u32,
    pub qos: Qos,
    /// Answer when the promise holds.
    pub acknowledge: bool,
    /// Refuse with 404 when nobody subscribes.
    pub must_route: bool,
    /// Zero: the topic's.
    pub ttl_ms: u32,
}

/// Opens the session, in version 1 or 2.
pub fn hello(out: &mut BytesMut, correlation: u64, version: u16) {
    begin(out, kind::HELLO, correlation, if version >= 2 { 10 } else { 2 });
    out.put_u16(version);
    if version >= 2 {
        out.put_u64(0);
    }
}

/// # Panics
/// If `key` is longer than 65,535 bytes.
pub fn auth(out: &mut BytesMut, correlation: u64, key: &str) {
    begin(out, kind::AUTH, correlation, 2 + key.len());
    put_sized(out, key.as_bytes());
}

/// Version 1. Topics are bounded by [`crate::model::TopicName::MAX`].
pub fn subscribe(out: &mut BytesMut, correlation: u64, topic: &[u8], qos: Qos) {
    begin(out, kind::SUBSCRIBE, correlation, 3 + topic.len());
    put_sized(out, topic);
    out.put_u8(qos as u8);
}

/// Version 1: settles the delivery whose correlation id was `tag`.
#[inline]
pub fn ack(out: &mut BytesMut, tag: u64, subscription: u64) {
    number(out, kind::ACK, tag, subscription);
}

/// Version 1: asks for one message.
#[inline]
pub fn poll(out: &mut BytesMut, correlation: u64, subscription: u64) {
    number(out, kind::POLL, correlation, subscription);
}

/// Answered by PONG when everything before it has been handled.
pub fn ping(out: &mut BytesMut, correlation: u64) {
    begin(out, kind::PING, correlation, 0);
}

/// Names a topic by a number, once for the session.
pub fn alias(out: &mut BytesMut, correlation: u64, alias: u32, topic: &[u8]) {
    begin(out, kind::ALIAS, correlation, 6 + topic.len());
    out.put_u32(alias);
    put_sized(out, topic);
}

/// The start of a PUBLISH_BATCH frame whose record batch of `batch_len` bytes follows.
#[inline]
#[must_use]
pub fn publish_batch_head(correlation: u64, batch: &BatchFor, batch_len: usize) -> [u8; PUBLISH_BATCH_HEAD] {
    let bit = |set, bit| if set { bit } else { 0 };
    let mut out = [0; PUBLISH_BATCH_HEAD];
    out[..FRAME_HEADER].copy_from_slice(&head(kind::PUBLISH_BATCH, correlation, PUBLISH_BATCH_FIELDS + batch_len));
    out[13..17].copy_from_slice(&batch.alias.to_be_bytes());
    out[17..21].copy_from_slice(&batch.partition.to_be_bytes());
    out[21] = bit(batch.qos == Qos::AtLeastOnce, publish_flags::QOS1)
        | bit(batch.acknowledge, publish_flags::ACKNOWLEDGE)
        | bit(batch.must_route, publish_flags::MUST_ROUTE);
    out[25..29].copy_from_slice(&batch.ttl_ms.to_be_bytes());
    out
}

/// A whole PUBLISH_BATCH frame, its record batch copied.
pub fn publish_batch(out: &mut BytesMut, correlation: u64, said: &BatchFor, batch: &[u8]) {
    out.reserve(PUBLISH_BATCH_HEAD + batch.len());
    out.put_slice(&publish_batch_head(correlation, said, batch.len()));
    out.put_slice(batch);
}

/// # Panics
/// If the name, the pattern or the dead-letter topic is longer than 65,535 bytes.
pub fn subscribe_with(out: &mut BytesMut, correlation: u64, said: &SubscribeWith<'_>) {
    let texts = 6 + said.name.len() + said.dead_letter.len() + said.pattern.len();
    begin(out, kind::SUBSCRIBE_WITH, correlation, 26 + texts);
    let shared = if said.mode == SubscriptionMode::Shared { subscribe_flags::SHARED } else { 0 };
    let auto = if said.auto_acknowledge { subscribe_flags::AUTO_ACKNOWLEDGE } else { 0 };
    let (start, start_value) = start_fields(said.start);
    out.put_u8(said.qos as u8);
    out.put_u8(shared | auto);
    out.put_u8(start);
    out.put_u8(0);
    out.put_u64(start_value);
    out.put_u32(said.credit_messages);
    out.put_u32(said.credit_bytes);
    out.put_u32(said.retry_delay_ms);
    out.put_u16(said.max_retries.unwrap_or(MAX_RETRIES_DEFAULT));
    put_sized(out, said.name.as_bytes());
    put_sized(out, said.dead_letter);
    put_sized(out, said.pattern);
}

/// A time before the epoch is the epoch.
fn start_fields(start: StartAt) -> (u8, u64) {
    match start {
        StartAt::Latest => (0, 0),
        StartAt::Earliest => (1, 0),
        StartAt::Offset(offset) => (2, offset.0),
        StartAt::Time(time) => (3, time.0.max(0) as u64),
    }
}

/// Room for more deliveries. A refusal carries `correlation`.
pub fn credit(out: &mut BytesMut, correlation: u64, credit: &Credit) {
    begin(out, kind::CREDIT, correlation, CREDIT_LEN);
    out.put_u64(credit.subscription);
    out.put_u32(credit.messages);
    out.put_u32(credit.bytes);
}

/// Acknowledges or refuses deliveries. A refusal carries `correlation`.
pub fn settle(out: &mut BytesMut, correlation: u64, settle: &Settle) {
    let (how, first, last, delay_ms) = match settle.how {
        How::Range { first, last } => (0, first.0, last.0, 0),
        How::UpTo { last } => (1, 0, last.0, 0),
        How::Refuse { first, last, delay_ms } => (2, first.0, last.0, delay_ms),
    };
    begin(out, kind::SETTLE, correlation, SETTLE_LEN);
    out.put_u64(settle.subscription);
    out.put_u32(settle.source);
    out.put_u32(u32::from_be_bytes([how, 0, 0, 0]));
    out.put_u64(first);
    out.put_u64(last);
    out.put_u32(delay_ms);
}

/// Ends a subscription; with `delete`, the durable one and its cursor too.
pub fn unsubscribe(out: &mut BytesMut, correlation: u64, subscription: u64, delete: bool) {
    begin(out, kind::UNSUBSCRIBE, correlation, 9);
    out.put_u64(subscription);
    out.put_u8(u8::from(delete));
}

/// What is there? At most `limit` of them.
pub fn query(out: &mut BytesMut, correlation: u64, what: What, limit: u32) {
    begin(out, kind::QUERY, correlation, 5);
    out.put_u8(what as u8);
    out.put_u32(limit);
}

#[inline]
fn number(out: &mut BytesMut, kind: u8, correlation: u64, number: u64) {
    let mut frame = [0; FRAME_HEADER + 8];
    frame[..FRAME_HEADER].copy_from_slice(&head(kind, correlation, 8));
    frame[FRAME_HEADER..].copy_from_slice(&number.to_be_bytes());
    out.extend_from_slice(&frame);
}
