//! What it costs to remember: deliveries in flight, acknowledgements, redeliveries and their times.

use blipmq::broker::{Cursor, Flight, InFlight, Redelivery};
use blipmq::model::{Instant, Offset};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// Waiting beside what is measured.
const WAITING: u64 = 10_000;

fn flight(first: u64, count: u64, due: u64) -> Flight {
    Flight { first: Offset(first), end: Offset(first + count), attempt: 1, due: Instant(due), member: 1 }
}

fn in_flight(c: &mut Criterion) {
    let mut group = c.benchmark_group("in flight");
    for batch in [1, 100] {
        let (mut flights, mut next) = (InFlight::default(), 0);
        for _ in 0..WAITING {
            flights.add(flight(next, batch, next + 1000));
            next += batch;
        }
        group.throughput(Throughput::Elements(batch));
        group.bench_function(format!("{batch} delivered, {batch} acknowledged"), |b| {
            b.iter(|| {
                flights.add(flight(next, batch, next + 1000));
                let first = next - WAITING * batch;
                let taken = flights.take(Offset(first), Offset(first + batch), |_| {});
                assert_eq!(taken, batch);
                next += batch;
            })
        });
    }
    group.finish();
}

fn timers(c: &mut Criterion) {
    let mut group = c.benchmark_group("redelivery");
    let (mut waiting, mut next) = (Redelivery::default(), 0);
    for _ in 0..WAITING {
        waiting.add(Instant(next * 7), &flight(next, 1, 0));
        next += 1;
    }
    group.bench_function("one set, one due", |b| {
        b.iter(|| {
            waiting.add(Instant(next * 7), &flight(next, 1, 0));
            assert!(waiting.front(Instant(next * 7)).is_some());
            waiting.take_front(1);
            next += 1;
        })
    });
    group.finish();
}

fn cursor(c: &mut Criterion) {
    let mut group = c.benchmark_group("cursor");
    let (mut cursor, mut next) = (Cursor::new(Offset::ZERO), 0);
    group.bench_function("acknowledged in order", |b| {
        b.iter(|| {
            assert!(cursor.settle(Offset(next), Offset(next + 1)));
            next += 1;
        })
    });
    let (mut cursor, mut next) = (Cursor::new(Offset::ZERO), 0);
    group.throughput(Throughput::Elements(2));
    group.bench_function("acknowledged in pairs, the later first", |b| {
        b.iter(|| {
            assert!(cursor.settle(Offset(next + 1), Offset(next + 2)));
            assert!(cursor.settle(Offset(next), Offset(next + 1)));
            next += 2;
        })
    });
    group.finish();
}

criterion_group!(benches, in_flight, timers, cursor);
criterion_main!(benches);
