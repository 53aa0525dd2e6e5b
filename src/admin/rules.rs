//! The alerts as a Prometheus rules file, and as the file with which promtool tests it.

use std::fmt::Write;

use super::alerts::{ALERTS, Alert, Input};

/// Where the rules file stands, for the tests to name it.
pub const FILE: &str = "blipmq-alerts.yaml";

const WARNING: &str = "# Written by `REWRITE=1 cargo test admin::generated`; change src/admin/alerts.rs instead.\n";

/// The instance and job that the tests speak of.
const INSTANCE: &str = "broker:9100";
const JOB: &str = "blipmq";
const SHARD: &str = "shard=\"";

/// For `rule_files` of Prometheus.
pub fn rules() -> String {
    let mut out = format!("{WARNING}groups:\n  - name: blipmq\n    rules:\n");
    for alert in ALERTS {
        let _ = write!(
            out,
            "      - alert: {}\n        expr: {}\n        for: {}\n        labels:\n          severity: {}\n        \
             annotations:\n          summary: {}\n          runbook: {}\n",
            alert.name,
            quoted(alert.expr),
            alert.hold,
            alert.severity.name(),
            quoted(alert.summary),
            quoted(&runbook(alert)),
        );
    }
    out
}

/// For `promtool test rules`: each alert fires when it should and is silent when it should be.
pub fn tests() -> String {
    let mut out = format!("{WARNING}rule_files:\n  - {FILE}\nevaluation_interval: 1m\ntests:\n");
    for alert in ALERTS {
        test(&mut out, alert, "fires", alert.firing, true);
        test(&mut out, alert, "is silent", alert.quiet, false);
    }
    out
}

fn test(out: &mut String, alert: &Alert, what: &str, series: &[Input], fires: bool) {
    let name = format!("{} {what}", alert.name);
    let _ = write!(out, "  - name: {}\n    interval: 1m\n    input_series:\n", quoted(&name));
    for (series, values) in series {
        let _ = write!(out, "      - series: {}\n        values: {}\n", quoted(&labelled(series)), quoted(values));
    }
    let minutes = Alert::EVAL_MINUTES;
    let _ = write!(out, "    alert_rule_test:\n      - eval_time: {minutes}m\n        alertname: {}\n", alert.name);
    if fires {
        expected(out, alert);
    }
}

fn expected(out: &mut String, alert: &Alert) {
    let shard = alert.firing.iter().find_map(|(series, _)| series.split_once(SHARD)?.1.split('"').next()).unwrap_or("");
    let _ = write!(
        out,
        "        exp_alerts:\n          - exp_labels:\n              severity: {}\n",
        alert.severity.name()
    );
    for label in alert.labels {
        let value = match *label {
            "instance" => INSTANCE,
            "job" => JOB,
            _ => shard,
        };
        let _ = writeln!(out, "              {label}: {}", quoted(value));
    }
    let summary = alert.summary.replace("{{ $labels.instance }}", INSTANCE).replace("{{ $labels.shard }}", shard);
    let _ = write!(
        out,
        "            exp_annotations:\n              summary: {}\n              runbook: {}\n",
        quoted(&summary),
        quoted(&runbook(alert))
    );
}

fn labelled(series: &str) -> String {
    let target = format!("instance=\"{INSTANCE}\",job=\"{JOB}\"");
    match series.strip_suffix('}') {
        Some(open) => format!("{open},{target}}}"),
        None => format!("{series}{{{target}}}"),
    }
}

fn runbook(alert: &Alert) -> String {
    format!("blipmq::manual::runbooks#{}", alert.anchor())
}

/// A JSON text is a YAML text.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
