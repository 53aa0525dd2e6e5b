//! What one side says, the other reads; cut or garbled, it is refused and nothing panics.

use bytes::BytesMut;
use proptest::collection::vec;
use proptest::prelude::*;

use super::reply::{Deliver, Published, Reached, Source, Subscribed, Welcome};
use super::request::{Credit, GoAway, How, PUBLISH_BATCH_FIELDS, PublishBatch, Settle, SubscribeWith, What};
use super::{FRAME_HEADER, Frame, Request, Response, Split, command, frame, kind, reply, request, response};
use crate::model::{Limits, Offset, Qos, StartAt, SubscriptionMode, Timestamp};
use crate::protocol::ErrorCode;

const MAX: usize = Limits::FRAME_MAX;

/// What a client may say, owned so that it can be made up.
#[derive(Clone, Debug)]
enum Said {
    Hello(u16),
    Auth(String),
    Publish(Qos, Vec<u8>, Vec<u8>),
    Subscribe(Vec<u8>, Qos),
    Ack(u64),
    Ping,
    Poll(u64),
    Alias(u32, Vec<u8>),
    PublishBatch(command::BatchFor, Vec<u8>),
    SubscribeWith(Options),
    Credit(Credit),
    Settle(Settle),
    Unsubscribe(u64, bool),
    GoAway(u16, u32, String),
    Query(What, u32),
}

#[derive(Clone, Debug)]
struct Options {
    qos: Qos,
    mode: SubscriptionMode,
    auto: bool,
    start: StartAt,
    numbers: (u32, u32, u32),
    retries: Option<u16>,
    name: String,
    dead_letter: Vec<u8>,
    pattern: Vec<u8>,
}

impl Options {
    fn view(&self) -> SubscribeWith<'_> {
        SubscribeWith {
            qos: self.qos,
            mode: self.mode,
            auto_acknowledge: self.auto,
            start: self.start,
            credit_messages: self.numbers.0,
            credit_bytes: self.numbers.1,
            retry_delay_ms: self.numbers.2,
            max_retries: self.retries,
            name: &self.name,
            dead_letter: &self.dead_letter,
            pattern: &self.pattern,
        }
    }
}

impl Said {
    fn version(&self) -> u8 {
        match self {
            Said::Hello(version) => *version as u8,
            Said::Publish(..) | Said::Subscribe(..) | Said::Ack(_) | Said::Poll(_) => 1,
            _ => 2,
        }
    }

    fn encode(&self, out: &mut BytesMut, correlation: u64) {
        match self {
            Said::Hello(version) => command::hello(out, correlation, *version),
            Said::Auth(key) => command::auth(out, correlation, key),
            Said::Publish(qos, topic, message) => command::publish(out, correlation, *qos, topic, message),
            Said::Subscribe(topic, qos) => command::subscribe(out, correlation, topic, *qos),
            Said::Ack(subscription) => command::ack(out, correlation, *subscription),
            Said::Ping => command::ping(out, correlation),
            Said::Poll(subscription) => command::poll(out, correlation, *subscription),
            Said::Alias(alias, topic) => command::alias(out, correlation, *alias, topic),
            Said::PublishBatch(said, batch) => command::publish_batch(out, correlation, said, batch),
            Said::SubscribeWith(options) => command::subscribe_with(out, correlation, &options.view()),
            Said::Credit(credit) => command::credit(out, correlation, credit),
            Said::Settle(settle) => command::settle(out, correlation, settle),
            Said::Unsubscribe(subscription, delete) => command::unsubscribe(out, correlation, *subscription, *delete),
            Said::GoAway(code, after, text) => {
                command::go_away(out, &GoAway { code: *code, retry_after_ms: *after, text });
            }
            Said::Query(what, limit) => command::query(out, correlation, *what, *limit),
        }
    }

    fn request(&self) -> Request<'_> {
        match self {
            Said::Hello(version) => Request::Hello { version: *version, capabilities: 0 },
            Said::Auth(key) => Request::Auth { key },
            Said::Publish(qos, topic, message) => Request::Publish(request::Publish { qos: *qos, topic, message }),
            Said::Subscribe(topic, qos) => Request::Subscribe { topic, qos: *qos },
            Said::Ack(subscription) => Request::Ack { subscription: *subscription },
            Said::Ping => Request::Ping,
            Said::Poll(subscription) => Request::Poll { subscription: *subscription },
            Said::Alias(alias, topic) => Request::Alias { alias: *alias, topic },
            Said::PublishBatch(said, batch) => Request::PublishBatch(PublishBatch {
                alias: said.alias,
                partition: said.partition,
                qos: said.qos,
                acknowledge: said.acknowledge,
                must_route: said.must_route,
                ttl_ms: said.ttl_ms,
                batch: PUBLISH_BATCH_FIELDS..PUBLISH_BATCH_FIELDS + batch.len(),
            }),
            Said::SubscribeWith(options) => Request::SubscribeWith(options.view()),
            Said::Credit(credit) => Request::Credit(*credit),
            Said::Settle(settle) => Request::Settle(*settle),
            Said::Unsubscribe(subscription, delete) => {
                Request::Unsubscribe { subscription: *subscription, delete: *delete }
            }
            Said::GoAway(code, after, text) => Request::GoAway(GoAway { code: *code, retry_after_ms: *after, text }),
            Said::Query(what, limit) => Request::Query { what: *what, limit: *limit },
        }
    }
}

fn qos() -> impl Strategy<Value = Qos> {
    prop_oneof![Just(Qos::AtMostOnce), Just(Qos::AtLeastOnce)]
}

fn bytes(least: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), least..40)
}

fn text() -> impl Strategy<Value = String> {
    vec(any::<char>(), 0..12).prop_map(String::from_iter)
}

fn start() -> impl Strategy<Value = StartAt> {
    prop_oneof![
        Just(StartAt::Latest),
        Just(StartAt::Earliest),
        any::<u64>().prop_map(|offset| StartAt::Offset(Offset(offset))),
        (0..i64::MAX).prop_map(|time| StartAt::Time(Timestamp(time))),
    ]
}

fn options() -> impl Strategy<Value = Options> {
    let mode = prop_oneof![Just(SubscriptionMode::Exclusive), Just(SubscriptionMode::Shared)];
    let retries = proptest::option::of(0..u16::MAX);
    let how = (qos(), mode, any::<bool>(), start(), any::<(u32, u32, u32)>(), retries);
    (how, text(), bytes(0), bytes(1)).prop_map(|(how, name, dead_letter, pattern)| {
        let (qos, mode, auto, start, numbers, retries) = how;
        Options { qos, mode, auto, start, numbers, retries, name, dead_letter, pattern }
    })
}

fn how() -> impl Strategy<Value = How> {
    let ordered = any::<(u64, u64)>().prop_map(|(a, b)| (Offset(a.min(b)), Offset(a.max(b))));
    (0..3, ordered, any::<u32>()).prop_map(|(how, (first, last), delay_ms)| match how {
        0 => How::Range { first, last },
        1 => How::UpTo { last },
        _ => How::Refuse { first, last, delay_ms },
    })
}

fn batch_for() -> impl Strategy<Value = command::BatchFor> {
    (any::<(u32, u32, u32)>(), qos(), any::<(bool, bool)>()).prop_map(|(numbers, qos, (acknowledge, must_route))| {
        let (alias, partition, ttl_ms) = numbers;
        command::BatchFor { alias, partition, qos, acknowledge, must_route, ttl_ms }
    })
}

fn said() -> impl Strategy<Value = Said> {
    let credit = any::<(u64, u32, u32)>();
    let what = prop_oneof![Just(What::Topics), Just(What::Subscriptions)];
    let old = prop_oneof![
        (1u16..=2).prop_map(Said::Hello),
        text().prop_map(Said::Auth),
        (qos(), bytes(1), bytes(0)).prop_map(|(qos, topic, message)| Said::Publish(qos, topic, message)),
        (bytes(1), qos()).prop_map(|(topic, qos)| Said::Subscribe(topic, qos)),
        (1..u64::MAX).prop_map(Said::Ack),
        Just(Said::Ping),
        (1..u64::MAX).prop_map(Said::Poll),
    ];
    let new = prop_oneof![
        (any::<u32>(), bytes(1)).prop_map(|(alias, topic)| Said::Alias(alias, topic)),
        (batch_for(), bytes(1)).prop_map(|(said, batch)| Said::PublishBatch(said, batch)),
        options().prop_map(Said::SubscribeWith),
        credit.prop_map(|(subscription, messages, bytes)| Said::Credit(Credit { subscription, messages, bytes })),
        (any::<u64>(), any::<u32>(), how()).prop_map(|(subscription, source, how)| Said::Settle(Settle {
            subscription,
            source,
            how
        })),
        any::<(u64, bool)>().prop_map(|(subscription, delete)| Said::Unsubscribe(subscription, delete)),
        (any::<u16>(), any::<u32>(), text()).prop_map(|(code, after, text)| Said::GoAway(code, after, text)),
        (what, any::<u32>()).prop_map(|(what, limit)| Said::Query(what, limit)),
    ];
    prop_oneof![old, new]
}

/// What a server may say, encoded, and how it is to be read.
type Answer = Box<dyn for<'a> Fn(Response<'a>) -> bool>;

fn parts() -> impl Strategy<Value = Parts> {
    (any::<(u64, u64, u32, u32)>(), any::<(u16, u16, bool)>(), text(), qos(), bytes(1), bytes(0))
}

fn answered(which: u8, parts: Parts) -> (u8, BytesMut, Answer) {
    let mut out = BytesMut::new();
    let (version, same) = answer(which, &mut out, parts);
    (version, out, same)
}

type Parts = ((u64, u64, u32, u32), (u16, u16, bool), String, Qos, Vec<u8>, Vec<u8>);

fn answer(which: u8, out: &mut BytesMut, parts: Parts) -> (u8, Answer) {
    let ((a, b, c, d), (e, f, yes), text, qos, some, message) = parts;
    match which {
        0 => {
            reply::ack(out, a, b);
            (1, Box::new(move |read| read == Response::Ack { subscription: b }))
        }
        1 => {
            let code = ErrorCode::ALL[usize::from(e) % ErrorCode::ALL.len()];
            reply::nack(out, a, code, &text);
            (1, Box::new(move |read| read == Response::Nack { code: code.as_u16(), text: &text }))
        }
        2 => {
            reply::pong(out, a);
            (1, Box::new(|read| read == Response::Pong))
        }
        3 => {
            reply::publish(out, a, qos, &some, &message);
            let same = move |read: Response<'_>| {
                read == Response::Publish(request::Publish { qos, topic: &some, message: &message })
            };
            (1, Box::new(same))
        }
        4 => {
            let said = Welcome {
                version: e,
                capabilities: b,
                frame_max: c,
                aliases_max: d,
                in_flight_max: c,
                topic_len_max: f,
                shards: e,
            };
            reply::welcome(out, a, &said);
            (2, Box::new(move |read| read == Response::Welcome(said)))
        }
        5 => {
            reply::aliased(out, a, c, d);
            (2, Box::new(move |read| read == Response::Aliased { alias: c, partitions: d }))
        }
        6 => {
            let reached = Reached::from_u8((e % 3) as u8).unwrap();
            let said = Published { partition: c, base_offset: Offset(b), count: d, reached, duplicate: yes };
            reply::published(out, a, &said);
            (2, Box::new(move |read| read == Response::Published(said)))
        }
        7 => {
            let said = Subscribed { subscription: a, next_offset: Offset(b), sources: c };
            reply::subscribed(out, a, &said);
            (2, Box::new(move |read| read == Response::Subscribed(said)))
        }
        8 => {
            let said = Source { subscription: a, source: c, partition: d, next_offset: Offset(b), topic: &text };
            reply::source(out, &said);
            let topic = text.clone();
            let same = move |read: Response<'_>| {
                let next_offset = Offset(b);
                read == Response::Source(Source {
                    subscription: a,
                    source: c,
                    partition: d,
                    next_offset,
                    topic: &topic,
                })
            };
            (2, Box::new(same))
        }
        9 => {
            let said = Deliver {
                subscription: a,
                source: c,
                qos,
                redelivery: yes,
                attempt: e,
                first_offset: Offset(b >> 1),
                count: d.max(1),
            };
            out.extend_from_slice(&reply::deliver_head(&said, some.len()));
            out.extend_from_slice(&some);
            let batch = reply::DELIVER_FIELDS..reply::DELIVER_FIELDS + some.len();
            (2, Box::new(move |read| read == Response::Deliver { deliver: said, batch: batch.clone() }))
        }
        10 => {
            reply::go_away(out, &GoAway { code: e, retry_after_ms: c, text: &text });
            let same =
                move |read: Response<'_>| read == Response::GoAway(GoAway { code: e, retry_after_ms: c, text: &text });
            (2, Box::new(same))
        }
        _ => {
            reply::answer(out, a, text.as_bytes());
            (2, Box::new(move |read| read == Response::Answer { json: &text }))
        }
    }
}

fn whole(bytes: &[u8]) -> Frame {
    match frame::split(bytes, MAX) {
        Split::Frame(frame) => frame,
        other => panic!("not a whole frame: {other:?}"),
    }
}

proptest! {
    #[test]
    fn what_a_client_says_is_read(said in said(), correlation in any::<u64>()) {
        let mut out = BytesMut::new();
        said.encode(&mut out, correlation);
        let frame = whole(&out);
        prop_assert_eq!(frame.end, out.len());
        // GO_AWAY answers nothing and is answered by nothing.
        prop_assert_eq!(frame.correlation, if frame.kind == kind::GO_AWAY { 0 } else { correlation });
        prop_assert_eq!(request::decode(said.version(), frame.kind, &out[frame.payload]), Ok(said.request()));
    }

    #[test]
    fn what_a_server_says_is_read(which in 0..12u8, parts in parts()) {
        let (version, out, same) = answered(which, parts);
        let frame = whole(&out);
        prop_assert_eq!(frame.end, out.len());
        prop_assert!(same(response::decode(version, frame.kind, &out[frame.payload]).unwrap()));
    }

    #[test]
    fn a_frame_cut_anywhere_asks_for_more_and_never_for_too_much(said in said(), correlation in any::<u64>()) {
        let mut out = BytesMut::new();
        said.encode(&mut out, correlation);
        for cut in 0..out.len() {
            let Split::More(needed) = frame::split(&out[..cut], MAX) else { panic!("cut at {cut}") };
            prop_assert!(cut < needed && needed <= out.len());
        }
    }

    #[test]
    fn a_request_cut_anywhere_is_refused_or_shorter(said in said()) {
        let mut out = BytesMut::new();
        said.encode(&mut out, 1);
        let (frame, version) = (whole(&out), said.version());
        let payload = &out[frame.payload];
        for cut in 0..payload.len() {
            prop_assert_ne!(request::decode(version, frame.kind, &payload[..cut]), Ok(said.request()));
        }
    }

    #[test]
    fn a_response_cut_anywhere_is_refused_or_shorter(which in 0..12u8, parts in parts()) {
        let (version, out, same) = answered(which, parts);
        let frame = whole(&out);
        let payload = &out[frame.payload];
        for cut in 0..payload.len() {
            let read = response::decode(version, frame.kind, &payload[..cut]);
            prop_assert!(!read.is_ok_and(&same));
        }
    }

    #[test]
    fn random_payloads_never_panic(version in 0u8..4, kind in 0u8..0x20, payload in vec(any::<u8>(), 0..80)) {
        let _ = request::decode(version, kind, &payload);
        let _ = response::decode(version, kind, &payload);
    }

    #[test]
    fn random_streams_never_panic_and_frames_lie_within_them(
        stream in vec(prop_oneof![Just(0u8), any::<u8>()], 0..80),
        max in frame::LENGTH_MIN..64,
    ) {
        match frame::split(&stream, max) {
            Split::Frame(frame) => {
                prop_assert!(frame.end <= stream.len() && frame.end <= max + frame::LENGTH_FIELD);
                prop_assert_eq!(frame.payload, FRAME_HEADER..frame.end);
            }
            Split::More(needed) => prop_assert!(needed > stream.len() && needed <= max + frame::LENGTH_FIELD),
            Split::Bad { .. } => {}
        }
    }

    #[test]
    fn a_request_with_bytes_left_over_is_refused_where_it_says_its_lengths(said in said()) {
        let open = matches!(said, Said::Ping | Said::Publish(..) | Said::PublishBatch(..) | Said::Subscribe(..));
        prop_assume!(!open);
        let mut out = BytesMut::new();
        said.encode(&mut out, 1);
        let frame = whole(&out);
        let mut payload = out[frame.payload].to_vec();
        payload.push(0);
        let refused = request::decode(said.version(), frame.kind, &payload).map_err(|why| (why.code, why.close));
        prop_assert_eq!(refused, Err((ErrorCode::BadRequest, false)));
    }
}

fn refusal(version: u8, kind: u8, payload: &[u8]) -> (u16, bool) {
    let refused = request::decode(version, kind, payload).unwrap_err();
    (refused.code.as_u16(), refused.close)
}

#[test]
fn a_length_out_of_bounds_is_bad_as_soon_as_it_can_be_said() {
    let bad = |bytes: &[u8]| matches!(frame::split(bytes, 100), Split::Bad { .. });
    assert!(bad(&[0, 0, 0, 8]));
    assert!(bad(&[0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]));
    let mut large = frame::head(kind::PUBLISH, 7, 92);
    assert_eq!(frame::split(&large[..12], 100), Split::More(13), "the correlation id is waited for");
    let Split::Bad { code, correlation, .. } = frame::split(&large, 100) else { panic!("101 is more than 100") };
    assert_eq!((code, correlation), (ErrorCode::TooLarge, Some(7)));
    large[3] = 100;
    assert_eq!(frame::split(&large, 100), Split::More(104));
}

#[test]
fn a_text_that_does_not_fit_is_cut_at_a_character() {
    let mut out = BytesMut::new();
    reply::nack(&mut out, 1, ErrorCode::Server, &"é".repeat(40_000));
    let frame = whole(&out);
    let Response::Nack { text, .. } = response::decode(1, frame.kind, &out[frame.payload]).unwrap() else {
        panic!("a NACK")
    };
    assert_eq!(text.len(), 65_534);
}

#[test]
fn an_unknown_type_ends_the_connection_and_a_wrong_frame_does_not() {
    assert_eq!(refusal(1, 0x0A, &[]), (400, true));
    assert_eq!(refusal(2, 0x1F, &[]), (400, true));
    assert_eq!(refusal(0, 0xFF, &[]), (400, true));
    assert_eq!(refusal(1, kind::PUBLISH_BATCH, &[]), (400, true), "version 1 does not know it");
    assert_eq!(refusal(1, kind::PONG, &[]), (400, false));
    for kind in [kind::PUBLISH, kind::SUBSCRIBE, kind::ACK, kind::POLL, kind::DELIVER] {
        assert_eq!(refusal(2, kind, &[0; 8]), (400, false));
    }
}

#[test]
fn nothing_but_the_handshake_is_read_before_hello() {
    for kind in (0..=0xFF).filter(|kind| kind::is_known(*kind) && !request::is_handshake(*kind)) {
        assert_eq!(refusal(0, kind, &[]), (401, false));
    }
    assert_eq!(request::decode(0, kind::HELLO, &[0, 9, 1]), Ok(Request::Hello { version: 9, capabilities: 0 }));
    assert_eq!(refusal(0, kind::HELLO, &[0]), (400, false));
    assert_eq!(refusal(0, kind::HELLO, &[0, 1, 0]), (400, false));
    assert_eq!(refusal(0, kind::AUTH, &[0, 1, 0xFF]), (400, false), "a key is UTF-8");
}

#[test]
fn version_1_refuses_what_it_always_refused() {
    assert_eq!(refusal(1, kind::PUBLISH, &[2, 0, 1, b'a']), (400, false));
    assert_eq!(refusal(1, kind::PUBLISH, &[0, 0, 0, b'a']), (400, false));
    assert_eq!(refusal(1, kind::PUBLISH, &[0, 0, 2, b'a']), (400, false));
    assert_eq!(refusal(1, kind::SUBSCRIBE, &[0, 0, 0]), (400, false));
    assert_eq!(refusal(1, kind::SUBSCRIBE, &[0, 1, b'a', 9]), (400, false));
    assert_eq!(refusal(1, kind::POLL, &[0; 8]), (400, false));
    assert_eq!(refusal(1, kind::ACK, &[0; 8]), (400, false));
    assert_eq!(refusal(1, kind::ACK, &[1; 9]), (400, false));
}
