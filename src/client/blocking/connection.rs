//! One socket, its session and its mailboxes, shared by handles that take turns.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant as Moment, SystemTime};

use nix::poll::{PollFd, PollFlags, PollTimeout};

use super::ConnectOptions;
use super::mailbox::Mailboxes;
use super::tls::TlsSide;
use crate::client::{ClientError, ClientSession, SessionEvent};
use crate::model::Instant;

/// How long a waiting handle sleeps at most before it looks again: another handle may have read what it waits for.
const TURN: Duration = Duration::from_millis(50);
/// Pieces of one vectored write.
const SLICES: usize = 64;

/// What all handles of one connection hold.
#[derive(Clone, Debug)]
pub(super) struct Link {
    stream: Arc<TcpStream>,
    connection: Arc<Mutex<Connection>>,
    clock: Clock,
    answer_timeout: Duration,
}

/// The socket (never blocking), the session, and what has come.
#[derive(Debug)]
pub(super) struct Connection {
    stream: Arc<TcpStream>,
    tls: Option<Box<TlsSide>>,
    pub(super) session: ClientSession,
    pub(super) mail: Mailboxes,
    write_timeout: Duration,
    /// Nothing more will come.
    ended: bool,
}

/// A clock that never goes back.
#[derive(Clone, Copy, Debug)]
struct Clock {
    started: Moment,
    started_at: u64,
}

impl Clock {
    fn start() -> Clock {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Clock { started: Moment::now(), started_at: since_epoch.as_nanos() as u64 }
    }

    fn now(&self) -> Instant {
        Instant(self.started_at + self.started.elapsed().as_nanos() as u64)
    }
}

impl Link {
    /// Connects and shakes hands.
    pub(super) fn open(options: &ConnectOptions) -> Result<Link, ClientError> {
        let deadline = Moment::now() + options.connect_timeout;
        let stream = Arc::new(connect(options)?);
        let connection = Connection {
            stream: stream.clone(),
            tls: options.tls.as_ref().map(|tls| tls.connect(&options.addr)).transpose()?.map(Box::new),
            session: ClientSession::new(&options.session),
            mail: Mailboxes::default(),
            write_timeout: options.write_timeout,
            ended: false,
        };
        let connection = Arc::new(Mutex::new(connection));
        let link = Link { stream, connection, clock: Clock::start(), answer_timeout: options.answer_timeout };
        let ready = link.wait(Some(deadline), |connection| Ok(connection.session.is_ready().then_some(())));
        let ready = ready.map_err(|error| link.turn().explain(error))?;
        ready.ok_or(ClientError::TimedOut)?;
        Ok(link)
    }

    pub(super) fn now(&self) -> Instant {
        self.clock.now()
    }

    /// This handle's turn.
    pub(super) fn turn(&self) -> MutexGuard<'_, Connection> {
        // A panic in a handle's turn leaves at worst a frame half told; the session itself is whole.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The moment by which an answer must have come.
    pub(super) fn answer_by(&self) -> Option<Moment> {
        Some(Moment::now() + self.answer_timeout)
    }

    /// Sends what is to be sent and waits until `look` finds something; `None` when the deadline has passed.
    pub(super) fn wait<T>(
        &self,
        deadline: Option<Moment>,
        mut look: impl FnMut(&mut Connection) -> Result<Option<T>, ClientError>,
    ) -> Result<Option<T>, ClientError> {
        loop {
            {
                let mut connection = self.turn();
                // Errors wait until what has come before them has been looked at.
                let sent = connection.flush();
                if let Some(found) = look(&mut connection)? {
                    return Ok(Some(found));
                }
                sent?;
                if connection.receive()? {
                    continue;
                }
            }
            let left = deadline.map_or(TURN, |deadline| deadline.saturating_duration_since(Moment::now()));
            if left.is_zero() {
                return Ok(None);
            }
            wait_for(&self.stream, PollFlags::POLLIN, left.min(TURN))?;
        }
    }

    /// Makes a call and waits for its answer.
    pub(super) fn call(
        &self,
        say: impl FnOnce(&mut ClientSession) -> Result<u64, ClientError>,
    ) -> Result<SessionEvent, ClientError> {
        let correlation = {
            let mut connection = self.turn();
            let correlation = say(&mut connection.session)?;
            connection.mail.expect(correlation);
            correlation
        };
        self.answer(correlation)
    }

    /// Waits for the answer of a call that was made with its answer expected.
    pub(super) fn answer(&self, correlation: u64) -> Result<SessionEvent, ClientError> {
        let answer = self.wait(self.answer_by(), |connection| Ok(connection.mail.answered(correlation)));
        self.turn().mail.forget(correlation);
        match answer?.ok_or(ClientError::TimedOut)? {
            SessionEvent::Refused { code, text, .. } => Err(ClientError::Refused { code, text }),
            event => Ok(event),
        }
    }

    /// The connection, if no other handle has it.
    pub(super) fn into_connection(self) -> Result<Connection, ClientError> {
        let shared = || ClientError::Misuse("publishers or subscriptions of this connection are still open");
        drop(self.stream);
        let connection = Arc::try_unwrap(self.connection).map_err(|_| shared())?;
        Ok(connection.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Connection {
    /// Writes everything that is to be sent; while the broker does not read, reads what it says.
    pub(super) fn flush(&mut self) -> Result<(), ClientError> {
        let mut deadline = None;
        while !self.session.outbox().is_empty() || self.tls.as_ref().is_some_and(|tls| tls.wants_write()) {
            if self.ended {
                return Err(self.mail.farewell());
            }
            let mut slices = [IoSlice::new(&[]); SLICES];
            let slices = self.session.outbox().slices(&mut slices);
            let written = match &mut self.tls {
                None => (&*self.stream).write_vectored(slices),
                Some(tls) => tls.write(&self.stream, slices),
            };
            match written {
                // TLS takes a little before its handshake is done, and then no more.
                Ok(0) if self.tls.is_some() && !self.session.outbox().is_empty() => {
                    self.await_writable(&mut deadline)?;
                }
                Ok(count) => {
                    self.session.outbox().sent(count);
                    deadline = None;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.await_writable(&mut deadline)?,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(error)),
            }
        }
        Ok(())
    }

    fn await_writable(&mut self, deadline: &mut Option<Moment>) -> Result<(), ClientError> {
        let deadline = *deadline.get_or_insert_with(|| Moment::now() + self.write_timeout);
        if Moment::now() >= deadline {
            return Err(ClientError::TimedOut);
        }
        wait_for(&self.stream, PollFlags::POLLIN | PollFlags::POLLOUT, TURN)?;
        // What it says is often the way to make it read again.
        self.receive_some().map(|_| ())
    }

    /// Reads what is there, without waiting. True if something was; an error once nothing more will come.
    pub(super) fn receive(&mut self) -> Result<bool, ClientError> {
        if self.ended {
            return Err(self.mail.farewell());
        }
        self.receive_some()
    }

    fn receive_some(&mut self) -> Result<bool, ClientError> {
        match self.read() {
            Ok(count) => {
                self.ended |= count == 0;
                self.session.inbox().filled(count);
                self.sort().map(|()| true)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(false),
            Err(error) => Err(self.failed(error)),
        }
    }

    fn read(&mut self) -> io::Result<usize> {
        let room = self.session.inbox().room();
        match &mut self.tls {
            None => (&*self.stream).read(room),
            Some(tls) => tls.read(&self.stream, room),
        }
    }

    fn sort(&mut self) -> Result<(), ClientError> {
        while let Some(event) = self.session.poll().inspect_err(|_| self.ended = true)? {
            self.mail.put(event);
        }
        Ok(())
    }

    /// The socket failed. What the broker said before it closed is a better reason than the reset that followed.
    fn failed(&mut self, mut error: io::Error) -> ClientError {
        self.ended = true;
        loop {
            match self.read() {
                Ok(count @ 1..) => self.session.inbox().filled(count),
                Err(reason) if is_tls(&reason) => break error = reason,
                _ => break,
            }
        }
        match self.sort().map_or_else(|reason| reason, |()| self.mail.farewell()) {
            ClientError::Closed => of(error),
            reason => reason,
        }
    }

    /// Why there is no connection: a broker that does not speak TLS has no words for that.
    fn explain(&self, error: ClientError) -> ClientError {
        match error {
            ClientError::Closed | ClientError::Io(_) if self.tls.as_ref().is_some_and(|tls| tls.is_handshaking()) => {
                ClientError::Tls(format!("no handshake: {error}; perhaps the broker does not speak TLS on this port"))
            }
            error => error,
        }
    }

    /// Says inside TLS, too, that nothing more comes.
    pub(super) fn say_goodbye(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.say_goodbye(&self.stream);
        }
    }

    /// Whether it is encrypted.
    pub(super) fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// The parts: the socket blocks again.
    pub(super) fn into_parts(self) -> Result<(TcpStream, ClientSession, Mailboxes), ClientError> {
        let shared = |_| ClientError::Misuse("publishers or subscriptions of this connection are still open");
        let stream = Arc::try_unwrap(self.stream).map_err(shared)?;
        stream.set_nonblocking(false)?;
        Ok((stream, self.session, self.mail))
    }
}

/// An error of TLS comes in the guise of one of the socket.
fn is_tls(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
}

fn of(error: io::Error) -> ClientError {
    if is_tls(&error) { ClientError::Tls(error.to_string()) } else { error.into() }
}

fn connect(options: &ConnectOptions) -> Result<TcpStream, ClientError> {
    let mut last = io::Error::new(ErrorKind::NotFound, format!("{} has no address", options.addr));
    for addr in options.addr.to_socket_addrs()? {
        match TcpStream::connect_timeout(&addr, options.connect_timeout) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_nonblocking(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last.into())
}

/// Sleeps until the socket is ready or `most` has passed (rounded up to a millisecond).
fn wait_for(stream: &TcpStream, flags: PollFlags, most: Duration) -> Result<(), ClientError> {
    let ms = u16::try_from(most.as_micros().div_ceil(1000)).unwrap_or(u16::MAX);
    match nix::poll::poll(&mut [PollFd::new(stream.as_fd(), flags)], PollTimeout::from(ms)) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(errno) => Err(io::Error::from(errno).into()),
    }
}
