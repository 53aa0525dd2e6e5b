//! What a subscription is given: batches, and the messages in them.

use bytes::Bytes;

use super::ClientError;
use crate::model::record_batch::{self, BATCH_HEADER, BatchHeader, Record};
use crate::model::{Offset, Qos, Timestamp, TopicName};
use crate::protocol::native::reply::{DELIVER_FIELDS, Deliver};

/// One DELIVER: records of one partition with consecutive offsets. The messages borrow from it.
#[derive(Clone, Debug)]
pub struct DeliveredBatch {
    /// What the broker said of it.
    pub deliver: Deliver,
    pub topic: TopicName,
    pub partition: u32,
    header: BatchHeader,
    bytes: Bytes,
}

/// One message, borrowed from its batch.
#[derive(Clone, Copy, Debug)]
pub struct MessageView<'a> {
    pub offset: Offset,
    pub timestamp: Timestamp,
    pub key: Option<&'a [u8]>,
    pub value: &'a [u8],
    record: Record<'a>,
}

/// One message by itself; shares the bytes of its batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub topic: TopicName,
    pub partition: u32,
    pub offset: Offset,
    pub timestamp: Timestamp,
    pub key: Option<Bytes>,
    pub headers: Vec<(Bytes, Bytes)>,
    pub value: Bytes,
    /// From 1.
    pub attempt: u16,
    pub qos: Qos,
    /// The subscription's number for this topic and partition.
    pub source: u32,
}

/// One message of a version 1 subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolledMessage {
    pub subscription: u64,
    /// Names the delivery when it is acknowledged; under QoS 0 it is the POLL's correlation id.
    pub tag: u64,
    pub qos: Qos,
    pub topic: TopicName,
    pub value: Bytes,
}

impl DeliveredBatch {
    /// Checks the batch's envelope, with `verify` its checksum too, and that it holds the records that are delivered.
    pub(super) fn new(
        deliver: Deliver,
        topic: TopicName,
        partition: u32,
        batch: &[u8],
        verify: bool,
    ) -> Result<DeliveredBatch, ClientError> {
        let header = if verify { record_batch::check_envelope(batch)? } else { record_batch::header(batch)? };
        let skipped = deliver.first_offset.0.checked_sub(header.base_offset.0);
        let most = header.count.checked_sub(deliver.count);
        if deliver.count == 0 || skipped.zip(most).is_none_or(|(skipped, most)| skipped > u64::from(most)) {
            return Err(ClientError::Protocol("a delivery of records that are not in its batch"));
        }
        Ok(DeliveredBatch { deliver, topic, partition, header, bytes: Bytes::copy_from_slice(batch) })
    }

    /// Messages delivered.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.deliver.count
    }

    /// Of the messages delivered.
    #[must_use]
    pub fn first_offset(&self) -> Offset {
        self.deliver.first_offset
    }

    /// Of the messages delivered; included.
    #[must_use]
    pub fn last_offset(&self) -> Offset {
        self.deliver.first_offset.plus(u64::from(self.deliver.count) - 1)
    }

    /// What it counts for against the credit in bytes.
    #[must_use]
    pub fn credit_bytes(&self) -> u32 {
        (self.bytes.len() + DELIVER_FIELDS) as u32
    }

    /// Its messages, in order.
    pub fn messages(&self) -> impl Iterator<Item = MessageView<'_>> {
        let mut at = BATCH_HEADER;
        std::iter::from_fn(move || self.message_at(&mut at))
    }

    /// The record batch that they are in, which may hold more than is delivered.
    #[must_use]
    pub fn batch(&self) -> &Bytes {
        &self.bytes
    }

    /// The next message at or after byte `at` of the batch, which moves on. Starts at `BATCH_HEADER`.
    pub(super) fn message_at(&self, at: &mut usize) -> Option<MessageView<'_>> {
        while *at < self.bytes.len() {
            let (record, next) = record_batch::record_at(&self.bytes, *at).ok()?;
            *at = next;
            // Saturating: what a batch says of itself is the sender's word.
            let offset = Offset(self.header.base_offset.0.saturating_add(u64::from(record.offset_delta)));
            if offset > self.last_offset() {
                return None;
            }
            if offset >= self.deliver.first_offset {
                return Some(self.view(record, offset));
            }
        }
        None
    }

    fn view<'a>(&self, record: Record<'a>, offset: Offset) -> MessageView<'a> {
        let timestamp = Timestamp(self.header.base_timestamp.0.saturating_add(record.timestamp_delta));
        MessageView { offset, timestamp, key: record.key, value: record.value, record }
    }

    /// A message of this batch by itself.
    #[must_use]
    pub fn own(&self, view: &MessageView<'_>) -> Message {
        let share = |bytes: &[u8]| self.bytes.slice_ref(bytes);
        Message {
            topic: self.topic.clone(),
            partition: self.partition,
            offset: view.offset,
            timestamp: view.timestamp,
            key: view.key.map(share),
            headers: view.headers().map(|(key, value)| (share(key), share(value))).collect(),
            value: share(view.value),
            attempt: self.deliver.attempt,
            qos: self.deliver.qos,
            source: self.deliver.source,
        }
    }
}

impl<'a> MessageView<'a> {
    /// Names and values.
    pub fn headers(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        record_batch::headers(&self.record)
    }
}
