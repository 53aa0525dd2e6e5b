//! What one core costs: bytes in, frames handled, records placed, deliveries out; no sockets, no disk.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use blipmq::auth::{Key, KeyRing, Secret};
use blipmq::config::TopicRules;
use blipmq::model::record_batch::BatchBuilder;
use blipmq::model::{Backoff, ConnId, Instant, Limits, Offset, OverflowPolicy, Qos, ShardId, Timestamp};
use blipmq::protocol::native::frame::head;
use blipmq::protocol::native::kind;
use blipmq::shard::{Action, Arrival, Core, CoreOptions, Event};
use bytes::{BufMut, BytesMut};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const KEY: &str = "bench";

fn core() -> Core {
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
    Core::new(options, Instant(1), Vec::new())
}

fn frame(out: &mut BytesMut, kind: u8, payload: &[u8]) {
    out.put_slice(&head(kind, 7, payload.len()));
    out.put_slice(payload);
}

fn hello(version: u16) -> BytesMut {
    let mut out = BytesMut::new();
    let mut payload = version.to_be_bytes().to_vec();
    if version == 2 {
        payload.extend([0; 8]);
    }
    frame(&mut out, kind::HELLO, &payload);
    let mut key = (KEY.len() as u16).to_be_bytes().to_vec();
    key.extend(KEY.as_bytes());
    frame(&mut out, kind::AUTH, &key);
    out
}

fn connect(core: &mut Core, slot: u32, say: BytesMut) -> ConnId {
    let conn = ConnId { shard: ShardId(0), slot, generation: 0 };
    let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
    core.handle(Instant(2), Event::Connected { conn, peer, arrival: Arrival::Accepted(Default::default()) });
    core.handle(Instant(2), Event::Received { conn, bytes: say });
    drain(core);
    conn
}

/// Plays the runtime: every output is taken at once.
fn drain(core: &mut Core) -> usize {
    let mut bytes = 0;
    while let Some(action) = core.poll() {
        if let Action::Send { conn, chunks } = action {
            let sent = chunks.iter().map(|chunk| chunk.len()).sum();
            drop(chunks);
            bytes += sent;
            core.handle(Instant(2), Event::Sent { conn, bytes: sent });
        }
    }
    bytes
}

fn subscriber(core: &mut Core, slot: u32) -> ConnId {
    let mut say = hello(2);
    let mut payload = vec![0, 0, 0, 0];
    payload.extend([0; 8]);
    payload.extend(u32::MAX.to_be_bytes());
    payload.extend(u32::MAX.to_be_bytes());
    payload.extend([0; 4]);
    payload.extend(u16::MAX.to_be_bytes());
    payload.extend([0, 0, 0, 0, 0, 4]);
    payload.extend(b"demo");
    frame(&mut say, kind::SUBSCRIBE_WITH, &payload);
    connect(core, slot, say)
}

fn credit(core: &mut Core, conn: ConnId, messages: u64) {
    let mut bytes = BytesMut::new();
    let mut payload = 1u64.to_be_bytes().to_vec();
    payload.extend((messages as u32).to_be_bytes());
    payload.extend((70 * 1024u32).to_be_bytes());
    frame(&mut bytes, kind::CREDIT, &payload);
    core.handle(Instant(2), Event::Received { conn, bytes });
}

fn batches(records: usize, size: usize) -> (BytesMut, u64) {
    let mut out = BytesMut::new();
    let mut count = 0;
    let message = vec![7; size];
    let mut builder = BatchBuilder::new();
    while out.len() < 64 * 1024 - records * (size + 16) {
        for _ in 0..records {
            builder.push(Timestamp(1), &message);
        }
        count += records as u64;
        let mut payload = vec![0; 16];
        payload[8] = Qos::AtMostOnce as u8;
        payload.extend(builder.finish(Offset::ZERO, None));
        frame(&mut out, kind::PUBLISH_BATCH, &payload);
    }
    (out, count)
}

fn singles(size: usize) -> (BytesMut, u64) {
    let mut out = BytesMut::new();
    let mut count = 0;
    while out.len() < 60 * 1024 {
        let mut payload = vec![0, 0, 4];
        payload.extend(b"demo");
        payload.extend(vec![7; size]);
        frame(&mut out, kind::PUBLISH, &payload);
        count += 1;
    }
    (out, count)
}

fn relay(c: &mut Criterion) {
    let mut group = c.benchmark_group("core");
    let mut core = core();
    let taker = subscriber(&mut core, 0);
    let mut say = hello(2);
    frame(&mut say, kind::ALIAS, &[0, 0, 0, 0, 0, 4, b'd', b'e', b'm', b'o']);
    let publisher = connect(&mut core, 1, say);
    let (bytes, count) = batches(100, 128);
    group.throughput(Throughput::Elements(count));
    group.bench_function("relay qos0 v2 batches 128 B", |b| {
        b.iter(|| {
            let bytes = BytesMut::from(&bytes[..]);
            core.handle(Instant(2), Event::Received { conn: publisher, bytes });
            assert!(drain(&mut core) > 0);
            credit(&mut core, taker, count);
        })
    });
    let publisher = connect(&mut core, 2, hello(1));
    let (bytes, count) = singles(128);
    group.throughput(Throughput::Elements(count));
    group.bench_function("relay qos0 v1 singles in, v2 batches out 128 B", |b| {
        b.iter(|| {
            let bytes = BytesMut::from(&bytes[..]);
            core.handle(Instant(2), Event::Received { conn: publisher, bytes });
            assert!(drain(&mut core) > 0);
            credit(&mut core, taker, count);
        })
    });
    group.finish();
}

criterion_group!(benches, relay);
criterion_main!(benches);
