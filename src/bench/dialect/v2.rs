//! Version 2: record batches by alias in, pushed record batches against credit out.

use bytes::BytesMut;

use super::handshake::{Handshake, refused};
use super::{Acknowledged, Dialect, Hear, Listen, Listening, Publishing};
use crate::bench::failure::Failure;
use crate::bench::sink::Sink;
use crate::bench::stamp::STAMP;
use crate::bench::stencil::{Batch, Stencil};
use crate::bench::workload::Workload;
use crate::client::blocking::Tls;
use crate::model::record_batch::{self, BATCH_HEADER, BatchBuilder};
use crate::model::{Limits, Offset, Qos, StartAt, SubscriptionMode, Timestamp};
use crate::protocol::native::command::{self, BatchFor, PUBLISH_BATCH_HEAD};
use crate::protocol::native::frame::{Split, split};
use crate::protocol::native::kind;
use crate::protocol::native::reply::Deliver;
use crate::protocol::native::request::{Credit, How, Settle, SubscribeWith};
use crate::protocol::native::response::{self, Response};

/// Where the checksum is in a record batch, and where what it covers begins.
const CRC_AT: usize = 17;
const COVERED_FROM: usize = 21;
/// Where the correlation id is in a frame.
const CORRELATION_AT: usize = 5;
/// Credit is given in this much at a time: it never runs out before the next is given.
const CREDIT: u32 = 1 << 30;
/// Credit is given again when this much was used.
const CREDIT_AGAIN: u32 = 1 << 28;

/// A broker that speaks version 2.
#[derive(Clone, Debug)]
pub struct V2 {
    /// Host and port.
    pub addr: String,
    /// The API key.
    pub key: String,
    /// Whom to trust, if it speaks TLS.
    pub tls: Option<Tls>,
    /// Wall clock at the start of the run, in the batches.
    pub wall: Timestamp,
}

impl Dialect for V2 {
    fn name(&self) -> &'static str {
        "BlipMQ v2"
    }

    fn publisher(&self, topic: &str, workload: &Workload) -> Result<Publishing, Failure> {
        let mut handshake = Handshake::open(&self.addr, &self.key, 2, self.tls.as_ref())?;
        handshake.ask(|out| command::alias(out, 3, 0, topic.as_bytes()))?;
        let acknowledged = workload.qos == Qos::AtLeastOnce;
        let said = BatchFor { qos: workload.qos, acknowledge: acknowledged, ..BatchFor::default() };
        Ok(Publishing {
            stream: handshake.end(),
            stencil: Stencil::new(publish_batch(&said, self.wall, workload)),
            hear: Box::new(Acknowledgements),
            acknowledged,
        })
    }

    fn subscriber(&self, topic: &str, name: &str, workload: &Workload) -> Result<Listening, Failure> {
        let mut handshake = Handshake::open(&self.addr, &self.key, 2, self.tls.as_ref())?;
        let credit = if workload.backlog > 0 { 0 } else { CREDIT };
        let said = SubscribeWith {
            qos: workload.qos,
            mode: SubscriptionMode::Exclusive,
            auto_acknowledge: false,
            start: if workload.durable { StartAt::Earliest } else { StartAt::Latest },
            credit_messages: credit,
            credit_bytes: credit,
            retry_delay_ms: 60_000,
            max_retries: None,
            name: if workload.durable { name } else { "" },
            dead_letter: b"",
            pattern: topic.as_bytes(),
        };
        let subscription = handshake.ask(|out| command::subscribe_with(out, 3, &said))?;
        let deliveries =
            Deliveries { subscription, qos: workload.qos, durable: workload.durable, settled: None, used: (0, 0) };
        Ok(Listening { stream: handshake.end(), listen: Box::new(deliveries) })
    }
}

fn publish_batch(said: &BatchFor, wall: Timestamp, workload: &Workload) -> Batch {
    let mut builder = BatchBuilder::new();
    let value = vec![b'x'; workload.size];
    (0..workload.batch).for_each(|_| builder.push(wall, &value));
    let records = builder.finish(Offset::ZERO, None);
    let stamps = places(&records, workload.size).map(|at| PUBLISH_BATCH_HEAD + at).collect();
    let mut bytes = command::publish_batch_head(0, said, records.len()).to_vec();
    bytes.extend_from_slice(&records);
    let checksum = (PUBLISH_BATCH_HEAD + CRC_AT, PUBLISH_BATCH_HEAD + COVERED_FROM..bytes.len());
    Batch { bytes, stamps, number_at: Some(CORRELATION_AT), checksum: Some(checksum) }
}

fn places(records: &[u8], size: usize) -> impl Iterator<Item = usize> {
    let mut at = BATCH_HEADER;
    std::iter::from_fn(move || {
        (_, at) = record_batch::record_at(records, at).ok()?;
        Some(value_at(at, size))
    })
}

/// Where a value of `size` bytes begins in a record that ends at `end` and has no headers: their number, zero, is last.
#[inline]
fn value_at(end: usize, size: usize) -> usize {
    end - 1 - size
}

/// PUBLISHED for each batch.
#[derive(Debug)]
struct Acknowledgements;

impl Hear for Acknowledgements {
    fn heard(&mut self, bytes: &[u8], acknowledged: &mut Acknowledged<'_>, _: &mut BytesMut) -> Result<usize, Failure> {
        frames(bytes, |kind, correlation, payload| {
            if kind == kind::PUBLISHED {
                return acknowledged(correlation);
            }
            other(kind, payload)
        })
    }
}

/// Calls `each` with the kind, correlation id and payload of every whole frame.
#[inline]
fn frames(bytes: &[u8], mut each: impl FnMut(u8, u64, &[u8]) -> Result<(), Failure>) -> Result<usize, Failure> {
    let mut at = 0;
    loop {
        match split(&bytes[at..], Limits::FRAME_MAX) {
            Split::Frame(frame) => {
                each(frame.kind, frame.correlation, &bytes[at + frame.payload.start..at + frame.payload.end])?;
                at += frame.end;
            }
            Split::More(_) => return Ok(at),
            Split::Bad { text, .. } => return Err(Failure::Broker(text.to_owned())),
        }
    }
}

/// What may be said beside what is hoped for.
#[cold]
fn other(kind: u8, payload: &[u8]) -> Result<(), Failure> {
    match response::decode(2, kind, payload).map_err(|error| Failure::Broker(error.text.to_owned()))? {
        Response::Nack { code, text } => Err(refused(code, text)),
        Response::GoAway(away) => Err(Failure::Broker(format!("the broker is going away: {}", away.text))),
        _ => Ok(()),
    }
}

/// DELIVER, settled up to the last and paid for by credit.
#[derive(Debug)]
struct Deliveries {
    subscription: u64,
    qos: Qos,
    durable: bool,
    /// Source, and the last offset delivered from it that was not settled yet.
    settled: Option<(u32, Offset)>,
    /// Messages and bytes delivered since credit was given.
    used: (u32, u32),
}

impl Listen for Deliveries {
    fn heard(&mut self, bytes: &[u8], sink: &mut Sink<'_>, out: &mut BytesMut) -> Result<usize, Failure> {
        let done = frames(bytes, |kind, _, payload| {
            if kind != kind::DELIVER {
                return other(kind, payload);
            }
            self.deliver(payload, sink, out)
        })?;
        self.settle(out);
        self.give_credit(out);
        Ok(done)
    }

    fn release(&mut self, out: &mut BytesMut) {
        self.credit(CREDIT, CREDIT, out);
    }

    fn farewell(&mut self, out: &mut BytesMut) {
        command::unsubscribe(out, 4, self.subscription, self.durable);
    }
}

impl Deliveries {
    #[inline]
    fn deliver(&mut self, payload: &[u8], sink: &mut Sink<'_>, out: &mut BytesMut) -> Result<(), Failure> {
        let Ok(Response::Deliver { deliver, batch }) = response::decode(2, kind::DELIVER, payload) else {
            return Err(Failure::Broker("a DELIVER that is none".into()));
        };
        walk(&payload[batch], &deliver, sink).ok_or_else(|| Failure::Broker("a broken record batch".into()))?;
        self.used.0 = self.used.0.saturating_add(deliver.count);
        self.used.1 = self.used.1.saturating_add(payload.len() as u32);
        if self.qos == Qos::AtLeastOnce {
            self.note(&deliver, out);
        }
        Ok(())
    }

    fn note(&mut self, deliver: &Deliver, out: &mut BytesMut) {
        let last = Offset(deliver.first_offset.0 + u64::from(deliver.count) - 1);
        if self.settled.is_some_and(|(source, before)| source != deliver.source || last < before) {
            self.settle(out);
        }
        self.settled = Some((deliver.source, last));
    }

    fn settle(&mut self, out: &mut BytesMut) {
        if let Some((source, last)) = self.settled.take() {
            let settle = Settle { subscription: self.subscription, source, how: How::UpTo { last } };
            command::settle(out, 5, &settle);
        }
    }

    fn give_credit(&mut self, out: &mut BytesMut) {
        if self.used.0 >= CREDIT_AGAIN || self.used.1 >= CREDIT_AGAIN {
            let (messages, bytes) = std::mem::take(&mut self.used);
            self.credit(messages, bytes, out);
        }
    }

    fn credit(&self, messages: u32, bytes: u32, out: &mut BytesMut) {
        command::credit(out, 6, &Credit { subscription: self.subscription, messages, bytes });
    }
}

/// Hands each delivered record of a batch to the sink; `None` if the batch is broken. Only lengths are read of a record
/// beside its stamp: all messages of a run have one size.
#[inline]
fn walk(batch: &[u8], deliver: &Deliver, sink: &mut Sink<'_>) -> Option<()> {
    let header = if sink.verify() { record_batch::check(batch) } else { record_batch::header(batch) }.ok()?;
    let skip = deliver.first_offset.0.checked_sub(header.base_offset.0)?;
    let end = skip.checked_add(deliver.count.into()).filter(|end| *end <= header.count.into())?;
    let mut at = BATCH_HEADER;
    for index in 0..end {
        let (length, body) = length(batch, at)?;
        at = body.checked_add(length)?;
        if index >= skip {
            message(batch, body, at, sink)?;
        }
    }
    Some(())
}

#[inline]
fn message(batch: &[u8], body: usize, end: usize, sink: &mut Sink<'_>) -> Option<()> {
    let size = sink.size();
    // Attributes, two deltas, two lengths, no headers: at least six bytes beside the value.
    if end - body < size + 6 || *batch.get(end - 1)? != 0 {
        sink.foreign();
        return Some(());
    }
    let at = value_at(end, size);
    sink.message(batch[at..at + STAMP].try_into().expect("sixteen bytes"));
    Some(())
}

/// The length of the record at `at`, and where its body begins.
#[inline]
fn length(batch: &[u8], at: usize) -> Option<(usize, usize)> {
    let (mut value, mut shift, mut at) = (0usize, 0, at);
    loop {
        let byte = *batch.get(at)?;
        value |= usize::from(byte & 0x7f) << shift;
        at += 1;
        if byte < 0x80 {
            // Zigzag: a length is not negative.
            return (value & 1 == 0).then_some((value >> 1, at));
        }
        shift += 7;
        if shift > 28 {
            return None;
        }
    }
}

/// A whole DELIVER frame, for tests.
#[cfg(test)]
pub fn deliver_frame(deliver: &Deliver, batch: &[u8]) -> Vec<u8> {
    let mut out = crate::protocol::native::reply::deliver_head(deliver, batch.len()).to_vec();
    out.extend_from_slice(batch);
    out
}

#[cfg(test)]
mod tests {
    use super::super::super::latency::Recorder;
    use super::super::super::sink::{Heard, Terms};
    use super::super::super::workload::small;
    use super::*;

    fn batch(workload: &Workload) -> Vec<u8> {
        let mut stencil = Stencil::new(publish_batch(&BatchFor::default(), Timestamp(5), workload));
        let len = stencil.stamp(0, 0, 1, |_| 1);
        stencil.bytes()[PUBLISH_BATCH_HEAD..len].to_vec()
    }

    fn deliver(first: u64, count: u32) -> Deliver {
        Deliver {
            subscription: 1,
            source: 0,
            qos: Qos::AtMostOnce,
            redelivery: false,
            attempt: 1,
            first_offset: Offset(first),
            count,
        }
    }

    fn hear(batch: &[u8], said: &Deliver, workload: &Workload) -> (Option<()>, Heard) {
        let terms =
            Terms { topics: 1, batch: workload.batch as u64, size: workload.size, counts_from: 0, verify: false };
        let (mut heard, mut recorder) = (Heard::new(0, 1), Recorder::default());
        let result = walk(batch, said, &mut Sink::new(&mut heard, &mut recorder, &terms, 10));
        (result, heard)
    }

    #[test]
    fn what_is_stamped_is_a_right_batch_and_is_heard_whole() {
        for size in [16, 100, 128, 1024, 4096, 70_000] {
            let workload = Workload { size, batch: 300, ..small() };
            let batch = batch(&workload);
            assert_eq!(record_batch::check(&batch).unwrap().count, 300);
            let (result, heard) = hear(&batch, &deliver(0, 300), &workload);
            assert_eq!((result, heard.came, heard.ledgers[0].next(), heard.foreign), (Some(()), 300, 300, 0));
            assert_eq!((heard.ledgers[0].reordered, heard.ledgers[0].lost(300)), (0, 0));
        }
    }

    #[test]
    fn a_part_of_a_batch_is_heard_in_part() {
        let workload = Workload { batch: 20, ..small() };
        let (result, heard) = hear(&batch(&workload), &deliver(5, 3), &workload);
        assert_eq!((result, heard.came, heard.ledgers[0].next(), heard.ledgers[0].lost(8)), (Some(()), 3, 8, 5));
        assert_eq!(hear(&batch(&workload), &deliver(5, 16), &workload).0, None);
    }

    #[test]
    fn a_batch_cut_anywhere_is_broken() {
        let workload = Workload { batch: 3, ..small() };
        let batch = batch(&workload);
        for cut in 0..batch.len() {
            assert_eq!(hear(&batch[..cut], &deliver(0, 3), &workload).0, None, "{cut}");
        }
    }
}
