//! THE TABLE of metrics: exposition, manual, dashboard and alert rules are all made from it or checked against it.

use super::figures::{Figures, Stage};
use super::metric::{Kind, Metric, Read, Scope, Unit};
use crate::model::TlsFailure;
use crate::shard::Reason;
use crate::shard::latency::Path;
use crate::shard::stats::LogCondition;

/// Metrics that belong together.
#[derive(Debug)]
pub struct Section {
    pub title: &'static str,
    pub metrics: &'static [Metric],
}

/// Every metric.
pub fn metrics() -> impl Iterator<Item = &'static Metric> {
    SECTIONS.iter().flat_map(|section| section.metrics)
}

const fn counter(name: &'static str, help: &'static str, read: Read) -> Metric {
    Metric { name, kind: Kind::Counter, scope: Scope::Ours, unit: Unit::Count, labels: &[], help, read }
}

const fn gauge(name: &'static str, help: &'static str, read: Read) -> Metric {
    Metric { name, kind: Kind::Gauge, scope: Scope::Ours, unit: Unit::Count, labels: &[], help, read }
}

const fn histogram(name: &'static str, help: &'static str, path: Path) -> Metric {
    let read = Read::Latency(path);
    Metric { name, kind: Kind::Histogram, scope: Scope::Ours, unit: Unit::Seconds, labels: &[], help, read }
}

impl Metric {
    const fn both(self) -> Metric {
        Metric { scope: Scope::Both, ..self }
    }

    const fn common(self) -> Metric {
        Metric { scope: Scope::Common, ..self }
    }

    const fn unit(self, unit: Unit) -> Metric {
        Metric { unit, ..self }
    }

    const fn by(self, labels: &'static [&'static str]) -> Metric {
        Metric { labels, ..self }
    }
}

/// What the original called its metrics, and what its dashboards ask for: these stay, beside the names with a prefix.
pub const ORIGINAL: [&str; 7] = [
    "topics",
    "subscribers",
    "messages_published_total",
    "messages_delivered_total",
    "messages_inflight",
    "wal_appends_total",
    "wal_bytes_total",
];

/// In the order of the manual.
pub const SECTIONS: &[Section] = &[
    Section { title: "Messages", metrics: MESSAGES },
    Section { title: "Latency", metrics: LATENCY },
    Section { title: "Connections", metrics: CONNECTIONS },
    Section { title: "The log", metrics: LOG },
    Section { title: "Shards", metrics: SHARDS },
    Section { title: "The process", metrics: PROCESS },
    Section { title: "By topic", metrics: TOPICS },
];

const MESSAGES: &[Metric] = &[
    gauge("topics", "Topics there are.", Read::Sum(|s| s.topics)).both(),
    gauge("subscribers", "Connections that subscribe, counted by subscription.", Read::Sum(|s| s.members)).both(),
    counter("messages_published_total", "Messages accepted from publishers.", Read::Sum(|s| s.messages_published))
        .both(),
    counter(
        "messages_delivered_total",
        "Messages sent to subscribers, redeliveries included.",
        Read::Sum(|s| s.messages_delivered),
    )
    .both(),
    gauge(
        "messages_inflight",
        "QoS 1 messages delivered and not acknowledged, or waiting for redelivery or burial.",
        Read::Sum(|s| s.messages_in_flight),
    )
    .both(),
    gauge("subscriptions", "Subscriptions, with and without a connection.", Read::Sum(|s| s.subscriptions)),
    gauge(
        "messages_lag",
        "QoS 1 messages committed and not settled, added up over all subscriptions.",
        Read::Sum(|s| s.lag),
    ),
    counter(
        "messages_published_qos1_total",
        "Those of the published messages that are QoS 1.",
        Read::Sum(|s| s.messages_published_qos1),
    ),
    counter("messages_settled_total", "Messages acknowledged.", Read::Sum(|s| s.messages_settled)),
    counter("messages_redelivered_total", "Messages delivered again.", Read::Sum(|s| s.messages_redelivered)),
    counter("messages_expired_total", "Messages whose time was over before delivery.", Read::Sum(|s| s.expired)),
    counter(
        "messages_dead_lettered_total",
        "Messages that ran out of retries and are in a dead-letter topic.",
        Read::Sum(|s| s.dead_lettered),
    ),
    counter("messages_dropped_total", "Messages lost to a bound or a rule, by reason.", Read::Each(dropped))
        .by(&["reason"]),
    counter(
        "messages_duplicate_total",
        "Publishes recognised as repeats of earlier ones.",
        Read::Sum(|s| s.duplicates),
    ),
    counter("refused_total", "Requests and connections refused, by reason.", Read::Each(refused)).by(&["reason"]),
];

const LATENCY: &[Metric] = &[
    histogram(
        "publish_ack_seconds",
        "From a QoS 1 publish received to its commit, when it is acknowledged.",
        Path::PublishAcknowledged,
    ),
    histogram(
        "publish_deliver_seconds",
        "From a publish received to each of its first deliveries written.",
        Path::PublishDelivered,
    ),
    histogram(
        "wal_write_seconds",
        "From a group's first append to the device's word that it is written.",
        Path::GroupWritten,
    ),
    histogram(
        "wal_sync_seconds",
        "From written to synced, of one group; under every_n and interval_ms mostly the wait that the policy allows.",
        Path::GroupSynced,
    ),
    histogram(
        "loop_stall_seconds",
        "How much later than asked for a shard's timer came while it had work: what one task made all others wait.",
        Path::LoopStall,
    ),
];

const CONNECTIONS: &[Metric] = &[
    gauge("connections", "Connections by state.", Read::Each(connections)).by(&["state"]),
    gauge("connections_max", "Connections that are accepted at most.", Read::One(|f| f.bounds.connections_max as f64)),
    gauge("connections_held", "Connections whose input waits for room: back pressure.", Read::Sum(|s| s.held)),
    counter("connections_opened_total", "Connections accepted.", Read::Sum(|s| s.connections_opened)),
    counter("connections_closed_total", "Connections ended, by whichever side.", Read::Sum(|s| s.connections_closed)),
    counter(
        "connections_accept_errors_total",
        "Times that accepting a connection failed.",
        Read::One(|f| f.shards.iter().map(|s| s.vitals.accept_errors).sum::<u64>() as f64),
    ),
    counter("connections_moved_total", "Connections steered to the core of their topic.", Read::Sum(|s| s.moves_in)),
    counter("connections_paused_total", "Times that a connection's input had to wait.", Read::Sum(|s| s.pauses)),
    counter("handshake_failures_total", "Handshakes that failed, by reason.", Read::Each(handshake_failures))
        .by(&["reason"]),
    gauge(
        "tls_certificate_expiry_seconds",
        "When the broker's certificate ends; zero without TLS.",
        Read::One(|f| f.bounds.tls_expiry_s as f64),
    )
    .unit(Unit::Time),
    counter(
        "tls_handshakes_total",
        "TLS handshakes finished; authentication comes after them.",
        Read::One(|f| f.shards.iter().map(|s| s.vitals.tls_handshakes).sum::<u64>() as f64),
    ),
    counter(
        "tls_failures_total",
        "TLS connections that did not come about or broke, by reason.",
        Read::Each(tls_failures),
    )
    .by(&["reason"]),
    counter("network_received_bytes_total", "Bytes read from clients.", Read::Sum(|s| s.bytes_in)).unit(Unit::Bytes),
    counter("network_sent_bytes_total", "Bytes handed to clients' sockets.", Read::Sum(|s| s.bytes_out))
        .unit(Unit::Bytes),
    counter(
        "network_reads_total",
        "Reads of sockets that brought something.",
        Read::One(|f| f.shards.iter().map(|s| s.vitals.reads).sum::<u64>() as f64),
    ),
    counter(
        "network_send_waits_total",
        "Times that a socket was full.",
        Read::One(|f| f.shards.iter().map(|s| s.vitals.send_waits).sum::<u64>() as f64),
    ),
];

const LOG: &[Metric] = &[
    counter("wal_appends_total", "Entries appended to the logs.", Read::Logs(|l| l.appends)).both(),
    counter("wal_bytes_total", "Bytes of entries appended to the logs.", Read::Logs(|l| l.bytes))
        .both()
        .unit(Unit::Bytes),
    counter("wal_records_total", "Messages in those entries.", Read::Logs(|l| l.records)),
    counter(
        "wal_groups_total",
        "Writes given to the device: appends over groups is the group size.",
        Read::Logs(|l| l.groups),
    ),
    counter("wal_group_bytes_total", "Bytes of those writes, padding included.", Read::Logs(|l| l.group_bytes))
        .unit(Unit::Bytes),
    counter("wal_syncs_total", "Syncs of the device.", Read::Logs(|l| l.syncs)),
    counter("wal_checkpoints_total", "Checkpoints written.", Read::Logs(|l| l.checkpoints)),
    gauge("wal_uncommitted_batches", "Batches that wait for their commit.", Read::Sum(|s| s.uncommitted)),
    gauge("wal_backlog_bytes", "Bytes appended and not written.", Read::Logs(|l| l.backlog_bytes)).unit(Unit::Bytes),
    gauge("wal_segments", "Segment files, those made ready ahead included.", Read::Logs(|l| l.segments)),
    gauge("wal_disk_bytes", "Bytes of those segments.", Read::Logs(|l| l.disk_bytes)).unit(Unit::Bytes),
    gauge("wal_live_bytes", "Bytes of messages that somebody may still want.", Read::Logs(|l| l.live_bytes))
        .unit(Unit::Bytes),
    gauge("wal_index_bytes", "Bytes of the logs' indexes, in memory.", Read::Logs(|l| l.index_bytes)).unit(Unit::Bytes),
    counter(
        "wal_cleaned_bytes_total",
        "Live bytes written forward so that a segment could go.",
        Read::Logs(|l| l.cleaned_bytes),
    )
    .unit(Unit::Bytes),
    counter("wal_segments_recycled_total", "Dead segments used again.", Read::Logs(|l| l.segments_recycled)),
    counter("wal_segments_removed_total", "Dead segments deleted.", Read::Logs(|l| l.segments_removed)),
    counter("wal_corruptions_total", "Damaged places met in the logs.", Read::Logs(|l| l.corruptions)),
    counter(
        "wal_cut_entries_total",
        "Unfinished entries that recovery cut off the logs' ends.",
        Read::Logs(|l| l.cut_entries),
    ),
    gauge(
        "wal_full",
        "Logs that refuse QoS 1 publishes for want of space.",
        Read::One(|f| condition(f, LogCondition::Full)),
    ),
    gauge("wal_stopped", "Logs whose device failed.", Read::One(|f| condition(f, LogCondition::Stopped))),
    gauge(
        "disk_free_bytes",
        "Bytes free on the filesystem of the data directory.",
        Read::Each(|f| disk(f, |d| d.free_bytes)),
    )
    .unit(Unit::Bytes),
    gauge("disk_size_bytes", "Bytes of that filesystem.", Read::Each(|f| disk(f, |d| d.size_bytes))).unit(Unit::Bytes),
];

const SHARDS: &[Metric] = &[
    gauge("shard_up", "The shard answered this scrape.", Read::Shards(|_, s| f64::from(u8::from(s.answered))))
        .by(&["shard"])
        .unit(Unit::Flag),
    gauge(
        "shard_tick_age_seconds",
        "Time since the shard's last sign of life; it gives one four times a second.",
        Read::Shards(|f, s| f.silent_ms(s) as f64 / 1e3),
    )
    .by(&["shard"])
    .unit(Unit::Seconds),
    counter(
        "shard_busy_seconds_total",
        "Time the shard worked instead of waiting: its rate is the loop's utilisation.",
        Read::Shards(|_, s| s.vitals.busy_us as f64 / 1e6),
    )
    .by(&["shard"])
    .unit(Unit::Seconds),
    counter(
        "shard_stalls_total",
        "Signs of life that came more than half a second late.",
        Read::Shards(|_, s| s.vitals.stalls as f64),
    )
    .by(&["shard"]),
    counter("mesh_letters_total", "Letters that shards wrote to each other.", Read::Sum(|s| s.letters_out)),
    counter(
        "mesh_waits_total",
        "Times that letters waited because the way to a shard was full.",
        Read::One(|f| f.shards.iter().map(|s| s.vitals.mesh_waits).sum::<u64>() as f64),
    ),
    gauge("mesh_parked", "Publishes of other shards that wait for a log or a queue.", Read::Sum(|s| s.parked)),
    gauge("memory_bytes", "Bytes of messages held, by class.", Read::Each(memory)).by(&["class"]).unit(Unit::Bytes),
    gauge("memory_max_bytes", "Bytes of messages held at most.", Read::One(|f| f.bounds.memory_max as f64))
        .unit(Unit::Bytes),
];

const PROCESS: &[Metric] = &[
    gauge("build_info", "Always 1; the label says which version runs.", Read::Each(|_| vec![(VERSION.into(), 1.0)]))
        .by(&["version"])
        .unit(Unit::Flag),
    gauge(
        "draining",
        "The broker takes nothing new and is about to end.",
        Read::One(|f| f64::from(u8::from(f.stage == Stage::Draining))),
    )
    .unit(Unit::Flag),
    counter("reloads_total", "Times that the configuration was read again, by result.", Read::Each(reloads))
        .by(&["result"]),
    counter("http_requests_total", "Requests to this listener, by result.", Read::Each(requests)).by(&["result"]),
    counter(
        "process_cpu_seconds_total",
        "Time the process spent on CPUs, user and system.",
        Read::One(|f| f.process.cpu_us as f64 / 1e6),
    )
    .common()
    .unit(Unit::Seconds),
    gauge(
        "process_resident_memory_bytes",
        "Memory the process has in RAM.",
        Read::One(|f| f.process.resident_bytes as f64),
    )
    .common()
    .unit(Unit::Bytes),
    gauge("process_open_fds", "File descriptors in use.", Read::One(|f| f.process.open_fds as f64)).common(),
    gauge("process_max_fds", "File descriptors the process may have.", Read::One(|f| f.process.max_fds as f64))
        .common(),
    gauge("process_start_time_seconds", "When the process started.", Read::One(|f| f.process.start_ms as f64 / 1e3))
        .common()
        .unit(Unit::Time),
];

const TOPICS: &[Metric] = &[
    counter(
        "topic_messages_published_total",
        "Messages published to the topic since it was last made or restored.",
        Read::Each(|f| f.topics.iter().map(|t| (t.topic.clone(), t.published as f64)).collect()),
    )
    .by(&["topic"]),
    gauge(
        "topic_messages",
        "QoS 1 messages of the topic that are kept.",
        Read::Each(|f| f.topics.iter().map(|t| (t.topic.clone(), t.messages as f64)).collect()),
    )
    .by(&["topic"]),
    gauge(
        "topic_subscriptions",
        "Subscriptions to the topic.",
        Read::Each(|f| f.topics.iter().map(|t| (t.topic.clone(), t.subscriptions as f64)).collect()),
    )
    .by(&["topic"]),
];

const VERSION: &str = env!("CARGO_PKG_VERSION");

type Series = Vec<(String, f64)>;

fn series<const N: usize>(values: [(&str, u64); N]) -> Series {
    values.into_iter().map(|(label, value)| (label.to_owned(), value as f64)).collect()
}

fn dropped(figures: &Figures) -> Series {
    series([
        ("slow_subscriber", figures.sum(|s| s.dropped_slow)),
        ("overflow", figures.sum(|s| s.dropped_overflow)),
        ("no_dead_letter_topic", figures.sum(|s| s.dead_dropped)),
        ("retention", figures.sum(|s| s.missed)),
    ])
}

fn refused(figures: &Figures) -> Series {
    Reason::ALL.iter().map(|reason| (reason.name().to_owned(), refusals(figures, *reason))).collect()
}

fn handshake_failures(figures: &Figures) -> Series {
    let reasons =
        [Reason::Unauthenticated, Reason::WrongKey, Reason::Version, Reason::HandshakeTimeout, Reason::TlsOnPlainPort];
    reasons.iter().map(|reason| (reason.name().to_owned(), refusals(figures, *reason))).collect()
}

fn reloads(figures: &Figures) -> Series {
    series([("done", figures.requests.reloads), ("refused", figures.requests.reloads_refused)])
}

fn tls_failures(figures: &Figures) -> Series {
    let count =
        |failure: TlsFailure| figures.shards.iter().map(|s| s.vitals.tls_failures[failure as usize]).sum::<u64>();
    TlsFailure::ALL.iter().map(|failure| (failure.name().to_owned(), count(*failure) as f64)).collect()
}

fn refusals(figures: &Figures, reason: Reason) -> f64 {
    figures.shards.iter().map(|shard| shard.stats.refused[reason as usize]).sum::<u64>() as f64
}

fn connections(figures: &Figures) -> Series {
    let (all, handshake) = (figures.sum(|s| s.connections), figures.sum(|s| s.handshaking));
    let closing = figures.sum(|s| s.closing);
    series([("handshake", handshake), ("open", all - handshake - closing), ("closing", closing)])
}

fn memory(figures: &Figures) -> Series {
    series([
        ("input", figures.sum(|s| s.input_bytes)),
        ("output", figures.sum(|s| s.output_bytes)),
        ("qos0", figures.sum(|s| s.volatile_bytes)),
        ("tail", figures.sum(|s| s.tail_bytes)),
        ("history", figures.sum(|s| s.history_bytes)),
    ])
}

fn requests(figures: &Figures) -> Series {
    let requests = figures.requests;
    series([("answered", requests.answered), ("denied", requests.denied), ("rejected", requests.rejected)])
}

fn condition(figures: &Figures, wanted: LogCondition) -> f64 {
    let logs = figures.shards.iter().flat_map(|shard| &shard.stats.logs);
    logs.filter(|log| log.state == wanted).count() as f64
}

/// No series where nothing is known, rather than a zero that looks like a full disk.
fn disk(figures: &Figures, of: fn(&super::figures::Disk) -> u64) -> Series {
    figures.disk.iter().map(|disk| (String::new(), of(disk) as f64)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_seven_names_of_the_original_are_there_bare_and_prefixed() {
        let names: BTreeSet<String> = metrics().flat_map(Metric::names).collect();
        for name in ORIGINAL {
            assert!(names.contains(name) && names.contains(&format!("blipmq_{name}")), "{name}");
        }
        assert_eq!(metrics().filter(|metric| metric.scope == Scope::Both).count(), ORIGINAL.len());
    }

    #[test]
    fn names_are_unique_and_follow_the_conventions() {
        let mut seen = BTreeSet::new();
        for metric in metrics() {
            let name = metric.name;
            assert!(metric.names().into_iter().all(|name| seen.insert(name)), "{name} twice");
            assert!(
                name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'),
                "{name}"
            );
            assert_eq!(metric.kind == Kind::Counter, name.ends_with("_total"), "{name}");
            let stem = name.trim_end_matches("_total");
            assert!(metric.unit != Unit::Bytes || stem.ends_with("_bytes"), "{name}");
            assert!(metric.unit != Unit::Seconds || stem.ends_with("_seconds"), "{name}");
            assert!(metric.help.ends_with('.'), "{name}");
        }
    }

    #[test]
    fn labels_fit_how_a_metric_is_read() {
        for metric in metrics() {
            let fits = match metric.read {
                Read::Shards(_) => metric.labels == ["shard"],
                Read::Each(_) => metric.labels.len() <= 1,
                _ => metric.labels.is_empty(),
            };
            assert!(fits, "{}", metric.name);
        }
    }
}
