//! What the machine costs: a direct write that is synced, by itself and through glommio; bytes over loopback; a parcel
//! between cores.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use glommio::channels::shared_channel::new_bounded;
use glommio::{LocalExecutorBuilder, Placement};

const ALIGN: usize = 4096;

/// In the working directory: that is the device that is meant.
fn direct_write(c: &mut Criterion) {
    let mut group = c.benchmark_group("direct write + fdatasync");
    let path = format!("bench-device-{}", std::process::id());
    let open = OpenOptions::new().write(true).create_new(true).custom_flags(libc::O_DIRECT).open(&path);
    let Ok(file) = open else {
        eprintln!("no direct writes here: skipped");
        return;
    };
    for size in [4096, 65_536, 262_144] {
        let bytes = vec![7; size + ALIGN];
        let from = bytes.as_ptr().align_offset(ALIGN);
        let block = &bytes[from..from + size];
        // Blocks that were written before: only reserved ones cost a journal entry at every sync.
        (0..64).for_each(|index| file.write_all_at(block, index * size as u64).unwrap());
        file.sync_all().unwrap();
        let mut index = 0;
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(format!("{size} B"), |b| {
            b.iter(|| {
                file.write_all_at(block, index % 64 * size as u64).unwrap();
                file.sync_data().unwrap();
                index += 1;
            })
        });
        group.bench_function(format!("{size} B, by glommio"), |b| {
            b.iter_custom(|times| by_glommio(Path::new(&path), size, times, Commit::WriteAndSync))
        });
        group.bench_function(format!("{size} B, by glommio, O_DSYNC"), |b| {
            b.iter_custom(|times| by_glommio(Path::new(&path), size, times, Commit::WriteThrough))
        });
    }
    std::fs::remove_file(&path).unwrap();
    group.finish();
}

/// How a commit of the log becomes durable.
#[derive(Clone, Copy, PartialEq)]
enum Commit {
    WriteAndSync,
    WriteThrough,
}

/// The same as a commit of the log does it: what the executor's rings add to the device's own time.
fn by_glommio(path: &Path, size: usize, times: u64, commit: Commit) -> Duration {
    // Its directory has to be absolute.
    let path = path.canonicalize().expect("it was made");
    let executor = LocalExecutorBuilder::new(Placement::Unbound).make().expect("an executor starts here");
    executor.run(async move {
        let mut options = glommio::io::OpenOptions::new();
        options.write(true).read(true);
        if commit == Commit::WriteThrough {
            options.custom_flags(libc::O_DSYNC);
        }
        let file = options.dma_open(&path).await.expect("it opens");
        let begin = Instant::now();
        for index in 0..times {
            let block = file.alloc_dma_buffer(size);
            file.write_at(block, index % 64 * size as u64).await.expect("it is written");
            if commit == Commit::WriteAndSync {
                file.fdatasync().await.expect("it is synced");
            }
        }
        let took = begin.elapsed();
        file.close().await.expect("it closes");
        took
    })
}

fn loopback(c: &mut Criterion) {
    let mut group = c.benchmark_group("loopback");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut far, _) = listener.accept().unwrap();
    for size in [1024, 65_536] {
        let mut bytes = vec![7; size];
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(format!("{size} B written and read by one thread"), |b| {
            b.iter(|| {
                near.write_all(&bytes).unwrap();
                far.read_exact(&mut bytes).unwrap();
            })
        });
    }
    group.finish();
}

/// One way, from one executor to another, in parcels of so many items.
fn mesh(c: &mut Criterion) {
    let mut group = c.benchmark_group("mesh");
    group.sample_size(10).measurement_time(Duration::from_secs(3));
    for items in [1, 64, 512] {
        group.throughput(Throughput::Elements(items as u64));
        group.bench_function(format!("parcels of {items} items of 64 B"), |b| {
            b.iter_custom(|parcels| between_executors(parcels, items))
        });
    }
    group.finish();
}

fn between_executors(parcels: u64, items: usize) -> Duration {
    let (sender, receiver) = new_bounded::<Vec<[u8; 64]>>(256);
    let sending = move || {
        let executor = LocalExecutorBuilder::new(Placement::Unbound).make().expect("an executor starts here");
        executor.run(async move {
            let sender = sender.connect().await;
            for _ in 0..parcels {
                sender.send(vec![[7; 64]; items]).await.expect("the receiver is there");
            }
        });
    };
    let sending = thread::spawn(sending);
    let executor = LocalExecutorBuilder::new(Placement::Unbound).make().expect("an executor starts here");
    let took = executor.run(async move {
        let receiver = receiver.connect().await;
        let (begin, mut left) = (Instant::now(), parcels);
        while receiver.recv().await.is_some() {
            left -= 1;
        }
        assert_eq!(left, 0);
        begin.elapsed()
    });
    sending.join().expect("the sender does not panic");
    took
}

criterion_group!(benches, direct_write, loopback, mesh);
criterion_main!(benches);
