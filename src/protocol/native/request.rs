//! What a client says: payloads to requests, both versions.
//!
//! | type           | version | payload                                                                        |
//! |----------------|---------|--------------------------------------------------------------------------------|
//! | HELLO          | 1       | `u16` version (1)                                                              |
//! | HELLO          | 2       | `u16` version (2), `u64` capabilities (0)                                      |
//! | AUTH           | 1, 2    | `u16` length, key (UTF-8)                                                      |
//! | PING           | 1, 2    | nothing (what is there is ignored)                                             |
//! | PUBLISH        | 1       | `u8` QoS, `u16` length, topic, message to the end                              |
//! | SUBSCRIBE      | 1       | `u16` length, topic, `u8` QoS (what follows is ignored)                        |
//! | ACK            | 1       | `u64` subscription; the correlation id is the delivery tag                     |
//! | POLL           | 1       | `u64` subscription                                                             |
//! | ALIAS          | 2       | `u32` alias, `u16` length, topic                                               |
//! | PUBLISH_BATCH  | 2       | `u32` alias, `u32` partition, `u8` flags ([`publish_flags`]), 3 zeros, `u32` TTL in ms, record batch to the end |
//! | SUBSCRIBE_WITH | 2       | `u8` QoS, `u8` flags ([`subscribe_flags`]), `u8` start (0 latest, 1 earliest, 2 offset, 3 time), 1 zero, `u64` start value, `u32` credit in messages, `u32` credit in bytes, `u32` retry delay in ms, `u16` most retries, `u16` length, name, `u16` length, dead-letter topic, `u16` length, pattern |
//! | CREDIT         | 2       | `u64` subscription, `u32` messages, `u32` bytes                                |
//! | SETTLE         | 2       | `u64` subscription, `u32` source, `u8` how (0 range, 1 up to, 2 refuse range), 3 zeros, `u64` first, `u64` last, `u32` delay in ms |
//! | UNSUBSCRIBE    | 2       | `u64` subscription, `u8` flags (1: delete)                                     |
//! | GO_AWAY        | 2       | `u16` code, `u32` retry after ms, `u16` length, text                           |
//! | QUERY          | 2       | `u8` what (0 topics, 1 subscriptions), `u32` limit                             |
//!
//! Lengths are as strict as version 1 always was: a payload with bytes left over is malformed, except where the table
//! says that they are ignored. Flags that are not known are refused, so that they can be given a meaning later.

use std::ops::Range;

use super::super::ErrorCode;
use super::fields::Fields;
use super::kind;
use crate::model::{Offset, Qos, StartAt, SubscriptionMode, Timestamp};

/// Bytes of a PUBLISH_BATCH payload before its record batch.
pub const PUBLISH_BATCH_FIELDS: usize = 16;
/// Bytes of a SETTLE payload.
pub const SETTLE_LEN: usize = 36;
/// Bytes of a CREDIT payload.
pub const CREDIT_LEN: usize = 16;

/// Bits of PUBLISH_BATCH's flags.
pub mod publish_flags {
    /// QoS 1.
    pub const QOS1: u8 = 1;
    /// Answer PUBLISHED when the promise holds.
    pub const ACKNOWLEDGE: u8 = 2;
    /// Refuse with 404 when nobody subscribes.
    pub const MUST_ROUTE: u8 = 4;
    /// All that are known.
    pub const ALL: u8 = 7;
}

/// Bits of SUBSCRIBE_WITH's flags.
pub mod subscribe_flags {
    /// Competing consumers.
    pub const SHARED: u8 = 1;
    /// Settled when sent.
    pub const AUTO_ACKNOWLEDGE: u8 = 2;
    /// All that are known.
    pub const ALL: u8 = 3;
}

/// SUBSCRIBE_WITH's most retries, where the broker's default is wanted.
pub const MAX_RETRIES_DEFAULT: u16 = u16::MAX;

/// One thing that a client says, borrowed from its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// `version` may be any: refusing one is the session's decision.
    Hello {
        version: u16,
        capabilities: u64,
    },
    /// The key is never to be logged.
    Auth {
        key: &'a str,
    },
    Publish(Publish<'a>),
    Subscribe {
        topic: &'a [u8],
        qos: Qos,
    },
    /// Version 1: settles the delivery that the frame's correlation id names. The subscription is not zero.
    Ack {
        subscription: u64,
    },
    Ping,
    /// The subscription is not zero.
    Poll {
        subscription: u64,
    },
    Alias {
        alias: u32,
        topic: &'a [u8],
    },
    PublishBatch(PublishBatch),
    SubscribeWith(SubscribeWith<'a>),
    Credit(Credit),
    Settle(Settle),
    Unsubscribe {
        subscription: u64,
        /// Also delete the durable subscription and its cursor.
        delete: bool,
    },
    GoAway(GoAway<'a>),
    Query {
        what: What,
        limit: u32,
    },
}

/// Version 1's one message. The topic is not empty; that it is a valid name is checked where names are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    pub qos: Qos,
    pub topic: &'a [u8],
    pub message: &'a [u8],
}

/// A batch for the topic that `alias` names. The batch itself is not checked here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishBatch {
    pub alias: u32,
    pub partition: u32,
    pub qos: Qos,
    pub acknowledge: bool,
    /// Refuse with 404 when nobody subscribes.
    pub must_route: bool,
    /// Zero: the topic's.
    pub ttl_ms: u32,
    /// Where the record batch stands in the payload: to its end, and not empty.
    pub batch: Range<usize>,
}

/// A subscription with all that can be said of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscribeWith<'a> {
    pub qos: Qos,
    pub mode: SubscriptionMode,
    /// Settled when sent.
    pub auto_acknowledge: bool,
    pub start: StartAt,
    pub credit_messages: u32,
    pub credit_bytes: u32,
    /// Zero: the broker's default.
    pub retry_delay_ms: u32,
    /// `None`: the broker's default.
    pub max_retries: Option<u16>,
    /// Empty: not durable.
    pub name: &'a str,
    /// Empty: none.
    pub dead_letter: &'a [u8],
    /// A topic or a pattern; not empty.
    pub pattern: &'a [u8],
}

/// Room for more deliveries, added to what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credit {
    pub subscription: u64,
    pub messages: u32,
    pub bytes: u32,
}

/// What becomes of deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settle {
    pub subscription: u64,
    pub source: u32,
    pub how: How,
}

/// Which deliveries, and what becomes of them. Ranges are inclusive and not empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Acknowledged.
    Range { first: Offset, last: Offset },
    /// Acknowledged, and everything before it.
    UpTo { last: Offset },
    /// Refused: to be delivered again after `delay_ms`; zero: after the usual backoff.
    Refuse { first: Offset, last: Offset, delay_ms: u32 },
}

/// The connection is about to end. Said by both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GoAway<'a> {
    /// A number of [`ErrorCode`], or zero: nothing is wrong.
    pub code: u16,
    pub retry_after_ms: u32,
    pub text: &'a str,
}

/// What a QUERY asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum What {
    Topics = 0,
    Subscriptions = 1,
}

/// Why a payload is not a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    pub code: ErrorCode,
    pub text: &'static str,
    /// Close the connection after saying so.
    pub close: bool,
}

impl Malformed {
    #[cold]
    fn bad(text: &'static str) -> Malformed {
        Malformed { code: ErrorCode::BadRequest, text, close: false }
    }

    #[cold]
    fn unknown_type() -> Malformed {
        Malformed { code: ErrorCode::BadRequest, text: "unknown frame type", close: true }
    }
}

/// Reads the payload of a frame of type `kind` in a session of `version` (0: before HELLO).
///
/// Before HELLO only HELLO and AUTH are read; everything else that is known is refused with 401. A session that is
/// not authenticated yet asks [`is_handshake`] first, so that its refusal is 401 whatever the payload.
#[inline]
pub fn decode(version: u8, kind: u8, payload: &[u8]) -> Result<Request<'_>, Malformed> {
    match (version, kind) {
        (1, kind::PUBLISH) => publish(payload).map(Request::Publish),
        (1, kind::POLL) => {
            subscription_id(payload, "invalid POLL payload").map(|id| Request::Poll { subscription: id })
        }
        (1, kind::ACK) => subscription_id(payload, "invalid ACK payload").map(|id| Request::Ack { subscription: id }),
        (2, kind::PUBLISH_BATCH) => publish_batch(payload).map(Request::PublishBatch),
        (2, kind::SETTLE) => settle(payload).map(Request::Settle),
        (2, kind::CREDIT) => credit(payload).map(Request::Credit),
        _ => decode_rare(version, kind, payload),
    }
}

/// Whether a frame of this type may come before AUTH has succeeded.
#[inline]
#[must_use]
pub const fn is_handshake(kind: u8) -> bool {
    matches!(kind, kind::HELLO | kind::AUTH)
}

fn decode_rare(version: u8, kind: u8, payload: &[u8]) -> Result<Request<'_>, Malformed> {
    let whole = |request: Option<_>, text| request.ok_or(Malformed::bad(text));
    match (version, kind) {
        (_, kind::HELLO) => whole(hello(payload), "invalid HELLO payload"),
        (_, kind::AUTH) => whole(auth(payload), "invalid AUTH payload"),
        (0, kind) if kind::is_known(kind) => {
            Err(Malformed { code: ErrorCode::Unauthenticated, text: "unauthenticated", close: false })
        }
        (1 | 2, kind::PING) => Ok(Request::Ping),
        (1 | 2, kind::NACK | kind::PONG) => Err(Malformed::bad("only a server says this")),
        (1, kind::SUBSCRIBE) => subscribe(payload),
        (2, kind::PUBLISH) => Err(Malformed::bad("version 2 publishes with PUBLISH_BATCH")),
        (2, kind::SUBSCRIBE) => Err(Malformed::bad("version 2 subscribes with SUBSCRIBE_WITH")),
        (2, kind::ACK) => Err(Malformed::bad("version 2 acknowledges with SETTLE")),
        (2, kind::POLL) => Err(Malformed::bad("version 2 is sent messages against CREDIT")),
        (2, kind::ALIAS) => alias(payload),
        (2, kind::SUBSCRIBE_WITH) => subscribe_with(payload).map(Request::SubscribeWith),
        (2, kind::UNSUBSCRIBE) => whole(unsubscribe(payload), "invalid UNSUBSCRIBE payload"),
        (2, kind::GO_AWAY) => whole(go_away(payload).map(Request::GoAway), "invalid GO_AWAY payload"),
        (2, kind::QUERY) => whole(query(payload), "invalid QUERY payload"),
        (2, kind) if kind::is_known(kind) => Err(Malformed::bad("only a server says this")),
        _ => Err(Malformed::unknown_type()),
    }
}

fn hello(payload: &[u8]) -> Option<Request<'_>> {
    let mut fields = Fields::new(payload);
    let version = fields.u16()?;
    if version > 2 {
        // A version from the future may say more; it is refused by its number, not by its shape.
        return Some(Request::Hello { version, capabilities: 0 });
    }
    let capabilities = if version == 2 { fields.u64()? } else { 0 };
    fields.end()?;
    Some(Request::Hello { version, capabilities })
}

fn auth(payload: &[u8]) -> Option<Request<'_>> {
    let mut fields = Fields::new(payload);
    let key = fields.text()?;
    fields.end()?;
    Some(Request::Auth { key })
}

/// Reads version 1's PUBLISH.
#[inline]
pub fn publish(payload: &[u8]) -> Result<Publish<'_>, Malformed> {
    let [qos, high, low, rest @ ..] = payload else {
        return Err(Malformed::bad("invalid PUBLISH payload"));
    };
    let topic_len = usize::from(u16::from_be_bytes([*high, *low]));
    let Some((topic, message)) = rest.split_at_checked(topic_len) else {
        return Err(Malformed::bad("invalid PUBLISH payload"));
    };
    let Some(qos) = Qos::from_u8(*qos) else {
        return Err(Malformed::bad("invalid QoS"));
    };
    if topic.is_empty() {
        return Err(Malformed::bad("empty topic"));
    }
    Ok(Publish { qos, topic, message })
}

#[inline]
fn subscription_id(payload: &[u8], text: &'static str) -> Result<u64, Malformed> {
    let Ok(id) = <[u8; 8]>::try_from(payload) else {
        return Err(Malformed::bad(text));
    };
    match u64::from_be_bytes(id) {
        0 => Err(Malformed::bad("subscription id is zero")),
        id => Ok(id),
    }
}

fn subscribe(payload: &[u8]) -> Result<Request<'_>, Malformed> {
    let mut fields = Fields::new(payload);
    let read = fields.sized().and_then(|topic| Some((topic, fields.u8()?)));
    let (topic, qos) = read.ok_or(Malformed::bad("invalid SUBSCRIBE payload"))?;
    let qos = Qos::from_u8(qos).ok_or(Malformed::bad("invalid QoS"))?;
    if topic.is_empty() {
        return Err(Malformed::bad("empty topic"));
    }
    Ok(Request::Subscribe { topic, qos })
}

fn alias(payload: &[u8]) -> Result<Request<'_>, Malformed> {
    let mut fields = Fields::new(payload);
    let read = fields.u32().and_then(|alias| Some((alias, fields.sized()?)));
    match (read, fields.end()) {
        (Some((_, b"")), _) => Err(Malformed::bad("empty topic")),
        (Some((alias, topic)), Some(())) => Ok(Request::Alias { alias, topic }),
        _ => Err(Malformed::bad("invalid ALIAS payload")),
    }
}

/// Reads PUBLISH_BATCH.
#[inline]
pub fn publish_batch(payload: &[u8]) -> Result<PublishBatch, Malformed> {
    let Some((head, [_, ..])) = payload.split_first_chunk::<PUBLISH_BATCH_FIELDS>() else {
        return Err(Malformed::bad("invalid PUBLISH_BATCH payload"));
    };
    let [a0, a1, a2, a3, p0, p1, p2, p3, flags, z0, z1, z2, t0, t1, t2, t3] = *head;
    if flags & !publish_flags::ALL | z0 | z1 | z2 != 0 {
        return Err(Malformed::bad("unknown PUBLISH_BATCH flags"));
    }
    Ok(PublishBatch {
        alias: u32::from_be_bytes([a0, a1, a2, a3]),
        partition: u32::from_be_bytes([p0, p1, p2, p3]),
        qos: if flags & publish_flags::QOS1 != 0 { Qos::AtLeastOnce } else { Qos::AtMostOnce },
        acknowledge: flags & publish_flags::ACKNOWLEDGE != 0,
        must_route: flags & publish_flags::MUST_ROUTE != 0,
        ttl_ms: u32::from_be_bytes([t0, t1, t2, t3]),
        batch: PUBLISH_BATCH_FIELDS..payload.len(),
    })
}

fn subscribe_with(payload: &[u8]) -> Result<SubscribeWith<'_>, Malformed> {
    let subscribe = subscribe_with_fields(payload).ok_or(Malformed::bad("invalid SUBSCRIBE_WITH payload"))?;
    if subscribe.pattern.is_empty() {
        return Err(Malformed::bad("empty topic"));
    }
    Ok(subscribe)
}

fn subscribe_with_fields(payload: &[u8]) -> Option<SubscribeWith<'_>> {
    let mut fields = Fields::new(payload);
    let qos = Qos::from_u8(fields.u8()?)?;
    let flags = fields.u8()?;
    let start = fields.u8()?;
    fields.zeros::<1>()?;
    let start = start_at(start, fields.u64()?)?;
    let (credit_messages, credit_bytes) = (fields.u32()?, fields.u32()?);
    let retry_delay_ms = fields.u32()?;
    let max_retries = Some(fields.u16()?).filter(|retries| *retries != MAX_RETRIES_DEFAULT);
    let (name, dead_letter, pattern) = (fields.text()?, fields.sized()?, fields.sized()?);
    fields.end()?;
    let shared = flags & subscribe_flags::SHARED != 0;
    (flags & !subscribe_flags::ALL == 0).then_some(SubscribeWith {
        qos,
        mode: if shared { SubscriptionMode::Shared } else { SubscriptionMode::Exclusive },
        auto_acknowledge: flags & subscribe_flags::AUTO_ACKNOWLEDGE != 0,
        start,
        credit_messages,
        credit_bytes,
        retry_delay_ms,
        max_retries,
        name,
        dead_letter,
        pattern,
    })
}

/// A start value that says nothing is zero, so that it can be given a meaning later.
fn start_at(how: u8, value: u64) -> Option<StartAt> {
    match (how, value) {
        (0, 0) => Some(StartAt::Latest),
        (1, 0) => Some(StartAt::Earliest),
        (2, offset) => Some(StartAt::Offset(Offset(offset))),
        (3, time) => i64::try_from(time).ok().map(|time| StartAt::Time(Timestamp(time))),
        _ => None,
    }
}

#[inline]
fn credit(payload: &[u8]) -> Result<Credit, Malformed> {
    let Ok([s0, s1, s2, s3, s4, s5, s6, s7, m0, m1, m2, m3, b0, b1, b2, b3]) = <[u8; CREDIT_LEN]>::try_from(payload)
    else {
        return Err(Malformed::bad("invalid CREDIT payload"));
    };
    Ok(Credit {
        subscription: u64::from_be_bytes([s0, s1, s2, s3, s4, s5, s6, s7]),
        messages: u32::from_be_bytes([m0, m1, m2, m3]),
        bytes: u32::from_be_bytes([b0, b1, b2, b3]),
    })
}

#[inline]
fn settle(payload: &[u8]) -> Result<Settle, Malformed> {
    let Ok(payload) = <&[u8; SETTLE_LEN]>::try_from(payload) else {
        return Err(Malformed::bad("invalid SETTLE payload"));
    };
    settle_fields(payload).ok_or(Malformed::bad("invalid SETTLE range or option"))
}

#[inline]
fn settle_fields(payload: &[u8; SETTLE_LEN]) -> Option<Settle> {
    let mut fields = Fields::new(payload);
    let (subscription, source) = (fields.u64()?, fields.u32()?);
    let how = fields.u8()?;
    fields.zeros::<3>()?;
    let (first, last, delay_ms) = (Offset(fields.u64()?), Offset(fields.u64()?), fields.u32()?);
    let how = match how {
        0 if first <= last => How::Range { first, last },
        1 => How::UpTo { last },
        2 if first <= last => How::Refuse { first, last, delay_ms },
        _ => return None,
    };
    Some(Settle { subscription, source, how })
}

fn unsubscribe(payload: &[u8]) -> Option<Request<'_>> {
    let mut fields = Fields::new(payload);
    let (subscription, flags) = (fields.u64()?, fields.u8()?);
    fields.end()?;
    (flags <= 1).then_some(Request::Unsubscribe { subscription, delete: flags == 1 })
}

/// Reads GO_AWAY, which both sides say.
pub(super) fn go_away(payload: &[u8]) -> Option<GoAway<'_>> {
    let mut fields = Fields::new(payload);
    let (code, retry_after_ms, text) = (fields.u16()?, fields.u32()?, fields.text()?);
    fields.end()?;
    Some(GoAway { code, retry_after_ms, text })
}

fn query(payload: &[u8]) -> Option<Request<'_>> {
    let mut fields = Fields::new(payload);
    let (what, limit) = (fields.u8()?, fields.u32()?);
    fields.end()?;
    let what = match what {
        0 => What::Topics,
        1 => What::Subscriptions,
        _ => return None,
    };
    Some(Request::Query { what, limit })
}
