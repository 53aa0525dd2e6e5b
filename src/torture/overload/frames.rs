//! The largest frames, from many at once: together far more than the broker may hold.

use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::BytesMut;

use super::{FRAME_MAX, PATIENCE, connect, told};
use crate::bench::failure::Failure;
use crate::client::{ClientError, SubscribeOptions};
use crate::protocol::native::frame::{FRAME_HEADER, LENGTH_FIELD};
use crate::protocol::native::{command, kind};
use crate::torture::daemon::Daemon;
use crate::torture::raw::Raw;
use crate::torture::verdict::Verdict;

const TOPICS: usize = 4;
/// Bytes of a frame that are not the message.
const HEADS: usize = 256;

/// Each publishes one and waits for its acknowledgement; subscribers get every one.
pub fn all_at_once(daemon: &Daemon, count: usize, verdict: &mut Verdict) -> Result<(), Failure> {
    let began = Instant::now();
    let frame = Raw::frame_of(&[vec![7; FRAME_MAX - HEADS]]);
    let received = AtomicU64::new(0);
    let outcomes = std::thread::scope(|scope| {
        let subscribers: Vec<_> = (0..TOPICS)
            .map(|nth| {
                let expected = (nth..count).step_by(TOPICS).count();
                let received = &received;
                scope.spawn(move || take(daemon, nth, expected, received))
            })
            .collect();
        let publishers: Vec<_> = (0..count)
            .map(|nth| {
                scope.spawn({
                    let frame = &frame;
                    move || publish(daemon, nth % TOPICS, frame)
                })
            })
            .collect();
        let all: Vec<_> = publishers.into_iter().chain(subscribers).map(|thread| thread.join()).collect();
        all
    });
    for outcome in outcomes {
        outcome.map_err(|_| Failure::Local("a thread of large frames panicked".to_owned()))??;
    }
    let received = received.load(Ordering::Relaxed);
    verdict.figure("large_frames", count as u64);
    verdict.figure("large_frames_received", received);
    verdict.figure("large_seconds", began.elapsed().as_secs_f64());
    if received != count as u64 {
        verdict.broken(format!("of {count} large frames {received} were received"));
    }
    Ok(())
}

fn topic(nth: usize) -> String {
    format!("large.{nth}")
}

fn publish(daemon: &Daemon, nth: usize, frame: &[u8]) -> Result<(), Failure> {
    let mut raw = Raw::open(&daemon.addr, 2, &topic(nth))?;
    raw.stream.set_write_timeout(Some(PATIENCE))?;
    raw.stream.set_read_timeout(Some(PATIENCE))?;
    raw.say(frame)?;
    // The answer to PING says that the frame was handled; a refusal would come before it.
    let mut ping = BytesMut::new();
    command::ping(&mut ping, 9);
    raw.say(&ping)?;
    let mut pong = [0; FRAME_HEADER];
    raw.stream.read_exact(&mut pong)?;
    match pong[LENGTH_FIELD] {
        kind::PONG => Ok(()),
        other => Err(Failure::Broker(format!("a large frame was answered by a frame of type {other}"))),
    }
}

fn take(daemon: &Daemon, nth: usize, expected: usize, received: &AtomicU64) -> Result<(), Failure> {
    try_take(daemon, nth, expected, received).map_err(told)
}

fn try_take(daemon: &Daemon, nth: usize, expected: usize, received: &AtomicU64) -> Result<(), ClientError> {
    let client = connect(daemon)?;
    let options = SubscribeOptions::new(&topic(nth)).at_least_once().durable("large").earliest();
    let mut subscription = client.subscribe(&options)?;
    for _ in 0..expected {
        let Some(message) = subscription.next_message(Some(PATIENCE))? else { return Ok(()) };
        subscription.ack(&message)?;
        received.fetch_add(1, Ordering::Relaxed);
    }
    client.ping()?;
    subscription.unsubscribe(true)?;
    client.close()
}
