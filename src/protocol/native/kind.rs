//! The numbers of the frame types.

/// Client: version, and in version 2 capabilities.
pub const HELLO: u8 = 0x01;
/// Client: API key.
pub const AUTH: u8 = 0x02;
/// Version 1, both ways: one message.
pub const PUBLISH: u8 = 0x03;
/// Version 1, client.
pub const SUBSCRIBE: u8 = 0x04;
/// Server: done; version 1 client: settles one delivery.
pub const ACK: u8 = 0x05;
/// Server: refused.
pub const NACK: u8 = 0x06;
/// Client.
pub const PING: u8 = 0x07;
/// Server: answers PING.
pub const PONG: u8 = 0x08;
/// Version 1, client: one message, if there is one.
pub const POLL: u8 = 0x09;
/// Server: answers HELLO of version 2.
pub const WELCOME: u8 = 0x10;
/// Client: a number for a topic.
pub const ALIAS: u8 = 0x11;
/// Server: answers ALIAS.
pub const ALIASED: u8 = 0x12;
/// Client: a record batch.
pub const PUBLISH_BATCH: u8 = 0x13;
/// Server: answers PUBLISH_BATCH where an acknowledgement was asked for.
pub const PUBLISHED: u8 = 0x14;
/// Client: a subscription with options.
pub const SUBSCRIBE_WITH: u8 = 0x15;
/// Server: answers SUBSCRIBE_WITH.
pub const SUBSCRIBED: u8 = 0x16;
/// Server: a number for a partition that a subscription delivers from.
pub const SOURCE: u8 = 0x17;
/// Server: records for a subscription.
pub const DELIVER: u8 = 0x18;
/// Client: room for more deliveries.
pub const CREDIT: u8 = 0x19;
/// Client: acknowledges or refuses deliveries.
pub const SETTLE: u8 = 0x1A;
/// Client: ends a subscription.
pub const UNSUBSCRIBE: u8 = 0x1B;
/// Both: the connection is about to end, and why.
pub const GO_AWAY: u8 = 0x1C;
/// Client: what is there?
pub const QUERY: u8 = 0x1D;
/// Server: answers QUERY.
pub const ANSWER: u8 = 0x1E;

/// Whether `kind` is a type of either version, in either direction.
#[inline]
#[must_use]
pub const fn is_known(kind: u8) -> bool {
    matches!(kind, HELLO..=POLL | WELCOME..=ANSWER)
}
