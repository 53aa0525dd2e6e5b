//! The manual's page of metrics.

use std::fmt::Write;

use super::metric::{Metric, Scope};
use super::registry::SECTIONS;

const INTRODUCTION: &str = "\
# Metrics

<!-- Written by `REWRITE=1 cargo test admin::generated`; change src/admin/registry.rs instead. -->

`http://127.0.0.1:9100/metrics` (keys `metrics_addr`, `metrics_port`) answers in Prometheus' text format, version 0.0.4. Every
name begins with `blipmq_`; the seven marked * are there bare as well, under the names of the original BlipMQ, and the names
of the process follow the convention of all Prometheus clients. A scrape asks each shard once and adds up; it takes
no lock on the message path. A shard that does not answer within a second counts with what it said last, and
`blipmq_shard_up` says so.

Labels have few values: reasons, states, classes, shards. Series for each topic are off; `metrics_per_topic = N` turns them
on for the first N topics by name. Counters start at zero with the process.

Histograms have classes from 100 us to 10 s; finer ones, exact to 1 %, are at `/debug/latency`.
";

/// All of it.
pub fn page() -> String {
    let mut out = INTRODUCTION.to_owned();
    for section in SECTIONS {
        let _ =
            write!(out, "\n## {}\n\n| name | type | unit | labels | meaning |\n|---|---|---|---|---|\n", section.title);
        section.metrics.iter().for_each(|metric| row(&mut out, metric));
    }
    out
}

fn row(out: &mut String, metric: &Metric) {
    let star = if metric.scope == Scope::Both { " *" } else { "" };
    let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
    let _ = writeln!(
        out,
        "| `{}`{star} | {} | {} | {} | {} |",
        metric.full_name(),
        metric.kind.name(),
        metric.unit.name(),
        labels.join(", "),
        metric.help
    );
}
