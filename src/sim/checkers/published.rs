//! Only what was published is delivered, where it belongs.

use crate::model::Qos;
use crate::sim::book::Book;
use crate::sim::messages::TopicId;
use crate::sim::violation::{Checked, must};
use crate::sim::witness::Delivery;

#[derive(Debug)]
pub struct Published;

const KNOWN: &str = "nothing is delivered that was not published";
const WANTED: &str = "only what was subscribed to is delivered";
const REFUSED: &str = "what was refused is not delivered";
const LOWER: &str = "a delivery has the lower quality of service of the message's and the subscription's";

impl Published {
    pub fn delivered(&self, book: &Book, delivery: &Delivery) -> Checked {
        let message = book.messages.of(delivery.id);
        let wanted = &book.subs.of(delivery.sub).wanted;
        must(message.handed.is_some(), KNOWN, || format!("{delivery:?}"))?;
        must(wanted.topics.contains(&delivery.topic), WANTED, || format!("{delivery:?}"))?;
        must(!message.refused, REFUSED, || format!("{delivery:?}"))?;
        if delivery.topic != message.topic {
            let buried = is_dead_letter(book, message.topic, delivery.topic);
            return must(buried, KNOWN, || format!("topic {:?}: {delivery:?}", message.topic));
        }
        let lower = if wanted.qos == Qos::AtMostOnce { Qos::AtMostOnce } else { message.qos };
        must(delivery.qos == lower, LOWER, || format!("{:?} and {:?}: {delivery:?}", message.qos, wanted.qos))
    }
}

/// Some subscription of `from` sends its dead letters to `to`.
fn is_dead_letter(book: &Book, from: TopicId, to: TopicId) -> bool {
    book.subs.iter().any(|(_, sub)| sub.wanted.dead_letter == Some(to) && sub.wanted.topics.contains(&from))
}
