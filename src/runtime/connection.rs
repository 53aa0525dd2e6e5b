//! One socket of a shard.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::{fmt, io};

use glommio::net::TcpStream;

use super::bell::Bell;
use super::doorkeeper::Place;
use super::outbox::Outbox;
use crate::model::ConnId;

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
    pub fn new(id: ConnId, peer: IpAddr, stream: TcpStream) -> Rc<Connection> {
        let fd = stream.as_raw_fd();
        Rc::new(Connection {
            id,
            peer,
            stream: RefCell::new(stream),
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
