//! Every metric that is promised is there, and moves with what it counts.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

use blipmq::admin::registry::ORIGINAL;
use blipmq::client::{PublishOptions, SubscribeOptions};
use blipmq::model::Qos;

use crate::support::load::{QOS_1, durable};
use crate::support::{Broker, PATIENCE, topic_on};

/// Between two scrapes.
const PAUSE: Duration = Duration::from_millis(100);

type Series = BTreeMap<String, f64>;

/// Series that go up, as those of the original do, or are more than nothing, under this load.
const MOVING: &[&str] = &[
    // Messages.
    "blipmq_messages_published_total",
    "blipmq_messages_published_qos1_total",
    "blipmq_messages_delivered_total",
    "blipmq_messages_settled_total",
    "blipmq_messages_redelivered_total",
    "blipmq_messages_expired_total",
    "blipmq_messages_dead_lettered_total",
    "blipmq_messages_lag",
    "blipmq_subscriptions",
    "blipmq_refused_total{reason=\"no_subscribers\"}",
    "blipmq_refused_total{reason=\"wrong_key\"}",
    // Latencies.
    "blipmq_publish_ack_seconds_count",
    "blipmq_publish_ack_seconds_sum",
    "blipmq_publish_deliver_seconds_count",
    "blipmq_wal_write_seconds_count",
    "blipmq_wal_sync_seconds_count",
    "blipmq_loop_stall_seconds_count",
    // Connections.
    "blipmq_connections{state=\"open\"}",
    "blipmq_connections_max",
    "blipmq_connections_opened_total",
    "blipmq_connections_closed_total",
    "blipmq_connections_moved_total",
    "blipmq_handshake_failures_total{reason=\"wrong_key\"}",
    "blipmq_handshake_failures_total{reason=\"version\"}",
    "blipmq_network_received_bytes_total",
    "blipmq_network_sent_bytes_total",
    "blipmq_network_reads_total",
    // The log.
    "blipmq_wal_records_total",
    "blipmq_wal_groups_total",
    "blipmq_wal_group_bytes_total",
    "blipmq_wal_syncs_total",
    "blipmq_wal_checkpoints_total",
    "blipmq_wal_segments",
    "blipmq_wal_disk_bytes",
    "blipmq_wal_index_bytes",
    "blipmq_wal_live_bytes",
    "blipmq_disk_free_bytes",
    "blipmq_disk_size_bytes",
    // Shards.
    "blipmq_shard_up{shard=\"0\"}",
    "blipmq_shard_up{shard=\"1\"}",
    "blipmq_shard_busy_seconds_total{shard=\"0\"}",
    "blipmq_mesh_letters_total",
    "blipmq_memory_bytes{class=\"tail\"}",
    "blipmq_memory_max_bytes",
    // The process.
    "blipmq_http_requests_total{result=\"answered\"}",
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "process_open_fds",
    "process_max_fds",
    "process_start_time_seconds",
    // By topic.
    "blipmq_topic_messages_published_total{topic=\"kept\"}",
    "blipmq_topic_messages{topic=\"kept\"}",
    "blipmq_topic_subscriptions{topic=\"kept\"}",
];

/// Series that are there, and nothing while nothing is wrong.
const QUIET: &[&str] = &[
    "blipmq_messages_dropped_total{reason=\"slow_subscriber\"}",
    "blipmq_messages_dropped_total{reason=\"overflow\"}",
    "blipmq_messages_dropped_total{reason=\"no_dead_letter_topic\"}",
    "blipmq_messages_dropped_total{reason=\"retention\"}",
    "blipmq_messages_duplicate_total",
    "blipmq_refused_total{reason=\"disk_full\"}",
    "blipmq_handshake_failures_total{reason=\"handshake_timeout\"}",
    "blipmq_connections_accept_errors_total",
    "blipmq_wal_corruptions_total",
    "blipmq_wal_cut_entries_total",
    "blipmq_wal_full",
    "blipmq_wal_stopped",
    "blipmq_draining",
];

/// Series that are there, and nothing unless the machine is busy with something else.
const THERE: &[&str] = &["blipmq_shard_stalls_total{shard=\"0\"}", "blipmq_mesh_parked"];

fn scrape(broker: &Broker) -> Series {
    broker.scrape().into_iter().collect()
}

/// A little of everything.
fn load(broker: &Broker) -> Vec<Box<dyn std::any::Any>> {
    let client = broker.client();
    let mut kept = client.subscribe(&durable("kept").retries(600_000, 3)).unwrap();
    for nth in 0..50u64 {
        client.publish("kept", &nth.to_be_bytes(), &QOS_1).unwrap();
    }
    for _ in 0..20 {
        let message = kept.next_message(Some(PATIENCE)).unwrap().unwrap();
        kept.ack(&message).unwrap();
    }
    // Redelivered, then dead.
    let mut work = client.subscribe(&durable("work").retries(20, 1).dead_letter("dead")).unwrap();
    client.publish("work", b"never acknowledged", &QOS_1).unwrap();
    for _ in 0..2 {
        work.next_message(Some(PATIENCE)).unwrap().expect("once, and once more");
    }
    // Expired before anybody comes.
    client.subscribe(&durable("brief").retries(600_000, 3)).unwrap().unsubscribe(false).unwrap();
    client.publish("brief", b"", &PublishOptions { ttl_ms: 1, ..QOS_1 }).unwrap();
    sleep(Duration::from_millis(50));
    let mut brief = client.subscribe(&durable("brief").retries(600_000, 3)).unwrap();
    client.publish("brief", b"later", &QOS_1).unwrap();
    assert_eq!(&brief.next_message(Some(PATIENCE)).unwrap().unwrap().value[..], b"later");
    // Refused.
    let nobody = PublishOptions { must_route: true, qos: Qos::AtMostOnce, ..QOS_1 };
    client.publish("nobody", b"", &nobody).unwrap_err();
    let wrong = broker.options().api_key("wrong");
    blipmq::client::blocking::Client::connect(&wrong).unwrap_err();
    let mut ancient = broker.wire();
    ancient.say(|out| blipmq::protocol::native::command::hello(out, 1, 77));
    ancient.nack();
    // To the other core: by moving there, and by letters.
    let there = topic_on(1, 2, "there");
    let mut moved: Vec<Box<dyn std::any::Any>> = Vec::new();
    for _ in 0..8 {
        let client = broker.client();
        client.publish(&there, b"", &QOS_1).unwrap();
        moved.push(Box::new(client));
    }
    let mut both = client.subscribe(&SubscribeOptions::new(">")).unwrap();
    client.publish(&there, b"letter", &QOS_1).unwrap();
    let _ = both.next_message(Some(Duration::from_millis(100)));
    moved.extend([Box::new((kept, work, brief, both)) as Box<dyn std::any::Any>, Box::new(client)]);
    moved
}

#[test]
fn every_promised_metric_is_there_and_moves_with_the_load() {
    let keys = "cores = 2\nfsync_policy = \"always\"\nmetrics_per_topic = 100";
    let broker = Broker::new(keys);
    let before = scrape(&broker);
    let held = load(&broker);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let now = scrape(&broker);
        let moved = |name: &&&str| now.get(**name).is_some_and(|value| *value > 0.0);
        let left: Vec<&&str> = ORIGINAL.iter().chain(MOVING).filter(|name| !moved(name)).collect();
        if left.is_empty() {
            break;
        }
        assert!(Instant::now() < deadline, "still nothing: {left:?}");
        sleep(PAUSE);
    }
    let after = scrape(&broker);
    for name in QUIET {
        assert_eq!(after.get(*name), Some(&0.0), "{name}");
    }
    for name in THERE {
        assert!(after.contains_key(*name), "{name}");
    }
    for (name, was) in before.iter().filter(|(name, _)| name.contains("_total") || name.contains("_count")) {
        assert!(after[name] >= *was, "a counter never falls: {name}");
    }
    drop(held);
}
