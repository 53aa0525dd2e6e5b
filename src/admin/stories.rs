//! Requests as text against real cores, and every answer held against its description.

use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};

use bytes::BytesMut;
use serde_json::{Value, json};

use super::endpoints::ENDPOINTS;
use super::figures::{Disk, Stage, Vitals};
use super::gather::{self, Answers, Memory, Surroundings};
use super::openapi;
use super::plan::{Ask, Order, Plan, Reply, To};
use super::request::{self, Method, Parsed};
use super::response::Response;
use super::route::{Access, Context, route};
use crate::auth::{Hashed, Key, KeyRing, Permissions, Secret};
use crate::config::TopicRules;
use crate::model::record_batch::BatchBuilder;
use crate::model::{
    Backoff, Chunk, ConnId, Instant, Limits, Offset, OverflowPolicy, Qos, ShardId, StartAt, SubscriptionMode, Timestamp,
};
use crate::protocol::native::command::{self, BatchFor};
use crate::protocol::native::request::{Settle, SubscribeWith};
use crate::shard::{Action, Answer, Arrival, Core, CoreOptions, Event, Patterns, Question};

const SHARDS: u16 = 2;
const KEY: &str = "an operator's key";

/// A broker without sockets, devices and threads.
struct World {
    cores: Vec<Core>,
    now: Instant,
    keys: KeyRing,
    memory: Memory,
    answers: Vec<(ShardId, Answer)>,
    /// What was sent to the client.
    sent: BytesMut,
    orders: Vec<Order>,
    on_loopback: bool,
}

fn keys() -> KeyRing {
    let key = |name: &str, secret: &str, permissions| {
        Key::named(name, Hashed::of(&Secret::new(secret.as_bytes()).unwrap(), [0; 16]), permissions)
    };
    let reader = Permissions::new(None, Some(vec![]), None);
    KeyRing::new([key("operator", KEY, Permissions::ALL), key("reader", "read only", reader)]).unwrap()
}

impl World {
    fn new() -> World {
        let now = Instant(1_700_000_000_000_000_000);
        let options = |shard| CoreOptions {
            shard: ShardId(shard),
            shards: SHARDS,
            logs: SHARDS,
            overflow: OverflowPolicy::Block,
            limits: Limits::default(),
            keys: keys(),
            max_retries: 0,
            retry: Backoff { base: std::time::Duration::from_millis(10), cap: std::time::Duration::from_secs(1) },
            topics: TopicRules::default(),
            seed: 1,
        };
        World {
            cores: (0..SHARDS).map(|shard| Core::new(options(shard), now, Vec::new(), &Patterns::new())).collect(),
            now,
            keys: keys(),
            memory: Memory::default(),
            answers: Vec::new(),
            sent: BytesMut::new(),
            orders: Vec::new(),
            on_loopback: true,
        }
    }

    fn tell(&mut self, shard: ShardId, event: Event) {
        let mut events = VecDeque::from([(shard, event)]);
        while let Some((shard, event)) = events.pop_front() {
            let core = &mut self.cores[shard.index()];
            core.handle(self.now, event);
            while let Some(action) = core.poll() {
                match action {
                    Action::Mesh { to, letters } => events.push_back((to, Event::Mesh { from: shard, letters })),
                    Action::Answer { answer, .. } => self.answers.push((shard, answer)),
                    Action::Send { conn, chunks } => {
                        chunks.iter().for_each(|chunk| self.sent.extend_from_slice(chunk.as_slice()));
                        let bytes = chunks.iter().map(Chunk::len).sum();
                        events.push_back((shard, Event::Sent { conn, bytes }));
                    }
                    Action::Move { to, carry, conn } => {
                        let conn = ConnId { shard: to, ..conn };
                        let arrival = Arrival::Moved(carry);
                        events.push_back((to, Event::Connected { conn, peer: PEER, arrival }));
                    }
                    Action::Close { .. } | Action::Pause { .. } | Action::Resume { .. } | Action::Drained => {}
                    other => panic!("without a log, no {other:?}"),
                }
            }
        }
    }

    fn pass(&mut self, ms: u64) {
        self.now = self.now.plus_ms(ms);
        (0..SHARDS).for_each(|shard| self.tell(ShardId(shard), Event::Timeout));
    }

    /// A version 2 connection to shard 0 that has said all this.
    fn client(&mut self, slot: u32, say: impl FnOnce(&mut BytesMut)) -> ConnId {
        let conn = ConnId { shard: ShardId(0), slot, generation: 1 };
        self.tell(
            conn.shard,
            Event::Connected {
                conn,
                peer: PEER,
                arrival: Arrival::Accepted(crate::shard::Crowd { all: 1, from_address: 1 }),
            },
        );
        let mut bytes = BytesMut::new();
        command::hello(&mut bytes, 1, 2);
        command::auth(&mut bytes, 2, KEY);
        // Two topics at once: it stays on its shard, and what is elsewhere is forwarded.
        command::alias(&mut bytes, 3, 0, b"orders");
        say(&mut bytes);
        self.tell(conn.shard, Event::Received { conn, bytes });
        conn
    }

    fn ask(&mut self, ask: &Ask) -> Vec<Reply> {
        let shards = match ask.to {
            To::All => (0..SHARDS).map(ShardId).collect(),
            To::One(shard) => vec![shard],
        };
        shards.into_iter().map(|shard| Reply { shard, answer: self.question(shard, ask.question.clone()) }).collect()
    }

    fn question(&mut self, shard: ShardId, question: Question) -> Option<Answer> {
        self.answers.clear();
        self.tell(shard, Event::Ask { token: 7, question });
        self.answers.pop().map(|(_, answer)| answer)
    }

    fn http(&mut self, text: &str) -> Response {
        let request = match request::parse(text.as_bytes()) {
            Parsed::Whole(request) => request,
            other => panic!("{text}: {other:?}"),
        };
        let context = Context {
            stage: Stage::Serving,
            shards: SHARDS,
            logs: SHARDS,
            keys: &self.keys,
            data_dir: "/var/lib/blipmq",
            on_loopback: self.on_loopback,
            metrics_per_topic: 10,
        };
        let mut plan = route(&request, &context);
        loop {
            plan = match plan {
                Plan::Respond(response) => return response,
                Plan::Ask(ask, then) => then(self.ask(&ask)),
                Plan::Measure(depth, then) => {
                    let answers: Answers = gather::questions(depth)
                        .into_iter()
                        .map(|question| self.ask(&Ask { to: To::All, question }))
                        .map(|replies| replies.into_iter().map(|reply| reply.answer).collect())
                        .collect();
                    let alive_at_ms = self.now.timestamp().0 as u64;
                    let vitals = Vitals { alive_at_ms, ..Vitals::default() };
                    let seen = Surroundings {
                        now_ms: alive_at_ms + 5,
                        stage: Stage::Serving,
                        vitals: vec![vitals; SHARDS.into()],
                        disk: Some(Disk { free_bytes: 1, size_bytes: 2 }),
                        ..Surroundings::default()
                    };
                    return then(&gather::gather(seen, depth, answers, &mut self.memory));
                }
                Plan::Order(order, then) => {
                    let done = match &order {
                        Order::Reload => json!(["max_retries"]),
                        Order::LogFilter(filter) => filter.clone().into(),
                        Order::ShowLogFilter => "info".into(),
                        Order::Drain => Value::Null,
                        Order::DumpLatency => json!(["/var/lib/blipmq/hdr/20260131T120000250Z.hlog"]),
                    };
                    self.orders.push(order);
                    return then(Ok(done));
                }
            };
        }
    }

    fn call(&mut self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let length = body.len();
        let response = self
            .http(&format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}"));
        let value = serde_json::from_str(&response.body).unwrap_or(Value::Null);
        described(method, path, &response, &value);
        (response.status, value)
    }

    fn get(&mut self, path: &str) -> (u16, Value) {
        self.call("GET", path, &Value::Null)
    }

    fn post(&mut self, path: &str, body: Value) -> (u16, Value) {
        self.call("POST", path, &body)
    }
}

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// The answer is what the description says of it.
fn described(method: &str, path: &str, response: &Response, value: &Value) {
    let description = openapi::description();
    let path = path.split('?').next().unwrap();
    let fits = |pattern: &str| {
        let (wanted, given): (Vec<_>, Vec<_>) = (pattern.split('/').collect(), path.split('/').collect());
        wanted.len() == given.len()
            && wanted.iter().zip(&given).all(|(want, give)| want.starts_with('{') || want == give)
    };
    let endpoint = ENDPOINTS.iter().find(|endpoint| fits(endpoint.path) && endpoint.method.name() == method);
    let schema = match endpoint {
        Some(endpoint) if [200, 201, 202].contains(&response.status) || path.starts_with("/health") => {
            endpoint.answer.1
        }
        _ => "Problem",
    };
    if !schema.is_empty() {
        let reference = json!({ "$ref": format!("#/components/schemas/{schema}") });
        check(&description, &reference, value, &format!("{method} {path} {}", response.body));
    }
}

/// As much of JSON Schema as we use.
fn check(description: &Value, schema: &Value, value: &Value, at: &str) {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.trim_start_matches("#/components/schemas/");
        let schema = &description["components"]["schemas"][name];
        assert!(schema.is_object(), "{at}: no schema {name}");
        return check(description, schema, value, at);
    }
    if value.is_null() && schema["nullable"] == true {
        return;
    }
    let fits = match schema["type"].as_str().unwrap() {
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("{other}"),
    };
    assert!(fits, "{at}: {value} is not {schema}");
    for item in value.as_array().into_iter().flatten() {
        check(description, &schema["items"], item, at);
    }
    for name in schema["required"].as_array().into_iter().flatten() {
        assert!(value.get(name.as_str().unwrap()).is_some(), "{at}: no {name}");
    }
    for (name, field) in value.as_object().into_iter().flatten() {
        match schema["properties"].get(name) {
            Some(schema) => check(description, schema, field, &format!("{at}: {name}")),
            None => assert!(schema["additionalProperties"] != false, "{at}: {name} is not described"),
        }
    }
}

fn publish(bytes: &mut BytesMut, values: &[&str]) {
    let mut builder = BatchBuilder::new();
    values.iter().for_each(|value| builder.push(Timestamp(1), value.as_bytes()));
    let said =
        BatchFor { alias: 0, partition: 0, qos: Qos::AtLeastOnce, acknowledge: true, must_route: false, ttl_ms: 0 };
    command::publish_batch(bytes, 10, &said, &builder.finish(Offset::ZERO, None));
}

fn subscribe(bytes: &mut BytesMut, name: &str, credit: u32) {
    let said = SubscribeWith {
        qos: Qos::AtLeastOnce,
        mode: SubscriptionMode::Shared,
        auto_acknowledge: false,
        start: StartAt::Earliest,
        credit_messages: credit,
        credit_bytes: 1 << 20,
        retry_delay_ms: 10,
        max_retries: Some(0),
        name,
        dead_letter: b"orders.dead",
        pattern: b"orders",
    };
    command::subscribe_with(bytes, 11, &said);
}

/// A topic with a durable subscription and three messages in flight.
fn busy() -> World {
    let mut world = World::new();
    world.client(0, |bytes| {
        subscribe(bytes, "billing", 100);
        publish(bytes, &["one", "two", "three"]);
    });
    world
}

#[test]
fn the_description_is_what_the_table_says() {
    let text = serde_json::to_string_pretty(&openapi::description()).unwrap() + "\n";
    super::generated::kept_true("src/admin/openapi.json", &text);
}

#[test]
fn every_endpoint_is_there_once_and_answers_as_described() {
    let mut seen = BTreeSet::new();
    for endpoint in ENDPOINTS {
        assert!(seen.insert((endpoint.path, endpoint.method.name())), "{} twice", endpoint.path);
        let mut world = busy();
        let path = endpoint.path.replace("{topic}", "orders").replace("{name}", "billing").replace("{id}", "0:0.1");
        let path = path.replace("{path}", "publish_ack");
        let body = match endpoint.path.rsplit('/').next().unwrap() {
            "reset" => json!({ "to": "earliest" }),
            "log-filter" if endpoint.method == Method::Put => json!({ "filter": "debug" }),
            _ => Value::Null,
        };
        if endpoint.path.starts_with("/api/v1/backups/") && endpoint.method != Method::Put {
            assert_eq!(world.call("PUT", "/api/v1/backups/0:0.1", &Value::Null).0, 200);
        }
        let forced = endpoint.query.iter().any(|field| field.name == "force");
        let path = if forced { format!("{path}?force") } else { path };
        let (status, _) = world.call(endpoint.method.name(), &path, &body);
        assert_eq!(status, endpoint.answer.0, "{} {path}", endpoint.method.name());
    }
}

#[test]
fn admin_asks_off_loopback_and_of_pages_for_a_key_that_may() {
    let mut world = World::new();
    let mut status = |on_loopback: bool, headers: &str| {
        world.on_loopback = on_loopback;
        world.http(&format!("GET /api/v1/topics HTTP/1.1\r\n{headers}\r\n")).status
    };
    assert_eq!(status(true, "Host: localhost\r\n"), 200);
    assert_eq!(status(true, "Host: localhost\r\nOrigin: https://a.example\r\n"), 401);
    assert_eq!(status(true, "Host: rebound.example\r\n"), 401);
    assert_eq!(status(false, "Host: localhost\r\n"), 401);
    assert_eq!(status(false, &format!("Authorization: Bearer {KEY}\r\n")), 200);
    assert_eq!(status(true, "Host: localhost\r\nAuthorization: Bearer wrong\r\n"), 401);
    assert_eq!(status(false, "X-Api-Key: read only\r\n"), 403);
    for endpoint in ENDPOINTS {
        let open = endpoint.path == "/metrics" || endpoint.path.starts_with("/health");
        assert_eq!(
            endpoint.access == Access::Open,
            open || endpoint.path.ends_with("openapi.json"),
            "{}",
            endpoint.path
        );
    }
}

#[test]
fn what_is_not_understood_is_refused_in_one_shape() {
    let mut world = busy();
    let none = Value::Null;
    for (status, method, path, body) in [
        (404, "GET", "/nothing", &none),
        (404, "GET", "/api/v1/topics/unknown", &none),
        (404, "GET", "/api/v1/topics/orders/subscriptions/unknown", &none),
        (404, "DELETE", "/api/v1/connections/0:9.9", &none),
        (404, "GET", "/debug/latency/unknown", &none),
        (405, "POST", "/metrics", &none),
        (400, "GET", "/api/v1/topics?limit=0", &none),
        (400, "GET", "/api/v1/topics?limit=1001", &none),
        (400, "GET", "/api/v1/topics?after=!", &none),
        (400, "GET", "/api/v1/topics?lmit=1", &none),
        (400, "GET", "/api/v1/topics?pattern=%3E.a", &none),
        (400, "GET", "/api/v1/topics/a.*", &none),
        (400, "PUT", "/api/v1/topics/a", &json!({ "ttl": 1 })),
        (400, "PUT", "/api/v1/topics/a", &json!({ "ttl_ms": "1s" })),
        (400, "PUT", "/api/v1/topics/a", &json!([])),
        (400, "POST", "/api/v1/topics/orders/subscriptions/billing/reset", &json!({})),
        (400, "POST", "/api/v1/topics/orders/subscriptions/billing/reset", &json!({ "to": "latest", "offset": 1 })),
        (400, "POST", "/api/v1/dead-letters/orders/replay", &json!({ "purge": true, "first": 1 })),
        (400, "POST", "/api/v1/dead-letters/orders/replay", &json!({ "limit": 0 })),
        (400, "DELETE", "/api/v1/connections/x", &none),
        (409, "DELETE", "/api/v1/topics/orders", &none),
        (409, "DELETE", "/api/v1/topics/orders/subscriptions/billing", &none),
    ] {
        assert_eq!(world.call(method, path, body).0, status, "{method} {path} {body}");
    }
}

#[test]
fn lists_come_in_pages_over_all_shards_without_gaps_and_repeats() {
    let mut world = World::new();
    let names: Vec<String> = (0..25).map(|n| format!("topic-{n:02}")).collect();
    for name in &names {
        assert_eq!(world.call("PUT", &format!("/api/v1/topics/{name}"), &json!({ "ttl_ms": 5 })).0, 201);
    }
    let (mut found, mut path) = (Vec::new(), "/api/v1/topics?limit=10".to_owned());
    loop {
        let (_, page) = world.get(&path);
        let items = page["items"].as_array().unwrap();
        found.extend(items.iter().map(|topic| topic["topic"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        assert_eq!(items.len(), 10);
        path = format!("/api/v1/topics?limit=10&after={next}");
    }
    assert_eq!(found, names);
    let (_, some) = world.get("/api/v1/topics?pattern=topic-07");
    assert_eq!((some["items"][0]["ttl_ms"].as_u64(), some["items"].as_array().unwrap().len()), (Some(5), 1));
}

#[test]
fn a_topic_is_made_changed_and_deleted_with_what_hangs_on_it() {
    let mut world = busy();
    let (status, topic) = world.call("PUT", "/api/v1/topics/orders", &json!({ "ttl_ms": 60_000 }));
    assert_eq!((status, topic["ttl_ms"].as_u64(), topic["ttl_set"].as_bool()), (200, Some(60_000), Some(true)));
    let (_, topic) = world.call("PUT", "/api/v1/topics/orders", &Value::Null);
    assert_eq!((topic["ttl_ms"].as_u64(), topic["ttl_set"].as_bool()), (Some(0), Some(false)));
    assert_eq!(world.call("DELETE", "/api/v1/topics/orders?force", &Value::Null).0, 200);
    assert_eq!(world.get("/api/v1/topics/orders").0, 404);
    assert_eq!(world.get("/api/v1/subscriptions").1["items"], json!([]));
    let figures = world.http("GET /metrics HTTP/1.1\r\n\r\n").body;
    for line in ["topics 0", "subscribers 0", "blipmq_memory_bytes{class=\"tail\"} 0", "messages_inflight 0"] {
        assert!(figures.lines().any(|other| other == line), "{line}");
    }
}

#[test]
fn messages_are_looked_at_from_anywhere_and_stay() {
    let mut world = busy();
    let (_, first) = world.get("/api/v1/topics/orders/messages?limit=2");
    let values: Vec<_> = first["messages"].as_array().unwrap().iter().map(|row| row["value"].clone()).collect();
    assert_eq!((values, first["next"].as_u64()), (vec![json!("one"), json!("two")], Some(2)));
    let (_, rest) = world.get("/api/v1/topics/orders/messages?from=2");
    assert_eq!((rest["messages"][0]["offset"].as_u64(), rest["next"].as_u64()), (Some(2), Some(3)));
    let (_, none) = world.get("/api/v1/topics/orders/messages?from=999");
    assert_eq!((none["messages"].clone(), none["next"].as_u64()), (json!([]), Some(3)));
    assert_eq!(world.get("/api/v1/topics/orders").1["messages"], 3);
}

#[test]
fn a_purge_takes_the_oldest_and_subscriptions_go_on_behind_it() {
    let mut world = busy();
    assert_eq!(world.post("/api/v1/topics/orders/purge", json!({ "before": 2 })).1, json!({ "purged": 2, "start": 2 }));
    assert_eq!(world.post("/api/v1/topics/orders/purge", Value::Null).1, json!({ "purged": 1, "start": 3 }));
    world.pass(2000);
    let (_, subscription) = world.get("/api/v1/topics/orders/subscriptions/billing");
    assert_eq!((subscription["lag"].as_u64(), subscription["in_flight"].as_u64()), (Some(0), Some(0)));
}

#[test]
fn a_subscription_that_is_moved_back_gets_everything_again() {
    let mut world = busy();
    let (_, before) = world.get("/api/v1/topics/orders/subscriptions/billing");
    assert_eq!((before["in_flight"].as_u64(), before["lag"].as_u64()), (Some(3), Some(3)));
    let (status, _) = world.post("/api/v1/topics/orders/subscriptions/billing/reset", json!({ "offset": 1 }));
    assert_eq!(status, 200);
    let (_, after) = world.get("/api/v1/topics/orders/subscriptions/billing");
    assert_eq!((after["settled_to"].as_u64(), after["in_flight"].as_u64()), (Some(1), Some(2)));
    assert_eq!(after["delivered"].as_u64(), Some(5));
    let (_, latest) = world.post("/api/v1/topics/orders/subscriptions/billing/reset", json!({ "to": "latest" }));
    assert_eq!((latest["lag"].as_u64(), latest["in_flight"].as_u64()), (Some(0), Some(0)));
}

#[test]
fn a_connection_is_listed_and_closed() {
    let mut world = busy();
    let (_, list) = world.get("/api/v1/connections");
    let conn = &list["items"][0];
    assert_eq!((conn["key"].as_str(), conn["subscriptions"].as_u64()), (Some("operator"), Some(1)));
    let id = conn["id"].as_str().unwrap().to_owned();
    assert_eq!(world.call("DELETE", &format!("/api/v1/connections/{id}"), &Value::Null).0, 200);
    assert_eq!(world.get("/api/v1/connections").1["items"][0]["state"], "closing");
}

#[test]
fn dead_letters_are_counted_replayed_to_where_they_came_from_and_purged() {
    let mut world = busy();
    world.client(1, |bytes| {
        command::alias(bytes, 5, 1, b"orders.dead");
        let said = SubscribeWith {
            qos: Qos::AtLeastOnce,
            mode: SubscriptionMode::Shared,
            auto_acknowledge: false,
            start: StartAt::Earliest,
            credit_messages: 0,
            credit_bytes: 0,
            retry_delay_ms: 0,
            max_retries: None,
            name: "keeps them",
            dead_letter: b"",
            pattern: b"orders.dead",
        };
        command::subscribe_with(bytes, 6, &said);
    });
    // The retry delay is over, and there are no retries.
    world.pass(1000);
    let (_, list) = world.get("/api/v1/dead-letters");
    assert_eq!(
        (list["items"][0]["topic"].as_str(), list["items"][0]["messages"].as_u64()),
        (Some("orders.dead"), Some(3))
    );
    let (_, letters) = world.get("/api/v1/dead-letters/orders.dead?limit=1");
    assert_eq!(letters["messages"][0]["value"], "one");
    let one = json!({ "first": 1, "end": 2 });
    let (_, replayed) = world.post("/api/v1/dead-letters/orders.dead/replay", one);
    assert_eq!(replayed, json!({ "replayed": 1, "refused": 0, "skipped": 0, "next": 2 }));
    let (_, rest) = world.post("/api/v1/dead-letters/orders.dead/replay", json!({ "purge": true }));
    assert_eq!((rest["replayed"].as_u64(), rest["purged"].as_u64()), (Some(3), Some(3)));
    let (_, back) = world.get("/api/v1/topics/orders");
    assert_eq!(back["next"], 7);
    assert_eq!(world.get("/api/v1/topics/orders.dead").1["messages"], 0);
}

#[test]
fn the_process_is_given_orders() {
    let mut world = World::new();
    assert_eq!(world.post("/api/v1/drain", Value::Null).0, 202);
    assert_eq!(world.post("/api/v1/reload", Value::Null).1, json!({ "changed": ["max_retries"] }));
    let filter = json!({ "filter": "blipmq=debug" });
    assert_eq!(world.call("PUT", "/api/v1/log-filter", &filter).1, filter);
    assert_eq!(world.orders, [Order::Drain, Order::Reload, Order::LogFilter("blipmq=debug".into())]);
}

#[test]
fn a_scrape_follows_the_traffic() {
    let mut world = busy();
    let scrape = |world: &mut World| world.http("GET /metrics HTTP/1.1\r\n\r\n").body;
    let text = scrape(&mut world);
    for line in [
        "messages_published_total 3",
        "blipmq_messages_delivered_total 3",
        "messages_inflight 3",
        "subscribers 1",
        "blipmq_messages_lag 3",
        "blipmq_connections{state=\"open\"} 1",
        "blipmq_topic_messages_published_total{topic=\"orders\"} 3",
    ] {
        assert!(text.lines().any(|other| other == line), "{line}\n{text}");
    }
    let (_, topic) = world.get("/api/v1/topics/orders");
    let source = (topic["shard"].as_u64().unwrap() as u32) << 20;
    let mut bytes = BytesMut::new();
    let how = crate::protocol::native::request::How::UpTo { last: Offset(2) };
    command::settle(&mut bytes, 20, &Settle { subscription: 1, source, how });
    let conn = ConnId { shard: ShardId(0), slot: 0, generation: 1 };
    world.tell(conn.shard, Event::Received { conn, bytes });
    let text = scrape(&mut world);
    assert!(text.lines().any(|line| line == "messages_inflight 0"), "{text}");
    assert!(text.lines().any(|line| line == "blipmq_messages_settled_total 3"));
}

#[test]
fn a_core_that_drains_takes_no_orders_any_more() {
    let mut world = busy();
    for shard in 0..SHARDS {
        world.question(ShardId(shard), Question::Drain { wait_ms: 10_000 });
    }
    assert_eq!(world.call("PUT", "/api/v1/topics/new", &Value::Null).0, 503);
    assert_eq!(world.get("/api/v1/topics/orders").0, 200);
}
