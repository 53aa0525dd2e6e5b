//! What we run on: typed, checked, complete.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::choice::{Cores, LogFormat, TlsVersion};
use super::load::Sources;
use super::topics::TopicRules;
use crate::auth::{Key, KeyRing, KeyRingError};
use crate::model::{Backoff, FsyncPolicy, Limits, OverflowPolicy, RecoveryMode};

/// The configuration of one broker. The table in [`super::keys`] says what each field means and costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub bind_addr: IpAddr,
    pub port: u16,
    pub metrics_addr: IpAddr,
    pub metrics_port: u16,
    pub tls_cert: Option<PathBuf>,
    pub tls_key: Option<PathBuf>,
    pub tls_client_ca: Option<PathBuf>,
    pub tls_min_version: TlsVersion,
    pub allowed_api_keys: Vec<Key>,
    pub api_keys_file: Option<PathBuf>,
    /// What `api_keys_file` held.
    pub file_keys: Vec<Key>,
    pub wal: bool,
    pub wal_path: PathBuf,
    pub fsync_policy: FsyncPolicy,
    pub recovery: RecoveryMode,
    pub segment_bytes: u64,
    pub retention_ms: u64,
    pub retention_bytes: u64,
    pub disk_low_water_bytes: u64,
    pub max_retries: u16,
    pub retry: Backoff,
    pub topics: TopicRules,
    pub overflow: OverflowPolicy,
    pub cores: Cores,
    /// Zero: [`Limits::default`]'s for each core.
    pub memory_limit: u64,
    pub spin: Duration,
    /// As configured; [`Config::limits_for`] gives what one shard keeps to.
    pub limits: Limits,
    pub shutdown_timeout: Duration,
    pub log_format: LogFormat,
    /// Empty: what `RUST_LOG` says.
    pub log_level: String,
    pub metrics_per_topic: usize,
    /// [`Config::hdr_folder`] says where that is if it is not said here.
    pub hdr_dir: Option<PathBuf>,
    pub enable_tokio_console: bool,
    /// Where all this came from, for a reload.
    pub sources: Sources,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            bind_addr: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 5555,
            metrics_addr: IpAddr::V4(Ipv4Addr::LOCALHOST),
            metrics_port: 9100,
            tls_cert: None,
            tls_key: None,
            tls_client_ca: None,
            tls_min_version: TlsVersion::default(),
            allowed_api_keys: Vec::new(),
            api_keys_file: None,
            file_keys: Vec::new(),
            wal: true,
            wal_path: "./blipmq-data".into(),
            fsync_policy: FsyncPolicy::EveryN(64),
            recovery: RecoveryMode::default(),
            segment_bytes: 64 << 20,
            retention_ms: 0,
            retention_bytes: 0,
            disk_low_water_bytes: 256 << 20,
            max_retries: 3,
            retry: Backoff { base: Duration::from_millis(100), cap: Duration::from_secs(30) },
            topics: TopicRules::default(),
            overflow: OverflowPolicy::default(),
            cores: Cores::default(),
            memory_limit: 0,
            spin: Duration::ZERO,
            limits: Limits::default(),
            shutdown_timeout: Duration::from_secs(10),
            log_format: LogFormat::default(),
            log_level: String::new(),
            metrics_per_topic: 0,
            hdr_dir: None,
            enable_tokio_console: false,
            sources: Sources::default(),
        }
    }
}

impl Config {
    /// Every key that opens this broker; empty if none is configured, and the runtime adds the generated one.
    pub fn key_ring(&self) -> Result<KeyRing, KeyRingError> {
        KeyRing::new(self.allowed_api_keys.iter().chain(&self.file_keys).cloned())
    }

    /// Where the broker listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.bind_addr, self.port)
    }

    /// Where metrics, health and admin listen.
    pub fn metrics_address(&self) -> SocketAddr {
        SocketAddr::new(self.metrics_addr, self.metrics_port)
    }

    /// The limits of one of `shards` shards: its part of the memory. Connections stay bounds of the whole broker.
    pub fn limits_for(&self, shards: usize) -> Limits {
        assert!(shards > 0, "a broker has at least one shard");
        let part = self.memory_limit / shards as u64;
        let memory_max = if self.memory_limit == 0 { Limits::default().memory_max } else { part as usize };
        Limits { memory_max, ..self.limits.clone() }
    }

    /// The part of one of `logs` logs of the bytes that may be kept; zero for no bound.
    pub fn retention_bytes_of_one(&self, logs: u16) -> u64 {
        self.retention_bytes / u64::from(logs)
    }

    /// Bytes that one of `shards` shards may hold at once if everything that has a bound reaches it: with one frame
    /// coming in, one connection's outbox and one topic's QoS 0 backlog, the least with which everything works.
    pub fn least_memory(&self, shards: usize) -> usize {
        let limits = &self.limits;
        let kept = if self.wal { limits.tail_max + limits.log_backlog_max } else { limits.memory_queue_max };
        kept + limits.mesh_max * shards.saturating_sub(1)
            + limits.frame_max
            + limits.outbox_max
            + limits.qos0_backlog_max
    }

    /// Where dumps of latencies go.
    pub fn hdr_folder(&self) -> PathBuf {
        self.hdr_dir.clone().unwrap_or_else(|| self.wal_path.join("hdr"))
    }

    /// What may be lost, and by what, in one sentence.
    pub fn describe_loss_window(&self) -> String {
        if !self.wal {
            return "wal = \"off\": a crash, a restart or power loss takes every message".into();
        }
        let policy = self.fsync_policy;
        format!("fsync_policy = \"{policy}\": {}; a crash or kill takes nothing acknowledged", policy.loss_window())
    }

    /// What works, but is probably not what was meant; one sentence each.
    pub fn warnings(&self) -> Vec<String> {
        let open = self.tls_cert.is_none() && !self.bind_addr.is_loopback();
        let console =
            "enable_tokio_console does nothing: there is no tokio here; RUST_LOG=blipmq=debug and the metrics at";
        let mut warnings = Vec::new();
        let mut warn = |when: bool, text: String| warnings.extend(when.then_some(text));
        warn(
            self.enable_tokio_console,
            format!("{console} http://{}/metrics show what it does", self.metrics_address()),
        );
        warn(open, format!("bind_addr = {} without tls_cert: keys and messages travel in plain text", self.bind_addr));
        warn(!self.wal, self.describe_loss_window());
        warnings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loss_window_is_one_sentence_for_each_policy() {
        let mut config = Config::default();
        assert_eq!(
            config.describe_loss_window(),
            "fsync_policy = \"every_n:64\": power loss takes at most the last 64 acknowledged records of each log; \
             a crash or kill takes nothing acknowledged"
        );
        config.wal = false;
        assert!(config.describe_loss_window().contains("takes every message"));
    }

    #[test]
    fn memory_is_shared_out_and_everything_else_is_as_configured() {
        let mut config = Config::default();
        assert_eq!(config.limits_for(3), Limits::default());
        config.memory_limit = 1 << 30;
        assert_eq!(config.limits_for(2).memory_max, 1 << 29);
        assert_eq!(config.limits_for(2).tail_max, config.limits.tail_max);
    }

    #[test]
    fn what_is_risky_is_warned_of() {
        assert!(Config::default().warnings().is_empty());
        let risky = Config {
            bind_addr: "0.0.0.0".parse().unwrap(),
            enable_tokio_console: true,
            wal: false,
            ..Config::default()
        };
        assert_eq!(risky.warnings().len(), 3);
    }
}
