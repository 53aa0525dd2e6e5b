//! How a protocol says the same things: one file each, for BlipMQ's two versions, for the floor, and for peers.

pub mod handshake;
pub mod mixed;
pub mod nats;
pub mod redis;
pub mod redis_stream;
pub mod relay;
pub mod v1;
pub mod v2;

use bytes::BytesMut;

use super::failure::Failure;
use super::sink::Sink;
use super::stencil::Stencil;
use super::stream::Stream;
use super::workload::Workload;

/// Opens connections that speak one protocol. Opening blocks; what is opened does not.
pub trait Dialect {
    /// As reports name it.
    fn name(&self) -> &'static str;
    /// A publisher to `topic`.
    fn publisher(&self, topic: &str, workload: &Workload) -> Result<Publishing, Failure>;
    /// A subscriber to `topic`; `name` is its own in this run. With a backlog, it takes nothing until released.
    fn subscriber(&self, topic: &str, name: &str, workload: &Workload) -> Result<Listening, Failure>;
}

/// An open publisher.
pub struct Publishing {
    /// After the handshake.
    pub stream: Stream,
    /// Its batches.
    pub stencil: Stencil,
    /// What it does with answers.
    pub hear: Box<dyn Hear>,
    /// Every batch is acknowledged.
    pub acknowledged: bool,
}

/// An open subscriber.
pub struct Listening {
    /// After the handshake.
    pub stream: Stream,
    /// What it does with deliveries.
    pub listen: Box<dyn Listen>,
}

/// Numbers of acknowledged batches go here; answers to be sent go to `out`.
pub type Acknowledged<'a> = dyn FnMut(u64) -> Result<(), Failure> + 'a;

/// What a publisher hears.
pub trait Hear {
    /// Deals with the whole answers in `bytes`; gives the number of bytes dealt with.
    fn heard(
        &mut self,
        bytes: &[u8],
        acknowledged: &mut Acknowledged<'_>,
        out: &mut BytesMut,
    ) -> Result<usize, Failure>;
}

/// What a subscriber hears.
pub trait Listen {
    /// Deals with the whole deliveries in `bytes`; gives the number of bytes dealt with.
    fn heard(&mut self, bytes: &[u8], sink: &mut Sink<'_>, out: &mut BytesMut) -> Result<usize, Failure>;

    /// Whether deliveries must be asked for.
    fn asks(&self) -> bool {
        false
    }

    /// `coming` messages are on their way: ask for them, where the protocol wants to be asked.
    fn ask(&mut self, coming: u64, out: &mut BytesMut) {
        let _ = (coming, out);
    }

    /// Start to deliver what was held back for the backlog.
    fn release(&mut self, out: &mut BytesMut) {
        let _ = out;
    }

    /// Leave nothing behind.
    fn farewell(&mut self, out: &mut BytesMut) {
        let _ = out;
    }
}

/// For protocols that say nothing to publishers.
#[derive(Debug)]
pub struct Silence;

impl Hear for Silence {
    fn heard(&mut self, bytes: &[u8], _: &mut Acknowledged<'_>, _: &mut BytesMut) -> Result<usize, Failure> {
        Ok(bytes.len())
    }
}
