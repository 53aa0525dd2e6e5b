//! The blocking client against a small broker, over real sockets.

use std::io::IoSlice;
use std::time::Duration;

use bytes::BytesMut;

use super::test_broker::{FRAME_MAX, connect, start};
use super::{Client, ConnectOptions};
use crate::client::{ClientError, ProducerOptions, PublishOptions, SubscribeOptions};
use crate::model::record_batch::{BatchBuilder, RecordExtras};
use crate::model::{Offset, Qos, Timestamp};
use crate::protocol::ErrorCode;
use crate::protocol::native::command::BatchFor;
use crate::protocol::native::request::What;
use crate::protocol::native::{Response, command, response};

const SOON: Option<Duration> = Some(Duration::from_secs(10));
const AT_ONCE: Option<Duration> = Some(Duration::ZERO);

/// What the broker heard of settling.
fn heard(client: &Client) -> Vec<String> {
    serde_json::from_str(&client.query(What::Subscriptions, 10).unwrap()).unwrap()
}

#[test]
fn a_message_comes_back_with_all_that_was_said_of_it() {
    let client = connect(2);
    assert_eq!(client.welcome().unwrap().frame_max as usize, FRAME_MAX);
    let headers: [(&[u8], &[u8]); 1] = [(b"trace", b"7")];
    let options = PublishOptions::at_least_once().key(b"k").headers(&headers).ttl_ms(1000);
    let published = client.publish("demo", b"hi", &options).unwrap().unwrap();
    assert_eq!((published.base_offset, published.count), (Offset(0), 1));
    let mut messages = client.subscribe(&SubscribeOptions::new("demo").at_least_once().earliest()).unwrap();
    let message = messages.next_message(SOON).unwrap().unwrap();
    assert_eq!((message.topic.as_str(), message.partition, message.offset), ("demo", 0, Offset(0)));
    assert_eq!((&message.value[..], message.key.as_deref()), (&b"hi"[..], Some(&b"k"[..])));
    assert_eq!(message.headers, [("trace".into(), "7".into())]);
    assert_eq!((message.attempt, message.qos), (1, Qos::AtLeastOnce));
    assert!(message.timestamp > Timestamp(1_600_000_000_000));
    messages.ack(&message).unwrap();
    assert_eq!(heard(&client), ["Range { first: Offset(0), last: Offset(0) }"]);
    assert!(messages.next_message(AT_ONCE).unwrap().is_none());
    messages.unsubscribe(false).unwrap();
    client.close().unwrap();
}

#[test]
fn a_publisher_fills_its_window_and_everything_arrives_in_order() {
    let client = connect(2);
    let options = SubscribeOptions::new("demo").at_least_once().credit(500, 20_000);
    let mut messages = client.subscribe(&options).unwrap();
    let options = ProducerOptions::at_least_once().batch(100, 1 << 20).window(2).idempotent(7, 0, i32::MAX - 50);
    let mut publisher = client.publisher("demo", options.outcomes()).unwrap();
    for number in 0..10_050u32 {
        publisher.publish(&number.to_be_bytes()).unwrap();
        assert!(publisher.unconfirmed().len() <= 2);
    }
    publisher.flush().unwrap();
    assert_eq!((publisher.totals().published, publisher.totals().confirmed), (10_050, 10_050));
    assert_eq!(publisher.options().idempotent.unwrap().next_sequence, 10_050 - 51);
    let outcomes = publisher.take_outcomes();
    assert_eq!(
        outcomes.iter().map(|outcome| outcome.first).collect::<Vec<_>>(),
        (0..101).map(|n| n * 100).collect::<Vec<_>>()
    );
    assert!(outcomes.iter().all(|outcome| outcome.result.unwrap().base_offset.0 == outcome.first));
    let mut expected = 0u32;
    while expected < 10_050 {
        let batch = messages.next_batch(SOON).unwrap().expect("credit never runs dry");
        assert_eq!(batch.messages().count(), batch.count() as usize);
        for message in batch.messages() {
            assert_eq!((message.value, message.offset), (&expected.to_be_bytes()[..], Offset(expected.into())));
            expected += 1;
        }
        messages.ack_batch(&batch).unwrap();
    }
    assert!(messages.take_refusals().is_empty());
}

#[test]
fn acknowledgements_of_neighbours_are_said_together() {
    let client = connect(2);
    let mut messages = client.subscribe(&SubscribeOptions::new("demo").at_least_once()).unwrap();
    let mut publisher = client.publisher("demo", ProducerOptions::at_least_once()).unwrap();
    (0..6).for_each(|number| publisher.publish(&[number]).unwrap());
    publisher.flush().unwrap();
    let taken: Vec<_> = messages.by_ref().take(6).map(Result::unwrap).collect();
    for at in [0, 1, 2, 4] {
        messages.ack_later(&taken[at]);
    }
    messages.nack(&taken[3], Duration::from_millis(20)).unwrap();
    messages.ack_up_to(0, Offset(5)).unwrap();
    assert_eq!(
        heard(&client),
        [
            "Range { first: Offset(0), last: Offset(2) }",
            "Range { first: Offset(4), last: Offset(4) }",
            "Refuse { first: Offset(3), last: Offset(3), delay_ms: 20 }",
            "UpTo { last: Offset(5) }"
        ]
    );
    messages.ack_up_to(9, Offset(5)).unwrap();
    client.ping().unwrap();
    assert_eq!(messages.take_refusals()[0].code, 404);
    assert!(messages.ack_range(0, Offset(2), Offset(1)).is_err());
}

#[test]
fn refusals_reach_the_caller_with_code_and_text() {
    let addr = start();
    let refused = Client::connect(&ConnectOptions::new(&addr).api_key("wrong")).unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::Unauthenticated));
    assert_eq!(refused.to_string(), "refused with code 401: invalid API key");

    let client = connect(2);
    let plain = PublishOptions::at_most_once();
    let refused = client.publish("closed", b"", &plain).unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::Forbidden));
    let again = client.publish("closed", b"", &plain).unwrap_err();
    assert_eq!(again.code(), Some(ErrorCode::Forbidden), "a refused alias is forgotten");
    let refused = client.publish("demo", b"", &plain.must_route()).unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::Unknown));
    assert!(matches!(client.publish("", b"", &plain), Err(ClientError::Topic(_))));
    assert!(matches!(client.publish("demo", &vec![0; FRAME_MAX], &plain), Err(ClientError::TooLarge { .. })));
    assert!(matches!(client.subscribe_polled("demo", Qos::AtMostOnce), Err(ClientError::Misuse(_))));
    client.ping().unwrap();
}

#[test]
fn a_refused_batch_is_kept_and_can_be_sent_again() {
    let client = connect(2);
    let options = ProducerOptions::at_least_once().must_route().batch(2, 1 << 20);
    let mut publisher = client.publisher("demo", options).unwrap();
    publisher.publish(b"one").unwrap();
    assert_eq!(publisher.flush().unwrap_err().code(), Some(ErrorCode::Unknown));
    publisher.flush().unwrap();
    let failed = publisher.take_failed();
    assert_eq!((failed.len(), failed[0].text.as_str()), (1, "nobody subscribes"));
    let mut messages = client.subscribe(&SubscribeOptions::new("demo")).unwrap();
    publisher.resend(failed[0].batch.clone()).unwrap();
    publisher.flush().unwrap();
    assert_eq!(messages.next_message(SOON).unwrap().unwrap().value, "one");
    assert_eq!((publisher.totals().confirmed, publisher.totals().refused), (1, 1));
}

#[test]
fn what_is_gathered_leaves_when_the_publisher_is_dropped() {
    let client = connect(2);
    let mut messages = client.subscribe(&SubscribeOptions::new("demo")).unwrap();
    let mut publisher = client.publisher("demo", ProducerOptions::at_most_once()).unwrap();
    let extras = RecordExtras { key: Some(b"k"), headers: &[] };
    publisher.publish_with(b"last", extras).unwrap();
    drop(publisher);
    assert_eq!(messages.next_message(SOON).unwrap().unwrap().key.unwrap(), "k");
}

#[test]
fn a_goodbye_is_why_the_connection_ended() {
    let client = connect(2);
    let mut messages = client.subscribe(&SubscribeOptions::new("demo")).unwrap();
    let plain = PublishOptions::at_most_once();
    let error = client.publish("goodbye", b"", &plain).unwrap_err();
    assert!(matches!(error, ClientError::GoAway { code: 503, retry_after_ms: 50, .. }), "{error}");
    assert!(matches!(messages.next(), Some(Err(ClientError::GoAway { .. }))));
    assert!(messages.next().is_none());
}

#[test]
fn handles_of_one_connection_work_in_threads_of_their_own() {
    let client = connect(2);
    let mut messages = client.subscribe(&SubscribeOptions::new("demo").at_least_once()).unwrap();
    let mut publisher = client.publisher("demo", ProducerOptions::at_least_once().batch(10, 1 << 20)).unwrap();
    let sender = std::thread::spawn(move || {
        (0..1000u32).for_each(|number| publisher.publish(&number.to_be_bytes()).unwrap());
        publisher.flush().unwrap();
    });
    for number in 0..1000u32 {
        assert_eq!(messages.next_message(SOON).unwrap().unwrap().value[..], number.to_be_bytes());
    }
    sender.join().unwrap();
}

#[test]
fn version_1_asks_for_messages_and_acknowledges_them() {
    let client = connect(1);
    let mut messages = client.subscribe_polled("demo", Qos::AtLeastOnce).unwrap().window(16);
    assert!(messages.next_message(Some(Duration::from_millis(30))).unwrap().is_none());
    let plain = PublishOptions::at_least_once();
    assert_eq!(client.publish("demo", &0u32.to_be_bytes(), &plain).unwrap(), None);
    (1..500u32).for_each(|number| client.send("demo", &number.to_be_bytes(), &plain).unwrap());
    for number in 0..500u32 {
        let message = messages.next_message(SOON).unwrap().unwrap();
        assert_eq!(message.value[..], number.to_be_bytes());
        messages.ack_later(&message);
        if number == 499 {
            messages.ack(&message).unwrap();
        }
    }
    client.ping().unwrap();
    let refusals = client.take_refusals();
    assert_eq!(refusals.iter().map(|refusal| refusal.code).collect::<Vec<_>>(), [404], "one was acknowledged twice");
    assert!(matches!(client.publish("demo", b"", &plain.ttl_ms(1)), Err(ClientError::Misuse(_))));
    assert!(matches!(client.query(What::Topics, 1), Err(ClientError::Misuse(_))));
}

#[test]
fn the_halves_send_and_receive_bare_frames() {
    let client = connect(2);
    let alias = client.alias_of("demo").unwrap();
    let subscription = client.subscribe(&SubscribeOptions::new("demo").credit(0, 0)).unwrap();
    let refused = Client::split(client).unwrap_err();
    assert!(matches!(refused, ClientError::Misuse(_)), "a subscription still holds the connection");
    drop(subscription);

    let client = connect(2);
    let id = client.subscribe(&SubscribeOptions::new("demo")).unwrap().id();
    assert_eq!(client.alias_of("demo").unwrap(), alias);
    let mut halves = client.split().unwrap();
    let mut builder = BatchBuilder::new();
    builder.push(Timestamp(1), b"hi");
    let batch = builder.finish(Offset::ZERO, None);
    let head =
        command::publish_batch_head(9, &BatchFor { alias, acknowledge: true, ..BatchFor::default() }, batch.len());
    let mut writer = halves.writer.try_clone().unwrap();
    let sender = std::thread::spawn(move || {
        writer.send_pieces(&mut [IoSlice::new(&head), IoSlice::new(&[]), IoSlice::new(&batch)]).unwrap();
        let mut out = BytesMut::new();
        command::ping(&mut out, 10);
        writer.send(&mut out).unwrap();
    });
    let mut kinds = Vec::new();
    let pong = halves.reader.wait(|frame| match response::decode(2, frame.kind, frame.payload).unwrap() {
        Response::Deliver { deliver, .. } => {
            assert_eq!((deliver.subscription, deliver.count), (id, 1));
            kinds.push(frame.kind);
            (kinds.len() == 3).then_some(frame.correlation)
        }
        Response::Published(_) | Response::Pong => {
            kinds.push(frame.kind);
            (kinds.len() == 3).then_some(frame.correlation)
        }
        _ => None,
    });
    sender.join().unwrap();
    pong.unwrap();
    halves.reader.set_timeout(Some(Duration::from_millis(1))).unwrap();
    assert!(matches!(halves.reader.fill(), Err(ClientError::TimedOut)));
    halves.writer.finish().unwrap();
    assert!(matches!(halves.reader.fill(), Err(ClientError::Closed)));
}
