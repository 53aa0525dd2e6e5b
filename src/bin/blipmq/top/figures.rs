//! Two looks at a broker, and what happened between them.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::{Map, Value, json};

/// What the broker answered to one look.
pub struct Answers {
    pub metrics: String,
    pub shards: String,
    pub topics: String,
    pub latency: String,
}

/// One look, read.
#[derive(Debug, Clone)]
pub struct Sample {
    at: Instant,
    series: BTreeMap<String, f64>,
    shards: Vec<Value>,
    topics: Vec<Value>,
    latency: Map<String, Value>,
}

/// What is shown.
#[derive(Debug, Clone, Default)]
pub struct View {
    pub version: String,
    pub uptime_s: f64,
    pub draining: bool,
    pub totals: Totals,
    pub shards: Vec<Shard>,
    /// The busiest first, then those that hold the most.
    pub topics: Vec<Topic>,
    pub latencies: Vec<Latency>,
}

/// Rates a second, and gauges, of the whole broker.
#[derive(Debug, Clone, Default)]
pub struct Totals {
    pub published: f64,
    pub delivered: f64,
    pub settled: f64,
    pub redelivered: f64,
    pub dropped: f64,
    pub refused: f64,
    pub bytes_in: f64,
    pub bytes_out: f64,
    pub wal_bytes: f64,
    pub syncs: f64,
    pub in_flight: f64,
    pub lag: f64,
    pub connections: f64,
    pub connections_max: f64,
    pub memory: f64,
    pub memory_max: f64,
    pub resident: f64,
    pub wal_disk: f64,
    pub disk_free: f64,
    pub wal_full: f64,
}

#[derive(Debug, Clone, Default)]
pub struct Shard {
    pub shard: u64,
    pub answered: bool,
    /// Of the time, in hundredths.
    pub busy: f64,
    pub published: f64,
    pub delivered: f64,
    pub in_flight: f64,
    pub lag: f64,
    pub backlog: f64,
    pub stalled_ms: f64,
}

#[derive(Debug, Clone, Default)]
pub struct Topic {
    pub topic: String,
    pub shard: u64,
    pub published: f64,
    pub messages: f64,
    pub subscriptions: f64,
    pub memory: f64,
}

/// Of one path, in microseconds, since the broker started.
#[derive(Debug, Clone, Default)]
pub struct Latency {
    pub path: String,
    pub per_second: f64,
    pub p50: f64,
    pub p99: f64,
    pub p99_9: f64,
    pub max: f64,
}

impl Sample {
    pub fn read(answers: &Answers, at: Instant) -> Result<Sample, String> {
        let json = |text: &str| serde_json::from_str::<Value>(text).map_err(|error| format!("not understood: {error}"));
        let items = |value: Value| value["items"].as_array().cloned().unwrap_or_default();
        let lines = answers.metrics.lines().filter(|line| !line.starts_with('#'));
        let series = lines.filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Ok(Sample {
            at,
            series: series.collect(),
            shards: items(json(&answers.shards)?),
            topics: items(json(&answers.topics)?),
            latency: json(&answers.latency)?.as_object().cloned().unwrap_or_default(),
        })
    }

    fn of(&self, name: &str) -> f64 {
        self.series.get(name).copied().unwrap_or(0.0)
    }

    /// Over all labels.
    fn sum(&self, name: &str) -> f64 {
        let labelled = format!("{name}{{");
        let of = |(other, _): &(&String, &f64)| *other == name || other.starts_with(&labelled);
        self.series.iter().filter(of).map(|(_, value)| value).sum()
    }
}

impl View {
    pub fn between(before: &Sample, after: &Sample) -> View {
        let seconds = after.at.saturating_duration_since(before.at).as_secs_f64();
        let over = |more: f64| if seconds > 0.0 { (more / seconds).max(0.0) } else { 0.0 };
        let rate = |name: &str| over(after.sum(name) - before.sum(name));
        let version = after.series.keys().find_map(|name| name.strip_prefix("blipmq_build_info{version=\""));
        View {
            version: version.map(|text| text.trim_end_matches("\"}").to_owned()).unwrap_or_default(),
            uptime_s: uptime(after),
            draining: after.of("blipmq_draining") > 0.0,
            totals: totals(after, rate),
            shards: after.shards.iter().map(|row| shard(row, &before.shards, over)).collect(),
            topics: topics(after, before, over),
            latencies: after.latency.iter().map(|(path, row)| latency(path, row, before, over)).collect(),
        }
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let Totals { published, delivered, settled, in_flight, lag, connections, .. } = self.totals;
        let shard = |s: &Shard| json!({ "shard": s.shard, "busy_percent": s.busy, "published_per_s": s.published, "delivered_per_s": s.delivered });
        let topic = |t: &Topic| json!({ "topic": t.topic, "published_per_s": t.published, "messages": t.messages });
        let path = |l: &Latency| json!({ "path": l.path, "p50_us": l.p50, "p99_us": l.p99, "max_us": l.max });
        json!({
            "published_per_s": published,
            "delivered_per_s": delivered,
            "settled_per_s": settled,
            "in_flight": in_flight,
            "lag": lag,
            "connections": connections,
            "shards": self.shards.iter().map(shard).collect::<Vec<_>>(),
            "topics": self.topics.iter().map(topic).collect::<Vec<_>>(),
            "latencies": self.latencies.iter().map(path).collect::<Vec<_>>(),
        })
    }
}

/// By the clock of this machine; a broker on another one may be a little off.
fn uptime(sample: &Sample) -> f64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    (now.as_secs_f64() - sample.of("process_start_time_seconds")).max(0.0)
}

fn totals(after: &Sample, rate: impl Fn(&str) -> f64) -> Totals {
    Totals {
        published: rate("blipmq_messages_published_total"),
        delivered: rate("blipmq_messages_delivered_total"),
        settled: rate("blipmq_messages_settled_total"),
        redelivered: rate("blipmq_messages_redelivered_total"),
        dropped: rate("blipmq_messages_dropped_total"),
        refused: rate("blipmq_refused_total"),
        bytes_in: rate("blipmq_network_received_bytes_total"),
        bytes_out: rate("blipmq_network_sent_bytes_total"),
        wal_bytes: rate("blipmq_wal_bytes_total"),
        syncs: rate("blipmq_wal_syncs_total"),
        in_flight: after.of("blipmq_messages_inflight"),
        lag: after.of("blipmq_messages_lag"),
        connections: after.of("blipmq_connections{state=\"open\"}"),
        connections_max: after.of("blipmq_connections_max"),
        memory: after.sum("blipmq_memory_bytes"),
        memory_max: after.of("blipmq_memory_max_bytes"),
        resident: after.of("process_resident_memory_bytes"),
        wal_disk: after.of("blipmq_wal_disk_bytes"),
        disk_free: after.of("blipmq_disk_free_bytes"),
        wal_full: after.of("blipmq_wal_full"),
    }
}

fn number(row: &Value, name: &str) -> f64 {
    row[name].as_f64().unwrap_or(0.0)
}

/// The same row in the look before; all zeros if it is new.
fn earlier<'a>(rows: &'a [Value], name: &str, row: &Value) -> &'a Value {
    rows.iter().find(|other| other[name] == row[name]).unwrap_or(&Value::Null)
}

fn shard(row: &Value, before: &[Value], over: impl Fn(f64) -> f64) -> Shard {
    let last = earlier(before, "shard", row);
    let rate = |name: &str| over(number(row, name) - number(last, name));
    Shard {
        shard: row["shard"].as_u64().unwrap_or(0),
        answered: row["answered"].as_bool().unwrap_or(false),
        busy: rate("busy_us") / 1e4,
        published: rate("messages_published_total"),
        delivered: rate("messages_delivered_total"),
        in_flight: number(row, "messages_inflight"),
        lag: number(row, "messages_lag"),
        backlog: number(row, "wal_backlog_bytes"),
        stalled_ms: number(row, "tick_age_ms"),
    }
}

fn topics(after: &Sample, before: &Sample, over: impl Fn(f64) -> f64) -> Vec<Topic> {
    let topic = |row: &Value| Topic {
        topic: row["topic"].as_str().unwrap_or_default().to_owned(),
        shard: row["shard"].as_u64().unwrap_or(0),
        published: over(number(row, "published") - number(earlier(&before.topics, "topic", row), "published")),
        messages: number(row, "messages"),
        subscriptions: number(row, "subscriptions"),
        memory: number(row, "memory_bytes"),
    };
    let mut topics: Vec<Topic> = after.topics.iter().map(topic).collect();
    let busiest = |one: &Topic, other: &Topic| {
        other.published.total_cmp(&one.published).then(other.messages.total_cmp(&one.messages))
    };
    topics.sort_by(busiest);
    topics
}

fn latency(path: &str, row: &Value, before: &Sample, over: impl Fn(f64) -> f64) -> Latency {
    let last = before.latency.get(path).unwrap_or(&Value::Null);
    Latency {
        path: path.to_owned(),
        per_second: over(number(row, "count") - number(last, "count")),
        p50: number(row, "p50_us"),
        p99: number(row, "p99_us"),
        p99_9: number(row, "p99_9_us"),
        max: number(row, "max_us"),
    }
}

/// Two looks, a second apart.
#[cfg(test)]
pub fn canned() -> (Sample, Sample) {
    let look = |published: u64, busy_us: u64| {
        Answers {
        metrics: format!(
            "# HELP x y\nblipmq_messages_published_total {published}\nblipmq_messages_delivered_total {}\n\
             blipmq_connections{{state=\"open\"}} 3\nblipmq_connections_max 500\nblipmq_memory_bytes{{class=\"tail\"}} 1024\n\
             blipmq_memory_bytes{{class=\"input\"}} 1024\nblipmq_build_info{{version=\"0.1.0\"}} 1\n",
            published * 2
        ),
        shards: json!({ "items": [
            { "shard": 0, "answered": true, "busy_us": busy_us, "messages_published_total": published, "messages_lag": 7 },
            { "shard": 1, "answered": false, "busy_us": 0 },
        ] })
        .to_string(),
        topics: json!({ "items": [
            { "topic": "orders.us", "shard": 1, "published": 5, "messages": 9, "subscriptions": 1 },
            { "topic": "orders.eu", "shard": 0, "published": published / 2, "messages": 2, "subscriptions": 1 },
        ], "next": null })
        .to_string(),
        latency: json!({ "publish_ack": { "count": published, "p50_us": 1500, "p99_us": 3000, "p99_9_us": 9000, "max_us": 12000 } })
            .to_string(),
    }
    };
    let at = Instant::now();
    let before = Sample::read(&look(1000, 0), at).unwrap();
    let after = Sample::read(&look(2200, 500_000), at + std::time::Duration::from_secs(1)).unwrap();
    (before, after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_what_came_in_between_by_the_time_in_between() {
        let (before, after) = canned();
        let view = View::between(&before, &after);
        assert_eq!((view.totals.published, view.totals.delivered, view.totals.memory), (1200.0, 2400.0, 2048.0));
        assert_eq!((view.shards[0].busy, view.shards[0].published), (50.0, 1200.0));
        assert_eq!((view.topics[0].topic.as_str(), view.topics[0].published), ("orders.eu", 600.0));
        assert_eq!(view.latencies[0].per_second, 1200.0);
        assert_eq!(view.version, "0.1.0");
    }

    #[test]
    fn a_first_look_and_a_restarted_broker_show_no_rates_below_zero() {
        let (before, after) = canned();
        assert_eq!(View::between(&after, &after).totals.published, 0.0);
        let later = Sample { at: after.at + std::time::Duration::from_secs(1), ..before };
        assert_eq!(View::between(&after, &later).totals.published, 0.0);
    }
}
