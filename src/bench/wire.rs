//! One socket that never blocks, what came in and was not read yet, and what has still to go out.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

use bytes::{Buf, BytesMut};

use super::failure::Failure;
use super::stream::Stream;

/// Bytes one read asks for: about what stays in a second-level cache.
const READ: usize = 64 * 1024;
/// Unread bytes are moved to the front only when this much room is used up.
const ROOM: usize = 2 * READ;

/// A connection of the load.
#[derive(Debug)]
pub struct Wire {
    stream: Stream,
    inbox: Vec<u8>,
    from: usize,
    to: usize,
    /// Small things to say, beside a publisher's batches.
    pub outbox: BytesMut,
}

impl Wire {
    /// Takes over after the handshake.
    pub fn new(stream: Stream) -> Result<Wire, Failure> {
        stream.never_wait()?;
        Ok(Wire { stream, inbox: vec![0; ROOM], from: 0, to: 0, outbox: BytesMut::new() })
    }

    /// Reads once; of an encrypted stream all that has been taken from its socket, which would not say again that it is
    /// there. Says whether there may be more.
    pub fn read(&mut self) -> Result<bool, Failure> {
        let mut more = self.read_once()?;
        while more && self.stream.is_encrypted() {
            more = self.read_once()?;
        }
        Ok(more)
    }

    fn read_once(&mut self) -> Result<bool, Failure> {
        self.make_room();
        let room = &mut self.inbox[self.to..self.to + READ];
        match self.stream.read(room) {
            Ok(0) => Err(Failure::Broker("the broker closed a connection".into())),
            Ok(count) => {
                self.to += count;
                Ok(count == READ)
            }
            Err(error) if is_later(&error) => Ok(false),
            Err(error) => Err(broke(error)),
        }
    }

    fn make_room(&mut self) {
        if self.from == self.to {
            (self.from, self.to) = (0, 0);
        }
        if self.to + READ <= self.inbox.len() {
            return;
        }
        self.inbox.copy_within(self.from..self.to, 0);
        (self.from, self.to) = (0, self.to - self.from);
        if self.to + READ > self.inbox.len() {
            self.inbox.resize(self.to + ROOM, 0);
        }
    }

    /// What came and was not consumed.
    pub fn unread(&self) -> &[u8] {
        &self.inbox[self.from..self.to]
    }

    /// What came and was not consumed, and where answers go.
    pub fn unread_and_outbox(&mut self) -> (&[u8], &mut BytesMut) {
        (&self.inbox[self.from..self.to], &mut self.outbox)
    }

    /// These bytes are dealt with.
    pub fn consume(&mut self, count: usize) {
        self.from += count;
        assert!(self.from <= self.to, "no more is consumed than came");
    }

    /// Writes what the socket takes now, and says how much that was.
    pub fn write(&mut self, bytes: &[u8]) -> Result<usize, Failure> {
        write(&mut self.stream, bytes)
    }

    /// Writes the outbox. Says whether all of it went.
    pub fn flush(&mut self) -> Result<bool, Failure> {
        if !self.outbox.is_empty() {
            let gone = write(&mut self.stream, &self.outbox)?;
            self.outbox.advance(gone);
        }
        Ok(self.stream.push().map_err(broke)? && self.outbox.is_empty())
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

fn write(stream: &mut Stream, bytes: &[u8]) -> Result<usize, Failure> {
    let mut gone = 0;
    while gone < bytes.len() {
        match stream.write(&bytes[gone..]) {
            Ok(0) => break,
            Ok(count) => gone += count,
            Err(error) if is_later(&error) => break,
            Err(error) => return Err(broke(error)),
        }
    }
    Ok(gone)
}

fn broke(error: std::io::Error) -> Failure {
    Failure::Broker(format!("a connection broke: {error}"))
}

fn is_later(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
