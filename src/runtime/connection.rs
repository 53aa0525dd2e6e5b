//! One socket of a shard.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::{fmt, io};

use bytes::BytesMut;
use futures_lite::io::AsyncWrite;
use glommio::net::TcpStream;

use super::bell::Bell;
use super::doorkeeper::Place;
use super::outbox::{Outbox, Sent};
use super::tls_session::{Broken, TlsSession};
use crate::model::{Chunk, ConnId};
use crate::protocol::ErrorCode;
use crate::protocol::native::reply;

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Read and written.
    Open,
    /// No longer read; what is to be sent goes out for a moment. The core may already have been told.
    Closing,
    /// Given up, or moved away: its tasks end.
    Over,
}

/// A socket, what is to be sent on it, and where it stands. Held by the table of connections while the core knows it,
/// and by its reading and writing tasks while they run; the descriptor is closed with the last of them.
pub struct Connection {
    /// Its name.
    pub id: ConnId,
    /// The other end.
    pub peer: IpAddr,
    /// Borrowed within one poll, never across an await.
    pub stream: RefCell<TcpStream>,
    /// Between socket and core, if the port speaks TLS. Borrowed within one call.
    pub tls: RefCell<Option<Box<TlsSession>>>,
    /// What is to be sent.
    pub outbox: RefCell<Outbox>,
    /// Where it stands.
    pub phase: Cell<Phase>,
    /// The core does not want to hear from it now.
    pub paused: Cell<bool>,
    /// A task waits for the socket to take more.
    pub writing: Cell<bool>,
    /// In the shard's list of connections with something new to send.
    pub dirty: Cell<bool>,
    /// The core still knows it.
    pub known: Cell<bool>,
    /// Its place among the broker's connections; given back with the descriptor.
    pub place: Cell<Option<Place>>,
    /// Wakes the reading task.
    pub reader: Bell,
    /// Wakes the writing task.
    pub writer: Bell,
    fd: RawFd,
}

impl Connection {
    /// A connection over `stream`.
    pub fn new(id: ConnId, peer: IpAddr, stream: TcpStream, tls: Option<Box<TlsSession>>) -> Rc<Connection> {
        let fd = stream.as_raw_fd();
        Rc::new(Connection {
            id,
            peer,
            stream: RefCell::new(stream),
            tls: RefCell::new(tls),
            outbox: RefCell::default(),
            phase: Cell::new(Phase::Open),
            paused: Cell::new(false),
            writing: Cell::new(false),
            dirty: Cell::new(false),
            known: Cell::new(true),
            place: Cell::new(None),
            reader: Bell::default(),
            writer: Bell::default(),
            fd,
        })
    }

    /// The descriptor, for calls that do not wait.
    pub fn fd(&self) -> RawFd {
        self.fd
    }

    /// Sends what the socket takes at once.
    pub fn send(&self) -> Sent {
        let mut outbox = self.outbox.borrow_mut();
        match &mut *self.tls.borrow_mut() {
            None => outbox.send(self.fd),
            Some(tls) => tls.send(&mut outbox, self.fd),
        }
    }

    /// Waits until the socket takes some of what is next, and says how much of the outbox that was.
    pub fn poll_send(&self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut stream = self.stream.borrow_mut();
        if let Some(tls) = &mut *self.tls.borrow_mut() {
            return tls.poll_push(&mut *stream, cx).map_ok(|()| 0);
        }
        let outbox = self.outbox.borrow();
        let Some(front) = outbox.front() else { return Poll::Ready(Ok(0)) };
        Pin::new(&mut *stream).poll_write(cx, front)
    }

    /// Whether the socket has everything that was to be sent.
    pub fn is_sent(&self) -> bool {
        self.outbox.borrow().is_empty() && self.tls.borrow().as_ref().is_none_or(|tls| !tls.has_output())
    }

    /// Whether it speaks TLS.
    pub fn is_tls(&self) -> bool {
        self.tls.borrow().is_some()
    }

    /// Whether TLS lets nothing be said yet.
    pub fn is_handshaking(&self) -> bool {
        self.tls.borrow().as_ref().is_some_and(|tls| tls.is_handshaking())
    }

    /// What stands in bytes that came.
    pub fn decrypt(&self, bytes: &[u8]) -> Result<BytesMut, Broken> {
        self.tls.borrow_mut().as_mut().expect("asked of a TLS connection only").decrypt(bytes)
    }

    /// It is closed: what waits for the end of a handshake will not be said any more.
    pub fn give_up_handshake(&self) {
        if self.is_handshaking() {
            self.outbox.borrow_mut().clear();
        }
    }

    /// The peer takes this port for a plain one: is told in the words it knows, whatever its version.
    pub fn answer_in_plain(&self) {
        let mut nack = BytesMut::new();
        reply::nack(&mut nack, 0, ErrorCode::BadRequest, "this port speaks TLS");
        self.tls.take();
        self.outbox.borrow_mut().push(vec![Chunk::from(nack.freeze())]);
    }

    /// Whether the peer has said, inside TLS, that nothing more comes.
    pub fn has_ended(&self) -> bool {
        self.tls.borrow().as_ref().is_some_and(|tls| tls.has_ended())
    }

    /// A second descriptor of the same socket, to be sent to another shard: glommio has no way to take the first one
    /// out of its stream.
    pub fn duplicate(&self) -> io::Result<OwnedFd> {
        // SAFETY: the stream owns the descriptor and lives at least as long as this borrow of the connection.
        unsafe { BorrowedFd::borrow_raw(self.fd) }.try_clone_to_owned()
    }

    /// Changes the phase and lets both tasks look at it.
    pub fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        self.reader.ring();
        self.writer.ring();
    }

    /// Says good-bye: the peer reads the end of the stream after what was sent.
    pub fn say_goodbye(&self) {
        if let Some(tls) = &mut *self.tls.borrow_mut() {
            tls.say_goodbye(self.fd);
        }
        self.shutdown(libc::SHUT_WR);
    }

    /// Gives up: nothing more is read or sent, and both tasks end.
    pub fn abort(&self) {
        self.shutdown(libc::SHUT_RDWR);
        self.outbox.borrow_mut().clear();
        self.enter(Phase::Over);
    }

    fn shutdown(&self, how: libc::c_int) {
        // SAFETY: the stream owns the descriptor and lives as long as this connection. A socket that the peer has
        // already reset answers with an error that tells nothing new.
        unsafe { libc::shutdown(self.fd, how) };
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "connection {} from {} ({:?})", self.id, self.peer, self.phase.get())
    }
}
