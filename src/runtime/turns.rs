//! Who goes next: busy tasks let the others run, and let the kernel be asked for news.

use std::cell::Cell;
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use glommio::timer::sleep;

/// Turns of all tasks together before the kernel is asked. A turn is at most one read and what follows from it, some
/// tens of microseconds; so nobody waits much longer than a few hundred for the others' sake.
const TURNS: u32 = 8;
/// Long enough not to be over at once, short enough to be over when the executor has looked at its rings.
const A_MOMENT: Duration = Duration::from_micros(1);

/// The turns of one shard.
///
/// glommio looks at its rings when no task is left to run, or when its preemption timer fires; a task that always has
/// something to do holds everybody up for that long. Its timer cannot be made short: glommio 0.9 takes a timer that
/// fires before the first task has run for an empty queue, and goes to sleep on it. So tasks stand aside by themselves.
#[derive(Debug, Default)]
pub struct Turns {
    taken: Cell<u32>,
}

impl Turns {
    /// The caller has had its turn and has more to do.
    pub async fn next(&self) {
        self.taken.set(self.taken.get() + 1);
        if self.taken.get() < TURNS {
            return step_aside().await;
        }
        // Everybody who comes by here until the news are in waits as well: only an empty queue brings them.
        sleep(A_MOMENT).await;
        self.taken.set(0);
    }
}

async fn step_aside() {
    let stood = Cell::new(false);
    poll_fn(|cx| {
        if stood.replace(true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
