//! The floor: messages one after another with nothing around them, through a process that only copies.

use std::io::Write;

use bytes::BytesMut;

use super::handshake::connect;
use super::{Dialect, Listen, Listening, Publishing, Silence};
use crate::bench::failure::Failure;
use crate::bench::sink::Sink;
use crate::bench::stamp::STAMP;
use crate::bench::stencil::{Batch, Stencil};
use crate::bench::workload::Workload;

/// First byte of a connection that sends.
pub const SENDS: u8 = b'P';
/// First byte of a connection that listens.
pub const LISTENS: u8 = b'S';

/// A bare relay of [`crate::bench::floor`].
#[derive(Clone, Debug)]
pub struct Relay {
    /// Host and port.
    pub addr: String,
}

impl Relay {
    /// A connection says what it is, and its topic as two bytes.
    fn open(&self, what: u8, topic: &str) -> Result<std::net::TcpStream, Failure> {
        let number = topic.rsplit('.').next().and_then(|number| number.parse::<u16>().ok());
        let number = number.expect("topics of a run are numbered");
        let mut stream = connect(&self.addr)?;
        let [high, low] = number.to_be_bytes();
        stream.write_all(&[what, high, low])?;
        Ok(stream)
    }
}

impl Dialect for Relay {
    fn name(&self) -> &'static str {
        "bare relay"
    }

    fn publisher(&self, topic: &str, workload: &Workload) -> Result<Publishing, Failure> {
        let bytes = vec![b'x'; workload.size * workload.batch];
        let stamps = (0..workload.batch).map(|index| index * workload.size).collect();
        let batch = Batch { bytes, stamps, number_at: None, checksum: None };
        let stream = self.open(SENDS, topic)?;
        Ok(Publishing {
            stream: stream.into(),
            stencil: Stencil::new(batch),
            hear: Box::new(Silence),
            acknowledged: false,
        })
    }

    fn subscriber(&self, topic: &str, _: &str, workload: &Workload) -> Result<Listening, Failure> {
        let stream = self.open(LISTENS, topic)?;
        Ok(Listening { stream: stream.into(), listen: Box::new(Bare { size: workload.size }) })
    }
}

#[derive(Debug)]
struct Bare {
    size: usize,
}

impl Listen for Bare {
    fn heard(&mut self, bytes: &[u8], sink: &mut Sink<'_>, _: &mut BytesMut) -> Result<usize, Failure> {
        let messages = bytes.chunks_exact(self.size);
        let rest = messages.remainder().len();
        messages.for_each(|message| sink.message(message[..STAMP].try_into().expect("sixteen bytes")));
        Ok(bytes.len() - rest)
    }
}
