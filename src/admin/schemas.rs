//! What answers look like. Objects have exactly the fields named here.

use serde_json::{Map, Value, json};

/// A field's name, and its form: `string`, `integer`, `number`, `boolean`, `object`, a schema's name, or `[one of these]`
/// for an array; a question mark allows null, a star before the name says that the field may be missing.
type Fields = &'static [(&'static str, &'static str)];

const OBJECTS: &[(&str, Fields)] = &[
    ("Problem", &[("type", "string"), ("title", "string"), ("status", "integer"), ("detail", "string")]),
    ("Done", &[("done", "boolean")]),
    ("Health", &[("status", "string"), ("*problems", "[string]")]),
    (
        "HealthDetail",
        &[
            ("status", "string"),
            ("problems", "[string]"),
            ("version", "string"),
            ("uptime_s", "integer"),
            ("disk", "object?"),
            ("shards", "[ShardHealth]"),
        ],
    ),
    (
        "ShardHealth",
        &[
            ("shard", "integer"),
            ("answered", "boolean"),
            ("hangs", "boolean"),
            ("tick_age_ms", "integer"),
            ("draining", "boolean"),
            ("connections", "integer"),
            ("held_connections", "integer"),
            ("logs", "[LogHealth]"),
        ],
    ),
    (
        "LogHealth",
        &[
            ("log", "integer"),
            ("state", "string"),
            ("reason", "string?"),
            ("segments", "integer"),
            ("disk_bytes", "integer"),
            ("live_bytes", "integer"),
            ("index_bytes", "integer"),
            ("backlog_bytes", "integer"),
            ("corruptions", "integer"),
        ],
    ),
    (
        "Topic",
        &[
            ("topic", "string"),
            ("partition", "integer"),
            ("shard", "integer"),
            ("log", "integer?"),
            ("start", "integer"),
            ("committed", "integer"),
            ("next", "integer"),
            ("messages", "integer"),
            ("memory_bytes", "integer"),
            ("ttl_ms", "integer"),
            ("ttl_set", "boolean"),
            ("subscriptions", "integer"),
            ("published", "integer"),
            ("*created", "boolean"),
        ],
    ),
    ("TopicList", &[("items", "[Topic]"), ("next", "string?")]),
    ("Purged", &[("purged", "integer"), ("start", "integer")]),
    (
        "Message",
        &[
            ("offset", "integer"),
            ("timestamp_ms", "integer"),
            ("expires_at_ms", "integer?"),
            ("key", "string?"),
            ("value", "string"),
            ("encoding", "string"),
            ("headers", "[Header]"),
        ],
    ),
    ("Header", &[("name", "string"), ("value", "string")]),
    ("Messages", &[("messages", "[Message]"), ("next", "integer")]),
    (
        "Subscription",
        &[
            ("topic", "string"),
            ("partition", "integer"),
            ("shard", "integer"),
            ("name", "string"),
            ("qos", "integer"),
            ("mode", "string"),
            ("durability", "string"),
            ("members", "integer"),
            ("settled_to", "integer"),
            ("settled_ranges", "integer"),
            ("next", "integer"),
            ("in_flight", "integer"),
            ("burying", "integer"),
            ("lag", "integer"),
            ("delivered", "integer"),
            ("redelivered", "integer"),
            ("settled", "integer"),
            ("dropped", "integer"),
            ("expired", "integer"),
            ("dead", "integer"),
            ("missed", "integer"),
            ("max_retries", "integer"),
            ("retry_backoff_ms", "integer"),
            ("dead_letter", "string?"),
        ],
    ),
    ("SubscriptionList", &[("items", "[Subscription]"), ("next", "string?")]),
    (
        "Pattern",
        &[
            ("pattern", "string"),
            ("name", "string"),
            ("mode", "string"),
            ("members", "integer"),
            ("retry_delay_ms", "integer"),
            ("max_retries", "integer?"),
            ("dead_letter", "string?"),
            ("created_at_ms", "integer"),
        ],
    ),
    ("PatternList", &[("items", "[Pattern]"), ("next", "string?")]),
    (
        "Connection",
        &[
            ("id", "string"),
            ("shard", "integer"),
            ("peer", "string"),
            ("key", "string?"),
            ("version", "integer"),
            ("state", "string"),
            ("opened_ms_ago", "integer"),
            ("heard_ms_ago", "integer"),
            ("waits_for", "string?"),
            ("aliases", "integer"),
            ("subscriptions", "integer"),
            ("unread_bytes", "integer"),
            ("unsent_bytes", "integer"),
            ("moves", "integer"),
        ],
    ),
    ("ConnectionList", &[("items", "[Connection]"), ("next", "string?")]),
    (
        "Replayed",
        &[
            ("replayed", "integer"),
            ("refused", "integer"),
            ("skipped", "integer"),
            ("next", "integer"),
            ("*purged", "integer"),
        ],
    ),
    ("Backup", &[("data_dir", "string"), ("logs", "[BackupLog]")]),
    (
        "BackupLog",
        &[
            ("log", "integer"),
            ("end", "integer"),
            ("segment_size", "integer"),
            ("segments", "[integer]"),
            ("checkpoint", "string"),
        ],
    ),
    ("LogFilter", &[("filter", "string")]),
    ("Reloaded", &[("changed", "[string]")]),
    ("Dumped", &[("files", "[string]")]),
    ("DebugList", &[("items", "[object]")]),
    (
        "Latency",
        &[
            ("publish_ack", "Percentiles"),
            ("publish_deliver", "Percentiles"),
            ("wal_write", "Percentiles"),
            ("wal_sync", "Percentiles"),
            ("loop_stall", "Percentiles"),
        ],
    ),
    (
        "Percentiles",
        &[
            ("count", "integer"),
            ("mean_us", "number"),
            ("p50_us", "integer"),
            ("p90_us", "integer"),
            ("p99_us", "integer"),
            ("p99_9_us", "integer"),
            ("p99_99_us", "integer"),
            ("max_us", "integer"),
        ],
    ),
];

/// By name, for OpenAPI's components.
pub fn schemas() -> Map<String, Value> {
    let mut schemas: Map<String, Value> =
        OBJECTS.iter().map(|(name, fields)| ((*name).to_owned(), object(fields))).collect();
    schemas.insert("OpenApi".into(), json!({ "type": "object" }));
    schemas
}

fn object(fields: Fields) -> Value {
    let properties: Map<String, Value> =
        fields.iter().map(|(name, of)| (name.trim_start_matches('*').to_owned(), form(of))).collect();
    let required: Vec<&str> = fields.iter().map(|(name, _)| *name).filter(|name| !name.starts_with('*')).collect();
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

fn form(text: &str) -> Value {
    if let Some(of) = text.strip_suffix('?') {
        let mut schema = form(of);
        schema["nullable"] = true.into();
        return schema;
    }
    if let Some(of) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        return json!({ "type": "array", "items": form(of) });
    }
    match text.starts_with(char::is_uppercase) {
        true => json!({ "$ref": format!("#/components/schemas/{text}") }),
        false => json!({ "type": text }),
    }
}
