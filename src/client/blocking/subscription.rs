//! A version 2 subscription: messages as they are sent, and what becomes of them.

use std::time::{Duration, Instant as Moment};

use super::Refusal;
use super::connection::Link;
use super::mailbox::Told;
use crate::client::session::Owner;
use crate::client::{ClientError, DeliveredBatch, Message};
use crate::model::record_batch::BATCH_HEADER;
use crate::model::{Offset, Qos};
use crate::protocol::native::reply::Subscribed;
use crate::protocol::native::request::{Credit, How, Settle};

/// Messages of one subscription. As an iterator it waits for ever and ends with the connection's error.
///
/// Dropping it leaves the subscription as it is until the connection ends; [`Subscription::unsubscribe`] ends it.
#[derive(Debug)]
pub struct Subscription {
    link: Link,
    owner: Owner,
    subscribed: Subscribed,
    auto_acknowledge: bool,
    /// The batch that messages are being taken from, and where the next one begins.
    current: Option<(DeliveredBatch, usize)>,
    /// Acknowledged and not yet said: of one source, from first to last.
    later: Option<(u32, Offset, Offset)>,
    over: bool,
}

impl Subscription {
    pub(super) fn new(link: Link, subscribed: Subscribed, auto_acknowledge: bool) -> Result<Subscription, ClientError> {
        let owner = link.turn().mail.open()?;
        Ok(Subscription { link, owner, subscribed, auto_acknowledge, current: None, later: None, over: false })
    }

    /// The subscription's number on this connection.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.subscribed.subscription
    }

    /// What the broker said of it when it began.
    #[must_use]
    pub fn subscribed(&self) -> &Subscribed {
        &self.subscribed
    }

    /// The next batch, whole: nothing is allocated or counted for each of its messages. `None`: nothing came within
    /// `timeout`. Its credit goes back with it.
    pub fn next_batch(&mut self, timeout: Option<Duration>) -> Result<Option<DeliveredBatch>, ClientError> {
        self.say_later();
        let (id, deadline) = (self.id(), deadline(timeout));
        self.link.wait(deadline, |connection| {
            let batch = connection.mail.delivered(id);
            Ok(batch.inspect(|batch| connection.session.release(batch)))
        })
    }

    /// The next message. `None`: nothing came within `timeout`.
    pub fn next_message(&mut self, timeout: Option<Duration>) -> Result<Option<Message>, ClientError> {
        loop {
            if let Some((batch, at)) = &mut self.current {
                if let Some(view) = batch.message_at(at) {
                    return Ok(Some(batch.own(&view)));
                }
                self.current = None;
            }
            match self.next_batch(timeout)? {
                Some(batch) => self.current = Some((batch, BATCH_HEADER)),
                None => return Ok(None),
            }
        }
    }

    /// Acknowledges one message, at once.
    pub fn ack(&mut self, message: &Message) -> Result<(), ClientError> {
        if self.settles(message.qos) {
            self.ack_range(message.source, message.offset, message.offset)?;
        }
        Ok(())
    }

    /// Acknowledges one message some time: with the next batch that is waited for, or with [`Subscription::flush`].
    /// Neighbours are said together.
    pub fn ack_later(&mut self, message: &Message) {
        if !self.settles(message.qos) {
            return;
        }
        match &mut self.later {
            Some((source, _, last)) if *source == message.source && last.plus(1) == message.offset => {
                *last = message.offset;
            }
            _ => {
                self.say_later();
                self.later = Some((message.source, message.offset, message.offset));
            }
        }
    }

    /// Acknowledges everything in a batch, at once.
    pub fn ack_batch(&mut self, batch: &DeliveredBatch) -> Result<(), ClientError> {
        if self.settles(batch.deliver.qos) {
            self.ack_range(batch.deliver.source, batch.first_offset(), batch.last_offset())?;
        }
        Ok(())
    }

    /// Acknowledges `first ..= last` of a source.
    pub fn ack_range(&mut self, source: u32, first: Offset, last: Offset) -> Result<(), ClientError> {
        self.settle(source, How::Range { first, last })
    }

    /// Acknowledges everything of a source up to and including `last`.
    pub fn ack_up_to(&mut self, source: u32, last: Offset) -> Result<(), ClientError> {
        self.settle(source, How::UpTo { last })
    }

    /// Refuses one message: it is delivered again after `delay`, or after the usual backoff if that is zero.
    pub fn nack(&mut self, message: &Message, delay: Duration) -> Result<(), ClientError> {
        if self.settles(message.qos) {
            self.nack_range(message.source, message.offset, message.offset, delay)?;
        }
        Ok(())
    }

    /// Refuses `first ..= last` of a source.
    pub fn nack_range(&mut self, source: u32, first: Offset, last: Offset, delay: Duration) -> Result<(), ClientError> {
        let delay_ms = u32::try_from(delay.as_millis()).unwrap_or(u32::MAX);
        self.settle(source, How::Refuse { first, last, delay_ms })
    }

    /// Grants more credit, for a subscription that began with none.
    pub fn credit(&mut self, messages: u32, bytes: u32) -> Result<(), ClientError> {
        let subscription = self.id();
        let mut connection = self.link.turn();
        connection.session.credit(&Credit { subscription, messages, bytes });
        connection.flush()
    }

    /// Sends what was acknowledged later.
    pub fn flush(&mut self) -> Result<(), ClientError> {
        self.say_later();
        self.link.turn().flush()
    }

    /// Acknowledgements that the broker refused, for instance because the message was given to another member since.
    pub fn take_refusals(&mut self) -> Vec<Refusal> {
        let mut connection = self.link.turn();
        let told = std::iter::from_fn(|| connection.mail.told(self.owner));
        told.filter_map(|told| if let Told::Refused(refusal) = told { Some(refusal) } else { None }).collect()
    }

    /// Ends the subscription; with `delete`, the durable one and its cursor too.
    pub fn unsubscribe(mut self, delete: bool) -> Result<(), ClientError> {
        self.say_later();
        let id = self.id();
        self.link.call(|session| Ok(session.unsubscribe(0, id, delete)))?;
        self.link.turn().mail.ended(id);
        Ok(())
    }

    fn settles(&self, qos: Qos) -> bool {
        qos == Qos::AtLeastOnce && !self.auto_acknowledge
    }

    fn settle(&mut self, source: u32, how: How) -> Result<(), ClientError> {
        if matches!(how, How::Range { first, last } | How::Refuse { first, last, .. } if first > last) {
            return Err(ClientError::Misuse("a range ends before it begins"));
        }
        self.say_later();
        let settle = Settle { subscription: self.id(), source, how };
        let mut connection = self.link.turn();
        connection.session.settle(self.owner, &settle);
        connection.flush()
    }

    fn say_later(&mut self) {
        if let Some((source, first, last)) = self.later.take() {
            let settle = Settle { subscription: self.id(), source, how: How::Range { first, last } };
            self.link.turn().session.settle(self.owner, &settle);
        }
    }
}

impl Iterator for Subscription {
    type Item = Result<Message, ClientError>;

    fn next(&mut self) -> Option<Result<Message, ClientError>> {
        if self.over {
            return None;
        }
        let next = self.next_message(None);
        self.over = next.is_err();
        next.transpose()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.say_later();
        let mut connection = self.link.turn();
        let _ = connection.flush();
        connection.mail.close(self.owner);
    }
}

/// The moment `timeout` from now; `None` waits for ever.
pub(super) fn deadline(timeout: Option<Duration>) -> Option<Moment> {
    timeout.and_then(|timeout| Moment::now().checked_add(timeout))
}
