//! THE TABLE of what can be asked for over HTTP; the OpenAPI file is made from it.

use super::request::Method::{Delete, Get, Post, Put};
use super::route::{Access::Admin, Access::Open, Endpoint, Field, Form};
use super::{backup, connections, dead_letters, debug, operate, public, subscriptions, topics};

const AFTER: Field = field("after", Form::Text, "What the page before said in `next`.");
const LIMIT: Field = field("limit", Form::Number, "How many at most: 1 to 1000, 100 if not said.");
const FROM: Field = field("from", Form::Number, "The first offset to look at.");
const BEFORE: Field = field("before", Form::Number, "Messages before this offset go; all, if not said.");
const FORCE: Field = field("force", Form::Flag, "Also if somebody uses it.");

const fn field(name: &'static str, form: Form, meaning: &'static str) -> Field {
    Field { name, form, meaning }
}

const fn get(path: &'static str, summary: &'static str, schema: &'static str) -> Endpoint {
    Endpoint {
        method: Get,
        path,
        access: Admin,
        summary,
        query: &[],
        body: &[],
        answer: (200, schema),
        plan: public::nothing,
    }
}

/// Everything, in the order of the documentation.
pub const ENDPOINTS: &[Endpoint] = &[
    Endpoint { access: Open, plan: public::metrics, ..get("/metrics", "Metrics, as Prometheus reads them", "") },
    Endpoint { access: Open, plan: public::live, ..get("/health/live", "503 if only a restart helps", "Health") },
    Endpoint {
        access: Open,
        plan: public::ready,
        ..get("/health/ready", "503 while clients should go elsewhere", "Health")
    },
    Endpoint {
        access: Open,
        plan: public::startup,
        ..get("/health/startup", "503 until connections are accepted", "Health")
    },
    Endpoint {
        access: Open,
        plan: public::health,
        ..get("/health", "Every shard and log; 503 if anything is wrong", "HealthDetail")
    },
    Endpoint { access: Open, plan: public::openapi, ..get("/api/v1/openapi.json", "This description", "OpenApi") },
    Endpoint {
        query: &[AFTER, LIMIT, field("pattern", Form::Text, "Only topics that match.")],
        plan: topics::list,
        ..get("/api/v1/topics", "Topics, by name", "TopicList")
    },
    Endpoint { plan: topics::describe, ..get("/api/v1/topics/{topic}", "One topic", "Topic") },
    Endpoint {
        method: Put,
        body: &[field(
            "ttl_ms",
            Form::Number,
            "Messages expire after so many milliseconds; 0: never; null or not said: as configured.",
        )],
        plan: topics::put,
        ..get("/api/v1/topics/{topic}", "Make the topic (201), or change it", "Topic")
    },
    Endpoint {
        method: Delete,
        query: &[FORCE],
        answer: (200, "Done"),
        plan: topics::delete,
        ..get("/api/v1/topics/{topic}", "Delete the topic and all it holds; with force, its subscriptions too", "Done")
    },
    Endpoint {
        method: Post,
        body: &[BEFORE],
        plan: topics::purge,
        ..get("/api/v1/topics/{topic}/purge", "Delete messages, oldest first", "Purged")
    },
    Endpoint {
        query: &[FROM, LIMIT],
        plan: topics::messages,
        ..get("/api/v1/topics/{topic}/messages", "Look at QoS 1 messages; takes none", "Messages")
    },
    Endpoint {
        query: &[AFTER, LIMIT],
        plan: subscriptions::of_topic,
        ..get("/api/v1/topics/{topic}/subscriptions", "Subscriptions to one topic", "SubscriptionList")
    },
    Endpoint {
        plan: subscriptions::describe,
        ..get("/api/v1/topics/{topic}/subscriptions/{name}", "One named subscription, and its lag", "Subscription")
    },
    Endpoint {
        method: Post,
        body: &[
            field("to", Form::Text, "earliest or latest,"),
            field("offset", Form::Number, "or an offset,"),
            field("time_ms", Form::Number, "or Unix milliseconds."),
        ],
        plan: subscriptions::reset,
        ..get("/api/v1/topics/{topic}/subscriptions/{name}/reset", "Move the subscription", "Subscription")
    },
    Endpoint {
        method: Delete,
        query: &[FORCE],
        plan: subscriptions::delete,
        ..get(
            "/api/v1/topics/{topic}/subscriptions/{name}",
            "Delete the subscription and its cursor; for a pattern in the topic's place, that to the pattern with all its cursors",
            "Done",
        )
    },
    Endpoint {
        query: &[AFTER, LIMIT],
        plan: subscriptions::list,
        ..get("/api/v1/subscriptions", "All subscriptions, by topic and name", "SubscriptionList")
    },
    Endpoint {
        query: &[AFTER, LIMIT],
        plan: subscriptions::patterns,
        ..get("/api/v1/patterns", "Durable subscriptions to patterns, by name and pattern", "PatternList")
    },
    Endpoint {
        query: &[AFTER, LIMIT],
        plan: connections::list,
        ..get("/api/v1/connections", "Connections", "ConnectionList")
    },
    Endpoint {
        method: Delete,
        plan: connections::close,
        ..get("/api/v1/connections/{id}", "Close a connection", "Done")
    },
    Endpoint {
        query: &[AFTER, LIMIT],
        plan: dead_letters::list,
        ..get("/api/v1/dead-letters", "Topics that subscriptions name for dead letters, with their counts", "TopicList")
    },
    Endpoint {
        query: &[FROM, LIMIT],
        plan: topics::messages,
        ..get("/api/v1/dead-letters/{topic}", "Look at dead letters", "Messages")
    },
    Endpoint {
        method: Post,
        body: &[
            field("first", Form::Number, "The first offset; the oldest, if not said."),
            field("end", Form::Number, "The offset to stop before; with first + 1, one message."),
            field("limit", Form::Number, "How many at most: 1 to 1000, 100 if not said."),
            field("purge", Form::Flag, "Delete what was replayed. Only from the oldest on."),
        ],
        plan: dead_letters::replay,
        ..get("/api/v1/dead-letters/{topic}/replay", "Publish dead letters again to where they came from", "Replayed")
    },
    Endpoint {
        method: Post,
        body: &[BEFORE],
        plan: topics::purge,
        ..get("/api/v1/dead-letters/{topic}/purge", "Delete dead letters, oldest first", "Purged")
    },
    Endpoint {
        method: Put,
        plan: backup::begin,
        ..get("/api/v1/backups/{id}", "Cut all logs, and keep what is cut until it is copied", "Backup")
    },
    Endpoint {
        method: Post,
        plan: backup::renew,
        ..get("/api/v1/backups/{id}/renew", "Keep it for another minute", "Done")
    },
    Endpoint {
        method: Delete,
        plan: backup::end,
        ..get("/api/v1/backups/{id}", "The backup is made, or given up: what was cut may go", "Done")
    },
    Endpoint { plan: operate::log_filter, ..get("/api/v1/log-filter", "What is logged", "LogFilter") },
    Endpoint {
        method: Put,
        body: &[field("filter", Form::Text, "As RUST_LOG: a level, or modules with levels.")],
        plan: operate::set_log_filter,
        ..get("/api/v1/log-filter", "Change what is logged, until the process ends", "LogFilter")
    },
    Endpoint {
        method: Post,
        plan: operate::reload,
        ..get("/api/v1/reload", "Read the configuration again, as SIGHUP does", "Reloaded")
    },
    Endpoint {
        method: Post,
        answer: (202, "Done"),
        plan: operate::drain,
        ..get("/api/v1/drain", "End in order, as SIGTERM does", "Done")
    },
    Endpoint { plan: debug::shards, ..get("/debug/shards", "Every counter of every shard", "DebugList") },
    Endpoint {
        query: &[AFTER, LIMIT],
        plan: connections::list,
        ..get("/debug/connections", "As /api/v1/connections", "ConnectionList")
    },
    Endpoint { plan: debug::pending, ..get("/debug/pending", "What waits, and for what", "DebugList") },
    Endpoint {
        method: Post,
        plan: debug::dump_all,
        ..get("/debug/dump", "Write the histograms of all paths to files, as SIGUSR1 does", "Dumped")
    },
    Endpoint { plan: debug::latency, ..get("/debug/latency", "Percentiles of every path", "Latency") },
    Endpoint {
        query: &[field(
            "format",
            Form::Text,
            "hgrm, if not said: percentiles in milliseconds as text; or v2: HdrHistogram's own, in base64.",
        )],
        plan: debug::dump,
        ..get("/debug/latency/{path}", "One path's histogram", "")
    },
];
