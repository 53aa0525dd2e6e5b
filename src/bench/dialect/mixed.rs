//! Publishers of one version, subscribers of another.

use super::{Dialect, Listening, Publishing};
use crate::bench::failure::Failure;
use crate::bench::workload::Workload;

/// Two dialects of one broker.
pub struct Mixed {
    /// What publishers speak.
    pub publishers: Box<dyn Dialect>,
    /// What subscribers speak.
    pub subscribers: Box<dyn Dialect>,
}

impl Dialect for Mixed {
    fn name(&self) -> &'static str {
        "BlipMQ, both versions"
    }

    fn publisher(&self, topic: &str, workload: &Workload) -> Result<Publishing, Failure> {
        self.publishers.publisher(topic, workload)
    }

    fn subscriber(&self, topic: &str, name: &str, workload: &Workload) -> Result<Listening, Failure> {
        self.subscribers.subscriber(topic, name, workload)
    }
}
