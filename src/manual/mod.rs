//! The manual.

#[doc = include_str!("overview.md")]
pub mod overview {}
#[doc = include_str!("architecture.md")]
pub mod architecture {}
#[doc = include_str!("benchmarking.md")]
pub mod benchmarking {}
#[doc = include_str!("checklist.md")]
pub mod checklist {}
#[doc = include_str!("client.md")]
pub mod client {}
#[doc = include_str!("comparison.md")]
pub mod comparison {}
#[doc = include_str!("configuration.md")]
pub mod configuration {}
#[doc = include_str!("durability.md")]
pub mod durability {}
#[doc = include_str!("errors.md")]
pub mod errors {}
#[doc = include_str!("faq.md")]
pub mod faq {}
#[doc = include_str!("figures.md")]
pub mod figures {}
#[doc = include_str!("metrics.md")]
pub mod metrics {}
#[doc = include_str!("operating.md")]
pub mod operating {}
#[doc = include_str!("protocol.md")]
pub mod protocol {}
#[doc = include_str!("recovery.md")]
pub mod recovery {}
#[doc = include_str!("runbooks.md")]
pub mod runbooks {}
#[doc = include_str!("security.md")]
pub mod security {}
#[doc = include_str!("troubleshooting.md")]
pub mod troubleshooting {}
#[doc = include_str!("tuning.md")]
pub mod tuning {}
