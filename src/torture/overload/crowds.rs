//! Connections that are too many, or never say who they are.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use socket2::{Domain, Protocol, Socket, Type};

use super::{CONNECTIONS_MAX, HANDSHAKE, PER_ADDRESS_MAX};
use crate::bench::connect::allow;
use crate::bench::failure::Failure;
use crate::model::Limits;
use crate::protocol::native::command;
use crate::protocol::native::frame::{Split, split};
use crate::protocol::native::response::{self, Response};
use crate::torture::daemon::{Daemon, KEY};
use crate::torture::http::Http;
use crate::torture::verdict::Verdict;

/// Between two bytes of each connection.
const STEP: Duration = Duration::from_millis(250);
/// Beyond the handshake's deadline, for all of them to be closed.
const SLACK: Duration = Duration::from_secs(20);
/// Connections beyond each bound that are tried.
const BEYOND: usize = 100;
const PATIENCE: Duration = Duration::from_secs(30);

/// Each says one byte now and then; the deadline of the handshake closes them all.
pub fn loris(daemon: &Daemon, http: &Http, count: usize, verdict: &mut Verdict) -> Result<(), Failure> {
    let before = http.figures()?.labelled("blipmq_refused_total", "reason", "handshake_timeout");
    let mut hello = BytesMut::new();
    command::hello(&mut hello, 1, 2);
    allow(CONNECTIONS_MAX as u64)?;
    let mut open = (0..count).map(|_| from(daemon, 2)).collect::<Result<Vec<_>, _>>()?;
    let began = Instant::now();
    // The last byte is never said.
    let mut bytes = hello[..hello.len() - 1].chunks(1);
    while !open.is_empty() && began.elapsed() < HANDSHAKE + SLACK {
        let byte = bytes.next().unwrap_or_default();
        for mut stream in &open {
            // Who is closed is noticed below.
            let _ = stream.write(byte);
        }
        open.retain(|stream| !has_ended(stream));
        sleep(STEP);
    }
    verdict.figure("loris_connections", count as u64);
    verdict.figure("loris_closed_after_seconds", began.elapsed().as_secs_f64());
    let counted = http.figures()?.labelled("blipmq_refused_total", "reason", "handshake_timeout") - before;
    if !open.is_empty() {
        verdict.broken(format!("{} of {count} connections without a handshake are still open", open.len()));
    }
    if counted != count as f64 {
        verdict.broken(format!("{count} handshakes took too long, and {counted} are counted"));
    }
    Ok(())
}

fn has_ended(mut stream: &TcpStream) -> bool {
    let mut words = [0; 256];
    if stream.set_nonblocking(true).is_err() {
        return true;
    }
    let ended = loop {
        match stream.read(&mut words) {
            Ok(0) => break true,
            Ok(_) => {}
            Err(error) => break error.kind() != std::io::ErrorKind::WouldBlock,
        }
    };
    ended || stream.set_nonblocking(false).is_err()
}

/// From one address until its bound and beyond, then from another until the broker's bound and beyond. Those refused
/// are told so with 429, and counted.
pub fn beyond_the_bounds(daemon: &Daemon, http: &Http, verdict: &mut Verdict) -> Result<(), Failure> {
    let before = http.figures()?.labelled("blipmq_refused_total", "reason", "connection_limit");
    // Of 127.0.0.1 are also those who watch.
    let mut held = Vec::new();
    let mut refused = 0;
    refused += fill(daemon, 3, PER_ADDRESS_MAX + BEYOND, &mut held)?;
    let by_address = refused;
    refused += fill(daemon, 4, CONNECTIONS_MAX - PER_ADDRESS_MAX + BEYOND, &mut held)?;
    verdict.figure("crowd_let_in", held.len() as u64);
    verdict.figure("crowd_refused_by_address", by_address);
    verdict.figure("crowd_refused_in_all", refused);
    if by_address != BEYOND as u64 {
        verdict.broken(format!("{by_address} connections of one address were refused, not {BEYOND}"));
    }
    if held.len() > CONNECTIONS_MAX {
        verdict.broken(format!("{} connections were let in, and {CONNECTIONS_MAX} is the most", held.len()));
    }
    let counted = http.figures()?.labelled("blipmq_refused_total", "reason", "connection_limit") - before;
    if counted != refused as f64 {
        verdict.broken(format!("{refused} connections were refused, and {counted} are counted"));
    }
    Ok(())
}

/// So many connections, one after another; how many were refused.
fn fill(daemon: &Daemon, host: u8, count: usize, held: &mut Vec<TcpStream>) -> Result<u64, Failure> {
    let mut refused = 0;
    for _ in 0..count {
        let stream = from(daemon, host)?;
        if is_let_in(&stream)? { held.push(stream) } else { refused += 1 }
    }
    Ok(refused)
}

fn is_let_in(mut stream: &TcpStream) -> Result<bool, Failure> {
    let mut out = BytesMut::new();
    command::hello(&mut out, 1, 1);
    command::auth(&mut out, 2, KEY);
    // Who is refused may already have been closed.
    let _ = stream.write_all(&out);
    let mut came = Vec::new();
    let mut more = [0; 256];
    loop {
        if let Split::Frame(frame) = split(&came, Limits::FRAME_MAX) {
            return match response::decode(1, frame.kind, &came[frame.payload]) {
                Ok(Response::Ack { .. }) => Ok(true),
                Ok(Response::Nack { code: 429, .. }) => Ok(false),
                other => Err(Failure::Broker(format!("to a handshake: {other:?}"))),
            };
        }
        match stream.read(&mut more)? {
            0 => return Err(Failure::Broker("a connection was closed without a word".to_owned())),
            count => came.extend(&more[..count]),
        }
    }
}

/// A connection from 127.0.0.`host`.
fn from(daemon: &Daemon, host: u8) -> Result<TcpStream, Failure> {
    let to: SocketAddr = daemon.addr.parse().map_err(|_| Failure::Local(format!("{} is no address", daemon.addr)))?;
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.bind(&SocketAddr::from((Ipv4Addr::new(127, 0, 0, host), 0)).into())?;
    socket.connect_timeout(&to.into(), PATIENCE)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket.into())
}
