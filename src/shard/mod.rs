//! One core, whole.

pub mod ask;
pub mod core;
pub mod event;
pub mod letter;
pub mod session;
pub mod stats;

pub use self::core::{Core, CoreOptions};
pub use ask::{Answer, Question};
pub use event::{Action, Arrival, Carry, Disconnect, Event};
pub use letter::Letter;
