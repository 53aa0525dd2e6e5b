//! The blocking half of the client: one connection over `std::net`.
//!
//! A [`Client`] and everything made from it share one connection and may be used from any thread; they take turns,
//! and nobody holds it while waiting. Nothing happens in between calls: there is no thread of the library's own.

mod client;
mod connection;
mod halves;
mod mailbox;
mod options;
mod polled;
mod publisher;
mod subscription;
mod tls;

#[cfg(test)]
mod test_broker;

#[cfg(test)]
mod tests;

pub use client::Client;
pub use halves::{Halves, Reader, Writer};
pub use mailbox::Refusal;
pub use options::ConnectOptions;
pub use polled::PolledSubscription;
pub use publisher::Publisher;
pub use subscription::Subscription;
pub use tls::{Tls, TlsSide};
