//! A broker of one thread a connection and a few lines, to test the client against: no log, no timers, and every
//! connection has its topics to itself.
//!
//! The topic `closed` may not be named (403); publishing to `goodbye` is answered by GO_AWAY.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use bytes::{Bytes, BytesMut};

use super::{Client, ConnectOptions};
use crate::client::FrameBuffer;
use crate::model::record_batch::{self, BatchBuilder};
use crate::model::{Limits, Offset, Qos, StartAt, Timestamp};
use crate::protocol::ErrorCode;
use crate::protocol::native::reply::{self, Deliver, Published, Reached, Source, Subscribed, Welcome};
use crate::protocol::native::request::{self, GoAway, Malformed, PublishBatch, Request, SubscribeWith};

/// The key that is accepted.
pub(super) const KEY: &str = "secret";
/// The largest frame from a client.
pub(super) const FRAME_MAX: usize = 1 << 20;

/// A client of a broker of its own.
pub(super) fn connect(version: u8) -> Client {
    Client::connect(&ConnectOptions::new(&start()).api_key(KEY).version(version)).unwrap()
}

/// The address of a broker that takes one connection.
pub(super) fn start() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || serve(listener.accept().unwrap().0));
    addr
}

fn serve(mut stream: TcpStream) {
    let (mut inbox, mut session) = (FrameBuffer::new(FRAME_MAX), Session::default());
    stream.set_nodelay(true).unwrap();
    loop {
        match stream.read(inbox.room()) {
            Ok(count @ 1..) => inbox.filled(count),
            _ => return,
        }
        while let Some(frame) = inbox.next_frame().unwrap() {
            match request::decode(session.version, frame.kind, frame.payload) {
                Ok(said) => session.handle(frame.correlation, said, frame.payload),
                Err(Malformed { code, text, .. }) => reply::nack(&mut session.out, frame.correlation, code, text),
            }
        }
        session.deliver();
        // In small pieces, so that frames arrive cut.
        for piece in session.out.split().chunks(1000) {
            if stream.write_all(piece).is_err() {
                return;
            }
        }
        if session.over {
            return;
        }
    }
}

#[derive(Default)]
struct Session {
    out: BytesMut,
    version: u8,
    over: bool,
    aliases: HashMap<u32, Vec<u8>>,
    topics: HashMap<Vec<u8>, Topic>,
    subscriptions: Vec<Subscription>,
    /// What was settled and credited, as JSON: the answer to every QUERY.
    heard: Vec<String>,
}

#[derive(Default)]
struct Topic {
    batches: Vec<(Offset, u32, Bytes)>,
    next: Offset,
}

struct Subscription {
    topic: Vec<u8>,
    qos: Qos,
    cursor: Offset,
    messages: u64,
    bytes: i64,
    unacknowledged: Vec<u64>,
}

impl Session {
    fn handle(&mut self, correlation: u64, said: Request<'_>, payload: &[u8]) {
        match said {
            Request::Hello { version, .. } => self.hello(correlation, version),
            Request::Auth { key } if key == KEY => reply::ack(&mut self.out, correlation, 0),
            Request::Auth { .. } => {
                self.nack(correlation, ErrorCode::Unauthenticated, "invalid API key");
                self.over = true;
            }
            Request::Ping => reply::pong(&mut self.out, correlation),
            Request::Publish(said) => self.publish(said),
            Request::Subscribe { topic, qos } => {
                let id = self.add(topic, qos, Offset::ZERO, (0, 0));
                reply::ack(&mut self.out, correlation, id);
            }
            Request::Poll { subscription } => self.poll(correlation, subscription),
            Request::Ack { subscription } => self.ack(correlation, subscription),
            Request::Alias { topic: b"closed", .. } => self.nack(correlation, ErrorCode::Forbidden, "closed"),
            Request::Alias { alias, topic } => {
                self.aliases.insert(alias, topic.to_vec());
                reply::aliased(&mut self.out, correlation, alias, 1);
            }
            Request::PublishBatch(said) => self.publish_batch(correlation, &said, &payload[said.batch.clone()]),
            Request::SubscribeWith(said) => self.subscribe(correlation, &said),
            Request::Credit(credit) => {
                let subscription = &mut self.subscriptions[credit.subscription as usize - 1];
                subscription.messages += u64::from(credit.messages);
                subscription.bytes += i64::from(credit.bytes);
            }
            Request::Settle(settle) if settle.source == 0 => self.heard.push(format!("{:?}", settle.how)),
            Request::Settle(_) => self.nack(correlation, ErrorCode::Unknown, "unknown source"),
            Request::Unsubscribe { subscription, .. } => reply::ack(&mut self.out, correlation, subscription),
            Request::GoAway(_) => self.over = true,
            Request::Query { .. } => {
                let json = serde_json::to_vec(&self.heard).unwrap();
                reply::answer(&mut self.out, correlation, &json);
            }
        }
    }

    fn nack(&mut self, correlation: u64, code: ErrorCode, text: &str) {
        reply::nack(&mut self.out, correlation, code, text);
    }

    fn hello(&mut self, correlation: u64, version: u16) {
        self.version = version as u8;
        let welcome = Welcome {
            version,
            capabilities: 0,
            frame_max: FRAME_MAX as u32,
            aliases_max: 10,
            in_flight_max: 1000,
            topic_len_max: 512,
            shards: 1,
        };
        match version {
            1 => reply::ack(&mut self.out, correlation, 0),
            2 => reply::welcome(&mut self.out, correlation, &welcome),
            _ => self.nack(correlation, ErrorCode::UnsupportedVersion, "unsupported protocol version"),
        }
    }

    fn append(&mut self, topic: &[u8], batch: &[u8]) -> (Offset, u32) {
        let topic = self.topics.entry(topic.to_vec()).or_default();
        let mut batch = batch.to_vec();
        record_batch::set_base_offset(&mut batch, topic.next);
        let count = record_batch::check(&batch).unwrap().count;
        let base = topic.next;
        topic.batches.push((base, count, batch.into()));
        topic.next = base.plus(count.into());
        (base, count)
    }

    fn publish(&mut self, said: request::Publish<'_>) {
        let mut builder = BatchBuilder::new();
        builder.push(Timestamp(0), said.message);
        let batch = builder.finish(Offset::ZERO, None);
        self.append(said.topic, &batch);
    }

    fn publish_batch(&mut self, correlation: u64, said: &PublishBatch, batch: &[u8]) {
        let Some(topic) = self.aliases.get(&said.alias).cloned() else {
            return self.nack(correlation, ErrorCode::Unknown, "unknown alias");
        };
        if topic == b"goodbye" {
            let text = "draining";
            reply::go_away(&mut self.out, &GoAway { code: 503, retry_after_ms: 50, text });
            self.over = true;
            return;
        }
        if said.must_route && self.subscriptions.iter().all(|subscription| subscription.topic != topic) {
            return self.nack(correlation, ErrorCode::Unknown, "nobody subscribes");
        }
        let (base_offset, count) = self.append(&topic, batch);
        if said.acknowledge {
            let reached = if said.qos == Qos::AtLeastOnce { Reached::Synced } else { Reached::Memory };
            let published = Published { partition: 0, base_offset, count, reached, duplicate: false };
            reply::published(&mut self.out, correlation, &published);
        }
    }

    fn add(&mut self, topic: &[u8], qos: Qos, cursor: Offset, (messages, bytes): (u32, u32)) -> u64 {
        let (messages, bytes) = (messages.into(), bytes.into());
        let topic = topic.to_vec();
        self.subscriptions.push(Subscription { topic, qos, cursor, messages, bytes, unacknowledged: Vec::new() });
        self.subscriptions.len() as u64
    }

    fn subscribe(&mut self, correlation: u64, said: &SubscribeWith<'_>) {
        let next = self.topics.entry(said.pattern.to_vec()).or_default().next;
        let cursor = if said.start == StartAt::Earliest { Offset::ZERO } else { next };
        let subscription = self.add(said.pattern, said.qos, cursor, (said.credit_messages, said.credit_bytes));
        reply::subscribed(&mut self.out, correlation, &Subscribed { subscription, next_offset: cursor, sources: 1 });
        let topic = str::from_utf8(said.pattern).unwrap();
        reply::source(&mut self.out, &Source { subscription, source: 0, partition: 0, next_offset: cursor, topic });
    }

    /// As much as there is credit for.
    fn deliver(&mut self) {
        if self.version != 2 {
            return;
        }
        for (id, subscription) in (1..).zip(&mut self.subscriptions) {
            for (base, count, batch) in &self.topics[&subscription.topic].batches {
                let left = base.plus(u64::from(*count)).since(subscription.cursor);
                let count = left.min(subscription.messages) as u32;
                if count == 0 || subscription.bytes <= 0 {
                    continue;
                }
                let deliver = Deliver {
                    subscription: id,
                    source: 0,
                    qos: subscription.qos,
                    redelivery: false,
                    attempt: 1,
                    first_offset: subscription.cursor,
                    count,
                };
                self.out.extend_from_slice(&reply::deliver_head(&deliver, batch.len()));
                self.out.extend_from_slice(batch);
                subscription.cursor = subscription.cursor.plus(count.into());
                subscription.messages -= u64::from(count);
                subscription.bytes -= (batch.len() + reply::DELIVER_FIELDS) as i64;
            }
        }
    }

    fn poll(&mut self, correlation: u64, id: u64) {
        let Some(subscription) = self.subscriptions.get_mut(id as usize - 1) else {
            return self.nack(correlation, ErrorCode::Unknown, "unknown subscription");
        };
        let Some(topic) = self.topics.get(&subscription.topic) else { return };
        let Some((_, _, batch)) = topic.batches.get(subscription.cursor.0 as usize) else { return };
        subscription.cursor = subscription.cursor.plus(1);
        let tag = if subscription.qos == Qos::AtLeastOnce { subscription.cursor.0 } else { correlation };
        subscription.unacknowledged.push(tag);
        let record = record_batch::records(batch).next().unwrap();
        reply::publish(&mut self.out, tag, subscription.qos, &subscription.topic, record.value);
    }

    fn ack(&mut self, tag: u64, id: u64) {
        let unacknowledged = &mut self.subscriptions[id as usize - 1].unacknowledged;
        match unacknowledged.iter().position(|known| *known == tag) {
            Some(at) => drop(unacknowledged.remove(at)),
            None => self.nack(tag, ErrorCode::Unknown, "unknown subscription or delivery tag"),
        }
    }
}

const _: () = assert!(FRAME_MAX < Limits::FRAME_MAX);
