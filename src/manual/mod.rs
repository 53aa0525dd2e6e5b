//! The manual.

#[doc = include_str!("tuning.md")]
pub mod tuning {}
