//! A pulse while there is work: no sleep with work left lasts, and how late each beat comes is known.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use glommio::timer::sleep;

use super::bell::Bell;
use crate::shard::Latency;
use crate::shard::latency::Path;

/// How long a shard can have been asleep over its work.
const BEAT: Duration = Duration::from_millis(5);

/// glommio 0.9 can go to sleep with runnable tasks: when something completes on its latency ring in the moment between
/// looking at the rings and running the first task, it takes the queue for empty. Whatever happens next wakes it, so
/// something is made to happen: every few milliseconds while there is work, never while there is none.
#[derive(Debug, Default)]
pub struct Pulse {
    worked: Cell<bool>,
    resting: Cell<bool>,
    bell: Bell,
    /// How late beats came.
    stalls: RefCell<Latency>,
}

impl Pulse {
    /// There is work.
    #[inline]
    pub fn work(&self) {
        self.worked.set(true);
        if self.resting.get() {
            self.bell.ring();
        }
    }

    /// Adds what is known of stalls.
    pub fn add_stalls(&self, latency: &mut Latency) {
        latency.add(&self.stalls.borrow());
    }

    async fn beat(&self) {
        if self.worked.replace(false) {
            let asked = Instant::now();
            sleep(BEAT).await;
            let late = asked.elapsed().saturating_sub(BEAT);
            return self.stalls.borrow_mut().record(Path::LoopStall, late, 1);
        }
        self.resting.set(true);
        self.bell.rung().await;
        self.resting.set(false);
    }
}

/// Beats as long as the executor runs.
pub async fn run(pulse: Rc<Pulse>) {
    loop {
        pulse.beat().await;
    }
}
