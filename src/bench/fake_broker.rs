//! A broker for tests: one thread, one topic, both versions, and faults on demand.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::BytesMut;

use super::dialect::v2::deliver_frame;
use crate::model::record_batch::{self, BatchBuilder};
use crate::model::{Offset, Qos, Timestamp};
use crate::protocol::ErrorCode;
use crate::protocol::native::frame::{Split, split};
use crate::protocol::native::reply::{self, Deliver, Published, Reached, Subscribed, Welcome};
use crate::protocol::native::request::{self, Request};

/// What it does wrong.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Every so many messages, one is not delivered.
    pub lose_every: Option<u64>,
    /// Every so many batches, one is delivered twice.
    pub double_every: Option<u64>,
    /// Every so many batches, one is delivered after the next.
    pub late_every: Option<u64>,
}

/// Runs until dropped.
pub struct FakeBroker {
    pub addr: String,
    /// Records that were settled.
    pub settled: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl FakeBroker {
    pub fn start(faults: Faults) -> FakeBroker {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let (stop, settled) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut broker = Broker { faults, settled: settled.clone(), ..Broker::default() };
        let until = stop.clone();
        let thread = std::thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                broker.accept(&listener);
                if !broker.turn() {
                    std::thread::sleep(Duration::from_micros(50));
                }
            }
        });
        FakeBroker { addr, settled, stop, thread: Some(thread) }
    }
}

impl Drop for FakeBroker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

#[derive(Default)]
struct Broker {
    faults: Faults,
    settled: Arc<AtomicU64>,
    peers: Vec<Peer>,
    next: u64,
    messages: u64,
    batches: u64,
    /// Held back to come late.
    late: Option<(Deliver, Vec<u8>)>,
}

struct Peer {
    stream: TcpStream,
    inbox: Vec<u8>,
    out: BytesMut,
    version: u8,
    qos: Option<Qos>,
    /// Version 1: messages that wait for POLL.
    queue: std::collections::VecDeque<Vec<u8>>,
    tag: u64,
}

impl Broker {
    fn accept(&mut self, listener: &TcpListener) {
        while let Ok((stream, _)) = listener.accept() {
            stream.set_nonblocking(true).unwrap();
            stream.set_nodelay(true).unwrap();
            let (inbox, out, queue) = (Vec::new(), BytesMut::new(), Default::default());
            self.peers.push(Peer { stream, inbox, out, version: 0, qos: None, queue, tag: 0 });
        }
    }

    fn turn(&mut self) -> bool {
        let mut any = false;
        for index in 0..self.peers.len() {
            any |= self.read(index);
            self.handle(index);
        }
        self.peers.iter_mut().for_each(Peer::write);
        any
    }

    fn read(&mut self, index: usize) -> bool {
        let mut buffer = vec![0; 65536];
        match self.peers[index].stream.read(&mut buffer) {
            Ok(count) => self.peers[index].inbox.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(_) => return false,
        }
        !self.peers[index].inbox.is_empty()
    }

    fn handle(&mut self, index: usize) {
        let inbox = std::mem::take(&mut self.peers[index].inbox);
        let mut at = 0;
        while let Split::Frame(frame) = split(&inbox[at..], 1 << 24) {
            let payload = &inbox[at..][frame.payload];
            let version = self.peers[index].version;
            let request = request::decode(version, frame.kind, payload).expect("the load speaks well");
            self.request(index, frame.correlation, &request, payload);
            at += frame.end;
        }
        self.peers[index].inbox = inbox[at..].to_vec();
    }

    fn request(&mut self, index: usize, correlation: u64, request: &Request<'_>, payload: &[u8]) {
        let peer = &mut self.peers[index];
        match request {
            Request::Hello { version, .. } => {
                peer.version = *version as u8;
                if *version == 2 {
                    reply::welcome(&mut peer.out, correlation, &welcome());
                } else {
                    reply::ack(&mut peer.out, correlation, 0);
                }
            }
            Request::Auth { key: "right" } => reply::ack(&mut peer.out, correlation, 0),
            Request::Auth { .. } => reply::nack(&mut peer.out, correlation, ErrorCode::Unauthenticated, "no"),
            Request::Alias { alias, .. } => reply::aliased(&mut peer.out, correlation, *alias, 1),
            Request::SubscribeWith(said) => {
                peer.qos = Some(said.qos);
                let subscribed = Subscribed { subscription: 1, next_offset: Offset(0), sources: 1 };
                reply::subscribed(&mut peer.out, correlation, &subscribed);
            }
            Request::Subscribe { qos, .. } => {
                peer.qos = Some(*qos);
                reply::ack(&mut peer.out, correlation, 1);
            }
            Request::PublishBatch(said) => {
                self.publish_batch(index, correlation, said.acknowledge, said.qos, &payload[said.batch.clone()]);
            }
            Request::Publish(said) => self.publish(said.message),
            Request::Poll { .. } => peer.poll(),
            Request::Ping => reply::pong(&mut peer.out, correlation),
            Request::Ack { .. } => drop(self.settled.fetch_add(1, Ordering::Relaxed)),
            Request::Settle(settle) => {
                if let request::How::UpTo { last } = settle.how {
                    self.settled.fetch_max(last.0 + 1, Ordering::Relaxed);
                }
            }
            _ => {}
        }
    }

    fn publish_batch(&mut self, index: usize, correlation: u64, acknowledge: bool, qos: Qos, batch: &[u8]) {
        let mut batch = batch.to_vec();
        let count = record_batch::check(&batch).expect("the checksum was renewed").count;
        record_batch::set_base_offset(&mut batch, Offset(self.next));
        let deliver = Deliver {
            subscription: 1,
            source: 0,
            qos,
            redelivery: false,
            attempt: 1,
            first_offset: Offset(self.next),
            count,
        };
        if acknowledge {
            let published = Published {
                partition: 0,
                base_offset: Offset(self.next),
                count,
                reached: Reached::Memory,
                duplicate: false,
            };
            reply::published(&mut self.peers[index].out, correlation, &published);
        }
        self.next += u64::from(count);
        self.batches += 1;
        let hits = |every: Option<u64>, number: u64| every.is_some_and(|every| number % every == every - 1);
        let number = self.batches;
        if hits(self.faults.late_every, number) && self.late.is_none() {
            self.late = Some((deliver, batch));
            return;
        }
        self.deliver(deliver, &batch);
        if hits(self.faults.double_every, number) {
            self.deliver(deliver, &batch);
        }
        if let Some((deliver, batch)) = self.late.take() {
            self.deliver(deliver, &batch);
        }
    }

    /// All of a batch, or without its first record.
    fn deliver(&mut self, mut deliver: Deliver, batch: &[u8]) {
        self.messages += u64::from(deliver.count);
        if self
            .faults
            .lose_every
            .is_some_and(|every| self.messages / every != (self.messages - u64::from(deliver.count)) / every)
        {
            deliver.first_offset = deliver.first_offset.plus(1);
            deliver.count -= 1;
        }
        for peer in self.peers.iter_mut().filter(|peer| peer.qos.is_some()) {
            if peer.version == 2 {
                peer.out.extend_from_slice(&deliver_frame(&deliver, batch));
            } else {
                peer.queue.extend(record_batch::records(batch).map(|record| record.value.to_vec()));
            }
        }
    }

    fn publish(&mut self, message: &[u8]) {
        let mut builder = BatchBuilder::new();
        builder.push(Timestamp(1), message);
        let batch = builder.finish(Offset(0), None);
        self.publish_batch(0, 0, false, Qos::AtMostOnce, &batch);
    }
}

impl Peer {
    fn poll(&mut self) {
        if let Some(message) = self.queue.pop_front() {
            self.tag += 1;
            reply::publish(&mut self.out, self.tag, self.qos.unwrap(), b"bench.0", &message);
        }
    }

    fn write(&mut self) {
        if let Ok(count) = self.stream.write(&self.out) {
            let _ = self.out.split_to(count);
        }
    }
}

fn welcome() -> Welcome {
    Welcome {
        version: 2,
        capabilities: 0,
        frame_max: 1 << 24,
        aliases_max: 10,
        in_flight_max: 1000,
        topic_len_max: 255,
        shards: 1,
    }
}
