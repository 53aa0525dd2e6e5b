//! Opening a connection of BlipMQ's own protocol: connect, HELLO, AUTH, and what else has to be answered first.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use bytes::BytesMut;

use crate::bench::failure::Failure;
use crate::bench::stream::Stream;
use crate::client::blocking::Tls;
use crate::model::Limits;
use crate::protocol::ErrorCode;
use crate::protocol::native::frame::{FRAME_HEADER, LENGTH_FIELD, LENGTH_MIN};
use crate::protocol::native::response::{self, Response};
use crate::protocol::native::{command, kind};

/// For each answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A socket with the options of all benchmarks.
pub fn connect(addr: &str) -> Result<TcpStream, Failure> {
    let unreachable = |error| Failure::Unreachable { addr: addr.to_owned(), error };
    let found = addr.to_socket_addrs().map_err(unreachable)?.next();
    let address = found.ok_or_else(|| Failure::Usage(format!("{addr} is no address")))?;
    let stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(unreachable)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// A connection whose answers are waited for one by one: nothing is read beyond them.
#[derive(Debug)]
pub struct Handshake {
    stream: Stream,
    version: u8,
}

impl Handshake {
    /// Connects, and speaks `version`, within TLS if `tls` says how.
    pub fn open(addr: &str, key: &str, version: u8, tls: Option<&Tls>) -> Result<Handshake, Failure> {
        let mut handshake = Handshake { stream: Stream::new(connect(addr)?, addr, tls)?, version };
        handshake.ask(|out| command::hello(out, 1, version.into()))?;
        handshake.ask(|out| command::auth(out, 2, key))?;
        Ok(handshake)
    }

    /// Says something and waits for the answer; a refusal is a failure. Gives the number that the answer is about.
    pub fn ask(&mut self, say: impl FnOnce(&mut BytesMut)) -> Result<u64, Failure> {
        let mut out = BytesMut::new();
        say(&mut out);
        self.stream.write_all(&out)?;
        loop {
            let (kind, payload) = self.frame()?;
            let answer = response::decode(self.version, kind, &payload);
            match answer.map_err(|error| Failure::Broker(error.text.to_owned()))? {
                Response::Ack { subscription } => return Ok(subscription),
                Response::Subscribed(subscribed) => return Ok(subscribed.subscription),
                Response::Welcome(_) | Response::Aliased { .. } => return Ok(0),
                Response::Nack { code, text } => return Err(refused(code, text)),
                // Said before what was asked for.
                _ if kind == kind::SOURCE => {}
                _ => return Err(Failure::Broker(format!("a frame of type {kind} is no answer here"))),
            }
        }
    }

    fn frame(&mut self) -> Result<(u8, Vec<u8>), Failure> {
        let mut head = [0; FRAME_HEADER];
        self.stream.read_exact(&mut head)?;
        let length = u32::from_be_bytes(head[..LENGTH_FIELD].try_into().expect("four bytes")) as usize;
        if !(LENGTH_MIN..=Limits::FRAME_MAX).contains(&length) {
            return Err(Failure::Broker("this is not the protocol of BlipMQ".into()));
        }
        let mut payload = vec![0; length - LENGTH_MIN];
        self.stream.read_exact(&mut payload)?;
        Ok((head[LENGTH_FIELD], payload))
    }

    /// The socket, for the load.
    pub fn end(self) -> Stream {
        self.stream
    }
}

/// A NACK as a failure.
pub fn refused(code: u16, text: &str) -> Failure {
    let said = format!("the broker refused: {code} {text}");
    if code == ErrorCode::Unauthenticated as u16 { Failure::Denied(said) } else { Failure::Broker(said) }
}
