//! A bare socket that says and expects bytes.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use blipmq::model::Limits;
use blipmq::protocol::native::{Response, Split, command, frame, response};
use bytes::BytesMut;

use super::{PATIENCE, hex};

/// One connection, byte by byte.
pub struct Wire {
    stream: TcpStream,
    unread: Vec<u8>,
    version: u8,
}

/// A frame as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub correlation: u64,
    pub payload: Vec<u8>,
}

impl Wire {
    pub fn connect(address: SocketAddr) -> Wire {
        let stream = TcpStream::connect(address).expect("the broker takes connections");
        stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
        stream.set_write_timeout(Some(PATIENCE)).expect("not zero");
        stream.set_nodelay(true).expect("a TCP socket");
        Wire { stream, unread: Vec::new(), version: 0 }
    }

    /// HELLO and AUTH, both accepted.
    #[track_caller]
    pub fn shake_hands(&mut self, version: u16, key: &str) {
        self.say(|out| {
            command::hello(out, 1, version);
            command::auth(out, 2, key);
        });
        self.version = version as u8;
        let (hello, auth) = (self.frame(), self.frame());
        assert_eq!((hello.kind, hello.correlation), (if version == 2 { 0x10 } else { 0x05 }, 1), "{hello:?}");
        assert_eq!((auth.kind, auth.correlation), (0x05, 2), "{auth:?}");
    }

    /// Says what `encode` writes.
    #[track_caller]
    pub fn say(&mut self, encode: impl FnOnce(&mut BytesMut)) {
        let mut out = BytesMut::new();
        encode(&mut out);
        self.say_bytes(&out);
    }

    /// Says the bytes of a line of hexadecimal digits.
    #[track_caller]
    pub fn say_hex(&mut self, line: &str) {
        self.say_bytes(&hex::bytes(line));
    }

    #[track_caller]
    pub fn say_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the broker reads");
    }

    /// Says bytes, as many of them as the broker takes before it closes.
    pub fn try_say_bytes(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Says as much as goes without waiting; gives the number of bytes that went.
    #[track_caller]
    pub fn say_without_waiting(&mut self, bytes: &[u8]) -> usize {
        self.try_say_without_waiting(bytes).expect("the broker has not closed")
    }

    /// `None` if the broker has closed.
    pub fn try_say_without_waiting(&mut self, bytes: &[u8]) -> Option<usize> {
        self.stream.set_nonblocking(true).expect("a socket");
        let mut said = 0;
        let open = loop {
            match self.stream.write(&bytes[said..]) {
                Ok(0) => break true,
                Ok(more) => said += more,
                Err(error) => break error.kind() == ErrorKind::WouldBlock,
            }
        };
        self.stream.set_nonblocking(false).expect("a socket");
        open.then_some(said)
    }

    /// Whether the broker has closed; what it said before is forgotten.
    pub fn has_ended(&mut self) -> bool {
        self.stream.set_nonblocking(true).expect("a socket");
        let mut bytes = [0; 4096];
        let read = self.stream.read(&mut bytes);
        self.stream.set_nonblocking(false).expect("a socket");
        match read {
            Ok(count) => count == 0,
            Err(error) => error.kind() != ErrorKind::WouldBlock,
        }
    }

    /// Exactly these bytes come next.
    #[track_caller]
    pub fn expect_hex(&mut self, line: &str) {
        let wanted = hex::bytes(line);
        while self.unread.len() < wanted.len() {
            if !self.read_more() {
                panic!("the broker closed after {}, not {line}", hex::line(&self.unread));
            }
        }
        let came: Vec<u8> = self.unread.drain(..wanted.len()).collect();
        assert_eq!(hex::line(&came), hex::line(&wanted));
    }

    /// The next frame.
    #[track_caller]
    pub fn frame(&mut self) -> Frame {
        self.frame_or_end().expect("a frame comes before the end")
    }

    /// The next frame; `None` if the broker closes first.
    #[track_caller]
    pub fn frame_or_end(&mut self) -> Option<Frame> {
        loop {
            match frame::split(&self.unread, Limits::FRAME_MAX) {
                Split::Frame(found) => {
                    let payload = self.unread[found.payload.clone()].to_vec();
                    self.unread.drain(..found.end);
                    return Some(Frame { kind: found.kind, correlation: found.correlation, payload });
                }
                Split::More(_) => {
                    if !self.read_more() {
                        return None;
                    }
                }
                Split::Bad { text, .. } => panic!("the broker said {}: {text}", hex::line(&self.unread)),
            }
        }
    }

    /// The next frame is a NACK of this request; gives its code.
    #[track_caller]
    pub fn frame_is_nack(&mut self, correlation: u64) -> u16 {
        let (came, code, text) = self.nack();
        assert_eq!(came, correlation, "{text}");
        code
    }

    /// The next frame is a NACK; gives its correlation id, code and text.
    #[track_caller]
    pub fn nack(&mut self) -> (u64, u16, String) {
        let frame = self.frame();
        match frame.response(self.version.max(1)) {
            Response::Nack { code, text } => (frame.correlation, code, text.to_owned()),
            other => panic!("no NACK but {other:?}"),
        }
    }

    /// The next frame is a NACK with this correlation id and code.
    #[track_caller]
    pub fn expect_nack(&mut self, correlation: u64, code: u16) {
        let (came, its_code, text) = self.nack();
        assert_eq!((came, its_code), (correlation, code), "{text}");
    }

    /// Everything that was said so far has been handled, and nothing was answered.
    #[track_caller]
    pub fn expect_silence(&mut self) {
        const FENCE: u64 = 0xFE4CE;
        self.say(|out| command::ping(out, FENCE));
        let frame = self.frame();
        assert_eq!((frame.kind, frame.correlation), (0x08, FENCE), "{frame:?}");
    }

    /// The broker closes, and says nothing more before.
    #[track_caller]
    pub fn expect_end(&mut self) {
        while self.read_more() {}
        assert_eq!(hex::line(&self.unread), "", "the broker said more before it closed");
    }

    /// Waits until the broker has closed, whatever it says before.
    pub fn until_end(&mut self) {
        while self.read_more() {}
        self.unread.clear();
    }

    /// We say nothing more.
    pub fn close_sending_half(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("an open socket");
    }

    /// The socket is closed as a killed process leaves it: with what it has not read.
    pub fn reset(self) {
        let socket = socket2::Socket::from(self.stream);
        socket.set_linger(Some(Duration::ZERO)).expect("a TCP socket");
    }

    /// A fixture: `>` begins what we say, `<` what the broker says.
    #[track_caller]
    pub fn play(&mut self, session: &str) {
        for line in hex::lines(session) {
            match line.split_at(1) {
                (">", said) => self.say_hex(said),
                ("<", expected) => self.expect_hex(expected),
                _ => panic!("a line begins with > or <: {line}"),
            }
        }
    }

    /// False at the end. A reset is an end, too.
    fn read_more(&mut self) -> bool {
        let mut bytes = [0; 64 * 1024];
        let read = loop {
            match self.stream.read(&mut bytes) {
                // A process that was stopped and goes on finds its reads interrupted, signal handlers or not.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        match read {
            Ok(0) => false,
            Ok(count) => {
                self.unread.extend_from_slice(&bytes[..count]);
                true
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            Err(error) => panic!("the broker says nothing: {error}; so far {}", hex::line(&self.unread)),
        }
    }
}

impl Frame {
    /// What it says.
    #[track_caller]
    pub fn response(&self, version: u8) -> Response<'_> {
        response::decode(version, self.kind, &self.payload).expect("a broker says what can be read")
    }
}
