//! Metrics, health and admin over HTTP: the sockets of it.
//!
//! Threads of their own, and plain blocking sockets: a scrape takes no turn of a shard's executor, and an answer comes
//! also when a shard hangs. One request a connection, a few connections at a time, and a time limit on everything.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::desk::Desk;
use super::failure::{Exit, Failure, planted_panic};
use super::listener::Refusals;
use crate::admin::request::{BODY_MAX, HEAD_MAX, Method, parse};
use crate::admin::response::Problem;
use crate::admin::{Parsed, Request, Response};

/// Connections at a time. Beyond: 503.
const CONNECTIONS_MAX: usize = 16;
/// For a whole request to arrive.
const REQUEST_TIME: Duration = Duration::from_secs(5);
/// For a peer to take the next part of a response.
const RESPONSE_TIME: Duration = Duration::from_secs(10);
/// Whoever comes with a wrong key waits this long for the answer.
const DENIAL: Duration = Duration::from_millis(500);
/// After a failed accept, for whatever was missing to come back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const STEP: usize = 8 * 1024;

/// Takes the port, before anything runs.
pub fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).map_err(|error| {
        let exit = if error.kind() == io::ErrorKind::AddrInUse { Exit::AddressInUse } else { Exit::Environment };
        let what = format!("cannot listen on {address} for metrics and admin: {error}");
        Failure::new(exit, what, "stop what listens there, or set metrics_addr and metrics_port")
    })
}

/// Serves until the process ends.
pub fn start(listener: TcpListener, desk: Arc<Desk>) -> io::Result<()> {
    let serve = move || serve(&listener, &desk);
    thread::Builder::new().name("http".into()).spawn(serve).map(drop)
}

fn serve(listener: &TcpListener, desk: &Arc<Desk>) {
    let open = Arc::new(AtomicUsize::new(0));
    let log = Refusals::default();
    loop {
        match listener.accept() {
            Ok((stream, peer)) => welcome(stream, peer, desk, &open),
            Err(error) => {
                desk.reject();
                if log.is_due() {
                    log::warn!("http: cannot accept connections: {error}");
                }
                thread::sleep(ACCEPT_PAUSE);
            }
        }
    }
}

fn welcome(stream: TcpStream, peer: SocketAddr, desk: &Arc<Desk>, open: &Arc<AtomicUsize>) {
    let place = Place::take(open);
    if place.nth >= CONNECTIONS_MAX {
        desk.reject();
        // At most a few bytes: a socket that was just opened has room for them.
        return finish(stream, &Problem::new(503, "too many requests at a time").into(), true);
    }
    let desk = desk.clone();
    let converse = move || {
        converse(stream, peer, &desk);
        drop(place);
    };
    if let Err(error) = thread::Builder::new().name("http-request".into()).spawn(converse) {
        log::warn!("http: no thread for a request: {error}");
    }
}

/// A place among those who are served, given back when dropped.
struct Place {
    open: Arc<AtomicUsize>,
    nth: usize,
}

impl Place {
    fn take(open: &Arc<AtomicUsize>) -> Place {
        let nth = open.fetch_add(1, Ordering::Relaxed);
        Place { open: open.clone(), nth }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

fn converse(mut stream: TcpStream, peer: SocketAddr, desk: &Desk) {
    let (response, with_body) = match receive(&mut stream) {
        Ok(Ok(request)) => {
            planted_panic("http");
            let response = desk.answer(&request);
            note(&request, &response, peer);
            (response, request.method != Method::Head)
        }
        Ok(Err(problem)) => {
            desk.reject();
            (problem.into(), true)
        }
        // The peer has gone.
        Err(_) => return desk.reject(),
    };
    if response.slow {
        thread::sleep(DENIAL);
    }
    finish(stream, &response, with_body);
}

/// Reads, does not change: said only when somebody wants to know. Orders and refusals are always said.
fn note(request: &Request, response: &Response, peer: SocketAddr) {
    let (method, path, status) = (request.method.name(), request.path.join("/"), response.status);
    match request.method {
        _ if matches!(status, 401 | 403) => log::warn!("http: {method} /{path} from {peer}: {status}"),
        Method::Get | Method::Head => log::debug!("http: {method} /{path} from {peer}: {status}"),
        Method::Put | Method::Post | Method::Delete => log::info!("http: {method} /{path} from {peer}: {status}"),
    }
}

/// A whole request, or why there will be none.
fn receive(stream: &mut TcpStream) -> io::Result<Result<Request, Problem>> {
    let deadline = Instant::now() + REQUEST_TIME;
    let mut bytes = Vec::new();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(Err(too_slow()));
        }
        stream.set_read_timeout(Some(left))?;
        let before = bytes.len();
        bytes.resize(before + STEP, 0);
        let read = match stream.read(&mut bytes[before..]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                return Ok(Err(too_slow()));
            }
            Err(error) => return Err(error),
        };
        bytes.truncate(before + read);
        debug_assert!(bytes.len() <= HEAD_MAX + BODY_MAX + STEP, "the parser refuses what is larger");
        match parse(&bytes) {
            Parsed::More => {}
            Parsed::Whole(request) => return Ok(Ok(request)),
            Parsed::Bad(status, text) => return Ok(Err(Problem::new(status, text))),
        }
    }
}

fn too_slow() -> Problem {
    Problem::new(408, "the request took too long to arrive")
}

/// Writes the response and closes in a way that the peer gets all of it, even if it is still sending.
fn finish(mut stream: TcpStream, response: &Response, with_body: bool) {
    let _ = stream.set_write_timeout(Some(RESPONSE_TIME));
    if stream.write_all(&response.bytes(with_body)).is_err() || stream.shutdown(std::net::Shutdown::Write).is_err() {
        return;
    }
    // What was sent and not read would reset the connection under the response.
    let _ = stream.set_read_timeout(Some(DENIAL));
    let mut rest = [0; STEP];
    for _ in 0..BODY_MAX / STEP {
        if !matches!(stream.read(&mut rest), Ok(read) if read > 0) {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::figures::Stage;
    use crate::auth::KeyRing;
    use crate::runtime::desk::Terms;

    fn server() -> SocketAddr {
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let terms = Terms { keys: KeyRing::default(), ..Terms::default() };
        let desk = Desk::new(true, ".".into(), "hdr".into(), terms, Box::new(|_| Err("not here".into())));
        start(listener, Arc::new(desk)).unwrap();
        address
    }

    fn ask(address: SocketAddr, text: &str) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn it_answers_before_there_are_shards() {
        let address = server();
        assert!(ask(address, "GET /health/live HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 200 OK\r\n"));
        assert!(ask(address, "GET /health/ready HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 503 "));
        let metrics = ask(address, "GET /metrics HTTP/1.1\r\n\r\n");
        assert!(metrics.contains("\r\nContent-Type: text/plain; version=0.0.4"));
        assert!(metrics.contains("\nprocess_open_fds ") && metrics.contains("\nmessages_published_total 0\n"));
        let refused = ask(address, "GET /api/v1/topics HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("the broker is starting"));
        let head = ask(address, "HEAD /metrics HTTP/1.1\r\n\r\n");
        assert!(head.ends_with("\r\n\r\n"));
        assert_eq!(Stage::default(), Stage::Starting);
    }

    #[test]
    fn a_request_may_come_in_pieces_and_a_malformed_one_is_told_why() {
        let address = server();
        let mut stream = TcpStream::connect(address).unwrap();
        for piece in ["GET /heal", "th/live HTT", "P/1.1\r\nHost: localhost\r\n", "\r\n"] {
            stream.write_all(piece.as_bytes()).unwrap();
            thread::sleep(Duration::from_millis(5));
        }
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"));
        assert!(ask(address, "nonsense\r\n\r\n").starts_with("HTTP/1.1 400"));
        let large = format!("PUT /api/v1/topics/a HTTP/1.1\r\nContent-Length: 70000\r\n\r\n{}", "x".repeat(70_000));
        assert!(ask(address, &large).starts_with("HTTP/1.1 413"));
    }

    #[test]
    fn beyond_the_bound_somebody_is_turned_away_and_later_served() {
        let address = server();
        let idle: Vec<TcpStream> = (0..CONNECTIONS_MAX).map(|_| TcpStream::connect(address).unwrap()).collect();
        let busy = || ask(address, "GET /health/live HTTP/1.1\r\n\r\n");
        assert!(busy().starts_with("HTTP/1.1 503"));
        drop(idle);
        let served = (0..200).any(|_| {
            thread::sleep(Duration::from_millis(10));
            busy().starts_with("HTTP/1.1 200")
        });
        assert!(served);
    }
}
