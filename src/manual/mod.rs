//! The manual.

#[doc = include_str!("configuration.md")]
pub mod configuration {}
