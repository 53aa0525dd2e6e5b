//! The table of a results folder, in Markdown.

use std::fmt::Write;

use serde_json::Value;

use super::{Scenario, Spread};
use crate::bench::latency::spoken;
use crate::bench::report::scaled;

/// The whole page: where it was measured, one row a scenario, and the plots.
pub fn page(title: &str, scenarios: &[Scenario]) -> String {
    let mut out = format!("# {title}\n\n");
    machine(&mut out, scenarios);
    out.push_str(
        "Medians over the passes, smallest and largest in parentheses. Latency: of the pass with the middle throughput, \
         from sent (open loop: to be sent) to read by the subscriber. CPU: the broker's, user + system, for each message \
         delivered. Floor: the same messages through a bare relay in the same pass.\n\n",
    );
    throughput(&mut out, scenarios);
    latency(&mut out, scenarios);
    others(&mut out, scenarios);
    out.push_str(
        "![Throughput](throughput.svg)\n\n![Latency](latency.svg)\n\n![Throughput over time](over-time.svg)\n",
    );
    out
}

fn machine(out: &mut String, scenarios: &[Scenario]) {
    let Some(machine) = scenarios.iter().flat_map(|scenario| &scenario.passes).find_map(|pass| pass.get("machine"))
    else {
        return;
    };
    let say = |name: &str| match &machine[name] {
        Value::String(text) => text.clone(),
        Value::Null => "unknown".into(),
        value => value.to_string(),
    };
    let _ = writeln!(
        out,
        "Commit {}, host {}: {} x {}, memory {}, Linux {}, {}, virtual: {}, clock {}.\n",
        say("commit"),
        say("host"),
        say("cpus"),
        say("cpu"),
        say("memory"),
        say("kernel"),
        say("filesystem"),
        say("hypervisor"),
        say("clock")
    );
}

/// Scenarios that are about messages, not about connections or devices.
fn runs(scenarios: &[Scenario]) -> impl Iterator<Item = &Scenario> {
    scenarios.iter().filter(|scenario| !scenario.figures("/messages_per_second").is_empty())
}

fn throughput(out: &mut String, scenarios: &[Scenario]) {
    out.push_str("| scenario | who | promise | passes | msg/s | MB/s | CPU ns/msg | RSS MiB | of the floor | lost |\n");
    out.push_str("|---|---|---|--:|--:|--:|--:|--:|--:|--:|\n");
    for scenario in runs(scenarios) {
        let first = &scenario.passes[0];
        let text = |name: &str| first[name].as_str().unwrap_or("").to_owned();
        let spread = |pointer: &str, said: fn(f64) -> String| said_spread(scenario.spread(pointer), said);
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            scenario.name,
            text("dialect"),
            text("broker"),
            scenario.passes.len(),
            spread("/messages_per_second", scaled),
            spread("/bytes_per_second", |bytes| format!("{:.0}", bytes / 1e6)),
            spread("/broker_cpu_ns_per_message/total", |nanos| format!("{nanos:.0}")),
            median(scenario, "/broker_resident_bytes", |bytes| format!("{:.0}", bytes / 1_048_576.0)),
            median(scenario, "/floor/share", |share| format!("{:.0} %", share * 100.0)),
            scenario.figures("/lost").iter().sum::<f64>(),
        );
    }
    out.push('\n');
}

fn latency(out: &mut String, scenarios: &[Scenario]) {
    const NAMES: [&str; 7] = ["p50", "p90", "p95", "p99", "p99.9", "p99.99", "max"];
    let _ = writeln!(out, "| scenario | {} | ack p50 | ack p99 |", NAMES.join(" | "));
    out.push_str("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n");
    for scenario in runs(scenarios) {
        let Some(pass) = scenario.median_pass() else { continue };
        let cell = |of: &str, name: &str| pass[of][name].as_u64().map_or(String::new(), spoken);
        let cells = NAMES.map(|name| cell("latency_ns", name));
        let acks = ["p50", "p99"].map(|name| cell("ack_latency_ns", name));
        let _ = writeln!(out, "| {} | {} | {} |", scenario.name, cells.join(" | "), acks.join(" | "));
    }
    out.push('\n');
}

/// Connections and devices.
fn others(out: &mut String, scenarios: &[Scenario]) {
    for scenario in scenarios {
        if let Some(spread) = scenario.spread("/broker_bytes_each") {
            let _ = writeln!(
                out,
                "{}: {} connections, {} KiB of broker memory each, {} connections/s, idle {} % of a core.\n",
                scenario.name,
                scenario.passes[0]["connections"],
                said_spread(Some(spread), |bytes| format!("{:.2}", bytes / 1024.0)),
                said_spread(rates(scenario), |rate| format!("{rate:.0}")),
                said_spread(scenario.spread("/idle_share_of_a_core"), |share| format!("{:.2}", share * 100.0)),
            );
        }
        if scenario.figures("/workload/window") == vec![1.0; scenario.passes.len()] {
            one_at_a_time(out, scenario);
        }
        if let Some(spread) = scenario.spread("/device/write_4k_sync_ns/p50") {
            let _ = writeln!(
                out,
                "{}: device floor, 4 KiB direct write + fdatasync p50 {}, p99 {}; {} GB/s sequential, not synced.\n",
                scenario.name,
                said_spread(Some(spread), |nanos| spoken(nanos as u64)),
                said_spread(scenario.spread("/device/write_4k_sync_ns/p99"), |nanos| spoken(nanos as u64)),
                said_spread(scenario.spread("/device/bytes_per_second"), |bytes| format!("{:.2}", bytes / 1e9)),
            );
        }
    }
}

/// A window of one message: what a commit takes, against the device and a bare relay's round trip.
fn one_at_a_time(out: &mut String, scenario: &Scenario) {
    let said = |pointer: &str| said_spread(scenario.spread(pointer), |nanos| spoken(nanos as u64));
    let _ = writeln!(
        out,
        "{}: one message at a time, delivered p50 {}, p99 {}; acknowledged p50 {}, p99 {}; through the bare relay p50 {}, \
         p99 {}.\n",
        scenario.name,
        said("/latency_ns/p50"),
        said("/latency_ns/p99"),
        said("/ack_latency_ns/p50"),
        said("/ack_latency_ns/p99"),
        said("/floor/p50"),
        said("/floor/p99"),
    );
}

fn rates(scenario: &Scenario) -> Option<Spread> {
    let rate = |pass: &Value| Some(pass["connections"].as_f64()? / pass["seconds"].as_f64()?);
    Spread::of(scenario.passes.iter().filter_map(rate).collect())
}

fn median(scenario: &Scenario, pointer: &str, said: fn(f64) -> String) -> String {
    scenario.spread(pointer).map_or(String::new(), |spread| said(spread.median))
}

fn said_spread(spread: Option<Spread>, said: fn(f64) -> String) -> String {
    match spread {
        None => String::new(),
        Some(spread) if spread.min == spread.max => said(spread.median),
        Some(spread) => format!("{} ({} - {})", said(spread.median), said(spread.min), said(spread.max)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn each_scenario_has_a_row_in_both_tables() {
        let page = page("Results", &[sample("qos0-128", &[12e6, 10e6, 11e6])]);
        assert!(
            page.contains(
                "| qos0-128 | BlipMQ v2 | wal = off | 3 | 11.00 M (10.00 M - 12.00 M) | 1408 (1280 - 1536) | 50 |"
            ),
            "{page}"
        );
        assert!(page.contains("| qos0-128 | 41.0 us | 50.0 us |"), "{page}");
    }
}
