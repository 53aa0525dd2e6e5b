//! What the runtime itself counts, readable from any thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::model::{Instant, TlsFailure};

/// One shard's figures. Written by that shard alone, without a locked instruction; each on no other shard's line.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Gauges {
    /// Unix milliseconds of the last sign of life; older than a few seconds means a shard that hangs.
    pub alive_at_ms: AtomicU64,
    /// Connections the core knows.
    pub connections: AtomicU64,
    /// Connections accepted here.
    pub accepted: AtomicU64,
    /// Times that accepting failed (no descriptors, no memory).
    pub accept_errors: AtomicU64,
    /// Connections that came from another shard.
    pub moved_in: AtomicU64,
    /// Connections that went to another shard.
    pub moved_out: AtomicU64,
    /// Reads that brought something.
    pub reads: AtomicU64,
    /// Bytes they brought.
    pub read_bytes: AtomicU64,
    /// Bytes sockets took.
    pub sent_bytes: AtomicU64,
    /// Times a socket was full and a task had to wait for it.
    pub send_waits: AtomicU64,
    /// Parcels that had to wait because the channel to another shard was full.
    pub mesh_waits: AtomicU64,
    /// Microseconds that the executor worked and did not wait.
    pub busy_us: AtomicU64,
    /// Signs of life that came much too late.
    pub stalls: AtomicU64,
    /// TLS handshakes that were finished.
    pub tls_handshakes: AtomicU64,
    /// TLS connections that did not come about or broke, by [`TlsFailure`].
    pub tls_failures: [AtomicU64; TlsFailure::ALL.len()],
}

/// Adds to a figure that only the calling shard writes.
#[inline]
pub fn add(gauge: &AtomicU64, more: u64) {
    gauge.store(gauge.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
}

/// How long the quietest of these shards has given no sign of life. Shards give several a second.
pub fn silence(shards: &[Arc<Gauges>], now: Instant) -> Duration {
    let now = now.timestamp().0 as u64;
    let oldest = shards.iter().map(|gauges| read(&gauges.alive_at_ms)).min().unwrap_or(now);
    Duration::from_millis(now.saturating_sub(oldest))
}

/// Reads a figure.
pub fn read(gauge: &AtomicU64) -> u64 {
    gauge.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quietest_shard_decides_how_long_it_has_been_silent() {
        let shards: Vec<Arc<Gauges>> = (0..2).map(|_| Arc::default()).collect();
        shards[0].alive_at_ms.store(9_000, Ordering::Relaxed);
        shards[1].alive_at_ms.store(7_500, Ordering::Relaxed);
        assert_eq!(silence(&shards, Instant(10_000_000_000)), Duration::from_millis(2_500));
        assert_eq!(silence(&[], Instant(10_000_000_000)), Duration::ZERO);
    }
}
