//! Redis publish and subscribe.

use std::io::Write;

use bytes::BytesMut;

use super::handshake::connect;
use super::{Acknowledged, Dialect, Hear, Listen, Listening, Publishing};
use crate::bench::failure::Failure;
use crate::bench::sink::Sink;
use crate::bench::stamp::STAMP;
use crate::bench::stencil::{Batch, Stencil};
use crate::bench::workload::Workload;
use crate::model::Qos;

/// A Redis server without a password.
#[derive(Clone, Debug)]
pub struct Redis {
    /// Host and port.
    pub addr: String,
}

/// A command or an array of strings as the protocol spells it.
pub fn spell(words: &[&[u8]]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
    out
}

impl Dialect for Redis {
    fn name(&self) -> &'static str {
        "Redis pub/sub"
    }

    fn publisher(&self, topic: &str, workload: &Workload) -> Result<Publishing, Failure> {
        if workload.qos != Qos::AtMostOnce {
            return Err(Failure::Usage("Redis publish and subscribe has no QoS 1".into()));
        }
        let value = vec![b'x'; workload.size];
        let one = spell(&[b"PUBLISH", topic.as_bytes(), &value]);
        let stamps = (0..workload.batch).map(|index| (index + 1) * one.len() - workload.size - 2).collect();
        let batch = Batch { bytes: one.repeat(workload.batch), stamps, number_at: None, checksum: None };
        let stream = connect(&self.addr)?;
        Ok(Publishing {
            stream: stream.into(),
            stencil: Stencil::new(batch),
            hear: Box::new(Counts),
            acknowledged: false,
        })
    }

    fn subscriber(&self, topic: &str, _: &str, workload: &Workload) -> Result<Listening, Failure> {
        let mut stream = connect(&self.addr)?;
        stream.write_all(&spell(&[b"SUBSCRIBE", topic.as_bytes()]))?;
        let confirmed = format!("*3\r\n$9\r\nsubscribe\r\n${}\r\n{topic}\r\n:1\r\n", topic.len());
        let mut answer = vec![0; confirmed.len()];
        std::io::Read::read_exact(&mut stream, &mut answer)?;
        if answer != confirmed.as_bytes() {
            return Err(Failure::Broker(format!("redis-server said {}", String::from_utf8_lossy(&answer))));
        }
        let whole = spell(&[b"message", topic.as_bytes(), &vec![0; workload.size]]);
        let head = whole[..whole.len() - workload.size - 2].to_vec();
        Ok(Listening { stream: stream.into(), listen: Box::new(Messages { head }) })
    }
}

/// How many got each message: of no interest, unless it is a complaint.
#[derive(Debug)]
struct Counts;

impl Hear for Counts {
    fn heard(&mut self, bytes: &[u8], _: &mut Acknowledged<'_>, _: &mut BytesMut) -> Result<usize, Failure> {
        match bytes.first() {
            Some(b'-') => Err(complaint(bytes)),
            _ => Ok(bytes.len()),
        }
    }
}

/// What the server complains of.
pub fn complaint(bytes: &[u8]) -> Failure {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]);
    Failure::Broker(format!("redis-server said {}", text.lines().next().unwrap_or_default()))
}

/// All messages of a run have one head.
#[derive(Debug)]
struct Messages {
    head: Vec<u8>,
}

impl Listen for Messages {
    fn heard(&mut self, bytes: &[u8], sink: &mut Sink<'_>, _: &mut BytesMut) -> Result<usize, Failure> {
        let length = self.head.len() + sink.size() + 2;
        for message in bytes.chunks_exact(length) {
            if !message.starts_with(&self.head) {
                return Err(complaint(message));
            }
            sink.message(message[self.head.len()..self.head.len() + STAMP].try_into().expect("sixteen bytes"));
        }
        Ok(bytes.len() / length * length)
    }
}
