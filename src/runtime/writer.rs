//! A task for a connection whose socket is full: waits for it, then goes on sending.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

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
    if connection.phase.get() == Phase::Closing && !connection.is_sent() {
        connection.abort();
        shard.end(&connection, Disconnect::Ours);
        shard.look_at_the_time();
    }
}

/// Waits until the socket takes some of what is next. `None`: the connection is over.
fn poll(connection: &Connection, cx: &mut Context<'_>) -> Poll<Option<std::io::Result<usize>>> {
    while connection.writer.poll_rung(cx).is_ready() {}
    if connection.phase.get() == Phase::Over {
        return Poll::Ready(None);
    }
    connection.poll_send(cx).map(Some)
}

fn send(shard: &Shard, connection: &Connection, first: usize) -> State {
    connection.outbox.borrow_mut().advance(first);
    let sent = connection.send();
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
            connection.say_goodbye();
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
