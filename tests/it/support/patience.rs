//! Waiting for a condition: long enough for the slowest machine, and no longer than needed.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// After this a story has failed.
pub const PATIENCE: Duration = Duration::from_secs(30);

const PAUSE: Duration = Duration::from_millis(5);

/// Waits until `look` finds what it looks for. `what` says in the failure what never came.
#[track_caller]
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "it never happened that {what}");
        sleep(PAUSE);
    }
}
