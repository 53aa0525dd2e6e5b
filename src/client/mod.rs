//! The client library: a pure session half, and a blocking half on top of it.
//!
//! [`session`] and [`producer`] turn calls into bytes and bytes into events, and touch no socket and no clock.
//! [`blocking`] gives them a `TcpStream`. For figures beyond what a message at a time can reach, [`blocking::Reader`]
//! and [`blocking::Writer`] are the two halves of a connection with nothing in between.

pub mod blocking;
pub mod credit;
pub mod delivery;
pub mod error;
pub mod frames;
pub mod heard;
pub mod options;
pub mod outbox;
pub mod producer;
pub mod session;
#[cfg(test)]
mod session_tests;

pub use delivery::{DeliveredBatch, Message, MessageView, PolledMessage};
pub use error::ClientError;
pub use frames::{FrameBuffer, RawFrame};
pub use heard::SessionEvent;
pub use options::{ProducerOptions, PublishOptions, SubscribeOptions};
pub use producer::Producer;
pub use session::{ClientSession, SessionOptions};
