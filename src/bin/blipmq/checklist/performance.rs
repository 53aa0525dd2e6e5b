//! 2. What it brings, on this machine.

use serde_json::Value;

use super::line::{Checked, Line, need, skipped};
use super::site::Site;

pub const LINES: &[Line] = &[
    Line {
        section: 2,
        says: "QoS 0 is relayed; no message is lost between publisher and subscriber",
        repeat: "blipmq bench qos0 --floor",
        check: |site| bench(site, &["qos0"]),
    },
    Line {
        section: 2,
        says: "QoS 1 in memory is acknowledged and delivered",
        repeat: "blipmq bench qos1 --floor",
        check: |site| bench(site, &["qos1"]),
    },
    Line {
        section: 2,
        says: "QoS 1 is synced to this device before it is acknowledged",
        repeat: "blipmq bench durable --fsync always --floor; compare --fsync every_n:64, interval_ms:10, none",
        check: |site| bench(site, &["durable", "--fsync", "always"]),
    },
    Line {
        section: 2,
        says: "Several publishers, subscribers and topics on several cores",
        repeat: "blipmq bench scaled --broker-cpus 0,1",
        check: |site| bench(site, &["scaled"]),
    },
    Line {
        section: 2,
        says: "Flame graphs show no needless copy, allocation or lock",
        repeat: "perf/flamegraph.sh durable durable; cargo bench",
        check: |_| skipped("is for eyes"),
    },
];

/// A second of each: enough to see that it works and roughly how well.
fn bench(site: &Site, words: &[&str]) -> Checked {
    let (broker, data) = (site.broker.display().to_string(), site.data_dir.display().to_string());
    let common = ["--duration", "1s", "--warmup", "500ms", "--no-pin", "--json", "--broker", &broker];
    let words: Vec<&str> =
        ["bench"].iter().chain(words).chain(&common).chain(&["--data-dir", &data]).copied().collect();
    let output = site.own(&words)?;
    need(output.status.success(), || String::from_utf8_lossy(&output.stderr).trim().to_owned())?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let row: Value = said.lines().find_map(|line| serde_json::from_str(line).ok()).unwrap_or_default();
    let rate = row["messages_per_second"].as_f64().unwrap_or(0.0);
    let p99 = row["latency_ns"]["p99"].as_f64().unwrap_or(0.0) / 1e3;
    need(rate > 0.0, || format!("nothing came: {said}"))?;
    Ok(format!("{rate:.0} messages/s, p99 {p99:.0} us, measured for a second only"))
}
