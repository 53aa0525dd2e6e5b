//! The bytes of both versions, kept as they always were: `tests/fixtures`.
//!
//! In a fixture, `#` begins a comment, bytes are hexadecimal, and blanks and `|` mean nothing. In a session, `>`
//! begins a line that the client says and `<` one that the server says.

use bytes::BytesMut;

use super::request::{Publish, PublishBatch};
use super::{Request, Response, Split, command, frame, kind, reply, request, response};
use crate::model::{Limits, Qos, record_batch};
use crate::protocol::ErrorCode;

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/", $name, ".hex"))
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
    client_says(fixture!("v1/hello"), 1, &Request::Hello { version: 1, capabilities: 0 }, |out| {
        command::hello(out, 1, 1);
    });
    client_says(fixture!("v1/auth"), 2, &Request::Auth { key: "secret" }, |out| command::auth(out, 2, "secret"));
    client_says(fixture!("v1/subscribe"), 3, &Request::Subscribe { topic: b"demo", qos: Qos::AtLeastOnce }, |out| {
        command::subscribe(out, 3, b"demo", Qos::AtLeastOnce);
    });
    client_says(fixture!("v1/publish"), 4, &Request::Publish(HI), |out| {
        command::publish(out, 4, HI.qos, HI.topic, HI.message);
    });
    let empty = Publish { qos: Qos::AtMostOnce, topic: b"a", message: b"" };
    client_says(fixture!("v1/publish_empty"), 5, &Request::Publish(empty), |out| {
        command::publish(out, 5, empty.qos, empty.topic, empty.message);
    });
    client_says(fixture!("v1/poll"), 6, &Request::Poll { subscription: 7 }, |out| command::poll(out, 6, 7));
    client_says(fixture!("v1/ack"), 1, &Request::Ack { subscription: 7 }, |out| command::ack(out, 1, 7));
    client_says(fixture!("v1/ping"), 8, &Request::Ping, |out| command::ping(out, 8));
}

#[test]
fn what_version_1_servers_say_reads_and_writes_as_ever() {
    server_says(fixture!("v1/hello_ack"), 1, &Response::Ack { subscription: 0 }, |out| reply::ack(out, 1, 0));
    server_says(fixture!("v1/subscribe_ack"), 3, &Response::Ack { subscription: 7 }, |out| reply::ack(out, 3, 7));
    server_says(fixture!("v1/delivery"), 1, &Response::Publish(HI), |out| {
        reply::publish(out, 1, HI.qos, HI.topic, HI.message);
    });
    let qos0 = Publish { qos: Qos::AtMostOnce, ..HI };
    server_says(fixture!("v1/delivery_qos0"), 6, &Response::Publish(qos0), |out| {
        reply::publish_head(out, 6, qos0.qos, qos0.topic, qos0.message.len());
        out.extend_from_slice(qos0.message);
    });
    let refused = Response::Nack { code: 401, text: "unauthenticated" };
    server_says(fixture!("v1/nack"), 9, &refused, |out| {
        reply::nack(out, 9, ErrorCode::Unauthenticated, "unauthenticated");
    });
    server_says(fixture!("v1/pong"), 8, &Response::Pong, |out| reply::pong(out, 8));
}

/// One line of a session, read and written again; returns the frame's type.
fn again(version: u8, line: &str) -> u8 {
    let (side, digits) = line.split_at(1);
    let bytes = bytes_of(digits);
    let Split::Frame(frame) = frame::split(&bytes, Limits::FRAME_MAX) else { panic!("a whole frame: {line}") };
    assert_eq!(frame.end, bytes.len(), "{line}");
    let (correlation, payload) = (frame.correlation, &bytes[frame.payload]);
    let mut out = BytesMut::new();
    match side {
        ">" => client_again(&mut out, correlation, request::decode(version, frame.kind, payload).unwrap(), payload),
        "<" => server_again(&mut out, correlation, response::decode(version, frame.kind, payload).unwrap(), payload),
        _ => panic!("a line begins with > or <: {line}"),
    }
    assert_eq!(out, bytes, "{line}");
    frame.kind
}

fn client_again(out: &mut BytesMut, correlation: u64, said: Request<'_>, payload: &[u8]) {
    match said {
        Request::Hello { version, .. } => command::hello(out, correlation, version),
        Request::Auth { key } => command::auth(out, correlation, key),
        Request::Subscribe { topic, qos } => command::subscribe(out, correlation, topic, qos),
        Request::Publish(said) => command::publish(out, correlation, said.qos, said.topic, said.message),
        Request::Poll { subscription } => command::poll(out, correlation, subscription),
        Request::Ack { subscription } => command::ack(out, correlation, subscription),
        Request::Ping => command::ping(out, correlation),
        Request::Alias { alias, topic } => command::alias(out, correlation, alias, topic),
        Request::PublishBatch(said) => batch_again(out, correlation, &said, payload),
        Request::SubscribeWith(said) => command::subscribe_with(out, correlation, &said),
        Request::Credit(said) => command::credit(out, correlation, &said),
        Request::Settle(said) => command::settle(out, correlation, &said),
        Request::Unsubscribe { subscription, delete } => command::unsubscribe(out, correlation, subscription, delete),
        Request::GoAway(said) => command::go_away(out, &said),
        Request::Query { what, limit } => command::query(out, correlation, what, limit),
    }
}

fn batch_again(out: &mut BytesMut, correlation: u64, said: &PublishBatch, payload: &[u8]) {
    let batch = &payload[said.batch.clone()];
    assert_eq!(record_batch::check(batch).unwrap().count, 1);
    let PublishBatch { alias, partition, qos, acknowledge, must_route, ttl_ms, .. } = *said;
    let head = command::BatchFor { alias, partition, qos, acknowledge, must_route, ttl_ms };
    command::publish_batch(out, correlation, &head, batch);
}

fn server_again(out: &mut BytesMut, correlation: u64, said: Response<'_>, payload: &[u8]) {
    match said {
        Response::Ack { subscription } => reply::ack(out, correlation, subscription),
        Response::Nack { code, text } => {
            reply::nack(out, correlation, ErrorCode::from_u16(code).expect("a code of the table"), text);
        }
        Response::Pong => reply::pong(out, correlation),
        Response::Publish(said) => reply::publish(out, correlation, said.qos, said.topic, said.message),
        Response::Welcome(said) => reply::welcome(out, correlation, &said),
        Response::Aliased { alias, partitions } => reply::aliased(out, correlation, alias, partitions),
        Response::Published(said) => reply::published(out, correlation, &said),
        Response::Subscribed(said) => reply::subscribed(out, correlation, &said),
        Response::Source(said) => reply::source(out, &said),
        Response::Deliver { deliver, batch } => {
            assert_eq!(record_batch::check(&payload[batch.clone()]).unwrap().count, 1);
            out.extend_from_slice(&reply::deliver_head(&deliver, batch.len()));
            out.extend_from_slice(&payload[batch]);
        }
        Response::GoAway(said) => reply::go_away(out, &said),
        Response::Answer { json } => reply::answer(out, correlation, json.as_bytes()),
    }
}

#[test]
fn a_whole_version_1_session_reads_and_writes_as_ever() {
    let said: Vec<u8> = lines(fixture!("v1/session")).map(|line| again(1, line)).collect();
    assert_eq!(said.len(), 15);
}

#[test]
fn a_whole_version_2_session_reads_and_writes_as_ever_and_says_everything() {
    let mut said: Vec<u8> = lines(fixture!("v2/session")).map(|line| again(2, line)).collect();
    said.sort_unstable();
    said.dedup();
    let old = [kind::HELLO, kind::AUTH, kind::ACK, kind::NACK, kind::PING, kind::PONG];
    let all: Vec<u8> = old.into_iter().chain(kind::WELCOME..=kind::ANSWER).collect();
    assert_eq!(said, all);
}
