//! Version 1: single PUBLISH frames in, single messages on POLL out, both pipelined.

use std::collections::VecDeque;

use bytes::BytesMut;

use super::handshake::{Handshake, refused};
use super::{Acknowledged, Dialect, Hear, Listen, Listening, Publishing};
use crate::bench::failure::Failure;
use crate::bench::sink::Sink;
use crate::bench::stamp::STAMP;
use crate::bench::stencil::{Batch, Stencil};
use crate::bench::workload::Workload;
use crate::client::blocking::Tls;
use crate::model::{Limits, Qos};
use crate::protocol::native::frame::{Split, split};
use crate::protocol::native::response::{self, Response};
use crate::protocol::native::{command, kind};

/// POLLs between two PINGs. The PONG tells that those before it were dealt with, answered or not.
const POLLS: u64 = 512;
/// PINGs on their way.
const PINGS: usize = 4;

/// A broker that speaks version 1.
#[derive(Clone, Debug)]
pub struct V1 {
    /// Host and port.
    pub addr: String,
    /// The API key.
    pub key: String,
    /// Whom to trust, if it speaks TLS.
    pub tls: Option<Tls>,
}

impl Dialect for V1 {
    fn name(&self) -> &'static str {
        "BlipMQ v1"
    }

    fn publisher(&self, topic: &str, workload: &Workload) -> Result<Publishing, Failure> {
        let handshake = Handshake::open(&self.addr, &self.key, 1, self.tls.as_ref())?;
        Ok(Publishing {
            stream: handshake.end(),
            stencil: Stencil::new(publishes(topic, workload)),
            hear: Box::new(Refusals),
            acknowledged: false,
        })
    }

    fn subscriber(&self, topic: &str, _: &str, workload: &Workload) -> Result<Listening, Failure> {
        if workload.backlog > 0 {
            return Err(Failure::Usage("a backlog needs version 2: version 1 does not say what is published".into()));
        }
        let mut handshake = Handshake::open(&self.addr, &self.key, 1, self.tls.as_ref())?;
        let subscription = handshake.ask(|out| command::subscribe(out, 3, topic.as_bytes(), workload.qos))?;
        let polled = Polled { subscription, message_at: 3 + topic.len(), polls: VecDeque::new(), asked: 0 };
        Ok(Listening { stream: handshake.end(), listen: Box::new(polled) })
    }
}

fn publishes(topic: &str, workload: &Workload) -> Batch {
    let value = vec![b'x'; workload.size];
    let mut bytes = BytesMut::new();
    let stamps = (0..workload.batch).map(|_| {
        command::publish(&mut bytes, 0, workload.qos, topic.as_bytes(), &value);
        bytes.len() - workload.size
    });
    let stamps = stamps.collect();
    Batch { bytes: bytes.to_vec(), stamps, number_at: None, checksum: None }
}

/// Nothing is said to a publisher unless it is no.
#[derive(Debug)]
struct Refusals;

impl Hear for Refusals {
    fn heard(&mut self, bytes: &[u8], _: &mut Acknowledged<'_>, _: &mut BytesMut) -> Result<usize, Failure> {
        match split(bytes, Limits::FRAME_MAX) {
            Split::Frame(frame) => other(frame.kind, &bytes[frame.payload]).map(|()| frame.end),
            Split::More(_) => Ok(0),
            Split::Bad { text, .. } => Err(Failure::Broker(text.to_owned())),
        }
    }
}

#[cold]
fn other(kind: u8, payload: &[u8]) -> Result<(), Failure> {
    match response::decode(1, kind, payload) {
        Ok(Response::Nack { code, text }) => Err(refused(code, text)),
        Ok(_) => Ok(()),
        Err(error) => Err(Failure::Broker(error.text.to_owned())),
    }
}

/// Deliveries that were asked for.
#[derive(Debug)]
struct Polled {
    subscription: u64,
    /// Where the message begins in a PUBLISH payload.
    message_at: usize,
    /// POLLs before each PING that is on its way.
    polls: VecDeque<u64>,
    /// Their sum.
    asked: u64,
}

impl Listen for Polled {
    fn heard(&mut self, bytes: &[u8], sink: &mut Sink<'_>, out: &mut BytesMut) -> Result<usize, Failure> {
        let mut at = 0;
        loop {
            match split(&bytes[at..], Limits::FRAME_MAX) {
                Split::Frame(frame) => {
                    let payload = &bytes[at + frame.payload.start..at + frame.payload.end];
                    self.frame(frame.kind, frame.correlation, payload, sink, out)?;
                    at += frame.end;
                }
                Split::More(_) => return Ok(at),
                Split::Bad { text, .. } => return Err(Failure::Broker(text.to_owned())),
            }
        }
    }

    fn asks(&self) -> bool {
        true
    }

    fn ask(&mut self, coming: u64, out: &mut BytesMut) {
        while self.polls.len() < PINGS && coming > self.asked {
            let polls = (coming - self.asked).min(POLLS);
            (0..polls).for_each(|_| command::poll(out, 0, self.subscription));
            command::ping(out, 0);
            self.polls.push_back(polls);
            self.asked += polls;
        }
    }
}

impl Polled {
    #[inline]
    fn frame(
        &mut self,
        kind: u8,
        correlation: u64,
        payload: &[u8],
        sink: &mut Sink<'_>,
        out: &mut BytesMut,
    ) -> Result<(), Failure> {
        match kind {
            kind::PUBLISH => {
                if payload.len() == self.message_at + sink.size() {
                    let stamp = &payload[self.message_at..self.message_at + STAMP];
                    sink.message(stamp.try_into().expect("sixteen bytes"));
                } else {
                    sink.foreign();
                }
                if payload.first() == Some(&(Qos::AtLeastOnce as u8)) {
                    command::ack(out, correlation, self.subscription);
                }
                Ok(())
            }
            kind::PONG => {
                let polls = self.polls.pop_front().ok_or_else(|| Failure::Broker("a PONG without a PING".into()))?;
                self.asked -= polls;
                Ok(())
            }
            _ => other(kind, payload),
        }
    }
}
