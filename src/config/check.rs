//! Combinations that cannot work, though each value is right.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use super::form::size;
use super::keys::keys;
use super::problem::{Origin, Problem};
use super::resolve::Resolved;
use super::settings::Config;

/// Bytes of a segment that are not messages: its header block, an entry's header and the end mark, rounded to blocks.
const SEGMENT_OVERHEAD: u64 = 3 * 4096;

/// Appends what is impossible in `resolved` on `available` cores to its problems.
pub fn check(resolved: &mut Resolved, available: usize) {
    let Resolved { config, origins, bad, .. } = &*resolved;
    let origin = |key: &str| origins.get(key).cloned().unwrap_or(Origin::Default);
    let mut check = Check { config, bad, origin: &origin, problems: Vec::new() };
    check.addresses();
    check.tls();
    check.times();
    check.sizes();
    check.memory(config.cores.count(available));
    check.keys();
    let problems = check.problems;
    resolved.problems.extend(problems);
}

struct Check<'a> {
    config: &'a Config,
    bad: &'a BTreeSet<&'static str>,
    origin: &'a dyn Fn(&str) -> Origin,
    problems: Vec<Problem>,
}

impl Check<'_> {
    /// Blames the key of `together` that was said last. Says nothing if one of them could not be read anyway.
    fn refuse(&mut self, impossible: bool, together: &[&'static str], reason: impl FnOnce() -> String) {
        if !impossible || together.iter().any(|name| self.bad.contains(name)) {
            return;
        }
        let origin = |name: &&str| (self.origin)(name);
        let blamed = together.iter().rev().max_by_key(|name| origin(name)).copied().unwrap_or_default();
        let value = keys().find(|key| key.name == blamed).map(|key| key.show(self.config));
        self.problems.push(Problem { origin: origin(&blamed), key: blamed.into(), value, reason: reason() });
    }

    fn addresses(&mut self) {
        let Config { bind_addr, port, metrics_addr, metrics_port, .. } = *self.config;
        let same_address = bind_addr == metrics_addr || any(bind_addr) || any(metrics_addr);
        self.refuse(
            port == metrics_port && port != 0 && same_address,
            &["metrics_port", "port", "bind_addr", "metrics_addr"],
            || format!("port and metrics_port are both {port}"),
        );
    }

    fn tls(&mut self) {
        let Config { tls_cert, tls_key, tls_client_ca, .. } = self.config;
        let (cert, key, client) = (tls_cert.is_some(), tls_key.is_some(), tls_client_ca.is_some());
        self.refuse(cert != key, &["tls_cert", "tls_key"], || "tls_cert and tls_key need each other".into());
        self.refuse(client && !cert, &["tls_client_ca", "tls_cert"], || "needs tls_cert and tls_key".into());
    }

    fn times(&mut self) {
        let retry = self.config.retry;
        self.refuse(retry.cap < retry.base, &["retry_backoff_cap_ms", "retry_backoff_ms"], || {
            "the cap is shorter than the first wait".into()
        });
    }

    fn sizes(&mut self) {
        let Config { segment_bytes, retention_bytes, limits, .. } = self.config;
        let frame = limits.frame_max as u64;
        self.refuse(segment_bytes % 4096 != 0, &["segment_bytes"], || "expected a multiple of 4096".into());
        self.refuse(*segment_bytes < frame + SEGMENT_OVERHEAD, &["segment_bytes", "max_frame_bytes"], || {
            let least = size(frame + SEGMENT_OVERHEAD);
            format!("a segment must hold the largest frame: at least {least} bytes with max_frame_bytes = {frame}")
        });
        let kept = *retention_bytes > 0 && *retention_bytes < 2 * *segment_bytes;
        self.refuse(kept, &["retention_bytes", "segment_bytes"], || {
            format!("space goes by whole segments: at least two of them, {}", size(2 * *segment_bytes))
        });
        let queue = limits.memory_queue_max < limits.frame_max && !self.config.wal;
        self.refuse(queue, &["max_memory_queue_bytes", "max_frame_bytes", "wal"], || {
            "a message of the largest frame would never fit".into()
        });
    }

    fn memory(&mut self, shards: usize) {
        let least = self.config.least_memory(shards);
        let part = self.config.limits_for(shards).memory_max;
        let summands: &[&'static str] = if self.config.wal {
            &["memory_limit", "max_tail_bytes", "max_log_backlog_bytes", "max_mesh_bytes", "max_frame_bytes"]
        } else {
            &["memory_limit", "max_memory_queue_bytes", "max_mesh_bytes", "max_frame_bytes"]
        };
        let together = [summands, &["max_outbox_bytes", "max_qos0_backlog_bytes", "cores"]].concat();
        self.refuse(least > part, &together, || {
            let (least, part, names) = (size(least as u64), size(part as u64), summands[1..].join(" + "));
            format!(
                "the bounds of one core add up to {least} ({names} + max_outbox_bytes + max_qos0_backlog_bytes), more \
                 than its part of memory_limit, {part} on each of {shards}"
            )
        });
    }

    fn keys(&mut self) {
        let error = self.config.key_ring().err();
        self.refuse(error.is_some(), &["allowed_api_keys", "api_keys_file"], || {
            error.map(|error| error.to_string()).unwrap_or_default()
        });
    }
}

fn any(address: IpAddr) -> bool {
    address.is_unspecified()
}

/// A keys file that others than its owner can read is worth a word.
pub fn readable_by_others(path: &Path, mode: u32) -> Option<String> {
    let others = mode & 0o007 != 0;
    others.then(|| format!("{} can be read by every user of this machine: chmod 640", path.display()))
}
