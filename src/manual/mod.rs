//! The manual.

#[doc = include_str!("client.md")]
pub mod client {}
#[doc = include_str!("configuration.md")]
pub mod configuration {}
#[doc = include_str!("durability.md")]
pub mod durability {}
#[doc = include_str!("protocol.md")]
pub mod protocol {}
#[doc = include_str!("tuning.md")]
pub mod tuning {}
