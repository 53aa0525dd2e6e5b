//! Redis streams: XADD pipelined, XREAD in blocks.

use bytes::BytesMut;

use super::handshake::connect;
use super::redis::{complaint, spell};
use super::{Acknowledged, Dialect, Hear, Listen, Listening, Publishing};
use crate::bench::failure::Failure;
use crate::bench::sink::Sink;
use crate::bench::stamp::STAMP;
use crate::bench::stencil::{Batch, Stencil};
use crate::bench::workload::Workload;

/// Entries one XREAD brings at most.
const COUNT: &[u8] = b"1000";
/// Longer than any run waits, in milliseconds.
const BLOCK: &[u8] = b"3600000";

/// A Redis server without a password.
#[derive(Clone, Debug)]
pub struct RedisStream {
    /// Host and port.
    pub addr: String,
}

impl Dialect for RedisStream {
    fn name(&self) -> &'static str {
        "Redis stream"
    }

    fn publisher(&self, topic: &str, workload: &Workload) -> Result<Publishing, Failure> {
        let value = vec![b'x'; workload.size];
        // The oldest go, so that a run does not fill the memory.
        let one = spell(&[b"XADD", topic.as_bytes(), b"MAXLEN", b"~", b"1000000", b"*", b"m", &value]);
        let stamps = (0..workload.batch).map(|index| (index + 1) * one.len() - workload.size - 2).collect();
        let batch = Batch { bytes: one.repeat(workload.batch), stamps, number_at: None, checksum: None };
        let hear = Box::new(Added { batch: workload.batch as u64, added: 0 });
        Ok(Publishing { stream: connect(&self.addr)?.into(), stencil: Stencil::new(batch), hear, acknowledged: true })
    }

    fn subscriber(&self, topic: &str, _: &str, _: &Workload) -> Result<Listening, Failure> {
        let stream = connect(&self.addr)?;
        let entries = Entries { topic: topic.as_bytes().to_vec(), last: b"0".to_vec(), asked: false };
        Ok(Listening { stream: stream.into(), listen: Box::new(entries) })
    }
}

/// The id of each entry that was added.
#[derive(Debug)]
struct Added {
    batch: u64,
    added: u64,
}

impl Hear for Added {
    fn heard(&mut self, bytes: &[u8], acknowledged: &mut Acknowledged<'_>, _: &mut BytesMut) -> Result<usize, Failure> {
        let mut at = 0;
        while let Some((value, next)) = Value::read(bytes, at)? {
            if !matches!(value, Value::Text(_)) {
                return Err(complaint(&bytes[at..]));
            }
            at = next;
            self.added += 1;
            if self.added % self.batch == 0 {
                acknowledged(self.added / self.batch - 1)?;
            }
        }
        Ok(at)
    }
}

/// What one XREAD brought, and the next.
#[derive(Debug)]
struct Entries {
    topic: Vec<u8>,
    last: Vec<u8>,
    asked: bool,
}

impl Listen for Entries {
    fn heard(&mut self, bytes: &[u8], sink: &mut Sink<'_>, out: &mut BytesMut) -> Result<usize, Failure> {
        let mut at = 0;
        while let Some((value, next)) = Value::read(bytes, at)? {
            at = next;
            self.entries(&value, sink);
            self.asked = false;
            self.ask(1, out);
        }
        Ok(at)
    }

    fn asks(&self) -> bool {
        true
    }

    fn ask(&mut self, _: u64, out: &mut BytesMut) {
        if !self.asked {
            let words: [&[u8]; 8] = [b"XREAD", b"COUNT", COUNT, b"BLOCK", BLOCK, b"STREAMS", &self.topic, &self.last];
            out.extend_from_slice(&spell(&words));
            self.asked = true;
        }
    }
}

impl Entries {
    /// `[[topic, [[id, [field, value]], ..]]]`
    fn entries(&mut self, value: &Value<'_>, sink: &mut Sink<'_>) {
        let Some(entries) = value.item(0).and_then(|stream| stream.item(1)) else { return };
        for entry in entries.items() {
            let value = entry.item(1).and_then(|fields| fields.item(1)).and_then(Value::text);
            match value.filter(|value| value.len() == sink.size()) {
                Some(value) => sink.message(value[..STAMP].try_into().expect("sixteen bytes")),
                None => sink.foreign(),
            }
            if let Some(id) = entry.item(0).and_then(Value::text) {
                self.last = id.to_vec();
            }
        }
    }
}

/// An answer of the protocol.
#[derive(Debug)]
enum Value<'a> {
    Text(&'a [u8]),
    Items(Vec<Value<'a>>),
    Other,
}

impl<'a> Value<'a> {
    /// The value at `at` and where the next begins; `None` if it is not whole.
    fn read(bytes: &'a [u8], at: usize) -> Result<Option<(Value<'a>, usize)>, Failure> {
        let Some(line) = bytes[at..].windows(2).position(|pair| pair == b"\r\n") else { return Ok(None) };
        let (head, body) = (&bytes[at..at + line], at + line + 2);
        let kind = *head.first().ok_or_else(|| complaint(&bytes[at..]))?;
        let number = std::str::from_utf8(&head[1..]).ok().and_then(|text| text.parse::<i64>().ok());
        match (kind, number) {
            (b'$', Some(length)) if length >= 0 => {
                let end = body + length as usize;
                Ok((end + 2 <= bytes.len()).then(|| (Value::Text(&bytes[body..end]), end + 2)))
            }
            (b'*', Some(count)) if count >= 0 => Value::read_items(bytes, body, count),
            (b'$' | b'*' | b':', Some(_)) | (b'+', _) => Ok(Some((Value::Other, body))),
            _ => Err(complaint(&bytes[at..])),
        }
    }

    fn read_items(bytes: &'a [u8], mut at: usize, count: i64) -> Result<Option<(Value<'a>, usize)>, Failure> {
        let mut items = Vec::new();
        for _ in 0..count {
            let Some((item, next)) = Value::read(bytes, at)? else { return Ok(None) };
            items.push(item);
            at = next;
        }
        Ok(Some((Value::Items(items), at)))
    }

    fn items(&self) -> &[Value<'a>] {
        match self {
            Value::Items(items) => items,
            _ => &[],
        }
    }

    fn item(&self, index: usize) -> Option<&Value<'a>> {
        self.items().get(index)
    }

    fn text(&self) -> Option<&'a [u8]> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}
