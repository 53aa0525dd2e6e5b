//! Two subscribers of one topic: one stops reading, and the other is to notice nothing of it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use bytes::BytesMut;

use crate::bench::failure::Failure;
use crate::client::blocking::{Client, ConnectOptions, Subscription};
use crate::client::{ClientError, ProducerOptions, SubscribeOptions};
use crate::protocol::native::command;
use crate::torture::daemon::{Daemon, KEY};
use crate::torture::http::Http;
use crate::torture::raw::Raw;
use crate::torture::verdict::Verdict;

const TOPIC: &str = "stall";
/// Bytes of a message, and messages a second: more than a stalled socket's buffers hold within the time.
const BODY: usize = 4096;
const RATE: f64 = 2000.0;
/// Messages of one batch.
const BATCH: u64 = 20;
/// The other's rate is at least this part of what it is alone.
const PART_MIN: f64 = 0.8;
/// For what is on its way to arrive.
const REST: Duration = Duration::from_secs(30);
/// How often who does not stall says something, which is less than the broker's patience.
const SIGN_OF_LIFE: Duration = Duration::from_millis(200);

/// Publishes for a while with both subscribers reading, and as long with one of them stalled.
pub fn beside(daemon: &Daemon, http: &Http, time: Duration, verdict: &mut Verdict) -> Result<(), Failure> {
    let told = |error: ClientError| Failure::Broker(format!("the stall: {error}"));
    let (received, over) = (AtomicU64::new(0), AtomicBool::new(false));
    let options = SubscribeOptions::new(TOPIC).at_least_once();
    let (publisher, steady) = (connect(daemon).map_err(told)?, connect(daemon).map_err(told)?);
    let taken = steady.subscribe(&options.clone().durable("steady")).map_err(told)?;
    let (published, read) = std::thread::scope(|scope| {
        let reader = scope.spawn(|| read(&steady, taken, &received, &over));
        let published = both(daemon, &publisher, &options, time, &received);
        over.store(true, Ordering::Relaxed);
        (published, reader.join())
    });
    read.map_err(|_| Failure::Local("the reading thread panicked".to_owned()))?.map_err(told)?;
    let (alone, beside) = published?;
    judge(&alone, &beside, received.load(Ordering::Relaxed), verdict);
    match http.ask("DELETE", &format!("/api/v1/topics/{TOPIC}?force=true"))? {
        (200..300, _) => Ok(()),
        (status, text) => Err(Failure::Broker(format!("the topic cannot be deleted: {status} {text}"))),
    }
}

fn read(client: &Client, mut taken: Subscription, received: &AtomicU64, over: &AtomicBool) -> Result<(), ClientError> {
    while !over.load(Ordering::Relaxed) {
        if let Some(batch) = taken.next_batch(Some(SIGN_OF_LIFE))? {
            received.fetch_add(batch.count().into(), Ordering::Relaxed);
            taken.ack_batch(&batch)?;
        }
        client.ping()?;
    }
    Ok(())
}

/// First with one subscriber, then with another beside it that stalls; and waits for what is on its way.
fn both(
    daemon: &Daemon,
    publisher: &Client,
    options: &SubscribeOptions,
    time: Duration,
    received: &AtomicU64,
) -> Result<(Part, Part), Failure> {
    let told = |error: ClientError| Failure::Broker(format!("the stall: {error}"));
    let alone = publish(publisher, time, received, None).map_err(told)?;
    let mut stalled = stalled(daemon, &options.clone().durable("stalled").credit(1 << 20, 1 << 30))?;
    let beside = publish(publisher, time, received, Some(&mut stalled)).map_err(told)?;
    let deadline = Instant::now() + REST;
    while received.load(Ordering::Relaxed) < alone.sent + beside.sent && Instant::now() < deadline {
        sleep(SIGN_OF_LIFE);
    }
    Ok((alone, beside))
}

struct Part {
    sent: u64,
    received_a_second: f64,
}

fn judge(alone: &Part, beside: &Part, received: u64, verdict: &mut Verdict) {
    let sent = alone.sent + beside.sent;
    verdict.figure("stall_published", sent);
    verdict.figure("stall_received_by_the_other", received);
    verdict.figure("other_alone_per_second", alone.received_a_second.round());
    verdict.figure("other_beside_a_stall_per_second", beside.received_a_second.round());
    if received != sent {
        verdict.broken(format!("of {sent} messages the one that does not stall got {received}"));
    }
    if beside.received_a_second < alone.received_a_second * PART_MIN {
        verdict.broken(format!(
            "a stalled subscriber slows another from {:.0} to {:.0} messages a second",
            alone.received_a_second, beside.received_a_second
        ));
    }
}

fn connect(daemon: &Daemon) -> Result<Client, ClientError> {
    Client::connect(&ConnectOptions::new(&daemon.addr).api_key(KEY))
}

/// Subscribes, and reads nothing from then on.
fn stalled(daemon: &Daemon, options: &SubscribeOptions) -> Result<Raw, Failure> {
    let mut raw = Raw::open(&daemon.addr, 2, TOPIC)?;
    let mut out = BytesMut::new();
    command::subscribe_with(&mut out, 5, &options.said());
    raw.say(&out)?;
    Ok(raw)
}

/// Publishes; who stalls says something now and then, or it would be taken for dead.
fn publish(
    client: &Client,
    time: Duration,
    received: &AtomicU64,
    mut stalled: Option<&mut Raw>,
) -> Result<Part, ClientError> {
    let options = ProducerOptions::at_least_once().batch(BATCH as u32, usize::MAX).linger(time);
    let mut publisher = client.publisher(TOPIC, options)?;
    let (began, before, mut sent) = (Instant::now(), received.load(Ordering::Relaxed), 0);
    let mut signs = 0;
    let mut ping = BytesMut::new();
    command::ping(&mut ping, 9);
    let body = vec![7; BODY];
    while began.elapsed() < time {
        for _ in 0..BATCH {
            publisher.publish(&body)?;
        }
        publisher.flush()?;
        sent += BATCH;
        if let Some(stalled) = stalled.as_mut().filter(|_| began.elapsed() > SIGN_OF_LIFE * signs) {
            signs += 1;
            stalled.say(&ping).map_err(|_| ClientError::Closed)?;
        }
        sleep(Duration::from_secs_f64(sent as f64 / RATE).saturating_sub(began.elapsed()));
    }
    let came = received.load(Ordering::Relaxed) - before;
    Ok(Part { sent, received_a_second: came as f64 / began.elapsed().as_secs_f64() })
}
