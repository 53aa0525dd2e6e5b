//! What every story needs: a broker, a bare socket, patience.

pub mod broker;
pub mod certificates;
pub mod copies;
pub mod hex;
pub mod http;
pub mod load;
pub mod patience;
pub mod topics;
pub mod torture;
pub mod wire;

pub use broker::{Broker, Ended, Workspace};
pub use certificates::Certificates;
pub use patience::{PATIENCE, eventually};
pub use topics::topic_on;
pub use wire::Wire;
