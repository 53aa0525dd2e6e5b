//! What is acknowledged is not delivered again.

use std::time::Duration;

use crate::model::Instant;
use crate::sim::book::Book;
use crate::sim::violation::{Checked, must};
use crate::sim::witness::Delivery;

/// Within one life of the process. What a shard had sent before the acknowledgement reached it may still be under way
/// from there to the shard of the connection.
#[derive(Debug)]
pub struct Settled {
    pub grace: Duration,
}

const SENTENCE: &str = "what is acknowledged is not delivered again";

impl Settled {
    pub fn delivered(&self, book: &Book, now: Instant, delivery: &Delivery) -> Checked {
        let source = book.subs.of(delivery.sub).sources.get(&delivery.topic);
        let settled = source.and_then(|source| source.given.get(&delivery.id)).and_then(|given| given.settled_at);
        let again = settled.is_some_and(|at| now > at + self.grace);
        must(!again, SENTENCE, || format!("{:?} after: {delivery:?}", now.since(settled.unwrap_or(now))))
    }
}
