//! Many topics flooded at once, with subscribers that keep up, that are slow, and that take nothing: what was
//! published is what was delivered and what was dropped, for each of them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Overload, connect, told};
use crate::bench::failure::Failure;
use crate::client::blocking::Subscription;
use crate::client::{ClientError, ProducerOptions, SubscribeOptions};
use crate::model::Qos;
use crate::torture::daemon::Daemon;
use crate::torture::http::Http;
use crate::torture::verdict::Verdict;

/// Bytes of a message.
const BODY: usize = 1000;
/// Messages of a batch.
const BATCH: u32 = 64;
/// How long a slow subscriber sleeps over each batch.
const SLOW: Duration = Duration::from_millis(20);
/// Without a message for so long when all is published, everything has come.
const QUIET: Duration = Duration::from_secs(10);
/// One topic in so many is QoS 1: the log is slower than memory.
const LOGGED: u32 = 4;

/// How a subscriber takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    Steady,
    Slow,
    /// No credit until the flood is over.
    Nothing,
}

/// One topic when the flood is over.
struct Flooded {
    published: u64,
    /// By each subscriber.
    received: Vec<u64>,
    rows: Vec<Value>,
}

/// When it ends.
struct Tide {
    over: AtomicBool,
    until: Instant,
}

/// Floods, waits until everything has come that will, and adds up.
pub fn run(daemon: &Daemon, http: &Http, overload: &Overload, verdict: &mut Verdict) -> Result<(), Failure> {
    let names = ["published", "delivered", "dropped"].map(|what| format!("blipmq_messages_{what}_total"));
    let figures = http.figures()?;
    let before = names.clone().map(|name| figures.sum(&name));
    let tide = Tide { over: AtomicBool::new(false), until: Instant::now() + overload.duration };
    let flooded = std::thread::scope(|scope| {
        let topics: Vec<_> = (0..overload.topics)
            .map(|nth| {
                scope.spawn({
                    let tide = &tide;
                    move || flood(daemon, http, nth, tide)
                })
            })
            .collect();
        topics.into_iter().map(|topic| topic.join()).collect::<Vec<_>>()
    });
    let figures = http.figures()?;
    let counted = [0, 1, 2].map(|at| (figures.sum(&names[at]) - before[at]) as u64);
    let mut sums = [0; 3];
    for (nth, topic) in flooded.into_iter().enumerate() {
        let topic = topic.map_err(|_| Failure::Local("a flooding thread panicked".to_owned()))??;
        let dropped: u64 = topic.rows.iter().map(|row| number(row, "dropped")).sum();
        sums[0] += topic.published;
        sums[1] += topic.received.iter().sum::<u64>();
        sums[2] += dropped;
        judge(nth as u32, &topic, verdict);
    }
    for (at, name) in ["flood_published", "flood_received", "flood_dropped"].into_iter().enumerate() {
        verdict.figure(name, sums[at]);
        if sums[at] != counted[at] {
            verdict.broken(format!("{name} is {} here, and {} in the metrics", sums[at], counted[at]));
        }
    }
    verdict.figure("flood_published_per_second", (sums[0] as f64 / overload.duration.as_secs_f64()).round());
    verdict.figure("connections_paused_total", figures.sum("blipmq_connections_paused_total"));
    Ok(())
}

fn qos(nth: u32) -> Qos {
    if nth % LOGGED == 0 { Qos::AtLeastOnce } else { Qos::AtMostOnce }
}

/// For each subscription: published = received + dropped; and nothing is dropped of QoS 1.
fn judge(nth: u32, topic: &Flooded, verdict: &mut Verdict) {
    let mut delivered: Vec<u64> = topic.rows.iter().map(|row| number(row, "delivered")).collect();
    let mut received = topic.received.clone();
    delivered.sort_unstable();
    received.sort_unstable();
    if delivered != received {
        verdict.broken(format!("topic {nth}: delivered {delivered:?}, received {received:?}"));
    }
    for row in &topic.rows {
        let (delivered, dropped) = (number(row, "delivered"), number(row, "dropped"));
        if delivered + dropped != topic.published {
            let published = topic.published;
            verdict.broken(format!("topic {nth}: {published} published, {delivered} delivered, {dropped} dropped"));
        }
        if qos(nth) == Qos::AtLeastOnce && dropped > 0 {
            verdict.broken(format!("topic {nth}: {dropped} messages of QoS 1 are lost"));
        }
    }
}

fn number(row: &Value, field: &str) -> u64 {
    row[field].as_u64().unwrap_or(0)
}

fn topic_of(nth: u32) -> String {
    format!("flood.{nth}")
}

/// Two publishers as fast as they can, and three subscribers; under QoS 1 two that keep up: what they do not take fills the disk, not the memory.
fn flood(daemon: &Daemon, http: &Http, nth: u32, tide: &Tide) -> Result<Flooded, Failure> {
    let (topic, logged) = (topic_of(nth), qos(nth) == Qos::AtLeastOnce);
    let paces = if logged { vec![Pace::Steady, Pace::Steady] } else { vec![Pace::Steady, Pace::Slow, Pace::Nothing] };
    let clients = paces.iter().map(|_| connect(daemon)).collect::<Result<Vec<_>, _>>().map_err(told)?;
    let mut subscriptions = Vec::new();
    for (at, (client, pace)) in clients.iter().zip(&paces).enumerate() {
        let options = SubscribeOptions::new(&topic).qos(qos(nth));
        let options = if logged { options.durable(&format!("flood-{at}")) } else { options };
        let options = if *pace == Pace::Nothing { options.credit(0, 0) } else { options };
        subscriptions.push(client.subscribe(&options).map_err(told)?);
    }
    let (published, received) = std::thread::scope(|scope| {
        let takers: Vec<_> = subscriptions
            .iter_mut()
            .zip(&paces)
            .map(|(subscription, pace)| scope.spawn(|| take(subscription, *pace, tide)))
            .collect();
        let publishers: Vec<_> = (0..2).map(|_| scope.spawn(|| publish(daemon, &topic, qos(nth), tide))).collect();
        let published: Vec<_> = publishers.into_iter().map(|thread| thread.join()).collect();
        tide.over.store(true, Ordering::Release);
        (published, takers.into_iter().map(|thread| thread.join()).collect::<Vec<_>>())
    });
    let panicked = |_| Failure::Local("a thread of the flood panicked".to_owned());
    let mut sum = 0;
    for one in published {
        sum += one.map_err(panicked)?.map_err(told)?;
    }
    let mut each = Vec::new();
    for one in received {
        each.push(one.map_err(panicked)?.map_err(told)?);
    }
    Ok(Flooded { published: sum, received: each, rows: rows(http, &topic)? })
}

fn rows(http: &Http, topic: &str) -> Result<Vec<Value>, Failure> {
    let (_, text) = http.ask("GET", &format!("/api/v1/topics/{topic}/subscriptions"))?;
    let list: Value = serde_json::from_str(&text).map_err(|error| Failure::Broker(format!("{error}: {text}")))?;
    Ok(list["items"].as_array().cloned().unwrap_or_default())
}

fn publish(daemon: &Daemon, topic: &str, qos: Qos, tide: &Tide) -> Result<u64, ClientError> {
    let client = connect(daemon)?;
    let options = match qos {
        Qos::AtLeastOnce => ProducerOptions::at_least_once().window(16),
        Qos::AtMostOnce => ProducerOptions::at_most_once(),
    };
    let mut publisher = client.publisher(topic, options.batch(BATCH, usize::MAX))?;
    let body = vec![7; BODY];
    while Instant::now() < tide.until {
        for _ in 0..BATCH {
            publisher.publish(&body)?;
        }
    }
    publisher.flush()?;
    let published = publisher.totals().published;
    // After the answer everything has been handled.
    client.ping()?;
    Ok(published)
}

fn take(subscription: &mut Subscription, pace: Pace, tide: &Tide) -> Result<u64, ClientError> {
    let mut received = 0;
    if pace == Pace::Nothing {
        while !tide.over.load(Ordering::Acquire) || Instant::now() < tide.until {
            sleep(SLOW);
        }
        subscription.credit(u32::MAX, u32::MAX)?;
    }
    let mut heard = Instant::now();
    while Instant::now() < tide.until || heard.elapsed() < QUIET {
        let Some(batch) = subscription.next_batch(Some(SLOW))? else { continue };
        received += u64::from(batch.count());
        subscription.ack_batch(&batch)?;
        heard = Instant::now();
        if pace == Pace::Slow && Instant::now() < tide.until {
            sleep(SLOW);
        }
    }
    Ok(received)
}
