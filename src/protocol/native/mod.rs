//! The native protocol, versions 1 and 2.
//!
//! What a client says is encoded by [`command`] and decoded by [`request`]; what a server says is encoded by [`reply`]
//! and decoded by [`response`]. The frame around both is [`frame`], their numbers are [`kind`].

pub mod command;
mod fields;
pub mod frame;
pub mod kind;
pub mod reply;
pub mod request;
pub mod response;

pub use frame::{FRAME_HEADER, Frame, Split};
pub use request::{Malformed, Request};
pub use response::Response;

#[cfg(test)]
mod round_trips;

#[cfg(test)]
mod old_bytes;
