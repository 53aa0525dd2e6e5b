//! What has expired is not delivered.

use std::time::Duration;

use crate::model::{Instant, Qos};
use crate::sim::book::Book;
use crate::sim::violation::{Checked, must};
use crate::sim::witness::Delivery;

#[derive(Debug)]
pub struct Expiry {
    pub grace: Duration,
    /// Without a log, a QoS 1 record may wait for room before its time begins.
    pub waits: bool,
}

const SENTENCE: &str = "what has expired is not delivered";

impl Expiry {
    pub fn delivered(&self, book: &Book, now: Instant, delivery: &Delivery) -> Checked {
        let message = book.messages.of(delivery.id);
        let waited = self.waits && message.qos == Qos::AtLeastOnce;
        if waited || message.ttl_ms == 0 || message.topic != delivery.topic {
            return Ok(());
        }
        let born = message.handed_last.max(message.logged_at).unwrap_or(now);
        let end = born.plus_ms(u64::from(message.ttl_ms) + 1) + self.grace;
        must(now <= end, SENTENCE, || format!("{:?} after its end: {delivery:?}", now.since(end)))
    }
}
