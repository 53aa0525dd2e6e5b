//! The broker's own latencies, as files.

use std::fs;
use std::path::Path;

use blipmq::client::{PublishOptions, SubscribeOptions};
use blipmq::shard::latency;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::{Broker, PATIENCE, Workspace, eventually};

/// A topic of its own each time, through the log and out again.
fn traffic(broker: &Broker, topic: &str, messages: usize) {
    let client = broker.client();
    let mut subscription = client.subscribe(&SubscribeOptions::new(topic).at_least_once()).unwrap();
    for _ in 0..messages {
        client.publish(topic, b"hi", &PublishOptions::at_least_once()).unwrap();
    }
    for _ in 0..messages {
        let message = subscription.next_message(Some(PATIENCE)).unwrap().unwrap();
        subscription.ack(&message).unwrap();
    }
}

/// The interval logs of a folder, by name: by time.
fn logs(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    names.retain(|name| name.ends_with(".hlog"));
    names.sort();
    names
}

/// How many samples of each path an interval log has.
fn samples(file: &Path) -> Vec<(String, u64)> {
    let bytes = fs::read(file).unwrap();
    let interval = |entry| match entry {
        Ok(LogEntry::Interval(interval)) => Some(interval),
        _ => None,
    };
    let decode = |text: &str| base64::Engine::decode(&base64::engine::general_purpose::STANDARD, text).unwrap();
    let count = |text: &str| {
        let histogram: Histogram<u64> = Deserializer::new().deserialize(&mut decode(text).as_slice()).unwrap();
        histogram.len()
    };
    let intervals = IntervalLogIterator::new(&bytes).filter_map(interval);
    intervals.map(|line| (line.tag().unwrap().as_str().to_owned(), count(line.encoded_histogram()))).collect()
}

fn of(samples: &[(String, u64)], path: &str) -> u64 {
    samples.iter().find(|(name, _)| name == path).expect("every path has its line").1
}

#[test]
fn latencies_are_written_at_a_signal_on_order_and_at_the_end() {
    let workspace = Workspace::new();
    let broker = workspace.start("fsync_policy = \"always\"\ncores = 2");
    let folder = workspace.data().join("hdr");
    traffic(&broker, "one", 20);
    broker.signal(Signal::SIGUSR1);
    eventually("the dump is there", || (logs(&folder).len() == 1).then_some(()));
    eventually("it is whole", || broker.log().contains("latencies are in").then_some(()));
    let first = samples(&folder.join(&logs(&folder)[0]));
    assert_eq!(first.len(), latency::Path::ALL.len());
    assert_eq!((of(&first, "publish_ack"), of(&first, "publish_deliver")), (20, 20));
    assert!(of(&first, "wal_write") > 0 && of(&first, "wal_sync") > 0 && of(&first, "loop_stall") > 0, "{first:?}");

    traffic(&broker, "two", 5);
    let answer = broker.post("/debug/dump", &Value::Null);
    let files: Vec<&str> = answer["files"].as_array().unwrap().iter().map(|file| file.as_str().unwrap()).collect();
    assert_eq!(files.len(), latency::Path::ALL.len() + 1);
    let log = files.iter().find(|file| file.ends_with(".hlog")).unwrap();
    assert_eq!(of(&samples(Path::new(log)), "publish_ack"), 5, "since the dump before");
    let percentiles = files.iter().find(|file| file.ends_with("-publish_ack.hgrm")).unwrap();
    assert!(fs::read_to_string(percentiles).unwrap().contains("Total count    =           25]"), "since the start");

    assert_eq!(broker.get("/debug/latency")["publish_deliver"]["count"], 25);
    broker.until_metric("blipmq_loop_stall_seconds_count", |count| count > 0.0);
    broker.stop();
    assert_eq!(logs(&folder).len(), 3, "the end of a drain writes one more");
}

#[test]
fn a_folder_that_takes_no_files_is_told_and_stops_nothing() {
    let workspace = Workspace::new();
    fs::write(workspace.path().join("taken"), "a file").unwrap();
    let broker = workspace.start(&format!("hdr_dir = {:?}", workspace.path().join("taken")));
    let answer = broker.call("POST", "/debug/dump", &Value::Null);
    assert_eq!(answer.status, 409, "{answer:?}");
    broker.signal(Signal::SIGUSR1);
    broker.client().ping().unwrap();
    broker.stop();
}
