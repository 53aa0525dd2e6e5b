//! THE TABLE of alerts: the rules file, its tests and the runbooks are made from it or checked against it.

/// Something an operator is told of.
#[derive(Debug)]
pub struct Alert {
    pub name: &'static str,
    pub severity: Severity,
    /// PromQL. Names of metrics are checked against the registry.
    pub expr: &'static str,
    /// How long it has to hold; as Prometheus spells durations.
    pub hold: &'static str,
    /// One sentence; may use `{{ $labels.instance }}` and `{{ $labels.shard }}`.
    pub summary: &'static str,
    /// Labels of the alert beside its severity.
    pub labels: &'static [&'static str],
    /// Series under which it fires, and under which it does not, by the rule's own evaluation.
    pub firing: &'static [Input],
    pub quiet: &'static [Input],
}

/// A series without its `instance` and `job` labels, and its values, one a minute, as promtool spells them.
pub type Input = (&'static str, &'static str);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Somebody has to come now.
    Critical,
    /// Somebody has to look today.
    Warning,
}

impl Severity {
    pub fn name(self) -> &'static str {
        match self {
            Severity::Critical => "critical",
            Severity::Warning => "warning",
        }
    }
}

impl Alert {
    /// When the tests look whether it fires.
    pub const EVAL_MINUTES: u32 = 30;

    /// Its section in the runbooks.
    pub fn anchor(&self) -> String {
        self.name.to_lowercase()
    }
}

const INSTANCE: &[&str] = &["instance"];
const TARGET: &[&str] = &["instance", "job"];
const SHARD: &[&str] = &["instance", "job", "shard"];

use Severity::{Critical, Warning};

/// The most urgent first.
pub const ALERTS: &[Alert] = &[
    Alert {
        name: "BlipmqDown",
        severity: Critical,
        expr: "up{job=\"blipmq\"} == 0",
        hold: "1m",
        summary: "{{ $labels.instance }} cannot be scraped",
        labels: TARGET,
        firing: &[("up", "0x40")],
        quiet: &[("up", "1x40")],
    },
    Alert {
        name: "BlipmqLogStopped",
        severity: Critical,
        expr: "blipmq_wal_stopped > 0",
        hold: "0m",
        summary: "{{ $labels.instance }}: the device of a log failed",
        labels: TARGET,
        firing: &[("blipmq_wal_stopped", "1x40")],
        quiet: &[("blipmq_wal_stopped", "0x40")],
    },
    Alert {
        name: "BlipmqDiskFull",
        severity: Critical,
        expr: "blipmq_wal_full > 0",
        hold: "0m",
        summary: "{{ $labels.instance }} refuses QoS 1 publishes for want of disk space",
        labels: TARGET,
        firing: &[("blipmq_wal_full", "2x40")],
        quiet: &[("blipmq_wal_full", "0x40")],
    },
    Alert {
        name: "BlipmqCorruption",
        severity: Critical,
        expr: "blipmq_wal_corruptions_total > 0",
        hold: "0m",
        summary: "{{ $labels.instance }} has met damaged places in its logs",
        labels: TARGET,
        firing: &[("blipmq_wal_corruptions_total", "1x40")],
        quiet: &[("blipmq_wal_corruptions_total", "0x40")],
    },
    Alert {
        name: "BlipmqShardStalled",
        severity: Critical,
        expr: "blipmq_shard_tick_age_seconds > 5",
        hold: "0m",
        summary: "{{ $labels.instance }}: shard {{ $labels.shard }} has shown no sign of life for 5 s",
        labels: SHARD,
        firing: &[("blipmq_shard_tick_age_seconds{shard=\"1\"}", "0.2x28 20x20")],
        quiet: &[("blipmq_shard_tick_age_seconds{shard=\"1\"}", "0.3x40")],
    },
    Alert {
        name: "BlipmqRestarting",
        severity: Critical,
        expr: "changes(process_start_time_seconds{job=\"blipmq\"}[15m]) > 2",
        hold: "0m",
        summary: "{{ $labels.instance }} starts again and again",
        labels: TARGET,
        firing: &[("process_start_time_seconds", "0+60x40")],
        quiet: &[("process_start_time_seconds", "100x20 200x20")],
    },
    Alert {
        name: "BlipmqPublishSlow",
        severity: Critical,
        expr: "histogram_quantile(0.99, sum by (instance, le) (rate(blipmq_publish_ack_seconds_bucket[5m]))) > 1",
        hold: "5m",
        summary: "{{ $labels.instance }}: one publish in a hundred waits more than 1 s for its acknowledgement",
        labels: INSTANCE,
        firing: &[
            ("blipmq_publish_ack_seconds_bucket{le=\"1\"}", "0+90x40"),
            ("blipmq_publish_ack_seconds_bucket{le=\"2.5\"}", "0+100x40"),
            ("blipmq_publish_ack_seconds_bucket{le=\"+Inf\"}", "0+100x40"),
        ],
        quiet: &[
            ("blipmq_publish_ack_seconds_bucket{le=\"1\"}", "0+100x40"),
            ("blipmq_publish_ack_seconds_bucket{le=\"2.5\"}", "0+100x40"),
            ("blipmq_publish_ack_seconds_bucket{le=\"+Inf\"}", "0+100x40"),
        ],
    },
    Alert {
        name: "BlipmqErrors",
        severity: Critical,
        expr: "sum by (instance) (rate(blipmq_refused_total[5m])) / (sum by (instance) \
               (rate(blipmq_messages_published_total[5m])) + sum by (instance) (rate(blipmq_refused_total[5m]))) > 0.01",
        hold: "5m",
        summary: "{{ $labels.instance }} refuses more than 1 % of what it is asked for",
        labels: INSTANCE,
        firing: &[
            ("blipmq_refused_total{reason=\"disk_full\"}", "0+5x40"),
            ("blipmq_messages_published_total", "0+100x40"),
        ],
        quiet: &[
            ("blipmq_refused_total{reason=\"disk_full\"}", "0+1x40"),
            ("blipmq_messages_published_total", "0+1000x40"),
        ],
    },
    Alert {
        name: "BlipmqDrops",
        severity: Warning,
        expr: "sum by (instance) (rate(blipmq_messages_dropped_total[5m])) / sum by (instance) \
               (rate(blipmq_messages_published_total[5m])) > 0.001",
        hold: "5m",
        summary: "{{ $labels.instance }} loses more than 0.1 % of its messages to bounds",
        labels: INSTANCE,
        firing: &[
            ("blipmq_messages_dropped_total{reason=\"slow_subscriber\"}", "0+2x40"),
            ("blipmq_messages_published_total", "0+1000x40"),
        ],
        quiet: &[
            ("blipmq_messages_dropped_total{reason=\"slow_subscriber\"}", "0+1x40"),
            ("blipmq_messages_published_total", "0+10000x40"),
        ],
    },
    Alert {
        name: "BlipmqDeadLetters",
        severity: Warning,
        expr: "increase(blipmq_messages_dead_lettered_total[10m]) > 100",
        hold: "0m",
        summary: "{{ $labels.instance }}: more than 100 messages became dead letters in 10 min",
        labels: TARGET,
        firing: &[("blipmq_messages_dead_lettered_total", "0+20x40")],
        quiet: &[("blipmq_messages_dead_lettered_total", "0+5x40")],
    },
    Alert {
        name: "BlipmqDiskFilling",
        severity: Warning,
        expr: "blipmq_disk_free_bytes / blipmq_disk_size_bytes < 0.2",
        hold: "5m",
        summary: "{{ $labels.instance }}: less than 20 % of the data directory's disk is free",
        labels: TARGET,
        firing: &[("blipmq_disk_free_bytes", "19x40"), ("blipmq_disk_size_bytes", "100x40")],
        quiet: &[("blipmq_disk_free_bytes", "21x40"), ("blipmq_disk_size_bytes", "100x40")],
    },
    Alert {
        name: "BlipmqShardBusy",
        severity: Warning,
        expr: "rate(blipmq_shard_busy_seconds_total[5m]) > 0.8",
        hold: "10m",
        summary: "{{ $labels.instance }}: shard {{ $labels.shard }} works more than 80 % of the time",
        labels: SHARD,
        firing: &[("blipmq_shard_busy_seconds_total{shard=\"0\"}", "0+50x40")],
        quiet: &[("blipmq_shard_busy_seconds_total{shard=\"0\"}", "0+45x40")],
    },
    Alert {
        name: "BlipmqBackPressure",
        severity: Warning,
        expr: "min_over_time(blipmq_connections_held[5m]) > 0",
        hold: "5m",
        summary: "{{ $labels.instance }}: publishers have been held back for minutes",
        labels: TARGET,
        firing: &[("blipmq_connections_held", "3x40")],
        quiet: &[("blipmq_connections_held", "3 0 3 0 3 0 3 0x40")],
    },
    Alert {
        name: "BlipmqMemory",
        severity: Warning,
        expr: "sum by (instance) (blipmq_memory_bytes) / sum by (instance) (blipmq_memory_max_bytes) > 0.9",
        hold: "5m",
        summary: "{{ $labels.instance }} holds more than 90 % of the messages its memory has room for",
        labels: INSTANCE,
        firing: &[
            ("blipmq_memory_bytes{class=\"tail\"}", "60x40"),
            ("blipmq_memory_bytes{class=\"output\"}", "35x40"),
            ("blipmq_memory_max_bytes", "100x40"),
        ],
        quiet: &[("blipmq_memory_bytes{class=\"tail\"}", "60x40"), ("blipmq_memory_max_bytes", "100x40")],
    },
    Alert {
        name: "BlipmqConnections",
        severity: Warning,
        expr: "sum by (instance) (blipmq_connections) / sum by (instance) (blipmq_connections_max) > 0.8",
        hold: "5m",
        summary: "{{ $labels.instance }} has more than 80 % of the connections it accepts",
        labels: INSTANCE,
        firing: &[("blipmq_connections{state=\"open\"}", "81x40"), ("blipmq_connections_max", "100x40")],
        quiet: &[("blipmq_connections{state=\"open\"}", "79x40"), ("blipmq_connections_max", "100x40")],
    },
    Alert {
        name: "BlipmqDescriptors",
        severity: Warning,
        expr: "process_open_fds{job=\"blipmq\"} / process_max_fds{job=\"blipmq\"} > 0.8",
        hold: "5m",
        summary: "{{ $labels.instance }} has more than 80 % of its file descriptors in use",
        labels: TARGET,
        firing: &[("process_open_fds", "900x40"), ("process_max_fds", "1024x40")],
        quiet: &[("process_open_fds", "700x40"), ("process_max_fds", "1024x40")],
    },
    Alert {
        name: "BlipmqHandshakeFailures",
        severity: Warning,
        expr: "sum by (instance) (rate(blipmq_handshake_failures_total[5m])) > 1",
        hold: "5m",
        summary: "{{ $labels.instance }}: more than one handshake a second fails",
        labels: INSTANCE,
        firing: &[("blipmq_handshake_failures_total{reason=\"wrong_key\"}", "0+120x40")],
        quiet: &[("blipmq_handshake_failures_total{reason=\"wrong_key\"}", "0+30x40")],
    },
    Alert {
        name: "BlipmqCertificate",
        severity: Warning,
        expr: "blipmq_tls_certificate_expiry_seconds > 0 and blipmq_tls_certificate_expiry_seconds - time() < 1209600",
        hold: "5m",
        summary: "{{ $labels.instance }}: the broker's certificate ends within two weeks",
        labels: TARGET,
        firing: &[("blipmq_tls_certificate_expiry_seconds", "1209600x40")],
        quiet: &[("blipmq_tls_certificate_expiry_seconds", "2000000x40")],
    },
];
