//! The figures as text that Prometheus reads: its text format, version 0.0.4.

use std::fmt::Write;

use super::figures::Figures;
use super::metric::{Kind, Metric, Read};
use super::registry;
use crate::shard::Latency;
use crate::shard::latency::Path;

/// What the answer to a scrape says it is.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Upper ends of a latency histogram's classes, in microseconds.
pub const CLASSES_US: [u64; 16] = [
    100, 250, 500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000,
];

/// Every metric that has something to say, with its help and its type.
pub fn write(figures: &Figures) -> String {
    let mut out = String::with_capacity(32 * 1024);
    let mut lines = String::new();
    let latency = figures.latency();
    for metric in registry::metrics() {
        for name in metric.names() {
            lines.clear();
            samples(&mut lines, metric, &name, figures, &latency);
            if !lines.is_empty() {
                let (help, kind) = (escaped(metric.help, false), metric.kind.name());
                let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{lines}");
            }
        }
    }
    out
}

fn samples(out: &mut String, metric: &Metric, name: &str, figures: &Figures, latency: &Latency) {
    debug_assert_eq!(metric.kind == Kind::Histogram, matches!(metric.read, Read::Latency(_)));
    match metric.read {
        Read::Sum(of) => sample(out, name, None, figures.sum(of) as f64),
        Read::Logs(of) => sample(out, name, None, figures.sum_logs(of) as f64),
        Read::One(of) => sample(out, name, None, of(figures)),
        Read::Shards(of) => {
            for shard in &figures.shards {
                let label = ("shard", &*shard.stats.shard.to_string());
                sample(out, name, Some(label), of(figures, shard));
            }
        }
        Read::Each(of) => {
            for (value, number) in of(figures) {
                sample(out, name, metric.labels.first().map(|label| (*label, &*value)), number);
            }
        }
        Read::Latency(path) => histogram(out, name, latency, path),
    }
}

fn sample(out: &mut String, name: &str, label: Option<(&str, &str)>, value: f64) {
    let _ = match label {
        Some((label, text)) => writeln!(out, "{name}{{{label}=\"{}\"}} {value}", escaped(text, true)),
        None => writeln!(out, "{name} {value}"),
    };
}

/// A sample that stands in a class across a bound counts beyond it: the histogram never shows better than it was.
fn histogram(out: &mut String, name: &str, latency: &Latency, path: Path) {
    let recorded = latency.of(path);
    let mut counts = [0; CLASSES_US.len()];
    for class in recorded.iter_recorded() {
        let at = CLASSES_US.partition_point(|end| *end < class.value_iterated_to());
        if let Some(count) = counts.get_mut(at) {
            *count += class.count_since_last_iteration();
        }
    }
    let mut below = 0;
    for (end, count) in CLASSES_US.iter().zip(counts) {
        below += count;
        let _ = writeln!(out, "{name}_bucket{{le=\"{}\"}} {below}", *end as f64 / 1e6);
    }
    let _ = writeln!(out, "{name}_bucket{{le=\"+Inf\"}} {}", recorded.len());
    let _ = writeln!(out, "{name}_sum {}\n{name}_count {}", latency.sum_us(path) as f64 / 1e6, recorded.len());
}

/// As the format asks: backslash and line feed, and in a label's value the quotation mark.
fn escaped(text: &str, label: bool) -> String {
    let text = text.replace('\\', "\\\\").replace('\n', "\\n");
    if label { text.replace('"', "\\\"") } else { text }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;
    use crate::admin::figures::{Disk, ShardFigures, TopicFigures, Vitals};
    use crate::shard::stats::LogStanding;
    use crate::shard::{Reason, Stats};
    use crate::wal::LogStats;

    fn figures() -> Figures {
        let shard = |shard: u16| {
            let mut stats = Stats { shard, topics: 3, messages_published: 1 << 40, connections: 5, ..Stats::default() };
            stats.refused[Reason::DiskFull as usize] = 7;
            let counts = LogStats { appends: 10, bytes: 4096, ..LogStats::default() };
            stats.logs.push(LogStanding { counts, ..LogStanding::default() });
            let mut latency = Latency::new();
            latency.record(Path::PublishAcknowledged, Duration::from_micros(300), 10);
            latency.record(Path::PublishAcknowledged, Duration::from_secs(60), 1);
            let vitals = Vitals { alive_at_ms: 1000, busy_us: 2_500_000, ..Vitals::default() };
            ShardFigures { answered: true, stats, latency, vitals }
        };
        Figures {
            now_ms: 7500,
            shards: vec![shard(0), shard(1)],
            disk: Some(Disk { free_bytes: 10, size_bytes: 20 }),
            topics: vec![TopicFigures { topic: "a\"b\\c".into(), published: 4, ..TopicFigures::default() }],
            ..Figures::default()
        }
    }

    fn values(text: &str) -> BTreeMap<&str, &str> {
        text.lines().filter(|line| !line.starts_with('#')).map(|line| line.rsplit_once(' ').unwrap()).collect()
    }

    #[test]
    fn shards_add_up_under_both_names() {
        let text = write(&figures());
        let values = values(&text);
        for name in ["topics", "blipmq_topics"] {
            assert_eq!(values[name], "6");
        }
        assert_eq!(values["messages_published_total"], (1u64 << 41).to_string());
        assert_eq!((values["wal_appends_total"], values["blipmq_wal_bytes_total"]), ("20", "8192"));
        assert_eq!(values["blipmq_refused_total{reason=\"disk_full\"}"], "14");
        assert_eq!(values["blipmq_connections{state=\"open\"}"], "10");
        assert_eq!(values["blipmq_shard_tick_age_seconds{shard=\"1\"}"], "6.5");
        assert_eq!(values["blipmq_shard_busy_seconds_total{shard=\"0\"}"], "2.5");
        assert_eq!(values["blipmq_disk_free_bytes"], "10");
        assert_eq!(values["blipmq_topic_messages_published_total{topic=\"a\\\"b\\\\c\"}"], "4");
    }

    #[test]
    fn a_histogram_counts_up_to_all_of_its_samples() {
        let text = write(&figures());
        let values = values(&text);
        let bucket = |le: &str| values[&*format!("blipmq_publish_ack_seconds_bucket{{le=\"{le}\"}}")];
        assert_eq!((bucket("0.00025"), bucket("0.0005"), bucket("10"), bucket("+Inf")), ("0", "20", "20", "22"));
        assert_eq!(values["blipmq_publish_ack_seconds_count"], "22");
        assert_eq!(values["blipmq_publish_ack_seconds_sum"], "120.006");
    }

    #[test]
    fn every_metric_has_its_help_and_type_before_its_samples() {
        let text = write(&figures());
        for metric in registry::metrics() {
            for name in metric.names() {
                let help = text.find(&format!("# HELP {name} ")).unwrap();
                let kind = text.find(&format!("# TYPE {name} {}\n", metric.kind.name())).unwrap();
                let first = text[kind..].lines().nth(1).unwrap();
                assert!(help < kind && first.starts_with(&name), "{name}: {first}");
            }
        }
    }

    #[test]
    fn a_broker_that_has_just_started_can_be_scraped() {
        let text = write(&Figures::default());
        assert_eq!(values(&text)["messages_published_total"], "0");
        assert!(!text.contains("disk_free_bytes"), "what is not known is not said");
    }
}
