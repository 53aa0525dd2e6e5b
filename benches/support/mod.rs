//! One core without a machine around it: sockets that take everything at once, a device that answers at once.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use blipmq::auth::{Key, KeyRing, Secret};
use blipmq::config::TopicRules;
use blipmq::model::record_batch::BatchBuilder;
use blipmq::model::{
    Backoff, ConnId, FsyncPolicy, Instant, Limits, LogId, Offset, OverflowPolicy, Qos, ShardId, StartAt,
    SubscriptionMode, Timestamp,
};
use blipmq::protocol::native::command::{self, BatchFor};
use blipmq::protocol::native::frame::{Split, split};
use blipmq::protocol::native::request::{Credit, How, Settle, SubscribeWith};
use blipmq::protocol::native::response::{self, Response};
use blipmq::shard::{Action, Arrival, Core, CoreOptions, Crowd, Event, Patterns};
use blipmq::wal::{Log, LogAction, LogEvent, LogOptions, Recovered, THROUGH_MAX};
use bytes::BytesMut;

const KEY: &str = "bench";
/// The topic of every bench.
pub const TOPIC: &str = "demo";
/// Between two things that happen, in nanoseconds.
const STEP: u64 = 1000;
const SEGMENT: u64 = 64 << 20;

/// One core, and what it said last.
pub struct Shard {
    core: Core,
    now: Instant,
    /// Bytes of the last round for each connection, where they are kept.
    heard: Option<Vec<u8>>,
}

/// A connection that takes deliveries of version 2.
pub struct Taker {
    conn: ConnId,
    subscription: u64,
    source: u32,
    settled: u64,
}

impl Shard {
    /// Without a log.
    pub fn new() -> Shard {
        Shard::with(Vec::new())
    }

    /// With an empty log that syncs before it acknowledges.
    pub fn durable() -> Shard {
        let options = LogOptions {
            log: LogId(0),
            segment_size: SEGMENT,
            fsync: FsyncPolicy::Always,
            retention_ms: 0,
            retention_bytes: 0,
            low_water: 0,
            index_max: usize::MAX,
            through_max: THROUGH_MAX,
        };
        Shard::with(vec![(LogId(0), Log::new(options, Recovered::nothing(SEGMENT)))])
    }

    fn with(logs: Vec<(LogId, Log)>) -> Shard {
        let options = CoreOptions {
            shard: ShardId(0),
            shards: 1,
            logs: 1,
            overflow: OverflowPolicy::Block,
            limits: Limits::default(),
            keys: KeyRing::new([Key::plain(&Secret::new(KEY.as_bytes()).unwrap())]).unwrap(),
            max_retries: 3,
            retry: Backoff { base: Duration::from_millis(100), cap: Duration::from_secs(30) },
            topics: TopicRules::default(),
            seed: 1,
        };
        let mut shard =
            Shard { core: Core::new(options, Instant(1), logs, &Patterns::new()), now: Instant(1), heard: None };
        shard.drain();
        shard
    }

    /// A connection that has said HELLO and AUTH, and then `more`.
    pub fn connect(&mut self, slot: u32, version: u16, more: impl FnOnce(&mut BytesMut)) -> ConnId {
        let conn = ConnId { shard: ShardId(0), slot, generation: 0 };
        let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
        self.tell(Event::Connected { conn, peer, arrival: Arrival::Accepted(Crowd::default()) });
        let mut say = BytesMut::new();
        command::hello(&mut say, 1, version);
        command::auth(&mut say, 2, KEY);
        more(&mut say);
        self.receive(conn, say);
        conn
    }

    /// A publisher of version 2, the topic under alias 0.
    pub fn publisher(&mut self, slot: u32) -> ConnId {
        self.connect(slot, 2, |say| command::alias(say, 3, 0, TOPIC.as_bytes()))
    }

    /// A subscriber of version 2 that never runs out of messages to take. With QoS 1 it is durable.
    pub fn taker(&mut self, slot: u32, qos: Qos) -> Taker {
        let name = if qos == Qos::AtLeastOnce { "taker" } else { "" };
        let said = SubscribeWith {
            qos,
            mode: SubscriptionMode::Exclusive,
            auto_acknowledge: false,
            start: StartAt::Earliest,
            credit_messages: 1 << 30,
            credit_bytes: 1 << 30,
            retry_delay_ms: 60_000,
            max_retries: None,
            name,
            dead_letter: b"",
            pattern: TOPIC.as_bytes(),
        };
        self.heard = Some(Vec::new());
        let conn = self.connect(slot, 2, |say| command::subscribe_with(say, 4, &said));
        // The first delivery tells the numbers that settling needs.
        let publisher = self.publisher(slot + 1000);
        let (bytes, count) = batches(1, 16, qos);
        self.receive(publisher, BytesMut::from(&bytes[..]));
        let (subscription, source) = delivered(&self.heard.take().unwrap());
        let mut taker = Taker { conn, subscription, source, settled: 0 };
        self.settle(&mut taker, count as u64);
        taker
    }

    /// Bytes come in, and everything that follows is done. Gives the bytes that went out.
    pub fn receive(&mut self, conn: ConnId, bytes: BytesMut) -> usize {
        self.tell(Event::Received { conn, bytes })
    }

    /// The taker has dealt with `count` more messages, and gives as much credit again.
    pub fn settle(&mut self, taker: &mut Taker, count: u64) {
        let mut say = BytesMut::new();
        taker.settled += count;
        let how = How::UpTo { last: Offset(taker.settled - 1) };
        command::settle(&mut say, 5, &Settle { subscription: taker.subscription, source: taker.source, how });
        self.credit_too(say, taker, count);
    }

    /// The taker gives credit for `count` more messages.
    pub fn credit(&mut self, taker: &Taker, count: u64) {
        self.credit_too(BytesMut::new(), taker, count);
    }

    fn credit_too(&mut self, mut say: BytesMut, taker: &Taker, count: u64) {
        let credit = Credit { subscription: taker.subscription, messages: count as u32, bytes: 128 * 1024 };
        command::credit(&mut say, 6, &credit);
        self.receive(taker.conn, say);
    }

    fn tell(&mut self, event: Event) -> usize {
        self.now = Instant(self.now.0 + STEP);
        self.core.handle(self.now, event);
        self.drain()
    }

    fn drain(&mut self) -> usize {
        let mut bytes = 0;
        loop {
            while let Some(action) = self.core.poll() {
                bytes += self.act(action);
            }
            // Cursors are logged and groups are cut when their time has come.
            match self.core.poll_timeout() {
                Some(at) if at <= self.now => self.core.handle(self.now, Event::Timeout),
                _ => return bytes,
            }
        }
    }

    fn act(&mut self, action: Action) -> usize {
        match action {
            Action::Send { conn, chunks } => {
                let sent = chunks.iter().map(|chunk| chunk.len()).sum();
                if let Some(heard) = &mut self.heard {
                    chunks.iter().for_each(|chunk| heard.extend_from_slice(chunk.as_slice()));
                }
                drop(chunks);
                self.core.handle(self.now, Event::Sent { conn, bytes: sent });
                sent
            }
            Action::Log { log, action } => {
                if let Some(event) = done(action) {
                    self.core.handle(self.now, Event::Log { log, event });
                }
                0
            }
            Action::Close { .. } | Action::Halt { .. } => panic!("{action:?}"),
            _ => 0,
        }
    }
}

/// A device that has always done it already.
fn done(action: LogAction) -> Option<LogEvent> {
    Some(match action {
        LogAction::Prepare { segment, .. } => LogEvent::Prepared { segment },
        LogAction::Write { ticket, .. } => LogEvent::Written { ticket },
        LogAction::Sync { ticket, .. } => LogEvent::Synced { ticket },
        LogAction::Remove { segment } => LogEvent::Removed { segment },
        LogAction::SaveCheckpoint { ticket, .. } => LogEvent::CheckpointSaved { ticket },
        LogAction::Read { .. } => return None,
    })
}

fn delivered(bytes: &[u8]) -> (u64, u32) {
    let mut at = 0;
    while let Split::Frame(frame) = split(&bytes[at..], Limits::FRAME_MAX) {
        let payload = &bytes[at..][frame.payload];
        if let Ok(Response::Deliver { deliver, .. }) = response::decode(2, frame.kind, payload) {
            return (deliver.subscription, deliver.source);
        }
        at += frame.end;
    }
    panic!("nothing was delivered");
}

/// About 64 KiB of PUBLISH_BATCH frames, at least one, and how many messages they carry.
pub fn batches(records: usize, size: usize, qos: Qos) -> (BytesMut, usize) {
    let said = BatchFor { qos, acknowledge: qos == Qos::AtLeastOnce, ..BatchFor::default() };
    let (mut out, mut count) = (BytesMut::new(), 0);
    let batch = batch(records, size);
    loop {
        command::publish_batch(&mut out, 7, &said, &batch);
        count += records;
        if records == 1 || out.len() + batch.len() + 64 > Limits::READ {
            return (out, count);
        }
    }
}

/// One record batch.
pub fn batch(records: usize, size: usize) -> Vec<u8> {
    let message = vec![7; size];
    let mut builder = BatchBuilder::new();
    (0..records).for_each(|_| builder.push(Timestamp(1), &message));
    builder.finish(Offset::ZERO, None).to_vec()
}

/// About 64 KiB of version 1 PUBLISH frames, and how many there are.
pub fn singles(size: usize, qos: Qos) -> (BytesMut, usize) {
    let (mut out, mut count, message) = (BytesMut::new(), 0, vec![7; size]);
    while out.len() + size + 64 < Limits::READ {
        command::publish(&mut out, 7, qos, TOPIC.as_bytes(), &message);
        count += 1;
    }
    (out, count)
}
