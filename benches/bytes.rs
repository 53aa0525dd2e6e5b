//! What bytes cost: frames split and decoded, record batches built, checked and walked, checksums, stamps.

#[allow(dead_code)]
mod support;

use std::hint::black_box;

use blipmq::bench::checksum::Renewal;
use blipmq::bench::ledger::Ledger;
use blipmq::bench::stamp::Common;
use blipmq::model::record_batch::{self, BatchBuilder};
use blipmq::model::{Limits, Offset, Qos, Timestamp};
use blipmq::protocol::native::frame::{Split, split};
use blipmq::protocol::native::reply::{self, Deliver};
use blipmq::protocol::native::request;
use bytes::BytesMut;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn decode(bytes: &[u8], version: u8) -> usize {
    let (mut at, mut count) = (0, 0);
    while let Split::Frame(frame) = split(&bytes[at..], Limits::FRAME_MAX) {
        let payload = &bytes[at + frame.payload.start..at + frame.payload.end];
        black_box(request::decode(version, frame.kind, payload)).expect("our own frames are right");
        at += frame.end;
        count += 1;
    }
    count
}

fn frames(c: &mut Criterion) {
    let mut group = c.benchmark_group("frames");
    let (singles, _) = support::singles(128, Qos::AtMostOnce);
    let (batches, _) = support::batches(1, 128, Qos::AtMostOnce);
    let batches = batches.repeat(300);
    for (name, bytes, version) in [("v1 PUBLISH", singles.to_vec(), 1), ("v2 PUBLISH_BATCH", batches, 2)] {
        group.throughput(Throughput::Elements(decode(&bytes, version) as u64));
        group.bench_function(format!("{name}: split and decode"), |b| b.iter(|| decode(black_box(&bytes), version)));
    }
    group.throughput(Throughput::Elements(1));
    let deliver = Deliver {
        subscription: 1,
        source: 2,
        qos: Qos::AtLeastOnce,
        redelivery: false,
        attempt: 1,
        first_offset: Offset(3),
        count: 100,
    };
    group.bench_function("v2 DELIVER: encode its head", |b| {
        b.iter(|| black_box(reply::deliver_head(black_box(&deliver), 14_000)))
    });
    let message = vec![7; 128];
    let mut out = BytesMut::with_capacity(1 << 20);
    group.bench_function("v1 PUBLISH: encode a delivery", |b| {
        b.iter(|| {
            if out.len() > 1 << 19 {
                out.clear();
            }
            reply::publish(&mut out, 1, Qos::AtLeastOnce, b"demo", black_box(&message));
        })
    });
    group.finish();
}

fn batches(c: &mut Criterion) {
    let mut group = c.benchmark_group("record batch");
    for (records, size) in [(100, 128), (16, 1024), (4, 4096)] {
        let name = format!("{records} x {size} B");
        let (bytes, message) = (support::batch(records, size), vec![7; size]);
        group.throughput(Throughput::Elements(records as u64));
        let mut builder = BatchBuilder::new();
        group.bench_function(format!("build {name}"), |b| {
            b.iter(|| {
                (0..records).for_each(|_| builder.push(Timestamp(1), black_box(&message)));
                builder.finish(Offset::ZERO, None)
            })
        });
        group.bench_function(format!("check {name}"), |b| b.iter(|| record_batch::check(black_box(&bytes)).unwrap()));
        group.bench_function(format!("check the envelope {name}"), |b| {
            b.iter(|| record_batch::check_envelope(black_box(&bytes)).unwrap())
        });
        group.bench_function(format!("walk {name}"), |b| {
            b.iter(|| record_batch::records(black_box(&bytes)).map(|record| record.value.len()).sum::<usize>())
        });
    }
    group.finish();
}

fn checksums(c: &mut Criterion) {
    let mut group = c.benchmark_group("crc-32c");
    for size in [64, 1024, 14 * 1024, 64 * 1024] {
        let bytes = vec![7; size];
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(format!("{size} B"), |b| b.iter(|| crc32c::crc32c(black_box(&bytes))));
    }
    group.finish();
}

/// The load generator's own work for each message.
fn load(c: &mut Criterion) {
    let mut group = c.benchmark_group("load");
    let bytes = vec![7; 14 * 1024];
    let stamps: Vec<usize> = (0..100).map(|index| 40 + index * 139).collect();
    let renewal = Renewal::new(&bytes, &stamps);
    let mut number = 0;
    group.bench_function("renew the checksum of a batch", |b| {
        b.iter(|| {
            number += 1;
            renewal.of(black_box(Common { publisher: 1, number, time: number }))
        })
    });
    let mut ledger = Ledger::default();
    group.bench_function("enter a message in the ledger", |b| b.iter(|| ledger.came(black_box(ledger.next()))));
    group.finish();
}

criterion_group!(benches, frames, batches, checksums, load);
criterion_main!(benches);
