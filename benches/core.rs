//! What one core costs for each message: bytes in, frames handled, records placed, committed, delivered, settled; no
//! sockets, no disk.

mod support;

use blipmq::model::Qos;
use blipmq::protocol::native::command;
use bytes::BytesMut;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use support::{Shard, TOPIC, batches, singles};

/// Messages that make no promise.
fn relay(c: &mut Criterion) {
    let mut group = c.benchmark_group("relay");
    for (records, size) in [(100, 128), (16, 1024), (4, 4096), (1, 128)] {
        let mut shard = Shard::new();
        let taker = shard.taker(0, Qos::AtMostOnce);
        let publisher = shard.publisher(1);
        let (bytes, count) = batches(records, size, Qos::AtMostOnce);
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(format!("v2 batches of {records} x {size} B"), |b| {
            b.iter(|| {
                assert!(shard.receive(publisher, BytesMut::from(&bytes[..])) > count * size);
                shard.credit(&taker, count as u64);
            })
        });
    }
    let mut shard = Shard::new();
    let taker = shard.taker(0, Qos::AtMostOnce);
    let publisher = shard.connect(1, 1, |_| {});
    let (bytes, count) = singles(128, Qos::AtMostOnce);
    group.throughput(Throughput::Elements(count as u64));
    group.bench_function("v1 singles in, v2 batches out, 128 B", |b| {
        b.iter(|| {
            assert!(shard.receive(publisher, BytesMut::from(&bytes[..])) > count * 128);
            shard.credit(&taker, count as u64);
        })
    });
    group.finish();
}

/// Version 1 on both sides: each message is asked for.
fn polled(c: &mut Criterion) {
    let mut group = c.benchmark_group("polled");
    for (name, qos) in [("qos 0", Qos::AtMostOnce), ("qos 1", Qos::AtLeastOnce)] {
        let mut shard = Shard::new();
        let taker = shard.connect(0, 1, |say| command::subscribe(say, 3, TOPIC.as_bytes(), qos));
        let publisher = shard.connect(1, 1, |_| {});
        let (bytes, count) = singles(128, qos);
        let mut polls = BytesMut::new();
        (0..count).for_each(|_| command::poll(&mut polls, 1, 1));
        let mut tag = 0;
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(format!("v1 in, v1 out, {name}, 128 B"), |b| {
            b.iter(|| {
                shard.receive(publisher, BytesMut::from(&bytes[..]));
                assert!(shard.receive(taker, BytesMut::from(&polls[..])) > count * 128);
                if qos == Qos::AtLeastOnce {
                    let mut acks = BytesMut::new();
                    for _ in 0..count {
                        tag += 1;
                        command::ack(&mut acks, tag, 1);
                    }
                    shard.receive(taker, acks);
                }
            })
        });
    }
    group.finish();
}

/// Messages that are acknowledged to the publisher and by the subscriber: in memory, and through a log whose device
/// takes no time.
fn acknowledged(c: &mut Criterion) {
    let mut group = c.benchmark_group("acknowledged");
    for (name, make) in [("in memory", Shard::new as fn() -> Shard), ("through the log", Shard::durable)] {
        for (records, size) in [(100, 128), (4, 4096), (1, 128)] {
            let mut shard = make();
            let mut taker = shard.taker(0, Qos::AtLeastOnce);
            let publisher = shard.publisher(1);
            let (bytes, count) = batches(records, size, Qos::AtLeastOnce);
            group.throughput(Throughput::Elements(count as u64));
            group.bench_function(format!("{name}, {records} x {size} B"), |b| {
                b.iter(|| {
                    assert!(shard.receive(publisher, BytesMut::from(&bytes[..])) > count * size);
                    shard.settle(&mut taker, count as u64);
                })
            });
        }
    }
    group.finish();
}

/// One publisher, many subscribers.
fn fan_out(c: &mut Criterion) {
    const TAKERS: u32 = 100;
    let mut group = c.benchmark_group("fan-out");
    let mut shard = Shard::new();
    let takers: Vec<_> = (0..TAKERS).map(|slot| shard.taker(slot, Qos::AtMostOnce)).collect();
    let publisher = shard.publisher(500);
    let (bytes, count) = batches(100, 128, Qos::AtMostOnce);
    group.throughput(Throughput::Elements(count as u64 * u64::from(TAKERS)));
    group.bench_function("1 to 100, batches of 100 x 128 B, each delivery", |b| {
        b.iter(|| {
            assert!(shard.receive(publisher, BytesMut::from(&bytes[..])) > count * 128 * TAKERS as usize);
            takers.iter().for_each(|taker| shard.credit(taker, count as u64));
        })
    });
    group.finish();
}

criterion_group!(benches, relay, polled, acknowledged, fan_out);
criterion_main!(benches);
