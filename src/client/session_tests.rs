//! A session's half of conversations, whole, cut and garbled.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::heard::{AUTH, HELLO, SessionEvent};
use super::session::{ClientSession, SessionOptions, owner_of};
use super::{ClientError, SubscribeOptions};
use crate::model::record_batch::BatchBuilder;
use crate::model::{Offset, Qos, Timestamp, TopicName};
use crate::protocol::ErrorCode;
use crate::protocol::native::command;
use crate::protocol::native::reply::{self, Deliver, Published, Reached, Source, Subscribed, Welcome};
use crate::protocol::native::request::GoAway;

const WELCOME: Welcome = Welcome {
    version: 2,
    capabilities: 0,
    frame_max: 1000,
    aliases_max: 10,
    in_flight_max: 10,
    topic_len_max: 512,
    shards: 1,
};

fn new(version: u8) -> ClientSession {
    ClientSession::new(&SessionOptions { version, api_key: "secret".into(), ..SessionOptions::default() })
}

/// Drops what is to be sent.
fn sent(session: &mut ClientSession) -> usize {
    std::iter::from_fn(|| session.outbox().take()).map(|piece| piece.len()).sum()
}

fn events(session: &mut ClientSession) -> Vec<SessionEvent> {
    std::iter::from_fn(|| session.poll().unwrap()).collect()
}

fn greeting(out: &mut BytesMut) {
    reply::welcome(out, HELLO, &WELCOME);
    reply::ack(out, AUTH, 0);
}

fn ready() -> ClientSession {
    let (mut session, mut out) = (new(2), BytesMut::new());
    greeting(&mut out);
    session.inbox().receive(&out);
    assert!(matches!(events(&mut session)[..], [SessionEvent::Ready]));
    sent(&mut session);
    session
}

fn batch(values: &[&[u8]], base: u64) -> Bytes {
    let mut builder = BatchBuilder::new();
    values.iter().for_each(|value| builder.push(Timestamp(5), value));
    builder.finish(Offset(base), None)
}

fn deliver(out: &mut BytesMut, first: u64, count: u32, batch: &[u8]) {
    let first_offset = Offset(first);
    let (qos, redelivery, attempt) = (Qos::AtLeastOnce, false, 1);
    let deliver = Deliver { subscription: 7, source: 3, qos, redelivery, attempt, first_offset, count };
    out.extend_from_slice(&reply::deliver_head(&deliver, batch.len()));
    out.extend_from_slice(batch);
}

/// What a broker says when one subscribes, with `correlation` for SUBSCRIBE_WITH.
fn subscription(out: &mut BytesMut, correlation: u64) {
    let subscribed = Subscribed { subscription: 7, next_offset: Offset(10), sources: 1 };
    reply::subscribed(out, correlation, &subscribed);
    let topic = "demo";
    reply::source(out, &Source { subscription: 7, source: 3, partition: 1, next_offset: Offset(10), topic });
}

fn conversation() -> BytesMut {
    let mut out = BytesMut::new();
    greeting(&mut out);
    subscription(&mut out, 3);
    deliver(&mut out, 11, 2, &batch(&[b"a", b"b", b"c", b"d"], 10));
    reply::nack(&mut out, 9, ErrorCode::Unknown, "unknown source");
    reply::go_away(&mut out, &GoAway { code: 503, retry_after_ms: 1, text: "draining" });
    out
}

#[test]
fn hello_and_auth_are_said_at_once_and_both_must_be_accepted() {
    let mut session = new(1);
    assert_eq!(sent(&mut session), 15 + 21);
    let mut out = BytesMut::new();
    reply::ack(&mut out, HELLO, 0);
    session.inbox().receive(&out);
    assert!(events(&mut session).is_empty() && !session.is_ready());
    out.clear();
    reply::nack(&mut out, AUTH, ErrorCode::Unauthenticated, "invalid API key");
    session.inbox().receive(&out);
    assert!(matches!(session.poll(), Err(ClientError::Refused { code: 401, .. })));
    assert!(matches!(session.poll(), Err(ClientError::Closed)));
}

#[test]
fn only_the_delivered_records_of_a_batch_are_seen() {
    let mut session = ready();
    let correlation = session.subscribe_with(1, &SubscribeOptions::new("demo").credit(4, 1 << 20));
    assert_eq!(owner_of(correlation), 1);
    let mut out = BytesMut::new();
    subscription(&mut out, correlation);
    deliver(&mut out, 11, 2, &batch(&[b"a", b"b", b"c", b"d"], 10));
    session.inbox().receive(&out);
    let events = events(&mut session);
    let [SessionEvent::Subscribed { .. }, SessionEvent::Delivered(batch)] = &events[..] else { panic!("{events:?}") };
    let seen: Vec<_> = batch.messages().map(|message| (message.offset.0, message.value)).collect();
    assert_eq!(seen, [(11, &b"b"[..]), (12, &b"c"[..])]);
    assert_eq!((batch.topic.as_str(), batch.partition), ("demo", 1));
    sent(&mut session);
    session.release(batch);
    assert_eq!(sent(&mut session), 29, "half of the credit is used, so it is given back");
}

#[test]
fn a_delivery_that_cannot_be_is_the_brokers_fault() {
    let whole = batch(&[b"a", b"b"], 10);
    let mut damaged = whole.to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    let wrong: [(u64, u32, &[u8]); 5] =
        [(9, 1, &whole), (10, 3, &whole), (12, 1, &whole), (10, 2, &damaged), (10, 2, &whole[..60])];
    for (first, count, batch) in wrong {
        let mut session = ready();
        let mut out = BytesMut::new();
        subscription(&mut out, 3);
        deliver(&mut out, first, count, batch);
        session.inbox().receive(&out);
        assert!(matches!(session.poll(), Ok(Some(SessionEvent::Subscribed { .. }))));
        assert!(matches!(session.poll(), Err(ClientError::Protocol(_) | ClientError::Batch(_))));
    }
    let mut session = ready();
    let mut out = BytesMut::new();
    deliver(&mut out, 10, 2, &whole);
    session.inbox().receive(&out);
    assert!(matches!(session.poll(), Err(ClientError::Protocol(_))), "a source without a name");
}

#[test]
fn a_topic_is_named_once_and_again_after_a_refusal() {
    let mut session = ready();
    let topic = TopicName::parse(b"demo").unwrap();
    let (alias, asked) = session.alias(0, &topic);
    assert_eq!(session.alias(0, &topic), (alias, None));
    let mut out = BytesMut::new();
    reply::nack(&mut out, asked.unwrap(), ErrorCode::OverLimit, "too many aliases");
    session.inbox().receive(&out);
    assert!(matches!(events(&mut session)[..], [SessionEvent::Refused { code: 429, .. }]));
    assert_ne!(session.alias(0, &topic).0, alias);
}

#[test]
fn a_batch_beyond_the_brokers_bound_is_not_sent() {
    let mut session = ready();
    let large = batch(&[&[0; 2000]], 0);
    let refused = session.publish_batch(5, &command::BatchFor::default(), large);
    assert!(matches!(refused, Err(ClientError::TooLarge { most: 1000, .. })));
    assert!(session.outbox().is_empty());
    let published =
        Published { partition: 0, base_offset: Offset(1), count: 1, reached: Reached::Written, duplicate: false };
    let mut out = BytesMut::new();
    reply::published(&mut out, 5, &published);
    session.inbox().receive(&out);
    assert!(matches!(events(&mut session)[..], [SessionEvent::Published { correlation: 5, .. }]));
}

#[test]
fn a_conversation_cut_anywhere_tells_the_same_in_two_parts() {
    let all = conversation();
    for cut in 0..all.len() {
        let mut session = new(2);
        session.inbox().receive(&all[..cut]);
        let mut seen = events(&mut session).len();
        session.inbox().receive(&all[cut..]);
        seen += events(&mut session).len();
        assert_eq!(seen, 5, "cut at {cut}");
    }
}

proptest! {
    #[test]
    fn a_garbled_conversation_never_panics(at in any::<prop::sample::Index>(), byte in any::<u8>(), version in 1u8..=2) {
        let mut all = conversation().to_vec();
        let at = at.index(all.len());
        all[at] = byte;
        let mut session = new(version);
        session.inbox().receive(&all);
        while let Ok(Some(event)) = session.poll() {
            if let SessionEvent::Delivered(batch) = event {
                batch.messages().for_each(|message| drop(batch.own(&message)));
                session.release(&batch);
            }
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), version in 1u8..=2) {
        let mut session = new(version);
        session.inbox().receive(&bytes);
        while let Ok(Some(_)) = session.poll() {}
    }
}
