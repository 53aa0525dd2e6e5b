//! Listening sockets: one for each shard, all on one port.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_lite::future::or;
use glommio::net::{AcceptedTcpStream, TcpListener};
use glommio::timer::sleep;
use socket2::{Domain, Protocol, Socket, Type};

use super::failure::{Exit, Failure};
use super::gauges::{add, read};
use super::segment_file::io_error;
use super::shard::Shard;

/// Connections the kernel keeps for a shard that has not yet accepted them; `somaxconn` bounds it further.
const BACKLOG: i32 = 65_535;
/// How long to let be what cannot be accepted: the connection waits in the kernel, and trying again at once would
/// only burn the core.
const BACK_OFF: Duration = Duration::from_millis(50);
/// Refusals are logged at most this often.
const LOG_EVERY: Duration = Duration::from_secs(1);

/// Bound, not yet listening: until the logs are recovered a client is better refused than left waiting.
#[derive(Debug)]
pub struct Bound {
    /// One for each shard.
    pub sockets: Vec<OwnedFd>,
    /// With the port that the system chose, if it was asked to.
    pub address: SocketAddr,
}

/// Binds a socket for each of `shards`.
pub fn bind(address: SocketAddr, shards: usize) -> Result<Bound, Failure> {
    let refused = |error: io::Error| refused(address, &error);
    if address.port() != 0 {
        // Sockets that share a port also share it with another broker of this user's; this one does not.
        socket(address, false).map_err(refused)?;
    }
    let first = socket(address, true).map_err(refused)?;
    let real = first.local_addr().and_then(|name| name.as_socket().ok_or_else(|| io::ErrorKind::Other.into()));
    let real = real.map_err(refused)?;
    let mut sockets = vec![first.into()];
    for _ in 1..shards {
        sockets.push(socket(real, true).map_err(refused)?.into());
    }
    Ok(Bound { sockets, address: real })
}

fn socket(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn refused(address: SocketAddr, error: &io::Error) -> Failure {
    match error.raw_os_error() {
        Some(libc::EADDRINUSE) => Failure::new(
            Exit::AddressInUse,
            format!("{address} is in use"),
            "stop what listens there (`ss -ltnp`), or set another port",
        ),
        Some(libc::EACCES) => Failure::new(
            Exit::AddressInUse,
            format!("{address}: permission denied"),
            "ports below 1024 need CAP_NET_BIND_SERVICE; set another port",
        ),
        _ => {
            Failure::new(Exit::AddressInUse, format!("cannot bind {address}: {error}"), "set another bind_addr or port")
        }
    }
}

/// Lets connections come: from here on the kernel completes their handshakes.
pub fn open(socket: &OwnedFd) -> io::Result<()> {
    // SAFETY: a system call on a descriptor that is borrowed for it.
    let result = unsafe { libc::listen(socket.as_raw_fd(), BACKLOG) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Accepts until the shard is told to refuse.
pub async fn run(shard: Rc<Shard>, socket: OwnedFd) {
    // SAFETY: the descriptor is owned and given up here, to exactly one listener.
    let listener = unsafe { TcpListener::from_raw_fd(socket.into_raw_fd()) };
    let log = Refusals::default();
    let refuse = async {
        shard.refuse.rung().await;
        None
    };
    let mut refuse = std::pin::pin!(refuse);
    let accept = async || {
        while shard.doorkeeper.is_crowded() {
            sleep(BACK_OFF).await;
        }
        Some(listener.shared_accept().await)
    };
    while let Some(accepted) = or(refuse.as_mut(), accept()).await {
        match accepted.map_err(io_error) {
            Ok(accepted) => take(&shard, accepted),
            Err(error) => {
                add(&shard.gauges.accept_errors, 1);
                if log.is_due() {
                    let count = read(&shard.gauges.accept_errors);
                    log::error!("cannot accept connections ({count} times so far): {error}");
                }
                if !passing(&error) {
                    sleep(BACK_OFF).await;
                }
            }
        }
        shard.turns.next().await;
    }
}

fn take(shard: &Rc<Shard>, accepted: AcceptedTcpStream) {
    // A peer that is gone already has no name; asking for it has then closed the socket.
    let Ok(peer) = accepted.peer_addr() else { return };
    let stream = accepted.bind_to_executor();
    if let Err(error) = stream.set_nodelay(true) {
        log::debug!("{peer}: no TCP_NODELAY: {error}");
    }
    shard.accepted(peer.ip(), stream);
}

/// The one connection is gone, the next may be fine.
fn passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted)
}

/// When it was last said that nobody can be accepted.
#[derive(Default)]
pub(super) struct Refusals {
    last: Cell<Option<Instant>>,
}

impl Refusals {
    /// Whether it is to be said again: if so, now.
    pub(super) fn is_due(&self) -> bool {
        let due = self.last.get().is_none_or(|last| last.elapsed() >= LOG_EVERY);
        if due {
            self.last.set(Some(Instant::now()));
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any_port() -> SocketAddr {
        "127.0.0.1:0".parse().unwrap()
    }

    #[test]
    fn all_shards_share_one_real_port() {
        let bound = bind(any_port(), 3).unwrap();
        assert_eq!(bound.sockets.len(), 3);
        assert_ne!(bound.address.port(), 0);
        assert!(bound.sockets.iter().all(|socket| open(socket).is_ok()));
    }

    #[test]
    fn a_taken_port_is_refused_even_when_its_owner_would_share_it() {
        let first = bind(any_port(), 2).unwrap();
        first.sockets.iter().for_each(|socket| open(socket).unwrap());
        let failure = bind(first.address, 2).unwrap_err();
        assert_eq!(failure.exit, Exit::AddressInUse);
        assert!(failure.what.contains(&first.address.to_string()));
    }
}
