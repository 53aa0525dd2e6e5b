//! A result, for people in one line and for programs in one object.

use serde_json::{Value, json};

use super::cpu::Usage;
use super::floor::disk::DiskFloor;
use super::latency::{Interval, Latencies, QUANTILES, spoken};
use super::load::Outcome;
use super::workload::{Pace, Workload};

/// What was run, and what came of it.
#[derive(Debug)]
pub struct Report {
    /// Name of the scenario or mode.
    pub name: String,
    /// Who was measured.
    pub dialect: String,
    /// The promise behind a QoS 1 figure, as the broker's configuration spells it; what the operator set otherwise.
    pub broker: String,
    /// What was asked for.
    pub workload: Workload,
    /// What came of it.
    pub outcome: Outcome,
    /// The same through the bare relay: deliveries a second, and CPU nanoseconds each.
    pub floor: Option<Floor>,
    /// What the device can do.
    pub device: Option<DiskFloor>,
    /// CPU seconds of each shard.
    pub shards: Vec<(u32, f64)>,
}

/// The relay's figures.
#[derive(Clone, Copy, Debug)]
pub struct Floor {
    /// Messages delivered a second.
    pub rate: f64,
    /// CPU nanoseconds of the relay for each.
    pub cpu: Option<f64>,
    /// Nanoseconds from sent to delivered: middle, and 99 of 100.
    pub latency: (u64, u64),
}

impl Floor {
    /// Of a run through the relay.
    pub fn of(outcome: &Outcome) -> Floor {
        let quantile = |quantile| outcome.latencies.value_at_quantile(quantile);
        Floor {
            rate: rate(outcome),
            cpu: outcome.broker.map(|usage| each(usage.total(), outcome)),
            latency: (quantile(0.5), quantile(0.99)),
        }
    }
}

/// Messages delivered a second; where nobody listens, messages acknowledged or sent.
pub fn rate(outcome: &Outcome) -> f64 {
    counted(outcome) as f64 / outcome.seconds.max(1e-9)
}

fn counted(outcome: &Outcome) -> u64 {
    match (outcome.delivered, outcome.acknowledged) {
        (0, Some(acknowledged)) => acknowledged,
        (0, None) => outcome.sent,
        (delivered, _) => delivered,
    }
}

fn each(nanos: u64, outcome: &Outcome) -> f64 {
    nanos as f64 / counted(outcome).max(1) as f64
}

impl Report {
    /// One line, for people.
    pub fn line(&self) -> String {
        let outcome = &self.outcome;
        let bytes = rate(outcome) * self.workload.size as f64;
        let mut parts = vec![format!("{:<8} {} msg/s  {:.0} MB/s", self.name, scaled(rate(outcome)), bytes / 1e6)];
        if self.workload.durable {
            parts.push(self.broker.clone());
        }
        if !outcome.latencies.is_empty() {
            parts.push(quantiles("", &outcome.latencies));
        }
        if let Some(acknowledgements) = &outcome.acknowledgements {
            let quantile = |quantile| spoken(acknowledgements.value_at_quantile(quantile));
            parts.push(format!("ack p50 {} p99 {}", quantile(0.5), quantile(0.99)));
        }
        parts.push(self.broker_part());
        parts.push(format!("lost {} dup {} reordered {}", outcome.lost, outcome.duplicates, outcome.reordered));
        if let Some(floor) = self.floor {
            parts.push(format!(
                "{:.0} % of the bare relay's {} msg/s",
                100.0 * rate(outcome) / floor.rate,
                scaled(floor.rate)
            ));
        }
        if self.shards.len() > 1 {
            parts.push(self.shards_part());
        }
        if let Some(device) = &self.device {
            parts.push(format!("device {}", device.line()));
        }
        if let Some(seconds) = outcome.catch_up {
            parts.push(format!("caught up in {seconds:.2} s"));
        }
        parts.join(" | ")
    }

    fn shards_part(&self) -> String {
        let all: f64 = self.shards.iter().map(|(_, seconds)| seconds).sum();
        let shares: Vec<String> = self
            .shards
            .iter()
            .map(|(shard, seconds)| format!("shard {shard} {:.0} %", 100.0 * seconds / all))
            .collect();
        shares.join(" ")
    }

    fn broker_part(&self) -> String {
        let outcome = &self.outcome;
        let Some(usage) = outcome.broker else { return "broker CPU unknown (see --pid)".into() };
        let (user, system) = (each(usage.user, outcome), each(usage.system, outcome));
        let cpu = format!("broker {:.0} ns/msg ({user:.0} user + {system:.0} sys)", user + system);
        match outcome.resident {
            Some(resident) => format!("{cpu} RSS {:.0} MiB", resident as f64 / f64::from(1 << 20)),
            None => cpu,
        }
    }

    /// Everything, for programs.
    pub fn json(&self) -> Value {
        let (outcome, workload) = (&self.outcome, &self.workload);
        json!({
            "name": self.name,
            "dialect": self.dialect,
            "broker": self.broker,
            "workload": workload_json(workload),
            "seconds": outcome.seconds,
            "sent": outcome.sent,
            "delivered": outcome.delivered,
            "acknowledged": outcome.acknowledged,
            "messages_per_second": rate(outcome),
            "bytes_per_second": rate(outcome) * workload.size as f64,
            "latency_ns": latencies_json(&outcome.latencies),
            "ack_latency_ns": outcome.acknowledgements.as_ref().map(latencies_json),
            "broker_cpu_ns_per_message": outcome.broker.map(|usage| usage_json(usage, outcome)),
            "broker_resident_bytes": outcome.resident,
            "load_cpu_ns_per_message": usage_json(outcome.load, outcome),
            "lost": outcome.lost,
            "duplicates": outcome.duplicates,
            "reordered": outcome.reordered,
            "foreign": outcome.foreign,
            "catch_up_seconds": outcome.catch_up,
            "floor": self.floor.map(|floor| json!({
                "messages_per_second": floor.rate,
                "cpu_ns_per_message": floor.cpu,
                "p50": floor.latency.0,
                "p99": floor.latency.1,
                "share": rate(outcome) / floor.rate,
            })),
            "device": self.device.as_ref().map(DiskFloor::json),
            "shard_cpu_seconds": self.shards.iter().map(|(shard, seconds)| json!([shard, seconds])).collect::<Vec<_>>(),
            "intervals": outcome.intervals.iter().map(interval_json).collect::<Vec<_>>(),
        })
    }
}

fn quantiles(name: &str, latencies: &Latencies) -> String {
    let mut parts: Vec<String> = QUANTILES
        .iter()
        .map(|(name, quantile)| format!("{name} {}", spoken(latencies.value_at_quantile(*quantile))))
        .collect();
    parts.push(format!("max {}", spoken(latencies.max())));
    format!("{name}{}", parts.join(" "))
}

fn workload_json(workload: &Workload) -> Value {
    let (window, rate) = match workload.pace {
        Pace::Closed { window } => (Some(window), None),
        Pace::Open { rate } => (None, Some(rate)),
    };
    json!({
        "publishers": workload.publishers,
        "subscribers": workload.subscribers,
        "topics": workload.topics,
        "size": workload.size,
        "batch": workload.batch,
        "window": window,
        "rate": rate,
        "warmup_seconds": workload.warmup.as_secs_f64(),
        "qos": workload.qos as u8,
        "durable": workload.durable,
        "backlog": workload.backlog,
        "spin": workload.spin,
        "verify": workload.verify,
    })
}

fn latencies_json(latencies: &Latencies) -> Value {
    let quantiles =
        QUANTILES.iter().map(|(name, quantile)| ((*name).to_owned(), latencies.value_at_quantile(*quantile)));
    let rest = [("max", latencies.max()), ("mean", latencies.mean() as u64), ("count", latencies.len())];
    let rest = rest.map(|(name, value)| (name.to_owned(), value));
    Value::Object(quantiles.chain(rest).map(|(name, value)| (name, json!(value))).collect())
}

fn usage_json(usage: Usage, outcome: &Outcome) -> Value {
    json!({
        "user": each(usage.user, outcome),
        "system": each(usage.system, outcome),
        "total": each(usage.total(), outcome),
        "cores": usage.total() as f64 / 1e9 / outcome.seconds.max(1e-9),
    })
}

fn interval_json(interval: &Interval) -> Value {
    let seconds = interval.to.saturating_sub(interval.from) as f64 / 1e9;
    json!({
        "from": interval.from as f64 / 1e9,
        "seconds": seconds,
        "messages_per_second": interval.delivered as f64 / seconds.max(1e-9),
        "p50": interval.latencies.value_at_quantile(0.5),
        "p99": interval.latencies.value_at_quantile(0.99),
        "max": interval.latencies.max(),
    })
}

/// `12.3 M`, `450 k`.
pub fn scaled(value: f64) -> String {
    match value {
        1e6.. => format!("{:.2} M", value / 1e6),
        1e3.. => format!("{:.1} k", value / 1e3),
        _ => format!("{value:.0}"),
    }
}
