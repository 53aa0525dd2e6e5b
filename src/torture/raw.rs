//! A connection without manners: half a frame, a reset, silence.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use bytes::BytesMut;
use socket2::SockRef;

use super::daemon::KEY;
use crate::bench::dialect::handshake::Handshake;
use crate::bench::failure::Failure;
use crate::model::record_batch::BatchBuilder;
use crate::model::{Offset, Qos, Timestamp};
use crate::protocol::native::command::{self, BatchFor};

/// After its handshake.
#[derive(Debug)]
pub struct Raw {
    /// The socket.
    pub stream: TcpStream,
    version: u8,
    next: u64,
}

impl Raw {
    /// Connects and shakes hands; in version 2, `topic` is alias 0.
    pub fn open(addr: &str, version: u8, topic: &str) -> Result<Raw, Failure> {
        let mut handshake = Handshake::open(addr, KEY, version, None)?;
        if version == 2 {
            handshake.ask(|out| command::alias(out, 3, 0, topic.as_bytes()))?;
        }
        Ok(Raw { stream: handshake.end().into_plain(), version, next: 10 })
    }

    /// The frames that publish these messages: one batch in version 2, a frame for each in version 1.
    pub fn frames(&mut self, topic: &str, qos: Qos, bodies: &[Vec<u8>]) -> BytesMut {
        let mut out = BytesMut::new();
        self.next += 1;
        if self.version == 1 {
            for body in bodies {
                command::publish(&mut out, self.next, qos, topic.as_bytes(), body);
            }
            return out;
        }
        version_2(&mut out, self.next, qos, bodies);
        out
    }

    /// The frame that publishes a QoS 1 batch to alias 0, of whichever connection.
    pub fn frame_of(bodies: &[Vec<u8>]) -> BytesMut {
        let mut out = BytesMut::new();
        version_2(&mut out, 5, Qos::AtLeastOnce, bodies);
        out
    }

    /// Writes; a broker that does not read makes it wait.
    pub fn say(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        Ok(self.stream.write_all(bytes)?)
    }

    /// Ends the connection by a reset: what the broker has not read is gone, and it is told so.
    pub fn reset(self) -> Result<(), Failure> {
        reset(&self.stream)
    }
}

/// Ends a connection by a reset, when it is dropped.
pub fn reset(stream: &TcpStream) -> Result<(), Failure> {
    Ok(SockRef::from(stream).set_linger(Some(Duration::ZERO))?)
}

fn version_2(out: &mut BytesMut, correlation: u64, qos: Qos, bodies: &[Vec<u8>]) {
    let said = BatchFor { alias: 0, partition: 0, qos, acknowledge: false, must_route: false, ttl_ms: 0 };
    command::publish_batch(out, correlation, &said, &batch(bodies));
}

/// Messages in one record batch.
pub fn batch(bodies: &[Vec<u8>]) -> bytes::Bytes {
    let mut builder = BatchBuilder::new();
    for body in bodies {
        builder.push(Timestamp(0), body);
    }
    builder.finish(Offset::ZERO, None)
}
