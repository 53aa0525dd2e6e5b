//! What the device can do: direct writes, each synced; and direct writes one after another, many at once.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bench::failure::Failure;
use crate::bench::latency::{self, Latencies, spoken};

/// Offsets, lengths and addresses of direct writes are multiples of it.
const ALIGN: usize = 4096;
/// The file that is written over and over.
const FILE: u64 = 256 << 20;
/// One write where bandwidth is measured.
const LARGE: usize = 256 * 1024;
/// Writes under way at once there.
const DEPTH: usize = 8;

/// What was measured.
#[derive(Clone, Debug)]
pub struct DiskFloor {
    /// 4 KiB written and synced, one at a time.
    pub small: Latencies,
    /// 64 KiB written and synced, one at a time.
    pub group: Latencies,
    /// Bytes a second of 256 KiB writes, eight at once, not synced.
    pub bandwidth: f64,
}

impl DiskFloor {
    /// Measures in `directory` for `duration` in all, with a file that is removed afterwards.
    pub fn measure(directory: &Path, duration: Duration) -> Result<DiskFloor, Failure> {
        let scratch = Scratch::make(directory)?;
        let each = duration / 3;
        Ok(DiskFloor {
            small: synced(&scratch.file, ALIGN, each)?,
            group: synced(&scratch.file, 16 * ALIGN, each)?,
            bandwidth: bandwidth(&scratch.file, each)?,
        })
    }
}

impl DiskFloor {
    /// In a few words, for people.
    pub fn line(&self) -> String {
        let quantile = |latencies: &Latencies, quantile| spoken(latencies.value_at_quantile(quantile));
        format!(
            "4 KiB write + sync p50 {} p99 {}, 64 KiB p50 {} p99 {}, {:.2} GB/s unsynced",
            quantile(&self.small, 0.5),
            quantile(&self.small, 0.99),
            quantile(&self.group, 0.5),
            quantile(&self.group, 0.99),
            self.bandwidth / 1e9
        )
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let of = |latencies: &Latencies| {
            let quantile = |quantile| latencies.value_at_quantile(quantile);
            json!({ "p50": quantile(0.5), "p99": quantile(0.99), "p99.9": quantile(0.999), "max": latencies.max() })
        };
        json!({
            "write_4k_sync_ns": of(&self.small),
            "write_64k_sync_ns": of(&self.group),
            "bytes_per_second": self.bandwidth,
        })
    }
}

/// A file whose blocks were all written before: extents that were only reserved make every sync slower.
struct Scratch {
    file: File,
    path: PathBuf,
}

impl Scratch {
    fn make(directory: &Path) -> Result<Scratch, Failure> {
        let path = directory.join(format!("blipmq-floor-{}", std::process::id()));
        let open = OpenOptions::new().write(true).create_new(true).custom_flags(libc::O_DIRECT).open(&path);
        let file = open.map_err(|error| {
            Failure::Local(format!("no direct writes in {}: {error}; choose another --data-dir", directory.display()))
        })?;
        let scratch = Scratch { file, path };
        let zeros = Aligned::new(4 << 20);
        for at in (0..FILE).step_by(zeros.bytes().len()) {
            scratch.file.write_all_at(zeros.bytes(), at)?;
        }
        scratch.file.sync_all()?;
        Ok(scratch)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // It may have gone already; nothing depends on it.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Bytes at an address that direct writes accept.
struct Aligned {
    bytes: Vec<u8>,
    from: usize,
    len: usize,
}

impl Aligned {
    fn new(len: usize) -> Aligned {
        let bytes = vec![0xb5; len + ALIGN];
        let from = bytes.as_ptr().align_offset(ALIGN);
        Aligned { bytes, from, len }
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[self.from..self.from + self.len]
    }
}

fn synced(file: &File, size: usize, duration: Duration) -> Result<Latencies, Failure> {
    let (block, mut latencies) = (Aligned::new(size), latency::empty());
    let begin = Instant::now();
    let mut at = 0;
    while begin.elapsed() < duration {
        let started = Instant::now();
        file.write_all_at(block.bytes(), at)?;
        file.sync_data()?;
        latencies.saturating_record(started.elapsed().as_nanos() as u64);
        at = (at + size as u64) % FILE;
    }
    Ok(latencies)
}

fn bandwidth(file: &File, duration: Duration) -> Result<f64, Failure> {
    let next = AtomicU64::new(0);
    let begin = Instant::now();
    let write = || -> Result<(), Failure> {
        let block = Aligned::new(LARGE);
        while begin.elapsed() < duration {
            let at = next.fetch_add(LARGE as u64, Ordering::Relaxed) % FILE;
            file.write_all_at(block.bytes(), at)?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..DEPTH).map(|_| scope.spawn(write)).collect();
        writers.into_iter().try_for_each(|writer| writer.join().expect("a writer does not panic"))
    })?;
    Ok(next.load(Ordering::Relaxed) as f64 / begin.elapsed().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_is_measured_and_nothing_is_left() {
        let directory = tempfile::tempdir_in(".").unwrap();
        // Not every filesystem has direct writes.
        if let Ok(floor) = DiskFloor::measure(directory.path(), Duration::from_millis(60)) {
            assert!(!floor.small.is_empty() && !floor.group.is_empty() && floor.bandwidth > 0.0);
        }
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
