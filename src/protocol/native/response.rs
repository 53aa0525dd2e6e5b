//! What a server says: payloads to responses, both versions.
//!
//! The byte table is that of [`super::reply`], which encodes it.

use std::ops::Range;

use super::super::ErrorCode;
use super::fields::Fields;
use super::kind;
use super::reply::{DELIVER_FIELDS, Deliver, Published, Reached, Source, Subscribed, Welcome, deliver_flags};
use super::request::{self, GoAway, Malformed, Publish};
use crate::model::{Offset, Qos};

/// One thing that a server says, borrowed from its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response<'a> {
    /// Done; the subscription it is about, or zero.
    Ack {
        subscription: u64,
    },
    /// Refused. The code is a number of [`ErrorCode`], or one that a newer broker knows.
    Nack {
        code: u16,
        text: &'a str,
    },
    Pong,
    /// A version 1 delivery; under QoS 1 the frame's correlation id is its tag.
    Publish(Publish<'a>),
    Welcome(Welcome),
    Aliased {
        alias: u32,
        partitions: u32,
    },
    Published(Published),
    Subscribed(Subscribed),
    Source(Source<'a>),
    /// Records; `batch` is where the record batch stands in the payload: to its end. The batch is not checked here.
    Deliver {
        deliver: Deliver,
        batch: Range<usize>,
    },
    GoAway(GoAway<'a>),
    Answer {
        json: &'a str,
    },
}

/// Reads the payload of a frame of type `kind` in a session of `version`.
#[inline]
pub fn decode(version: u8, kind: u8, payload: &[u8]) -> Result<Response<'_>, Malformed> {
    match (version, kind) {
        (1, kind::PUBLISH) => request::publish(payload).map(Response::Publish),
        (2, kind::DELIVER) => deliver(payload).ok_or(malformed("invalid DELIVER payload")),
        _ => decode_rare(version, kind, payload).ok_or(malformed("a frame that a server does not say here")),
    }
}

const fn malformed(text: &'static str) -> Malformed {
    Malformed { code: ErrorCode::BadRequest, text, close: true }
}

fn decode_rare(version: u8, kind: u8, payload: &[u8]) -> Option<Response<'_>> {
    let mut fields = Fields::new(payload);
    let response = match (version, kind) {
        (_, kind::ACK) => Response::Ack { subscription: fields.u64()? },
        (_, kind::NACK) => Response::Nack { code: fields.u16()?, text: fields.text()? },
        (_, kind::PONG) => Response::Pong,
        (2, kind::WELCOME) => Response::Welcome(welcome(&mut fields)?),
        (2, kind::ALIASED) => Response::Aliased { alias: fields.u32()?, partitions: fields.u32()? },
        (2, kind::PUBLISHED) => Response::Published(published(&mut fields)?),
        (2, kind::SUBSCRIBED) => Response::Subscribed(subscribed(&mut fields)?),
        (2, kind::SOURCE) => Response::Source(source(&mut fields)?),
        (2, kind::GO_AWAY) => return request::go_away(payload).map(Response::GoAway),
        (2, kind::ANSWER) => return std::str::from_utf8(payload).ok().map(|json| Response::Answer { json }),
        _ => return None,
    };
    fields.end()?;
    Some(response)
}

fn welcome(fields: &mut Fields<'_>) -> Option<Welcome> {
    Some(Welcome {
        version: fields.u16()?,
        capabilities: fields.u64()?,
        frame_max: fields.u32()?,
        aliases_max: fields.u32()?,
        in_flight_max: fields.u32()?,
        topic_len_max: fields.u16()?,
        shards: fields.u16()?,
    })
}

fn published(fields: &mut Fields<'_>) -> Option<Published> {
    Some(Published {
        partition: fields.u32()?,
        base_offset: Offset(fields.u64()?),
        count: fields.u32()?,
        reached: Reached::from_u8(fields.u8()?)?,
        duplicate: fields.u8()? & 1 != 0,
    })
}

fn subscribed(fields: &mut Fields<'_>) -> Option<Subscribed> {
    Some(Subscribed { subscription: fields.u64()?, next_offset: Offset(fields.u64()?), sources: fields.u32()? })
}

fn source<'a>(fields: &mut Fields<'a>) -> Option<Source<'a>> {
    Some(Source {
        subscription: fields.u64()?,
        source: fields.u32()?,
        partition: fields.u32()?,
        next_offset: Offset(fields.u64()?),
        topic: fields.text()?,
    })
}

#[inline]
fn deliver(payload: &[u8]) -> Option<Response<'_>> {
    let mut fields = Fields::new(payload);
    let (subscription, source) = (fields.u64()?, fields.u32()?);
    let flags = fields.u8()?;
    fields.zeros::<1>()?;
    let (attempt, first_offset, count) = (fields.u16()?, Offset(fields.u64()?), fields.u32()?);
    // The last record's offset is a number, and there is a batch.
    if count == 0 || first_offset.0.checked_add(u64::from(count)).is_none() || payload.len() == DELIVER_FIELDS {
        return None;
    }
    let qos = if flags & deliver_flags::QOS1 != 0 { Qos::AtLeastOnce } else { Qos::AtMostOnce };
    let redelivery = flags & deliver_flags::REDELIVERY != 0;
    let deliver = Deliver { subscription, source, qos, redelivery, attempt, first_offset, count };
    Some(Response::Deliver { deliver, batch: DELIVER_FIELDS..payload.len() })
}
