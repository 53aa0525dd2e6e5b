//! What the runtime itself counts, readable from any thread.

use std::sync::atomic::{AtomicU64, Ordering};

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
}

/// Adds to a figure that only the calling shard writes.
#[inline]
pub fn add(gauge: &AtomicU64, more: u64) {
    gauge.store(gauge.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
}

/// Reads a figure.
pub fn read(gauge: &AtomicU64) -> u64 {
    gauge.load(Ordering::Relaxed)
}
