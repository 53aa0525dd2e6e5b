//! What a server says: encoded.
//!
//! | type       | version | payload                                                                                    |
//! |------------|---------|--------------------------------------------------------------------------------------------|
//! | ACK        | 1, 2    | `u64` subscription (0 where there is none)                                                 |
//! | NACK       | 1, 2    | `u16` code, `u16` length, text                                                             |
//! | PONG       | 1, 2    | nothing                                                                                    |
//! | PUBLISH    | 1       | `u8` QoS, `u16` length, topic, message to the end                                          |
//! | WELCOME    | 2       | `u16` version, `u64` capabilities, `u32` largest frame, `u32` most aliases, `u32` most in flight, `u16` longest topic, `u16` shards |
//! | ALIASED    | 2       | `u32` alias, `u32` partitions                                                              |
//! | PUBLISHED  | 2       | `u32` partition, `u64` base offset, `u32` count, `u8` reached, `u8` flags (1: duplicate)   |
//! | SUBSCRIBED | 2       | `u64` subscription, `u64` next offset, `u32` sources                                       |
//! | SOURCE     | 2       | `u64` subscription, `u32` source, `u32` partition, `u64` next offset, `u16` length, topic  |
//! | DELIVER    | 2       | `u64` subscription, `u32` source, `u8` flags (1: QoS 1, 2: redelivery), 1 zero, `u16` attempt, `u64` first offset, `u32` count, record batch to the end |
//! | GO_AWAY    | 2       | `u16` code, `u32` retry after ms, `u16` length, text                                       |
//! | ANSWER     | 2       | JSON to the end                                                                            |

use bytes::{BufMut, BytesMut};

use super::super::ErrorCode;
use super::frame::{FRAME_HEADER, head};
use super::kind;
use super::request::GoAway;
use crate::model::{Offset, Qos};

/// Bytes of a DELIVER payload before its record batch.
pub const DELIVER_FIELDS: usize = 28;
/// Bytes of a DELIVER frame before its record batch.
pub const DELIVER_HEAD: usize = FRAME_HEADER + DELIVER_FIELDS;
/// Bytes of a version 1 PUBLISH payload before its topic.
pub const PUBLISH_FIELDS: usize = 3;
/// Bytes of a PUBLISHED frame.
pub const PUBLISHED_LEN: usize = FRAME_HEADER + 18;

/// Bits of DELIVER's flags.
pub mod deliver_flags {
    /// QoS 1: to be settled.
    pub const QOS1: u8 = 1;
    /// Some of it was delivered before.
    pub const REDELIVERY: u8 = 2;
}

/// The server's limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Welcome {
    pub version: u16,
    pub capabilities: u64,
    pub frame_max: u32,
    pub aliases_max: u32,
    pub in_flight_max: u32,
    pub topic_len_max: u16,
    pub shards: u16,
}

/// How far a publish has come when it is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Reached {
    Memory = 0,
    Written = 1,
    Synced = 2,
}

impl Reached {
    /// `None` for a number without a meaning.
    #[must_use]
    pub fn from_u8(byte: u8) -> Option<Reached> {
        [Reached::Memory, Reached::Written, Reached::Synced].into_iter().find(|reached| *reached as u8 == byte)
    }
}

/// Where a batch went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    pub partition: u32,
    pub base_offset: Offset,
    pub count: u32,
    pub reached: Reached,
    /// Its producer sent it before; the offsets are those of the first time.
    pub duplicate: bool,
}

/// A subscription began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribed {
    pub subscription: u64,
    /// Of the first source; zero if there is none yet.
    pub next_offset: Offset,
    pub sources: u32,
}

/// A number for one partition that a subscription delivers from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source<'a> {
    pub subscription: u64,
    pub source: u32,
    pub partition: u32,
    pub next_offset: Offset,
    pub topic: &'a str,
}

/// What DELIVER says of the batch that follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deliver {
    pub subscription: u64,
    pub source: u32,
    pub qos: Qos,
    pub redelivery: bool,
    /// From 1.
    pub attempt: u16,
    /// Records of the batch outside `first_offset .. first_offset + count` are to be skipped.
    pub first_offset: Offset,
    pub count: u32,
}

/// Done; the subscription it is about, or zero.
pub fn ack(out: &mut BytesMut, correlation: u64, subscription: u64) {
    begin(out, kind::ACK, correlation, 8);
    out.put_u64(subscription);
}

/// Refused. A text beyond 65,535 bytes is cut at a character.
pub fn nack(out: &mut BytesMut, correlation: u64, code: ErrorCode, text: &str) {
    let text = fitting(text);
    begin(out, kind::NACK, correlation, 4 + text.len());
    out.put_u16(code.as_u16());
    put_sized(out, text.as_bytes());
}

/// Answers PING.
pub fn pong(out: &mut BytesMut, correlation: u64) {
    begin(out, kind::PONG, correlation, 0);
}

/// A version 1 delivery, whole.
#[inline]
pub fn publish(out: &mut BytesMut, correlation: u64, qos: Qos, topic: &[u8], message: &[u8]) {
    out.reserve(FRAME_HEADER + PUBLISH_FIELDS + topic.len() + message.len());
    publish_head(out, correlation, qos, topic, message.len());
    out.extend_from_slice(message);
}

/// A version 1 delivery up to its message, whose `message_len` bytes are to follow.
#[inline]
pub fn publish_head(out: &mut BytesMut, correlation: u64, qos: Qos, topic: &[u8], message_len: usize) {
    debug_assert!(topic.len() <= usize::from(u16::MAX), "a topic name is at most 512 bytes");
    let mut fixed = [0; FRAME_HEADER + PUBLISH_FIELDS];
    fixed[..FRAME_HEADER].copy_from_slice(&head(
        kind::PUBLISH,
        correlation,
        PUBLISH_FIELDS + topic.len() + message_len,
    ));
    fixed[FRAME_HEADER] = qos as u8;
    fixed[FRAME_HEADER + 1..].copy_from_slice(&(topic.len() as u16).to_be_bytes());
    out.extend_from_slice(&fixed);
    out.extend_from_slice(topic);
}

/// Answers HELLO of version 2.
pub fn welcome(out: &mut BytesMut, correlation: u64, welcome: &Welcome) {
    begin(out, kind::WELCOME, correlation, 26);
    out.put_u16(welcome.version);
    out.put_u64(welcome.capabilities);
    out.put_u32(welcome.frame_max);
    out.put_u32(welcome.aliases_max);
    out.put_u32(welcome.in_flight_max);
    out.put_u16(welcome.topic_len_max);
    out.put_u16(welcome.shards);
}

/// Answers ALIAS.
pub fn aliased(out: &mut BytesMut, correlation: u64, alias: u32, partitions: u32) {
    begin(out, kind::ALIASED, correlation, 8);
    out.put_u32(alias);
    out.put_u32(partitions);
}

/// Answers PUBLISH_BATCH.
pub fn published(out: &mut BytesMut, correlation: u64, published: &Published) {
    begin(out, kind::PUBLISHED, correlation, PUBLISHED_LEN - FRAME_HEADER);
    out.put_u32(published.partition);
    out.put_u64(published.base_offset.0);
    out.put_u32(published.count);
    out.put_u8(published.reached as u8);
    out.put_u8(u8::from(published.duplicate));
}

/// Answers SUBSCRIBE_WITH.
pub fn subscribed(out: &mut BytesMut, correlation: u64, subscribed: &Subscribed) {
    begin(out, kind::SUBSCRIBED, correlation, 20);
    out.put_u64(subscribed.subscription);
    out.put_u64(subscribed.next_offset.0);
    out.put_u32(subscribed.sources);
}

/// Names a partition that a subscription delivers from; before its first delivery.
pub fn source(out: &mut BytesMut, source: &Source<'_>) {
    begin(out, kind::SOURCE, 0, 26 + source.topic.len());
    out.put_u64(source.subscription);
    out.put_u32(source.source);
    out.put_u32(source.partition);
    out.put_u64(source.next_offset.0);
    put_sized(out, source.topic.as_bytes());
}

/// The start of a DELIVER frame whose record batch of `batch_len` bytes follows.
#[inline]
#[must_use]
pub fn deliver_head(deliver: &Deliver, batch_len: usize) -> [u8; DELIVER_HEAD] {
    let mut out = [0; DELIVER_HEAD];
    let redelivery = if deliver.redelivery { deliver_flags::REDELIVERY } else { 0 };
    out[..FRAME_HEADER].copy_from_slice(&head(kind::DELIVER, 0, DELIVER_FIELDS + batch_len));
    out[13..21].copy_from_slice(&deliver.subscription.to_be_bytes());
    out[21..25].copy_from_slice(&deliver.source.to_be_bytes());
    out[25] = if deliver.qos == Qos::AtLeastOnce { deliver_flags::QOS1 | redelivery } else { redelivery };
    out[27..29].copy_from_slice(&deliver.attempt.to_be_bytes());
    out[29..37].copy_from_slice(&deliver.first_offset.0.to_be_bytes());
    out[37..41].copy_from_slice(&deliver.count.to_be_bytes());
    out
}

/// The connection is about to end. A text beyond 65,535 bytes is cut at a character.
pub fn go_away(out: &mut BytesMut, go_away: &GoAway<'_>) {
    let text = fitting(go_away.text);
    begin(out, kind::GO_AWAY, 0, 8 + text.len());
    out.put_u16(go_away.code);
    out.put_u32(go_away.retry_after_ms);
    put_sized(out, text.as_bytes());
}

/// Answers QUERY with the text of one JSON array.
pub fn answer(out: &mut BytesMut, correlation: u64, json: &[u8]) {
    begin(out, kind::ANSWER, correlation, json.len());
    out.put_slice(json);
}

/// Reserves the whole frame and writes its header.
pub(super) fn begin(out: &mut BytesMut, kind: u8, correlation: u64, payload: usize) {
    out.reserve(FRAME_HEADER + payload);
    out.put_slice(&head(kind, correlation, payload));
}

/// A `u16` length and the bytes, which [`fitting`] or the caller's own bound has made short enough.
pub(super) fn put_sized(out: &mut BytesMut, bytes: &[u8]) {
    out.put_u16(u16::try_from(bytes.len()).expect("bounded by the caller to 65,535 bytes"));
    out.put_slice(bytes);
}

fn fitting(text: &str) -> &str {
    let mut end = text.len().min(usize::from(u16::MAX));
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
