//! The two halves of a bare connection, for those who encode their own frames: no lock, no allocation per frame.

use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use bytes::BytesMut;

use super::connection::Connection;
use crate::client::{ClientError, DeliveredBatch, FrameBuffer, RawFrame};

/// A connection in two halves, each for a thread of its own.
#[derive(Debug)]
pub struct Halves {
    pub reader: Reader,
    pub writer: Writer,
    /// Deliveries that had come before the split.
    pub early: Vec<DeliveredBatch>,
}

/// Receives frames. Decode them with `protocol::native::response`.
#[derive(Debug)]
pub struct Reader {
    stream: TcpStream,
    buffer: FrameBuffer,
}

/// Sends frames. Encode them with `protocol::native::command`.
#[derive(Debug)]
pub struct Writer {
    stream: TcpStream,
}

impl Halves {
    pub(super) fn new(connection: Connection) -> Result<Halves, ClientError> {
        let (stream, session, mut mail) = connection.into_parts()?;
        let early = mail.take_deliveries();
        let writer = Writer { stream: stream.try_clone()? };
        Ok(Halves { reader: Reader { stream, buffer: session.into_inbox() }, writer, early })
    }
}

impl Reader {
    /// Reads once, up to 64 KiB, and says how many bytes came.
    pub fn fill(&mut self) -> Result<usize, ClientError> {
        loop {
            match self.stream.read(self.buffer.room()) {
                Ok(0) => return Err(ClientError::Closed),
                Ok(count) => {
                    self.buffer.filled(count);
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_timeout(&error) => return Err(ClientError::TimedOut),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The next whole frame of what has been read; `None`: read more.
    #[inline]
    pub fn next_frame(&mut self) -> Result<Option<RawFrame<'_>>, ClientError> {
        self.buffer.next_frame()
    }

    /// Reads until `take` has made something of a frame.
    pub fn wait<T>(&mut self, mut take: impl FnMut(RawFrame<'_>) -> Option<T>) -> Result<T, ClientError> {
        loop {
            while let Some(frame) = self.next_frame()? {
                if let Some(taken) = take(frame) {
                    return Ok(taken);
                }
            }
            self.fill()?;
        }
    }

    /// How long [`Reader::fill`] waits; `None`: for ever.
    pub fn set_timeout(&self, timeout: Option<Duration>) -> Result<(), ClientError> {
        Ok(self.stream.set_read_timeout(timeout)?)
    }

    /// The socket itself.
    #[must_use]
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }
}

impl Writer {
    /// Sends bytes as they are: whole frames, if others send too.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        Ok(self.stream.write_all(bytes)?)
    }

    /// Sends everything in `out`, which is empty then and keeps its capacity.
    pub fn send(&mut self, out: &mut BytesMut) -> Result<(), ClientError> {
        self.stream.write_all(out)?;
        out.clear();
        Ok(())
    }

    /// Sends pieces one after another with as few calls as it takes: a head and a batch, for instance.
    pub fn send_pieces(&mut self, mut pieces: &mut [IoSlice<'_>]) -> Result<(), ClientError> {
        IoSlice::advance_slices(&mut pieces, 0);
        while !pieces.is_empty() {
            match self.stream.write_vectored(pieces) {
                Ok(count) => IoSlice::advance_slices(&mut pieces, count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// A second writer of the same connection, for a third thread. Each sends whole frames only.
    pub fn try_clone(&self) -> Result<Writer, ClientError> {
        Ok(Writer { stream: self.stream.try_clone()? })
    }

    /// Nothing more will be sent: the broker sees the end, and the reader what it still says.
    pub fn finish(self) -> Result<(), ClientError> {
        Ok(self.stream.shutdown(Shutdown::Write)?)
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
