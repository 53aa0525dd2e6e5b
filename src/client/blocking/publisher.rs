//! Publishing many messages: gathered into batches, a window of them on their way.

use bytes::Bytes;

use super::connection::{Connection, Link};
use super::mailbox::{Refusal, Told};
use crate::client::producer::{Failed, Outcome, ProducerTotals};
use crate::client::session::Owner;
use crate::client::{ClientError, Producer, ProducerOptions};
use crate::model::record_batch::RecordExtras;

/// Publishes to one topic. What is gathered leaves when the batch is full, at the first call after its linger, and
/// with [`Publisher::flush`].
///
/// A refusal is an error of the next call that sends; its batch is kept for [`Publisher::take_failed`].
#[derive(Debug)]
pub struct Publisher {
    link: Link,
    owner: Owner,
    producer: Producer,
    unreported: Option<Refusal>,
}

impl Publisher {
    pub(super) fn new(link: Link, alias: u32, options: ProducerOptions) -> Result<Publisher, ClientError> {
        let owner = link.turn().mail.open()?;
        Ok(Publisher { link, owner, producer: Producer::new(options, alias, owner), unreported: None })
    }

    /// Adds a message. Waits only when the window is full.
    pub fn publish(&mut self, value: &[u8]) -> Result<(), ClientError> {
        self.publish_with(value, RecordExtras::default())
    }

    /// Adds a message with a key or headers.
    pub fn publish_with(&mut self, value: &[u8], extras: RecordExtras<'_>) -> Result<(), ClientError> {
        let now = self.link.now();
        let full = self.producer.push(now, value, extras);
        if full || self.producer.is_due(now) { self.send() } else { Ok(()) }
    }

    /// Sends what is gathered; waits for room in the window, not for confirmations.
    pub fn send(&mut self) -> Result<(), ClientError> {
        self.wait_for(|producer| producer.is_empty() || producer.has_room())?;
        let mut connection = self.link.turn();
        self.producer.cut(&mut connection.session)?;
        connection.flush()?;
        // Who is never confirmed still hears of refusals and of the end.
        connection.receive()?;
        learn(self.owner, &mut self.producer, &mut self.unreported, &mut connection);
        drop(connection);
        self.report()
    }

    /// Sends what is gathered and waits until everything is confirmed or refused, or the answer timeout has passed
    /// without a confirmation.
    pub fn flush(&mut self) -> Result<(), ClientError> {
        self.send()?;
        self.wait_for(|producer| producer.unconfirmed() == 0)?;
        self.report()
    }

    /// Sends what has lingered, and learns what has been confirmed. Does not wait.
    pub fn poll(&mut self) -> Result<(), ClientError> {
        {
            let mut connection = self.link.turn();
            if self.producer.is_due(self.link.now()) && self.producer.has_room() {
                self.producer.cut(&mut connection.session)?;
            }
            connection.flush()?;
            connection.receive()?;
            learn(self.owner, &mut self.producer, &mut self.unreported, &mut connection);
        }
        self.report()
    }

    /// Sends a batch again that is known or feared to be lost: of [`Publisher::take_failed`], or of
    /// [`Publisher::unconfirmed`] of a publisher whose connection ended.
    pub fn resend(&mut self, batch: Bytes) -> Result<(), ClientError> {
        self.send()?;
        self.wait_for(Producer::has_room)?;
        let mut connection = self.link.turn();
        self.producer.resend(&mut connection.session, batch)?;
        connection.flush()
    }

    /// The batches that were refused since this was last asked.
    pub fn take_failed(&mut self) -> Vec<Failed> {
        self.producer.take_failed()
    }

    /// With `outcomes` asked for: what became of each batch since this was last asked.
    pub fn take_outcomes(&mut self) -> Vec<Outcome> {
        self.producer.take_outcomes()
    }

    /// Batches that nothing is known of, oldest first.
    #[must_use]
    pub fn unconfirmed(&self) -> Vec<Bytes> {
        self.producer.unconfirmed_batches().cloned().collect()
    }

    /// What has been counted.
    #[must_use]
    pub fn totals(&self) -> &ProducerTotals {
        self.producer.totals()
    }

    /// The options as they are now: with the sequence number of the next message.
    #[must_use]
    pub fn options(&self) -> &ProducerOptions {
        self.producer.options()
    }

    /// Waits until `done`. Each confirmation gives the broker the whole answer timeout again.
    fn wait_for(&mut self, done: impl Fn(&Producer) -> bool) -> Result<(), ClientError> {
        loop {
            let (owner, producer, unreported) = (self.owner, &mut self.producer, &mut self.unreported);
            let before = producer.unconfirmed();
            let moved = self.link.wait(self.link.answer_by(), |connection| {
                learn(owner, producer, unreported, connection);
                let done = done(producer);
                Ok((done || producer.unconfirmed() < before).then_some(done))
            })?;
            match moved {
                Some(true) => return Ok(()),
                Some(false) => {}
                None => return Err(ClientError::TimedOut),
            }
        }
    }

    fn report(&mut self) -> Result<(), ClientError> {
        match self.unreported.take() {
            Some(refusal) => Err(refusal.into()),
            None => Ok(()),
        }
    }
}

/// Tells the producer what the broker has said.
fn learn(owner: Owner, producer: &mut Producer, unreported: &mut Option<Refusal>, connection: &mut Connection) {
    while let Some(told) = connection.mail.told(owner) {
        match told {
            Told::Published { correlation, published } => {
                producer.confirmed(correlation, published);
            }
            Told::Refused(refusal) => {
                producer.refused(refusal.correlation, refusal.code, refusal.text.clone());
                unreported.get_or_insert(refusal);
            }
            Told::Pong { .. } => {}
        }
    }
}

impl Drop for Publisher {
    /// Sends what is gathered, as well as it goes.
    fn drop(&mut self) {
        let mut connection = self.link.turn();
        if self.producer.cut(&mut connection.session).is_ok() {
            let _ = connection.flush();
        }
        connection.mail.close(self.owner);
    }
}
