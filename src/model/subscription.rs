//! Words of a subscription that every room uses.

use super::{Offset, Timestamp};

/// Whether members share a subscription's messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum SubscriptionMode {
    /// One member at a time; a second is refused.
    #[default]
    Exclusive = 0,
    /// Competing consumers: each message to one member.
    Shared = 1,
}

/// Where a subscription begins when there is no cursor yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum StartAt {
    #[default]
    Latest,
    Earliest,
    Offset(Offset),
    Time(Timestamp),
}
