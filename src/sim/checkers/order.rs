//! First deliveries keep the order of the partition.

use crate::model::{Offset, Qos};
use crate::sim::book::Book;
use crate::sim::violation::{Checked, must};
use crate::sim::witness::Delivery;

/// For each subscription, topic and connection.
#[derive(Debug)]
pub struct Order;

const SENTENCE: &str = "first deliveries of a partition are in its order";
const PLACE: &str = "a record is delivered with the offset it was logged with";

impl Order {
    pub fn delivered(&self, book: &mut Book, delivery: &Delivery) -> Checked {
        let message = book.messages.of(delivery.id);
        if message.qos == Qos::AtMostOnce || delivery.topic != message.topic {
            return Ok(());
        }
        let logged = message.offset;
        let at_home = delivery.offset.is_none() || logged.is_none() || delivery.offset == logged;
        must(at_home, PLACE, || format!("logged at {logged:?}: {delivery:?}"))?;
        let Some(offset) = delivery.offset.or(logged) else { return Ok(()) };
        self.first(book, delivery, offset)
    }

    fn first(&self, book: &mut Book, delivery: &Delivery, offset: Offset) -> Checked {
        let source = book.subs.of_mut(delivery.sub).sources.entry(delivery.topic).or_default();
        let again = source.given.get(&delivery.id).is_some_and(|given| given.times > 0);
        let first = delivery.attempt.map_or(!again, |attempt| attempt == 1 && !delivery.redelivery);
        if !first {
            return Ok(());
        }
        let before = source.front.insert(delivery.link, offset);
        must(before.is_none_or(|before| before < offset), SENTENCE, || format!("after {before:?}: {delivery:?}"))
    }
}
