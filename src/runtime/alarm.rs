//! When the core wants to be told that time has passed.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use glommio::timer::Timer;

use super::bell::Bell;
use super::shard::Shard;
use crate::model::Instant;

/// One timer for a shard. It is set again only when the core's next deadline comes before the one it is set to; a
/// deadline that moves away, as they do with every message, costs nothing until the old one has passed.
#[derive(Debug)]
pub struct Alarm {
    due: Cell<Instant>,
    sooner: Bell,
}

impl Default for Alarm {
    fn default() -> Alarm {
        Alarm { due: Cell::new(Instant::NEVER), sooner: Bell::default() }
    }
}

impl Alarm {
    /// The core's next deadline, after every step.
    #[inline]
    pub fn set(&self, due: Option<Instant>) {
        let due = due.unwrap_or(Instant::NEVER);
        if due < self.due.get() {
            self.due.set(due);
            self.sooner.ring();
        }
    }

    /// Waits until the time it is set to, which may change meanwhile.
    async fn rung(&self, shard: &Shard) {
        loop {
            let (due, now) = (self.due.get(), shard.clock.now());
            if due <= now {
                self.due.set(Instant::NEVER);
                return;
            }
            if due == Instant::NEVER {
                self.sooner.rung().await;
                continue;
            }
            let mut timer = Timer::new(due.since(now));
            poll_fn(|cx| {
                let sooner = self.sooner.poll_rung(cx).is_ready();
                if sooner || Pin::new(&mut timer).poll(cx).is_ready() { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
        }
    }
}

/// Tells the core of time that passes while nothing else happens.
pub async fn run(shard: Rc<Shard>) {
    loop {
        shard.alarm.rung(&shard).await;
        shard.look_at_the_time();
    }
}
