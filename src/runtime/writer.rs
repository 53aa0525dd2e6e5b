//! A task for a connection whose socket is full: waits for it, then goes on sending.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_lite::io::AsyncWrite;
use glommio::timer::sleep;

use super::connection::{Connection, Phase};
use super::gauges::add;
use super::outbox::State;
use super::shard::Shard;
use crate::shard::Disconnect;

/// How long a connection that is being closed may take to send what is left.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Sends until nothing is left. There is at most one for each connection, and none while the socket takes everything
/// at once.
pub async fn run(shard: Rc<Shard>, connection: Rc<Connection>) {
    add(&shard.gauges.send_waits, 1);
    loop {
        let state = match poll_fn(|cx| poll(&connection, cx)).await {
            Some(Ok(bytes)) => send(&shard, &connection, bytes),
            Some(Err(error)) => State::Broken(error),
            None => break,
        };
        match state {
            State::Empty => break done(&shard, &connection),
            State::Full => shard.look_at_the_time(),
            State::Broken(_) => break broken(&shard, &connection),
        }
    }
    connection.writing.set(false);
    connection.writer.leave();
}

/// A connection that is being closed is not waited for without end.
pub async fn deadline(shard: Rc<Shard>, connection: Rc<Connection>) {
    sleep(LAST_WORDS).await;
    if connection.phase.get() == Phase::Closing && !connection.outbox.borrow().is_empty() {
        connection.abort();
        shard.end(&connection, Disconnect::Ours);
        shard.look_at_the_time();
    }
}

/// Waits until the socket takes some of the front chunk. `None`: the connection is over.
fn poll(connection: &Connection, cx: &mut Context<'_>) -> Poll<Option<std::io::Result<usize>>> {
    while connection.writer.poll_rung(cx).is_ready() {}
    if connection.phase.get() == Phase::Over {
        return Poll::Ready(None);
    }
    let outbox = connection.outbox.borrow();
    let Some(front) = outbox.front() else { return Poll::Ready(Some(Ok(0))) };
    let mut stream = connection.stream.borrow_mut();
    Pin::new(&mut *stream).poll_write(cx, front).map(Some)
}

fn send(shard: &Shard, connection: &Connection, first: usize) -> State {
    let mut outbox = connection.outbox.borrow_mut();
    outbox.advance(first);
    let sent = outbox.send(connection.fd());
    drop(outbox);
    shard.count_sent(connection, first + sent.bytes);
    sent.state
}

fn done(shard: &Rc<Shard>, connection: &Rc<Connection>) {
    // Before the core is told: what it sends now leaves at once.
    connection.writing.set(false);
    if connection.phase.get() == Phase::Closing {
        if connection.known.get() {
            shard.end(connection, Disconnect::Ours);
        } else {
            // The peer had ended its half; now both are done.
            connection.abort();
        }
    }
    shard.look_at_the_time();
}

fn broken(shard: &Rc<Shard>, connection: &Rc<Connection>) {
    let why = if connection.phase.get() == Phase::Closing { Disconnect::Ours } else { Disconnect::Reset };
    connection.abort();
    shard.end(connection, why);
    shard.look_at_the_time();
}
