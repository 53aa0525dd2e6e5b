//! The manual.

#[doc = include_str!("protocol.md")]
pub mod protocol {}

#[doc = include_str!("client.md")]
pub mod client {}
