//! 1. What is delivered, how often, and what happens when nobody takes it.

use std::time::Duration;

use blipmq::client::SubscribeOptions;

use super::line::{Checked, Line, No, need, skipped};
use super::site::{QOS_0, Site, connect, durable, metric, next, publish, start, until};

pub const LINES: &[Line] = &[
    Line {
        section: 1,
        says: "QoS 1 reaches every subscriber, and what is acknowledged is in flight no more and does not come again",
        repeat: "blipmq sub demo --name a & blipmq sub demo --name b & blipmq pub demo hello; blipmq subs",
        check: qos_1,
    },
    Line {
        section: 1,
        says: "QoS 0 is never retried",
        repeat: "blipmq sub demo --qos 0 & blipmq pub demo --qos 0 hello; curl -s localhost:9100/metrics | grep -E 'redelivered|inflight'",
        check: qos_0,
    },
    Line {
        section: 1,
        says: "A subscriber that reads nothing costs its own QoS 0 messages, counted; memory stays bounded and others are served",
        repeat: "blipmq bench qos0 --subscribers 2 --set max_qos0_backlog_bytes=65536",
        check: slow,
    },
    Line {
        section: 1,
        says: "An hour of mixed load: no panic, no growth",
        repeat: "blipmq torture soak --duration 1h; blipmq bench scaled --duration 1h, with the graphs of tuning/monitoring beside it",
        check: |_| skipped("takes an hour"),
    },
];

const MESSAGES: u64 = 200;

fn qos_1(site: &Site) -> Checked {
    let workspace = site.workspace()?;
    let daemon = start(&workspace, &[("retry_backoff_ms", "100"), ("fsync_policy", "always")])?;
    let client = connect(&daemon)?;
    let names = ["a", "b"];
    let subscribe = |name| client.subscribe(&SubscribeOptions::new("demo").at_least_once().durable(name));
    let mut subscriptions = names.into_iter().map(subscribe).collect::<Result<Vec<_>, _>>()?;
    publish(&client, "demo", MESSAGES)?;
    for subscription in &mut subscriptions {
        for _ in 0..MESSAGES {
            let message = next(subscription)?;
            subscription.ack(&message)?;
        }
    }
    until("nothing is in flight", || Ok(metric(&daemon, "messages_inflight")? == 0.0))?;
    let before = metric(&daemon, "messages_delivered_total")?;
    // Longer than the delay before a redelivery.
    std::thread::sleep(Duration::from_millis(400));
    let again = metric(&daemon, "messages_delivered_total")? - before;
    need(again == 0.0, || format!("{again} acknowledged messages came again"))?;
    Ok(format!("{MESSAGES} messages to 2 subscriptions each, all acknowledged, none again"))
}

fn qos_0(site: &Site) -> Checked {
    let workspace = site.workspace()?;
    let daemon = start(&workspace, &[("retry_backoff_ms", "50")])?;
    let client = connect(&daemon)?;
    let mut subscription = client.subscribe(&SubscribeOptions::new("demo"))?;
    for _ in 0..MESSAGES {
        client.publish("demo", b"hello", &QOS_0)?;
    }
    for _ in 0..MESSAGES {
        next(&mut subscription)?;
    }
    std::thread::sleep(Duration::from_millis(200));
    let again = metric(&daemon, "blipmq_messages_redelivered_total")?;
    let in_flight = metric(&daemon, "messages_inflight")?;
    need(again == 0.0 && in_flight == 0.0, || format!("{again} redelivered, {in_flight} in flight"))?;
    Ok(format!("{MESSAGES} delivered once, none in flight"))
}

fn slow(site: &Site) -> Checked {
    const VALUE: [u8; 16 * 1024] = [7; 16 * 1024];
    const SENT: usize = 4000;
    let workspace = site.workspace()?;
    let keys = [("max_qos0_backlog_bytes", "1 MiB"), ("max_outbox_bytes", "1 MiB"), ("wal", "off")];
    let daemon = start(&workspace, &keys)?;
    let (slow, client) = (connect(&daemon)?, connect(&daemon)?);
    let options = SubscribeOptions::new("demo").credit(1 << 30, 1 << 30);
    let reads_nothing = slow.subscribe(&options)?;
    let before = daemon.usage()?.rss_bytes;
    for _ in 0..SENT {
        client.publish("demo", &VALUE, &QOS_0)?;
    }
    let dropped = metric(&daemon, "blipmq_messages_dropped_total{reason=\"slow_subscriber\"}")?;
    let grown = daemon.usage()?.rss_bytes.saturating_sub(before) >> 20;
    need(dropped > 0.0, || "nothing was dropped".into())?;
    need(grown < 64, || format!("memory grew by {grown} MiB"))?;
    let mut other = durable(&client, "other")?;
    publish(&client, "other", 10)?;
    next(&mut other)?;
    drop(reads_nothing);
    Ok::<_, No>(format!("{dropped} of {SENT} dropped and counted, {grown} MiB more memory, others served"))
}
