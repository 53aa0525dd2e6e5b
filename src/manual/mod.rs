//! The manual.

#[doc = include_str!("configuration.md")]
pub mod configuration {}
#[doc = include_str!("tuning.md")]
pub mod tuning {}
