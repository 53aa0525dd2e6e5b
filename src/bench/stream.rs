//! A socket of the load, encrypted or not.

use std::io::{self, IoSlice, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};

use super::failure::Failure;
use crate::client::blocking::{Tls, TlsSide};

/// One connection.
#[derive(Debug)]
pub struct Stream {
    socket: TcpStream,
    tls: Option<Box<TlsSide>>,
}

impl Stream {
    /// Over an open socket to `addr`, encrypted if `tls` says how.
    pub fn new(socket: TcpStream, addr: &str, tls: Option<&Tls>) -> Result<Stream, Failure> {
        let side = tls.map(|tls| tls.connect(addr)).transpose();
        let side = side.map_err(|error| Failure::Usage(error.to_string()))?;
        Ok(Stream { socket, tls: side.map(Box::new) })
    }

    /// Whether it speaks TLS.
    pub fn is_encrypted(&self) -> bool {
        self.tls.is_some()
    }

    /// The socket of a connection that is not encrypted.
    pub fn into_plain(self) -> TcpStream {
        assert!(self.tls.is_none(), "asked of a plain connection only");
        self.socket
    }

    /// From now on it never waits.
    pub fn never_wait(&self) -> io::Result<()> {
        self.socket.set_nonblocking(true)
    }

    /// Sends what is encrypted and still here. Says whether all of it went.
    pub fn push(&mut self) -> io::Result<bool> {
        match &mut self.tls {
            None => Ok(true),
            Some(tls) => match tls.push(&self.socket) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
                done => done.map(|()| true),
            },
        }
    }
}

impl From<TcpStream> for Stream {
    fn from(socket: TcpStream) -> Stream {
        Stream { socket, tls: None }
    }
}

impl Read for Stream {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        match &mut self.tls {
            None => self.socket.read(room),
            Some(tls) => tls.read(&self.socket, room),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.tls {
            None => self.socket.write(bytes),
            Some(tls) => tls.write(&self.socket, &[IoSlice::new(bytes)]),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
