//! What happens when nobody says anything.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::Core;
use crate::model::{ConnId, Instant};

/// Whose time has come. A timer may be late to be cancelled: who fires looks first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// A subscription's next redelivery or expiry; its index and serial.
    Subscription(usize, u64),
    /// A connection's handshake or idle deadline.
    Conn(ConnId),
    /// The answer to a wrong key.
    Denial(ConnId),
    /// Cursors that moved are to be logged.
    Cursors,
    /// Retention, expiry, and topics nobody uses.
    Housekeeping,
    /// The end of a drain's patience.
    Drain,
    /// Graves whose burial was refused are tried again.
    Graves,
}

/// Deadlines, earliest first.
#[derive(Debug)]
pub struct Timers {
    heap: BinaryHeap<Reverse<(Instant, Timer)>>,
    pub cursors_set: bool,
    pub graves_set: bool,
}

/// Between two rounds of housekeeping.
const HOUSEKEEPING_MS: u64 = 1000;
/// A settled record's cursor is logged at most this much later.
pub const CURSOR_DELAY_MS: u64 = 10;

impl Timers {
    pub fn new(now: Instant) -> Timers {
        let mut heap = BinaryHeap::new();
        heap.push(Reverse((now.plus_ms(HOUSEKEEPING_MS), Timer::Housekeeping)));
        Timers { heap, cursors_set: false, graves_set: false }
    }

    pub fn set(&mut self, at: Instant, timer: Timer) {
        self.heap.push(Reverse((at, timer)));
    }

    pub fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    fn due(&mut self, now: Instant) -> Option<Timer> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse((_, timer))| timer)
    }
}

impl Core {
    pub(super) fn fire_timers(&mut self) {
        while let Some(timer) = self.timers.due(self.now) {
            match timer {
                Timer::Subscription(index, serial) => self.subscription_due(index, serial),
                Timer::Conn(id) => self.conn_due(id),
                Timer::Denial(id) => self.deny(id),
                Timer::Cursors => self.log_cursors(),
                Timer::Housekeeping => {
                    self.keep_house();
                    self.timers.set(self.now.plus_ms(HOUSEKEEPING_MS), Timer::Housekeeping);
                }
                Timer::Drain => self.drain_is_over(),
                Timer::Graves => self.dig_again(),
            }
        }
    }

    /// Sets the timer of a subscription if it is needed earlier than the one that is set.
    pub(super) fn arm_subscription(&mut self, index: usize) {
        let Some(serving) = self.subscriptions.get_mut(index) else { return };
        let Some(due) = serving.sub.next_due(self.now) else { return };
        if due < serving.timer {
            serving.timer = due;
            self.timers.set(due, Timer::Subscription(index, serving.sub.serial));
        }
    }

    fn subscription_due(&mut self, index: usize, serial: u64) {
        let Some(serving) = self.subscriptions.get_mut(index) else { return };
        if serving.sub.serial != serial || serving.timer > self.now {
            return;
        }
        serving.timer = Instant::NEVER;
        serving.sub.time_out(self.now);
        self.make_ready(index);
        self.arm_subscription(index);
    }
}
