//! One task for each connection: what comes in.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use glommio::timer::Timer;

use super::connection::{Connection, Phase};
use super::gauges::add;
use super::shard::Shard;
use crate::shard::{Disconnect, Event};

/// How long the peer may take to read our last words before the socket is closed under it. A socket closed with
/// unread input is reset, and a reset takes the words that said why.
const LINGER: Duration = Duration::from_secs(1);

/// What one poll came to.
enum Read {
    Bytes(BytesMut, bool),
    Broken,
    /// By us.
    Closed,
    Over,
}

/// Reads until the connection ends, is closed or moves away.
pub async fn run(shard: Rc<Shard>, connection: Rc<Connection>) {
    loop {
        match poll_fn(|cx| poll(&shard, &connection, cx)).await {
            Read::Bytes(bytes, _) if bytes.is_empty() => break ended(&shard, &connection),
            Read::Bytes(bytes, more) => {
                received(&shard, &connection, bytes);
                if more {
                    shard.turns.next().await;
                }
            }
            Read::Broken => break end(&shard, &connection, Disconnect::Reset),
            // Boxed: every idle connection's task would be the larger for it.
            Read::Closed => break Box::pin(linger(&shard, &connection)).await,
            Read::Over => break,
        }
    }
    connection.reader.leave();
}

fn received(shard: &Rc<Shard>, connection: &Rc<Connection>, mut bytes: BytesMut) {
    add(&shard.gauges.reads, 1);
    add(&shard.gauges.read_bytes, bytes.len() as u64);
    if connection.is_tls() {
        match shard.decrypt(connection, &bytes) {
            Some(plain) if !plain.is_empty() => bytes = plain,
            _ => return shard.look_at_the_time(),
        }
    }
    shard.drive(Event::Received { conn: connection.id, bytes });
}

fn ended(shard: &Rc<Shard>, connection: &Rc<Connection>) {
    if connection.is_handshaking() {
        shard.tls_gone(connection);
    }
    end(shard, connection, Disconnect::Eof);
}

fn end(shard: &Rc<Shard>, connection: &Rc<Connection>, why: Disconnect) {
    shard.end(connection, why);
    shard.look_at_the_time();
}

fn poll(shard: &Shard, connection: &Connection, cx: &mut Context<'_>) -> Poll<Read> {
    // Consumes old rings, and leaves our waker there for new ones.
    while connection.reader.poll_rung(cx).is_ready() {}
    match connection.phase.get() {
        Phase::Open if connection.paused.get() => Poll::Pending,
        Phase::Open if connection.has_ended() => Poll::Ready(Read::Bytes(BytesMut::new(), false)),
        Phase::Open => shard.input.borrow_mut().poll_read(&mut *connection.stream.borrow_mut(), cx).map(Read::from),
        // Our last words are still on their way: nothing is read until they are out.
        Phase::Closing if connection.known.get() => Poll::Pending,
        Phase::Closing => Poll::Ready(Read::Closed),
        Phase::Over => Poll::Ready(Read::Over),
    }
}

impl From<io::Result<(BytesMut, bool)>> for Read {
    fn from(read: io::Result<(BytesMut, bool)>) -> Read {
        match read {
            Ok((bytes, more)) => Read::Bytes(bytes, more),
            Err(_) => Read::Broken,
        }
    }
}

/// Throws away what still comes, until the peer closes too or has had its time.
async fn linger(shard: &Shard, connection: &Connection) {
    let mut timer = Timer::new(LINGER);
    poll_fn(|cx| {
        if Pin::new(&mut timer).poll(cx).is_ready() {
            return Poll::Ready(());
        }
        while connection.phase.get() == Phase::Closing {
            match ready!(shard.input.borrow_mut().poll_read(&mut *connection.stream.borrow_mut(), cx)) {
                Ok((waste, _)) if !waste.is_empty() => {}
                _ => break,
            }
        }
        Poll::Ready(())
    })
    .await;
    connection.abort();
}
