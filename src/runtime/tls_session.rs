//! The TLS of one connection: between what its socket reads and writes and what the core is told and gives.
//!
//! It holds no more than one record that has not come whole, [`Limits::TLS_AHEAD`] bytes encrypted ahead of the socket,
//! and during the handshake what rustls allows that (64 KiB). It may move to another shard with its connection.

use std::io::{self, IoSlice, Read, Write};
use std::os::fd::RawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::BytesMut;
use futures_lite::io::AsyncWrite;
use rustls::{Error, PeerIncompatible, ServerConfig, ServerConnection};

use super::outbox::{CHUNKS_PER_CALL, Outbox, Sent, State, send_slices};
use crate::model::{Limits, TlsFailure};

/// The first byte of every handshake record.
const HANDSHAKE_RECORD: u8 = 0x16;

/// One connection's TLS.
#[derive(Debug)]
pub struct TlsSession {
    session: ServerConnection,
    /// Nothing has come yet.
    fresh: bool,
    /// The peer has said that it will send nothing more.
    ended: bool,
    /// Bytes of the outbox that are encrypted and not yet with the socket whole.
    ahead: usize,
}

/// Why a connection ends, and in words.
#[derive(Debug)]
pub struct Broken {
    /// For the counters.
    pub failure: TlsFailure,
    /// For the log.
    pub text: String,
}

impl TlsSession {
    /// The broker's side, before anything has come.
    pub fn new(rules: Arc<ServerConfig>) -> Result<TlsSession, Error> {
        Ok(TlsSession { session: ServerConnection::new(rules)?, fresh: true, ended: false, ahead: 0 })
    }

    /// Whether nothing of the protocol can be said yet.
    pub fn is_handshaking(&self) -> bool {
        self.session.is_handshaking()
    }

    /// Whether the peer will send nothing more.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether there is something of its own or of the outbox that the socket does not have.
    pub fn has_output(&self) -> bool {
        self.session.wants_write() || self.ahead > 0
    }

    /// What stands in the bytes that one read brought; perhaps nothing yet.
    pub fn decrypt(&mut self, mut bytes: &[u8]) -> Result<BytesMut, Broken> {
        if std::mem::take(&mut self.fresh) && bytes.first().is_some_and(|first| *first != HANDSHAKE_RECORD) {
            return Err(Broken { failure: TlsFailure::Plain, text: "it does not speak TLS".into() });
        }
        let mut plain = BytesMut::new();
        if !self.is_handshaking() {
            plain.reserve(bytes.len());
        }
        while !bytes.is_empty() && !self.ended {
            let taken = self.session.read_tls(&mut bytes).map_err(unreadable)?;
            let state = self.session.process_new_packets().map_err(broken)?;
            self.ended |= state.peer_has_closed();
            self.take(state.plaintext_bytes_to_read(), &mut plain).map_err(unreadable)?;
            if taken == 0 {
                break;
            }
        }
        Ok(plain)
    }

    fn take(&mut self, count: usize, plain: &mut BytesMut) -> io::Result<()> {
        let before = plain.len();
        plain.resize(before + count, 0);
        self.session.reader().read_exact(&mut plain[before..])
    }

    /// Encrypts and sends until the socket is full or nothing is left, never waiting. Bytes of the outbox count as
    /// sent when the socket has all that they became.
    pub fn send(&mut self, outbox: &mut Outbox, fd: RawFd) -> Sent {
        let mut bytes = 0;
        loop {
            match self.push(&mut Socket(fd)) {
                Ok(()) => bytes += std::mem::take(&mut self.ahead),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Sent { bytes, state: State::Full },
                Err(error) => return Sent { bytes, state: State::Broken(error) },
            }
            if self.is_handshaking() || outbox.is_empty() {
                return Sent { bytes, state: State::Empty };
            }
            if let Err(error) = self.encrypt(outbox) {
                return Sent { bytes, state: State::Broken(error) };
            }
        }
    }

    fn encrypt(&mut self, outbox: &mut Outbox) -> io::Result<()> {
        let mut slices = [IoSlice::new(&[]); CHUNKS_PER_CALL];
        let slices = outbox.slices(Limits::TLS_AHEAD, &mut slices);
        let some = slices.iter().any(|slice| !slice.is_empty());
        self.ahead = self.session.writer().write_vectored(slices)?;
        if self.ahead == 0 && some {
            // All that was encrypted is with the socket, so there is room: the session itself takes nothing any more.
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        outbox.advance(self.ahead);
        Ok(())
    }

    /// Waits until the socket takes some of what is encrypted.
    pub fn poll_push<S: AsyncWrite + Unpin>(&mut self, stream: &mut S, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.push(&mut Polled { stream, cx }) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
            done => Poll::Ready(done),
        }
    }

    /// Writes what is encrypted, until nothing is left or an error.
    fn push(&mut self, to: &mut dyn Write) -> io::Result<()> {
        while self.session.wants_write() {
            match self.session.write_tls(to) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Says that nothing more comes, as far as the socket takes it at once.
    pub fn say_goodbye(&mut self, fd: RawFd) {
        self.session.send_close_notify();
        // A peer that does not read, or has gone, misses nothing that counts: frames say how long they are.
        let _ = self.push(&mut Socket(fd));
    }
}

/// The socket as a writer that never waits.
struct Socket(RawFd);

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        send_slices(self.0, slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The socket as a writer that leaves a waker where it is full.
struct Polled<'a, 'b, S> {
    stream: &'a mut S,
    cx: &'a mut Context<'b>,
}

impl<S: AsyncWrite + Unpin> Write for Polled<'_, '_, S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match Pin::new(&mut *self.stream).poll_write(self.cx, bytes) {
            Poll::Ready(done) => done,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Its own buffers refuse more than a peer that keeps to the protocol sends.
fn unreadable(error: io::Error) -> Broken {
    Broken { failure: TlsFailure::Protocol, text: error.to_string() }
}

fn broken(error: Error) -> Broken {
    let failure = match &error {
        Error::PeerIncompatible(
            PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::ServerDoesNotSupportTls12Or13
            // Came with 1.2: who does not say it is older.
            | PeerIncompatible::SignatureAlgorithmsExtensionRequired,
        ) => TlsFailure::Version,
        Error::PeerIncompatible(_) => TlsFailure::Incompatible,
        Error::NoCertificatesPresented => TlsFailure::NoCertificate,
        Error::InvalidCertificate(_) => TlsFailure::BadCertificate,
        Error::AlertReceived(_) => TlsFailure::ByPeer,
        _ => TlsFailure::Protocol,
    };
    Broken { failure, text: error.to_string() }
}
