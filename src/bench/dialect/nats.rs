//! NATS core: `PUB` and `MSG` lines.

use std::io::{Read, Write};
use std::net::TcpStream;

use bytes::BytesMut;

use super::handshake::connect;
use super::{Acknowledged, Dialect, Hear, Listen, Listening, Publishing};
use crate::bench::failure::Failure;
use crate::bench::sink::Sink;
use crate::bench::stamp::STAMP;
use crate::bench::stencil::{Batch, Stencil};
use crate::bench::workload::Workload;
use crate::model::Qos;

/// A line of the protocol is shorter, INFO included.
const LINE_MAX: usize = 64 * 1024;

/// A NATS server without authentication.
#[derive(Clone, Debug)]
pub struct Nats {
    /// Host and port.
    pub addr: String,
}

impl Nats {
    /// Says `more` and waits until it was dealt with.
    fn open(&self, more: &str) -> Result<TcpStream, Failure> {
        let mut stream = connect(&self.addr)?;
        line(&mut stream)?;
        let hello = "CONNECT {\"verbose\":false,\"pedantic\":false,\"name\":\"blipmq bench\"}\r\n";
        stream.write_all(format!("{hello}{more}PING\r\n").as_bytes())?;
        let answer = line(&mut stream)?;
        if answer != "PONG" {
            return Err(Failure::Broker(format!("nats-server said {answer}")));
        }
        Ok(stream)
    }
}

/// One line, byte by byte: nothing is read beyond it.
fn line(stream: &mut TcpStream) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n") && bytes.len() < LINE_MAX {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        bytes.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
}

impl Dialect for Nats {
    fn name(&self) -> &'static str {
        "NATS"
    }

    fn publisher(&self, topic: &str, workload: &Workload) -> Result<Publishing, Failure> {
        if workload.qos != Qos::AtMostOnce {
            return Err(Failure::Usage("core NATS has no QoS 1".into()));
        }
        let (mut bytes, mut stamps) = (Vec::new(), Vec::new());
        for _ in 0..workload.batch {
            bytes.extend_from_slice(format!("PUB {topic} {}\r\n", workload.size).as_bytes());
            stamps.push(bytes.len());
            bytes.resize(bytes.len() + workload.size, b'x');
            bytes.extend_from_slice(b"\r\n");
        }
        let stencil = Stencil::new(Batch { bytes, stamps, number_at: None, checksum: None });
        Ok(Publishing { stream: self.open("")?.into(), stencil, hear: Box::new(Lines), acknowledged: false })
    }

    fn subscriber(&self, topic: &str, _: &str, workload: &Workload) -> Result<Listening, Failure> {
        let stream = self.open(&format!("SUB {topic} 1\r\n"))?;
        let head = format!("MSG {topic} 1 {}\r\n", workload.size).into_bytes();
        Ok(Listening { stream: stream.into(), listen: Box::new(Messages { head }) })
    }
}

/// PING, and complaints.
#[derive(Debug)]
struct Lines;

impl Hear for Lines {
    fn heard(&mut self, bytes: &[u8], _: &mut Acknowledged<'_>, out: &mut BytesMut) -> Result<usize, Failure> {
        let mut at = 0;
        while let Some(length) = line_length(&bytes[at..]) {
            other(&bytes[at..at + length], out)?;
            at += length;
        }
        Ok(at)
    }
}

fn line_length(bytes: &[u8]) -> Option<usize> {
    bytes.windows(2).position(|pair| pair == b"\r\n").map(|at| at + 2)
}

#[cold]
fn other(line: &[u8], out: &mut BytesMut) -> Result<(), Failure> {
    if line.starts_with(b"PING") {
        out.extend_from_slice(b"PONG\r\n");
    }
    if line.starts_with(b"-ERR") {
        return Err(Failure::Broker(format!("nats-server said {}", String::from_utf8_lossy(line).trim_end())));
    }
    Ok(())
}

/// All messages of a run have one head.
#[derive(Debug)]
struct Messages {
    head: Vec<u8>,
}

impl Listen for Messages {
    fn heard(&mut self, bytes: &[u8], sink: &mut Sink<'_>, out: &mut BytesMut) -> Result<usize, Failure> {
        let length = self.head.len() + sink.size() + 2;
        let mut at = 0;
        loop {
            let rest = &bytes[at..];
            if rest.starts_with(&self.head) {
                if rest.len() < length {
                    return Ok(at);
                }
                let stamp = &rest[self.head.len()..self.head.len() + STAMP];
                sink.message(stamp.try_into().expect("sixteen bytes"));
                at += length;
                continue;
            }
            let Some(length) = line_length(rest) else { return Ok(at) };
            other(&rest[..length], out)?;
            at += length;
        }
    }
}
