//! Orders of operators over HTTP, to a broker that works.

use std::time::Duration;

use blipmq::client::{PublishOptions, SubscribeOptions};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::load::{QOS_1, durable, number};
use crate::support::{Broker, PATIENCE, Workspace, eventually};

fn publish(broker: &Broker, topic: &str, count: u64) {
    let client = broker.client();
    for nth in 0..count {
        client.publish(topic, &nth.to_be_bytes(), &QOS_1).unwrap();
    }
}

fn names<'a>(list: &'a Value, field: &str) -> Vec<&'a str> {
    list["items"].as_array().unwrap().iter().map(|row| row[field].as_str().unwrap()).collect()
}

/// Number of a status for an order that is not done.
fn refused(broker: &Broker, method: &str, path: &str, body: Value) -> u16 {
    broker.call(method, path, &body).status
}

#[test]
fn topics_are_made_described_changed_purged_and_deleted_and_that_survives_a_kill() {
    let workspace = Workspace::new();
    let broker = workspace.start("cores = 2");
    assert_eq!(broker.call("PUT", "/api/v1/topics/orders.eu", &json!({ "ttl_ms": 3_600_000 })).status, 201);
    assert_eq!(broker.call("PUT", "/api/v1/topics/orders.eu", &json!({ "ttl_ms": 7_200_000 })).status, 200);
    assert_eq!(broker.call("PUT", "/api/v1/topics/other", &Value::Null).status, 201);
    assert_eq!(names(&broker.get("/api/v1/topics"), "topic"), ["orders.eu", "other"]);
    assert_eq!(names(&broker.get("/api/v1/topics?pattern=orders.*"), "topic"), ["orders.eu"]);
    broker.client().subscribe(&durable("orders.eu")).unwrap().unsubscribe(false).unwrap();
    publish(&broker, "orders.eu", 10);
    let purged = broker.post("/api/v1/topics/orders.eu/purge", &json!({ "before": 4 }));
    assert_eq!(purged, json!({ "purged": 4, "start": 4 }));
    let shown = broker.get("/api/v1/topics/orders.eu/messages?from=4&limit=2");
    assert_eq!(shown["messages"].as_array().unwrap().len(), 2);
    assert_eq!((shown["messages"][0]["offset"].as_u64(), shown["next"].as_u64()), (Some(4), Some(6)));
    assert_eq!(refused(&broker, "DELETE", "/api/v1/topics/orders.eu", Value::Null), 409, "it has a subscription");
    assert_eq!(broker.call("DELETE", "/api/v1/topics/other", &Value::Null).status, 200);
    broker.kill();

    let broker = workspace.start("cores = 2");
    assert_eq!(names(&broker.get("/api/v1/topics"), "topic"), ["orders.eu"]);
    broker.until_committed("orders.eu");
    let topic = broker.get("/api/v1/topics/orders.eu");
    assert_eq!((topic["ttl_ms"].as_u64(), topic["messages"].as_u64()), (Some(7_200_000), Some(6)));
    assert_eq!(broker.call("DELETE", "/api/v1/topics/orders.eu?force", &Value::Null).status, 200);
    assert_eq!(refused(&broker, "GET", "/api/v1/topics/orders.eu", Value::Null), 404);
}

#[test]
fn subscriptions_are_listed_with_their_lag_moved_and_deleted() {
    let broker = Broker::new("cores = 2");
    let client = broker.client();
    let mut subscription = client.subscribe(&durable("lag")).unwrap();
    publish(&broker, "lag", 10);
    for _ in 0..6 {
        let message = subscription.next_message(Some(PATIENCE)).unwrap().unwrap();
        subscription.ack(&message).unwrap();
    }
    let path = "/api/v1/topics/lag/subscriptions/d";
    eventually("four are left", || (broker.get(path)["lag"] == 4).then_some(()));
    assert_eq!(names(&broker.get("/api/v1/subscriptions"), "name"), ["d"]);
    assert_eq!(names(&broker.get("/api/v1/topics/lag/subscriptions"), "name"), ["d"]);
    assert_eq!(refused(&broker, "DELETE", path, Value::Null), 409, "somebody holds it");
    subscription.unsubscribe(false).unwrap();
    // What everybody has settled goes once the log knows that it is: earliest is anything up to there.
    let reset = |to| broker.post(&format!("{path}/reset"), &to)["lag"].as_u64().expect("a number");
    let earliest = reset(json!({ "to": "earliest" }));
    assert!((4..=10).contains(&earliest), "{earliest}");
    assert_eq!(reset(json!({ "offset": 8 })), 2);
    let mut subscription = client.subscribe(&durable("lag")).unwrap();
    assert_eq!(number(&subscription.next_message(Some(PATIENCE)).unwrap().unwrap().value), 8);
    subscription.unsubscribe(false).unwrap();
    assert_eq!(broker.post(&format!("{path}/reset"), &json!({ "to": "latest" }))["lag"], 0);
    assert_eq!(broker.call("DELETE", path, &Value::Null).status, 200);
    assert_eq!(broker.get("/api/v1/subscriptions")["items"], json!([]));
}

#[test]
fn connections_are_listed_and_closed() {
    let broker = Broker::in_memory("cores = 2");
    let (mut one, _other) = (broker.open(2), broker.open(1));
    let connections = broker.get("/api/v1/connections");
    let rows = connections["items"].as_array().unwrap();
    let versions: Vec<&Value> = rows.iter().map(|row| &row["version"]).collect();
    assert_eq!((versions.contains(&&json!(1)), versions.contains(&&json!(2)), rows.len()), (true, true, 2));
    let id = rows.iter().find(|row| row["version"] == 2).unwrap()["id"].as_str().unwrap();
    assert_eq!(broker.call("DELETE", &format!("/api/v1/connections/{id}"), &Value::Null).status, 200);
    assert_eq!(one.frame().kind, 0x1C, "it is told to go");
    one.expect_end();
    eventually("it is gone", || {
        (broker.get("/debug/connections")["items"].as_array().unwrap().len() == 1).then_some(())
    });
    assert_eq!(refused(&broker, "DELETE", &format!("/api/v1/connections/{id}"), Value::Null), 404);
}

#[test]
fn dead_letters_are_counted_replayed_one_or_all_and_purged() {
    let broker = Broker::new("retry_backoff_ms = 10\ncores = 2");
    let client = broker.client();
    let options = durable("work").retries(10, 0).dead_letter("dead");
    let mut subscription = client.subscribe(&options).unwrap();
    publish(&broker, "work", 5);
    // Nobody acknowledges.
    eventually("five are buried", || {
        while let Ok(Some(_)) = subscription.next_message(Some(Duration::from_millis(10))) {}
        let topics = broker.get("/api/v1/dead-letters");
        (topics["items"][0]["messages"] == 5).then_some(())
    });
    assert_eq!(names(&broker.get("/api/v1/dead-letters"), "topic"), ["dead"]);
    assert_eq!(broker.get("/api/v1/dead-letters/dead?limit=2")["messages"].as_array().unwrap().len(), 2);
    subscription.unsubscribe(false).unwrap();
    let replay = "/api/v1/dead-letters/dead/replay";
    let one = broker.post(replay, &json!({ "first": 2, "end": 3 }));
    assert_eq!((one["replayed"].as_u64(), one["next"].as_u64()), (Some(1), Some(3)));
    assert_eq!(broker.get("/api/v1/topics/work")["next"], 6);
    let all = broker.post(replay, &json!({ "purge": true }));
    assert_eq!((all["replayed"].as_u64(), all["purged"].as_u64()), (Some(5), Some(5)));
    assert_eq!(broker.get("/api/v1/topics/work")["next"], 11);
    assert_eq!(broker.get("/api/v1/topics/dead")["messages"], 0);
    publish(&broker, "dead", 3);
    assert_eq!(broker.post("/api/v1/dead-letters/dead/purge", &Value::Null)["purged"], 3);
}

#[test]
fn what_is_logged_can_be_changed_while_it_runs() {
    let broker = Broker::in_memory("");
    assert_eq!(broker.get("/api/v1/log-filter")["filter"], "info");
    let lines = || broker.log().lines().count();
    let before = lines();
    assert_eq!(broker.call("PUT", "/api/v1/log-filter", &json!({ "filter": "debug" })).status, 200);
    broker.client().ping().unwrap();
    eventually("more is said", || (lines() > before + 1 && broker.log().contains(" DEBUG ")).then_some(()));
    assert_eq!(refused(&broker, "PUT", "/api/v1/log-filter", json!({ "filter": "blipmq=loud" })), 409);
    assert_eq!(broker.get("/api/v1/log-filter")["filter"], "debug");
}

#[test]
fn developers_see_every_shard_and_what_waits() {
    let broker = Broker::new("cores = 2");
    publish(&broker, "demo", 5);
    let shards = broker.get("/debug/shards");
    let rows = shards["items"].as_array().unwrap();
    assert_eq!(rows.len(), 2);
    let published: u64 = rows.iter().map(|row| row["messages_published_total"].as_u64().unwrap()).sum();
    assert_eq!(published, 5);
    assert_eq!(broker.get("/debug/pending")["items"].as_array().unwrap().len(), 2);
    assert_eq!(broker.get("/debug/latency")["publish_ack"]["count"], 5);
    let text = broker.call("GET", "/debug/latency/publish_ack", &Value::Null).text;
    assert!(text.contains("Total count    =            5]"), "{text}");
    let health = broker.get("/health");
    assert_eq!((health["problems"].as_array().unwrap().len(), health["shards"].as_array().unwrap().len()), (0, 2));
    for path in ["/health/live", "/health/ready", "/health/startup", "/api/v1/openapi.json"] {
        broker.get(path);
    }
}

#[test]
fn an_ordered_drain_ends_as_a_signal_does() {
    let mut broker = Broker::new("shutdown_timeout_ms = 60000");
    let client = broker.client();
    let mut subscription = client.subscribe(&SubscribeOptions::new("held").at_least_once()).unwrap();
    client.publish("held", b"hi", &PublishOptions::at_least_once()).unwrap();
    let message = subscription.next_message(Some(PATIENCE)).unwrap().unwrap();
    let mut quiet = broker.open(2);
    assert_eq!(broker.call("POST", "/api/v1/drain", &Value::Null).status, 202);
    assert_eq!(quiet.frame().kind, 0x1C, "the drain has begun");
    eventually("it is said to who balances load", || {
        (broker.call("GET", "/health/ready", &Value::Null).status == 503).then_some(())
    });
    assert_eq!(refused(&broker, "PUT", "/api/v1/topics/new", Value::Null), 503);
    subscription.ack(&message).unwrap();
    assert_eq!(broker.ended().code, Some(0));
}

#[test]
fn orders_need_a_key_that_may_administer_as_soon_as_a_page_or_a_network_could_give_them() {
    let broker = Broker::in_memory("");
    let status = |head: &str| broker.http("GET", "/api/v1/topics", head, "").expect("the broker answers").status;
    assert_eq!(status(""), 200, "whoever is on this machine");
    assert_eq!(status("Origin: https://elsewhere.example\r\n"), 401, "a page");
    assert_eq!(status("Authorization: Bearer wrong\r\n"), 401);
    assert_eq!(status("Authorization: Bearer secret\r\n"), 200);
    broker.until_metric("blipmq_http_requests_total{result=\"denied\"}", |denied| denied == 2.0);
    broker.signal(Signal::SIGTERM);
}
