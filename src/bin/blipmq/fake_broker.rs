//! A broker of one topic and a few lines, to test the commands against over a real socket.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use blipmq::client::FrameBuffer;
use blipmq::model::record_batch::{BatchBuilder, check, set_base_offset};
use blipmq::model::{Limits, Offset, Qos, Timestamp};
use blipmq::protocol::ErrorCode;
use blipmq::protocol::native::reply::{self, Deliver, Published, Reached, Source, Subscribed, Welcome};
use blipmq::protocol::native::request::{self, How, Request, Settle, SubscribeWith};
use bytes::{Bytes, BytesMut};

/// The key that is accepted.
pub const KEY: &str = "open sesame";

/// Takes any number of connections, all on the topic `demo`; the topic `closed` may not be named.
pub struct FakeBroker {
    addr: String,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Default)]
struct Kept {
    batches: Vec<(Offset, u32, Bytes)>,
    settled: Vec<String>,
    delivered: u64,
}

impl FakeBroker {
    /// With these messages, in one batch.
    pub fn start(messages: &[&str]) -> FakeBroker {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let kept = Arc::new(Mutex::new(Kept::default()));
        let mut builder = BatchBuilder::new();
        messages.iter().for_each(|message| builder.push(Timestamp(0), message.as_bytes()));
        if !builder.is_empty() {
            kept.lock().unwrap().append(&builder.finish(Offset::ZERO, None));
        }
        let broker = FakeBroker { addr, kept: kept.clone() };
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let kept = kept.clone();
                std::thread::spawn(move || serve(stream.unwrap(), &kept));
            }
        });
        broker
    }

    /// Nobody listens there any more.
    pub fn gone() -> FakeBroker {
        let addr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        FakeBroker { addr, kept: Arc::default() }
    }

    pub fn addr(&self) -> &str {
        &self.addr
    }

    /// Ranges that were acknowledged.
    pub fn settled(&self) -> Vec<String> {
        self.kept.lock().unwrap().settled.clone()
    }

    /// Messages that left.
    pub fn delivered(&self) -> u64 {
        self.kept.lock().unwrap().delivered
    }
}

impl Kept {
    fn next(&self) -> Offset {
        self.batches.last().map_or(Offset::ZERO, |(base, count, _)| base.plus((*count).into()))
    }

    fn append(&mut self, batch: &[u8]) -> (Offset, u32) {
        let base = self.next();
        let mut batch = batch.to_vec();
        set_base_offset(&mut batch, base);
        let count = check(&batch).unwrap().count;
        self.batches.push((base, count, batch.into()));
        (base, count)
    }
}

#[derive(Default)]
struct Session {
    out: BytesMut,
    version: u8,
    over: bool,
    subscription: Option<Subscription>,
}

struct Subscription {
    qos: Qos,
    cursor: Offset,
    messages: u64,
}

fn serve(mut stream: TcpStream, kept: &Mutex<Kept>) {
    let (mut inbox, mut session) = (FrameBuffer::new(Limits::FRAME_MAX), Session::default());
    while !session.over {
        match stream.read(inbox.room()) {
            Ok(count @ 1..) => inbox.filled(count),
            _ => return,
        }
        let mut kept = kept.lock().unwrap();
        while let Some(frame) = inbox.next_frame().unwrap() {
            let said = request::decode(session.version, frame.kind, frame.payload).unwrap();
            session.handle(frame.correlation, said, frame.payload, &mut kept);
        }
        session.deliver(&mut kept);
        drop(kept);
        if stream.write_all(&session.out.split()).is_err() {
            return;
        }
    }
}

impl Session {
    fn handle(&mut self, correlation: u64, said: Request<'_>, payload: &[u8], kept: &mut Kept) {
        let out = &mut self.out;
        match said {
            Request::Hello { .. } => self.hello(correlation),
            Request::Auth { key } if key == KEY => reply::ack(out, correlation, 0),
            Request::Auth { .. } => {
                reply::nack(out, correlation, ErrorCode::Unauthenticated, "invalid API key");
                self.over = true;
            }
            Request::Ping => reply::pong(out, correlation),
            Request::Alias { topic: b"demo", alias } => reply::aliased(out, correlation, alias, 1),
            Request::Alias { .. } => reply::nack(out, correlation, ErrorCode::Forbidden, "closed"),
            Request::PublishBatch(said) => {
                let (base_offset, count) = kept.append(&payload[said.batch.clone()]);
                let reached = Reached::Synced;
                let published = Published { partition: 0, base_offset, count, reached, duplicate: false };
                reply::published(out, correlation, &published);
            }
            Request::SubscribeWith(said) => self.subscribe(correlation, &said),
            Request::Credit(credit) => {
                self.subscription.as_mut().unwrap().messages += u64::from(credit.messages);
            }
            Request::Settle(Settle { how: How::Range { first, last }, .. }) => {
                kept.settled.push(format!("{first}..={last}"));
            }
            Request::Query { .. } => reply::answer(out, correlation, br#"[{"topic":"demo","next":7}]"#),
            Request::GoAway(_) => self.over = true,
            other => panic!("no command says {other:?}"),
        }
    }

    fn hello(&mut self, correlation: u64) {
        self.version = 2;
        let welcome = Welcome {
            version: 2,
            capabilities: 0,
            frame_max: Limits::FRAME_MAX as u32,
            aliases_max: 10,
            in_flight_max: 1000,
            topic_len_max: 512,
            shards: 1,
        };
        reply::welcome(&mut self.out, correlation, &welcome);
    }

    fn subscribe(&mut self, correlation: u64, said: &SubscribeWith<'_>) {
        let next_offset = Offset::ZERO;
        let messages = said.credit_messages.into();
        self.subscription = Some(Subscription { qos: said.qos, cursor: next_offset, messages });
        reply::subscribed(&mut self.out, correlation, &Subscribed { subscription: 1, next_offset, sources: 1 });
        let source = Source { subscription: 1, source: 0, partition: 0, next_offset, topic: "demo" };
        reply::source(&mut self.out, &source);
    }

    /// As much as there is credit for.
    fn deliver(&mut self, kept: &mut Kept) {
        let Some(subscription) = &mut self.subscription else { return };
        for (base, count, batch) in &kept.batches {
            let left = base.plus((*count).into()).since(subscription.cursor);
            let count = left.min(subscription.messages) as u32;
            if count == 0 {
                continue;
            }
            let first_offset = subscription.cursor;
            let (qos, redelivery, attempt) = (subscription.qos, false, 1);
            let deliver = Deliver { subscription: 1, source: 0, qos, redelivery, attempt, first_offset, count };
            self.out.extend_from_slice(&reply::deliver_head(&deliver, batch.len()));
            self.out.extend_from_slice(batch);
            subscription.cursor = first_offset.plus(count.into());
            subscription.messages -= u64::from(count);
            kept.delivered += u64::from(count);
        }
    }
}
