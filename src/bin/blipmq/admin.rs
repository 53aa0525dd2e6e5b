//! `blipmq admin`: what the admin API does.

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::failure::Failure;
use super::http::{Call, Listener, encoded};
use super::output::Output;
use super::table;

/// Administer a broker: topics, subscriptions, connections, dead letters, health, drain
#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    listener: Listener,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// List, make, change, delete and purge topics
    #[command(subcommand)]
    Topics(Topics),
    /// Look at the QoS 1 messages of a topic; takes none
    Messages(Messages),
    /// List, move and delete subscriptions
    #[command(subcommand)]
    Subscriptions(Subscriptions),
    /// List and close connections
    #[command(subcommand)]
    Connections(Connections),
    /// List, replay and purge dead letters
    #[command(subcommand)]
    DeadLetters(DeadLetters),
    /// Say how each shard and log is; exit code 1 if something is wrong
    Health,
    /// Show or change what is logged, as RUST_LOG spells it
    LogFilter { filter: Option<String> },
    /// Read the configuration again
    Reload,
    /// End the broker in order
    Drain,
    /// Every counter, what waits, histograms
    #[command(subcommand)]
    Debug(Debug),
}

#[derive(Subcommand)]
enum Topics {
    /// List topics
    List {
        /// Only topics that match this pattern
        pattern: Option<String>,
    },
    /// Show one topic
    Show { topic: String },
    /// Make a topic, or change it
    Set {
        topic: String,
        /// Messages expire after so many milliseconds; 0: never; not said: as configured
        #[arg(long)]
        ttl_ms: Option<u64>,
    },
    /// Delete a topic and all it holds
    Delete {
        topic: String,
        /// Also if it has subscriptions
        #[arg(long)]
        force: bool,
    },
    /// Delete messages, oldest first
    Purge(Purge),
}

#[derive(Args)]
struct Purge {
    topic: String,
    /// Those before this offset; all, if not said
    #[arg(long, value_name = "OFFSET")]
    before: Option<u64>,
}

#[derive(Args)]
struct Messages {
    topic: String,
    /// The first offset to look at
    #[arg(long, value_name = "OFFSET", default_value_t = 0)]
    from: u64,
    /// How many at most
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u32,
}

#[derive(Subcommand)]
enum Subscriptions {
    /// List subscriptions, of one topic or of all
    List { topic: Option<String> },
    /// List durable subscriptions to patterns
    Patterns,
    /// Show one subscription
    Show { topic: String, name: String },
    /// Move a subscription
    Reset {
        topic: String,
        name: String,
        /// earliest, latest, an offset, or @ and Unix milliseconds
        #[arg(long, value_name = "WHERE")]
        to: String,
    },
    /// Delete a subscription and its cursor
    ///
    /// With a pattern for a topic: the durable subscription to it, with its cursors in all topics. With a topic, the
    /// durable subscriptions of that name to patterns that it matches get no cursors in new topics any more.
    Delete {
        topic: String,
        name: String,
        /// Also if somebody holds it
        #[arg(long)]
        force: bool,
    },
}

#[derive(Subcommand)]
enum Connections {
    /// List connections
    List,
    /// Close a connection
    Close { id: String },
}

#[derive(Subcommand)]
enum DeadLetters {
    /// List topics that hold dead letters, with their counts
    List,
    /// Look at dead letters
    Show(Messages),
    /// Publish dead letters again to where they came from
    Replay {
        topic: String,
        /// The first offset; the oldest, if not said
        #[arg(long, value_name = "OFFSET")]
        first: Option<u64>,
        /// The offset to stop before
        #[arg(long, value_name = "OFFSET")]
        end: Option<u64>,
        /// Delete what was replayed
        #[arg(long, conflicts_with = "first")]
        purge: bool,
    },
    /// Delete dead letters, oldest first
    Purge(Purge),
}

#[derive(Subcommand)]
enum Debug {
    /// Every counter of every shard
    Shards,
    /// What waits, and for what
    Pending,
    /// Percentiles of every path; of one path as text for HdrHistogram's plotter
    Latency { path: Option<String> },
    /// Let the broker write the histograms of all paths to files
    Dump,
}

/// What is done with an answer.
enum Show {
    /// One object.
    Object,
    /// Objects under this name, page by page.
    List(&'static str),
    /// As it is.
    Text,
    /// One step after another, until `next` stays.
    Steps,
}

pub fn run(arguments: &Arguments, output: &mut Output) -> Result<(), Failure> {
    let listener = &arguments.listener;
    if let What::Health = arguments.what {
        return health(listener, output);
    }
    let (call, show) = call(&arguments.what)?;
    match show {
        Show::Object => object(&json(&listener.ask(&call)?)?, output),
        Show::List(name) => list(listener, &call, name, output),
        Show::Text => output.raw(listener.ask(&call)?.as_bytes()),
        Show::Steps => replay(listener, &call, output),
    }
}

fn call(what: &What) -> Result<(Call, Show), Failure> {
    Ok(match what {
        What::Topics(what) => topics(what),
        What::Messages(messages) => looked_at("topics", messages, "/messages"),
        What::Subscriptions(what) => subscriptions(what)?,
        What::Connections(Connections::List) => (Call::get("/api/v1/connections?"), Show::List("items")),
        What::Connections(Connections::Close { id }) => delete(format!("/api/v1/connections/{}", encoded(id)), false),
        What::DeadLetters(what) => dead_letters(what),
        What::Health => (Call::get("/health"), Show::Object),
        What::LogFilter { filter: None } => (Call::get("/api/v1/log-filter"), Show::Object),
        What::LogFilter { filter } => {
            (Call::with("PUT", "/api/v1/log-filter", &json!({ "filter": filter })), Show::Object)
        }
        What::Reload => (Call::with("POST", "/api/v1/reload", &json!({})), Show::Object),
        What::Drain => (Call::with("POST", "/api/v1/drain", &json!({})), Show::Object),
        What::Debug(Debug::Shards) => (Call::get("/debug/shards"), Show::List("items")),
        What::Debug(Debug::Pending) => (Call::get("/debug/pending"), Show::List("items")),
        What::Debug(Debug::Dump) => (Call::with("POST", "/debug/dump", &json!({})), Show::Object),
        What::Debug(Debug::Latency { path: None }) => (Call::get("/debug/latency"), Show::Object),
        What::Debug(Debug::Latency { path: Some(path) }) => {
            (Call::get(format!("/debug/latency/{}", encoded(path))), Show::Text)
        }
    })
}

fn topics(what: &Topics) -> (Call, Show) {
    let one = |topic: &str| format!("/api/v1/topics/{}", encoded(topic));
    match what {
        Topics::List { pattern: None } => (Call::get("/api/v1/topics?"), Show::List("items")),
        Topics::List { pattern: Some(pattern) } => {
            (Call::get(format!("/api/v1/topics?pattern={}", encoded(pattern))), Show::List("items"))
        }
        Topics::Show { topic } => (Call::get(one(topic)), Show::Object),
        Topics::Set { topic, ttl_ms } => (Call::with("PUT", one(topic), &json!({ "ttl_ms": ttl_ms })), Show::Object),
        Topics::Delete { topic, force } => delete(one(topic), *force),
        Topics::Purge(purge) => purged("topics", purge),
    }
}

fn subscriptions(what: &Subscriptions) -> Result<(Call, Show), Failure> {
    let one = |topic: &str, name: &str| format!("/api/v1/topics/{}/subscriptions/{}", encoded(topic), encoded(name));
    Ok(match what {
        Subscriptions::List { topic: None } => (Call::get("/api/v1/subscriptions?"), Show::List("items")),
        Subscriptions::List { topic: Some(topic) } => {
            (Call::get(format!("/api/v1/topics/{}/subscriptions?", encoded(topic))), Show::List("items"))
        }
        Subscriptions::Patterns => (Call::get("/api/v1/patterns?"), Show::List("items")),
        Subscriptions::Show { topic, name } => (Call::get(one(topic, name)), Show::Object),
        Subscriptions::Reset { topic, name, to } => {
            (Call::with("POST", one(topic, name) + "/reset", &place(to)?), Show::Object)
        }
        Subscriptions::Delete { topic, name, force } => delete(one(topic, name), *force),
    })
}

fn place(to: &str) -> Result<Value, Failure> {
    let number = |text: &str| text.parse::<u64>().map_err(|_| Failure::Usage(format!("--to {to}: not a place")));
    Ok(match (to, to.strip_prefix('@')) {
        ("earliest" | "latest", _) => json!({ "to": to }),
        (_, Some(ms)) => json!({ "time_ms": number(ms)? }),
        (offset, None) => json!({ "offset": number(offset)? }),
    })
}

fn dead_letters(what: &DeadLetters) -> (Call, Show) {
    match what {
        DeadLetters::List => (Call::get("/api/v1/dead-letters?"), Show::List("items")),
        DeadLetters::Show(messages) => looked_at("dead-letters", messages, ""),
        DeadLetters::Replay { topic, first, end, purge } => {
            let mut body = Map::from_iter([("purge".to_owned(), (*purge).into())]);
            body.extend(first.map(|first| ("first".to_owned(), first.into())));
            body.extend(end.map(|end| ("end".to_owned(), end.into())));
            let path = format!("/api/v1/dead-letters/{}/replay", encoded(topic));
            (Call::with("POST", path, &body.into()), Show::Steps)
        }
        DeadLetters::Purge(purge) => purged("dead-letters", purge),
    }
}

fn delete(path: String, force: bool) -> (Call, Show) {
    let path = if force { path + "?force" } else { path };
    (Call { method: "DELETE", path, body: String::new() }, Show::Object)
}

fn purged(kind: &str, purge: &Purge) -> (Call, Show) {
    let path = format!("/api/v1/{kind}/{}/purge", encoded(&purge.topic));
    (Call::with("POST", path, &json!({ "before": purge.before })), Show::Object)
}

fn looked_at(kind: &str, messages: &Messages, what: &str) -> (Call, Show) {
    let Messages { topic, from, limit } = messages;
    let path = format!("/api/v1/{kind}/{}{what}?from={from}&limit={limit}", encoded(topic));
    (Call::get(path), Show::List("messages"))
}

fn json(text: &str) -> Result<Value, Failure> {
    serde_json::from_str(text).map_err(|_| Failure::Local("the answer is not JSON".into()))
}

fn object(value: &Value, output: &mut Output) -> Result<(), Failure> {
    if output.is_json() {
        return output.object(value);
    }
    let fields: Vec<(&String, &Value)> = value.as_object().into_iter().flatten().collect();
    let width = fields.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    for (name, field) in fields {
        let text = table::cell(field);
        output.line(format!("{name:<width$}  {text}").as_bytes())?;
    }
    Ok(())
}

/// All pages of a list; a list without pages is one. Messages are as many as were asked for.
fn list(listener: &Listener, call: &Call, name: &str, output: &mut Output) -> Result<(), Failure> {
    let mut rows = Vec::new();
    let mut after = String::new();
    loop {
        let answer = json(&listener.ask(&Call { path: format!("{}{after}", call.path), ..call.clone() })?)?;
        rows.extend(answer[name].as_array().into_iter().flatten().cloned());
        match answer["next"].as_str() {
            Some(next) => after = format!("&after={}", encoded(next)),
            None => break,
        }
    }
    table::rows(&rows, output)
}

/// Step by step, until nothing is left or something was refused; each step from where the one before ended. With
/// `purge`, what is done is gone, and each step begins at the oldest.
fn replay(listener: &Listener, call: &Call, output: &mut Output) -> Result<(), Failure> {
    let mut body = json(&call.body)?;
    let mut sums = [("replayed", 0), ("refused", 0), ("skipped", 0), ("purged", 0)];
    let mut before = None;
    let next = loop {
        let answer = json(&listener.ask(&Call { body: body.to_string(), ..call.clone() })?)?;
        let count = |name: &str| answer[name].as_u64().unwrap_or(0);
        sums.iter_mut().for_each(|(name, sum)| *sum += count(name));
        let next = count("next");
        let moved = count("replayed") + count("refused") + count("skipped") > 0 && before != Some(next);
        let whole = count("refused") == 0 && (body["purge"] != true || count("skipped") == 0);
        if !moved || !whole {
            break next;
        }
        before = Some(next);
        if body["purge"] != true {
            body["first"] = next.into();
        }
    };
    let mut sum: Map<String, Value> = sums.into_iter().map(|(name, sum)| (name.to_owned(), sum.into())).collect();
    sum.insert("next".into(), next.into());
    object(&sum.into(), output)
}

/// A broker that is not well answers 503, and has the most to say then.
fn health(listener: &Listener, output: &mut Output) -> Result<(), Failure> {
    let reply = listener.exchange(&Call::get("/health"))?;
    let health = json(&reply.body)?;
    if output.is_json() {
        output.object(&health)?;
    } else {
        output.line(format!("status  {}", table::cell(&health["status"])).as_bytes())?;
        let logs = |shard: &Value| shard["logs"].as_array().cloned().unwrap_or_default();
        let shards = health["shards"].as_array().cloned().unwrap_or_default();
        let rows: Vec<Value> = shards.iter().flat_map(logs).collect();
        let shards: Vec<Value> = shards.into_iter().map(without_logs).collect();
        table::rows(&shards, output)?;
        table::rows(&rows, output)?;
    }
    let problems: Vec<&str> = health["problems"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if reply.status == 200 { Ok(()) } else { Err(Failure::Local(problems.join("; "))) }
}

fn without_logs(mut shard: Value) -> Value {
    if let Some(shard) = shard.as_object_mut() {
        shard.remove("logs");
    }
    shard
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn said(words: &str) -> Call {
        let line = Line::parse_from(std::iter::once("admin").chain(words.split(' ')));
        call(&line.arguments.what).unwrap_or_else(|failure| panic!("{words}: {failure}")).0
    }

    #[test]
    fn every_command_asks_for_something_that_the_broker_has() {
        let description = blipmq::admin::openapi::description();
        for words in [
            "topics list",
            "topics list a.>",
            "topics show a",
            "topics set a --ttl-ms 5",
            "topics delete a --force",
            "topics purge a --before 5",
            "messages a --from 5 --limit 7",
            "subscriptions list",
            "subscriptions list a",
            "subscriptions patterns",
            "subscriptions show a n",
            "subscriptions reset a n --to earliest",
            "subscriptions reset a n --to 5",
            "subscriptions reset a n --to @1700000000000",
            "subscriptions delete a n --force",
            "subscriptions delete a.> n",
            "connections list",
            "connections close 0:1.2",
            "dead-letters list",
            "dead-letters show a",
            "dead-letters replay a --first 1 --end 2",
            "dead-letters replay a --purge",
            "dead-letters purge a",
            "health",
            "log-filter",
            "log-filter debug",
            "reload",
            "drain",
            "debug shards",
            "debug pending",
            "debug latency",
            "debug latency publish_ack",
            "debug dump",
        ] {
            let call = said(words);
            let (path, query) = call.path.split_once('?').unwrap_or((&call.path, ""));
            let fits = |pattern: &str| {
                let (wanted, given): (Vec<_>, Vec<_>) = (pattern.split('/').collect(), path.split('/').collect());
                wanted.len() == given.len()
                    && wanted.iter().zip(&given).all(|(want, give)| want == give || want.starts_with('{'))
            };
            let paths = description["paths"].as_object().unwrap();
            let operations = paths.iter().filter(|(pattern, _)| fits(pattern)).map(|(_, operations)| operations);
            let operation = operations.map(|all| &all[call.method.to_lowercase()]).find(|found| found.is_object());
            let operation = operation.unwrap_or_else(|| panic!("{words}: no {} {path}", call.method));
            let parameters = operation["parameters"].as_array().unwrap();
            for pair in query.split('&').filter(|pair| !pair.is_empty()) {
                let name = pair.split('=').next().unwrap();
                assert!(parameters.iter().any(|parameter| parameter["name"] == name), "{words}: no {name}");
            }
            let fields = &operation["requestBody"]["content"]["application/json"]["schema"]["properties"];
            let body: Value = serde_json::from_str(&call.body).unwrap_or_default();
            for name in body.as_object().into_iter().flat_map(Map::keys) {
                assert!(fields[name].is_object(), "{words}: no {name}");
            }
        }
    }

    #[test]
    fn a_place_that_is_none_is_a_wrong_argument() {
        assert_eq!(place("@x").unwrap_err().exit_code(), 2);
        assert_eq!(place("soon").unwrap_err().exit_code(), 2);
        assert_eq!(place("@5").unwrap(), json!({ "time_ms": 5 }));
    }
}
