//! Where the daemon is now, and what everybody is to do: threads wait here, and go on when it is there again.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a client rests after it was turned away.
const REST: Duration = Duration::from_millis(5);

/// What everybody is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Subscribers subscribe; publishers wait.
    Setup,
    /// Everybody works.
    Running,
    /// Publishers end when all they sent is acknowledged; subscribers take everything.
    Draining,
    /// Everybody ends.
    Over,
}

/// A daemon that can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which of the daemons, one after another, it is.
    pub life: usize,
    pub addr: String,
}

/// Shared by the trial and its clients.
#[derive(Debug)]
pub struct Stage {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    place: Option<Place>,
    phase: Phase,
    ready: usize,
}

impl Stage {
    pub fn new() -> Stage {
        Stage { state: Mutex::new(State { place: None, phase: Phase::Setup, ready: 0 }), changed: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A daemon is there, or gone.
    pub fn enter(&self, place: Option<Place>) {
        self.state().place = place;
        self.changed.notify_all();
    }

    pub fn set(&self, phase: Phase) {
        self.state().phase = phase;
        self.changed.notify_all();
    }

    pub fn phase(&self) -> Phase {
        self.state().phase
    }

    /// Waits until a daemon is there and the phase is `from` or later. `None`: it is over.
    pub fn place(&self, from: Phase) -> Option<Place> {
        let mut state = self.state();
        loop {
            if state.phase == Phase::Over {
                return None;
            }
            if let Some(place) = state.place.as_ref().filter(|_| state.phase >= from) {
                return Some(place.clone());
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Whether the daemon at `place` is still the one to talk to.
    pub fn is_at(&self, place: &Place) -> bool {
        let state = self.state();
        state.phase != Phase::Over && state.place.as_ref() == Some(place)
    }

    /// A client was turned away: it rests a little.
    pub fn rest(&self) {
        std::thread::sleep(REST);
    }

    /// One more has subscribed.
    pub fn ready(&self) {
        self.state().ready += 1;
        self.changed.notify_all();
    }

    /// Waits until so many have subscribed; false if they do not within `patience`.
    pub fn all_ready(&self, count: usize, patience: Duration) -> bool {
        let state = self.state();
        let waiting = |state: &mut State| state.ready < count;
        let waited = self.changed.wait_timeout_while(state, patience, waiting);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

impl Default for Stage {
    fn default() -> Stage {
        Stage::new()
    }
}
