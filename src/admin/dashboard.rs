//! The Grafana dashboard.

use serde_json::{Value, json};

/// One picture.
struct Panel {
    title: &'static str,
    /// As Grafana calls it.
    unit: &'static str,
    /// PromQL, in which `$i` stands for the chosen instance, and the legend of its lines.
    lines: &'static [(&'static str, &'static str)],
}

/// Pictures under one heading.
struct Row {
    title: &'static str,
    panels: &'static [Panel],
}

const fn panel(title: &'static str, unit: &'static str, lines: &'static [(&'static str, &'static str)]) -> Panel {
    Panel { title, unit, lines }
}

const ROWS: &[Row] = &[
    Row {
        title: "Messages",
        panels: &[
            panel(
                "Messages a second",
                "cps",
                &[
                    ("sum(rate(blipmq_messages_published_total{$i}[$__rate_interval]))", "published"),
                    ("sum(rate(blipmq_messages_delivered_total{$i}[$__rate_interval]))", "delivered"),
                    ("sum(rate(blipmq_messages_settled_total{$i}[$__rate_interval]))", "acknowledged"),
                    ("sum(rate(blipmq_messages_redelivered_total{$i}[$__rate_interval]))", "redelivered"),
                ],
            ),
            panel(
                "In flight and behind",
                "short",
                &[
                    ("sum(blipmq_messages_inflight{$i})", "in flight"),
                    ("sum(blipmq_messages_lag{$i})", "committed, not acknowledged"),
                ],
            ),
            panel(
                "Lost, dead, expired a second",
                "cps",
                &[
                    (
                        "sum by (reason) (rate(blipmq_messages_dropped_total{$i}[$__rate_interval]))",
                        "dropped: {{reason}}",
                    ),
                    ("sum(rate(blipmq_messages_dead_lettered_total{$i}[$__rate_interval]))", "dead letters"),
                    ("sum(rate(blipmq_messages_expired_total{$i}[$__rate_interval]))", "expired"),
                ],
            ),
            panel(
                "Refused a second",
                "cps",
                &[("sum by (reason) (rate(blipmq_refused_total{$i}[$__rate_interval])) > 0", "{{reason}}")],
            ),
            panel(
                "Topics, subscriptions, subscribers",
                "short",
                &[
                    ("sum(blipmq_topics{$i})", "topics"),
                    ("sum(blipmq_subscriptions{$i})", "subscriptions"),
                    ("sum(blipmq_subscribers{$i})", "subscribers"),
                ],
            ),
            panel(
                "Busiest topics (metrics_per_topic)",
                "cps",
                &[(
                    "topk(10, sum by (topic) (rate(blipmq_topic_messages_published_total{$i}[$__rate_interval])))",
                    "{{topic}}",
                )],
            ),
        ],
    },
    Row {
        title: "Latency",
        panels: &[
            panel(
                "Publish to acknowledgement",
                "s",
                &[
                    (
                        "histogram_quantile(0.5, sum by (le) (rate(blipmq_publish_ack_seconds_bucket{$i}[$__rate_interval])))",
                        "p50",
                    ),
                    (
                        "histogram_quantile(0.99, sum by (le) (rate(blipmq_publish_ack_seconds_bucket{$i}[$__rate_interval])))",
                        "p99",
                    ),
                    (
                        "histogram_quantile(0.999, sum by (le) (rate(blipmq_publish_ack_seconds_bucket{$i}[$__rate_interval])))",
                        "p99.9",
                    ),
                ],
            ),
            panel(
                "Publish to delivery",
                "s",
                &[
                    (
                        "histogram_quantile(0.5, sum by (le) (rate(blipmq_publish_deliver_seconds_bucket{$i}[$__rate_interval])))",
                        "p50",
                    ),
                    (
                        "histogram_quantile(0.99, sum by (le) (rate(blipmq_publish_deliver_seconds_bucket{$i}[$__rate_interval])))",
                        "p99",
                    ),
                    (
                        "histogram_quantile(0.999, sum by (le) (rate(blipmq_publish_deliver_seconds_bucket{$i}[$__rate_interval])))",
                        "p99.9",
                    ),
                ],
            ),
            panel(
                "Device",
                "s",
                &[
                    (
                        "histogram_quantile(0.99, sum by (le) (rate(blipmq_wal_write_seconds_bucket{$i}[$__rate_interval])))",
                        "write p99",
                    ),
                    (
                        "histogram_quantile(0.99, sum by (le) (rate(blipmq_wal_sync_seconds_bucket{$i}[$__rate_interval])))",
                        "sync p99",
                    ),
                ],
            ),
        ],
    },
    Row {
        title: "The log",
        panels: &[
            panel(
                "Bytes a second",
                "Bps",
                &[
                    ("sum(rate(blipmq_wal_bytes_total{$i}[$__rate_interval]))", "appended"),
                    ("sum(rate(blipmq_wal_group_bytes_total{$i}[$__rate_interval]))", "written"),
                    ("sum(rate(blipmq_wal_cleaned_bytes_total{$i}[$__rate_interval]))", "cleaned"),
                ],
            ),
            panel(
                "Writes and syncs a second",
                "ops",
                &[
                    ("sum(rate(blipmq_wal_groups_total{$i}[$__rate_interval]))", "writes"),
                    ("sum(rate(blipmq_wal_syncs_total{$i}[$__rate_interval]))", "syncs"),
                ],
            ),
            panel(
                "Messages a write",
                "short",
                &[(
                    "sum(rate(blipmq_wal_records_total{$i}[$__rate_interval])) / sum(rate(blipmq_wal_groups_total{$i}[$__rate_interval]))",
                    "messages",
                )],
            ),
            panel(
                "Disk",
                "bytes",
                &[
                    ("sum(blipmq_disk_free_bytes{$i})", "free"),
                    ("sum(blipmq_wal_disk_bytes{$i})", "segments"),
                    ("sum(blipmq_wal_live_bytes{$i})", "live"),
                    ("sum(blipmq_wal_backlog_bytes{$i})", "not written yet"),
                ],
            ),
            panel(
                "Logs in trouble",
                "short",
                &[
                    ("sum(blipmq_wal_full{$i})", "full"),
                    ("sum(blipmq_wal_stopped{$i})", "stopped"),
                    ("sum(blipmq_wal_corruptions_total{$i})", "damaged places"),
                ],
            ),
        ],
    },
    Row {
        title: "Cores",
        panels: &[
            panel(
                "Utilisation",
                "percentunit",
                &[("rate(blipmq_shard_busy_seconds_total{$i}[$__rate_interval])", "{{instance}} shard {{shard}}")],
            ),
            panel(
                "Since the last sign of life",
                "s",
                &[("blipmq_shard_tick_age_seconds{$i}", "{{instance}} shard {{shard}}")],
            ),
            panel(
                "Memory",
                "bytes",
                &[
                    ("sum by (class) (blipmq_memory_bytes{$i})", "{{class}}"),
                    ("sum(process_resident_memory_bytes{$i})", "process"),
                ],
            ),
            panel(
                "Between cores, a second",
                "cps",
                &[
                    ("sum(rate(blipmq_mesh_letters_total{$i}[$__rate_interval]))", "letters"),
                    ("sum(rate(blipmq_mesh_waits_total{$i}[$__rate_interval]))", "waits"),
                    ("sum(rate(blipmq_connections_moved_total{$i}[$__rate_interval]))", "connections moved"),
                ],
            ),
        ],
    },
    Row {
        title: "Connections",
        panels: &[
            panel(
                "Connections",
                "short",
                &[
                    ("sum by (state) (blipmq_connections{$i})", "{{state}}"),
                    ("sum(blipmq_connections_held{$i})", "held back"),
                ],
            ),
            panel(
                "Bytes a second",
                "Bps",
                &[
                    ("sum(rate(blipmq_network_received_bytes_total{$i}[$__rate_interval]))", "in"),
                    ("sum(rate(blipmq_network_sent_bytes_total{$i}[$__rate_interval]))", "out"),
                ],
            ),
            panel(
                "Coming and going, a second",
                "cps",
                &[
                    ("sum(rate(blipmq_connections_opened_total{$i}[$__rate_interval]))", "opened"),
                    ("sum(rate(blipmq_connections_closed_total{$i}[$__rate_interval]))", "closed"),
                    (
                        "sum by (reason) (rate(blipmq_handshake_failures_total{$i}[$__rate_interval]))",
                        "failed: {{reason}}",
                    ),
                ],
            ),
            panel(
                "File descriptors",
                "short",
                &[("sum(process_open_fds{$i})", "open"), ("sum(process_max_fds{$i})", "bound")],
            ),
        ],
    },
];

const WIDTH: usize = 8;
const HEIGHT: usize = 8;
const ACROSS: usize = 3;

/// For Grafana's import.
pub fn dashboard() -> String {
    let mut panels = Vec::new();
    let mut top = 0;
    for row in ROWS {
        let place = json!({ "h": 1, "w": WIDTH * ACROSS, "x": 0, "y": top });
        panels.push(json!({ "type": "row", "title": row.title, "collapsed": false, "gridPos": place, "panels": [] }));
        top += 1;
        for (at, panel) in row.panels.iter().enumerate() {
            panels.push(drawn(panel, at % ACROSS * WIDTH, top + at / ACROSS * HEIGHT));
        }
        top += row.panels.len().div_ceil(ACROSS) * HEIGHT;
    }
    for (id, panel) in panels.iter_mut().enumerate() {
        panel["id"] = (id + 1).into();
    }
    let dashboard = json!({
        "uid": "blipmq",
        "title": "BlipMQ",
        "tags": ["blipmq"],
        "schemaVersion": 39,
        "editable": true,
        "refresh": "30s",
        "time": { "from": "now-1h", "to": "now" },
        "templating": { "list": variables() },
        "panels": panels,
    });
    serde_json::to_string_pretty(&dashboard).expect("a JSON value can be written") + "\n"
}

fn variables() -> Value {
    json!([
        { "name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data source" },
        {
            "name": "instance",
            "type": "query",
            "label": "Broker",
            "datasource": { "type": "prometheus", "uid": "${datasource}" },
            "query": { "query": "label_values(blipmq_build_info, instance)", "refId": "instances" },
            "refresh": 2,
            "includeAll": true,
            "multi": true,
            "current": { "text": "All", "value": "$__all" },
        },
    ])
}

fn drawn(panel: &Panel, x: usize, y: usize) -> Value {
    let source = json!({ "type": "prometheus", "uid": "${datasource}" });
    let targets: Vec<Value> = panel
        .lines
        .iter()
        .zip('A'..)
        .map(|((expr, legend), letter)| {
            let expr = expr.replace("$i}", "instance=~\"$instance\"}");
            json!({ "refId": letter.to_string(), "datasource": source, "expr": expr, "legendFormat": legend })
        })
        .collect();
    json!({
        "type": "timeseries",
        "title": panel.title,
        "datasource": source,
        "gridPos": { "h": HEIGHT, "w": WIDTH, "x": x, "y": y },
        "fieldConfig": { "defaults": { "unit": panel.unit, "min": 0 }, "overrides": [] },
        "options": { "legend": { "displayMode": "list", "placement": "bottom" }, "tooltip": { "mode": "multi" } },
        "targets": targets,
    })
}
