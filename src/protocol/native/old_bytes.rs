//! The bytes of version 1, kept as they always were: `tests/fixtures/v1`.
//!
//! In a fixture, `#` begins a comment, bytes are hexadecimal, and blanks and `|` mean nothing. In a session, `>`
//! begins a line that the client says and `<` one that the server says.

use bytes::BytesMut;

use super::request::Publish;
use super::{Request, Response, Split, command, frame, reply, request, response};
use crate::model::{Limits, Qos};
use crate::protocol::ErrorCode;

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/v1/", $name, ".hex"))
    };
}

fn bytes_of(line: &str) -> Vec<u8> {
    let digits = line.split(|sign: char| sign.is_whitespace() || sign == '|').filter(|digits| !digits.is_empty());
    digits.map(|digits| u8::from_str_radix(digits, 16).expect("two hexadecimal digits")).collect()
}

fn lines(fixture: &str) -> impl Iterator<Item = &str> {
    fixture.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty())
}

fn read(fixture: &str) -> Vec<u8> {
    lines(fixture).flat_map(bytes_of).collect()
}

/// The fixture reads as `said`, and what `encode` writes for it is the fixture.
fn client_says(fixture: &str, correlation: u64, said: &Request<'_>, encode: impl FnOnce(&mut BytesMut)) {
    let bytes = read(fixture);
    let Split::Frame(frame) = frame::split(&bytes, Limits::FRAME_MAX) else { panic!("a whole frame") };
    assert_eq!((frame.correlation, frame.end), (correlation, bytes.len()));
    assert_eq!(&request::decode(1, frame.kind, &bytes[frame.payload]).unwrap(), said);
    let mut out = BytesMut::new();
    encode(&mut out);
    assert_eq!(out, bytes);
}

fn server_says(fixture: &str, correlation: u64, said: &Response<'_>, encode: impl FnOnce(&mut BytesMut)) {
    let bytes = read(fixture);
    let Split::Frame(frame) = frame::split(&bytes, Limits::FRAME_MAX) else { panic!("a whole frame") };
    assert_eq!((frame.correlation, frame.end), (correlation, bytes.len()));
    assert_eq!(&response::decode(1, frame.kind, &bytes[frame.payload]).unwrap(), said);
    let mut out = BytesMut::new();
    encode(&mut out);
    assert_eq!(out, bytes);
}

const HI: Publish<'_> = Publish { qos: Qos::AtLeastOnce, topic: b"demo", message: b"hi" };

#[test]
fn what_version_1_clients_say_reads_and_writes_as_ever() {
    client_says(fixture!("hello"), 1, &Request::Hello { version: 1, capabilities: 0 }, |out| {
        command::hello(out, 1, 1);
    });
    client_says(fixture!("auth"), 2, &Request::Auth { key: "secret" }, |out| command::auth(out, 2, "secret"));
    client_says(fixture!("subscribe"), 3, &Request::Subscribe { topic: b"demo", qos: Qos::AtLeastOnce }, |out| {
        command::subscribe(out, 3, b"demo", Qos::AtLeastOnce);
    });
    client_says(fixture!("publish"), 4, &Request::Publish(HI), |out| {
        command::publish(out, 4, HI.qos, HI.topic, HI.message);
    });
    let empty = Publish { qos: Qos::AtMostOnce, topic: b"a", message: b"" };
    client_says(fixture!("publish_empty"), 5, &Request::Publish(empty), |out| {
        command::publish(out, 5, empty.qos, empty.topic, empty.message);
    });
    client_says(fixture!("poll"), 6, &Request::Poll { subscription: 7 }, |out| command::poll(out, 6, 7));
    client_says(fixture!("ack"), 1, &Request::Ack { subscription: 7 }, |out| command::ack(out, 1, 7));
    client_says(fixture!("ping"), 8, &Request::Ping, |out| command::ping(out, 8));
}

#[test]
fn what_version_1_servers_say_reads_and_writes_as_ever() {
    server_says(fixture!("hello_ack"), 1, &Response::Ack { subscription: 0 }, |out| reply::ack(out, 1, 0));
    server_says(fixture!("subscribe_ack"), 3, &Response::Ack { subscription: 7 }, |out| reply::ack(out, 3, 7));
    server_says(fixture!("delivery"), 1, &Response::Publish(HI), |out| {
        reply::publish(out, 1, HI.qos, HI.topic, HI.message);
    });
    let qos0 = Publish { qos: Qos::AtMostOnce, ..HI };
    server_says(fixture!("delivery_qos0"), 6, &Response::Publish(qos0), |out| {
        reply::publish_head(out, 6, qos0.qos, qos0.topic, qos0.message.len());
        out.extend_from_slice(qos0.message);
    });
    let refused = Response::Nack { code: 401, text: "unauthenticated" };
    server_says(fixture!("nack"), 9, &refused, |out| {
        reply::nack(out, 9, ErrorCode::Unauthenticated, "unauthenticated");
    });
    server_says(fixture!("pong"), 8, &Response::Pong, |out| reply::pong(out, 8));
}

/// One line of the session, read and written again.
fn again(line: &str, out: &mut BytesMut) {
    let (side, digits) = line.split_at(1);
    let bytes = bytes_of(digits);
    let Split::Frame(frame) = frame::split(&bytes, Limits::FRAME_MAX) else { panic!("a whole frame: {line}") };
    assert_eq!(frame.end, bytes.len(), "{line}");
    let (correlation, payload) = (frame.correlation, &bytes[frame.payload]);
    match side {
        ">" => client_again(out, correlation, request::decode(1, frame.kind, payload).unwrap()),
        "<" => server_again(out, correlation, response::decode(1, frame.kind, payload).unwrap()),
        _ => panic!("a line begins with > or <: {line}"),
    }
    assert_eq!(&out.split()[..], bytes, "{line}");
}

fn client_again(out: &mut BytesMut, correlation: u64, said: Request<'_>) {
    match said {
        Request::Hello { version, .. } => command::hello(out, correlation, version),
        Request::Auth { key } => command::auth(out, correlation, key),
        Request::Subscribe { topic, qos } => command::subscribe(out, correlation, topic, qos),
        Request::Publish(said) => command::publish(out, correlation, said.qos, said.topic, said.message),
        Request::Poll { subscription } => command::poll(out, correlation, subscription),
        Request::Ack { subscription } => command::ack(out, correlation, subscription),
        Request::Ping => command::ping(out, correlation),
        other => panic!("not of version 1: {other:?}"),
    }
}

fn server_again(out: &mut BytesMut, correlation: u64, said: Response<'_>) {
    match said {
        Response::Ack { subscription } => reply::ack(out, correlation, subscription),
        Response::Nack { code, text } => {
            reply::nack(out, correlation, ErrorCode::from_u16(code).expect("a code of version 1"), text);
        }
        Response::Pong => reply::pong(out, correlation),
        Response::Publish(said) => reply::publish(out, correlation, said.qos, said.topic, said.message),
        other => panic!("not of version 1: {other:?}"),
    }
}

#[test]
fn a_whole_version_1_session_reads_and_writes_as_ever() {
    let mut out = BytesMut::new();
    let session = fixture!("session");
    assert_eq!(lines(session).map(|line| again(line, &mut out)).count(), 15);
}
