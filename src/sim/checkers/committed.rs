//! Nothing is delivered before it is committed.

use crate::model::{FsyncPolicy, Qos};
use crate::sim::book::Book;
use crate::sim::messages::Stage;
use crate::sim::violation::{Checked, must};
use crate::sim::witness::Delivery;

/// By the disk's own truth at the moment of the delivery.
#[derive(Debug)]
pub struct Committed {
    pub fsync: FsyncPolicy,
    pub logged: bool,
}

const SENTENCE: &str = "nothing is delivered before it is committed";

impl Committed {
    pub fn delivered(&self, book: &Book, delivery: &Delivery) -> Checked {
        let message = book.messages.of(delivery.id);
        if !self.logged || message.qos == Qos::AtMostOnce {
            return Ok(());
        }
        let committed = match message.stage {
            Stage::Unwritten => false,
            Stage::Written => self.fsync != FsyncPolicy::Always,
            Stage::Limbo | Stage::Claimed | Stage::Durable | Stage::Removed => true,
        };
        must(committed, SENTENCE, || format!("{:?} under {}: {delivery:?}", message.stage, self.fsync))
    }
}
