//! What the service manager (systemd) is told: ready, alive, stopping. Silent where there is none.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use sd_notify::NotifyState;

use super::clock::Clock;
use super::gauges::{Gauges, silence};

/// All shards serve. Starts the watchdog if the manager wants one.
pub fn ready(gauges: &[Arc<Gauges>], clock: Clock) {
    tell(NotifyState::Ready);
    let mut interval_us = 0;
    if !sd_notify::watchdog_enabled(false, &mut interval_us) || interval_us == 0 {
        return;
    }
    let (gauges, interval) = (gauges.to_vec(), Duration::from_micros(interval_us));
    let watch = move || watch(&gauges, clock, interval);
    if let Err(error) = thread::Builder::new().name("watchdog".into()).spawn(watch) {
        log::error!("no watchdog: {error}");
    }
}

/// The end has been asked for.
pub fn stopping() {
    tell(NotifyState::Stopping);
}

/// Says that the process is alive as long as each of its shards is; the manager restarts it when that stops.
fn watch(gauges: &[Arc<Gauges>], clock: Clock, interval: Duration) {
    loop {
        let silence = silence(gauges, clock.now());
        if silence < interval / 2 {
            tell(NotifyState::Watchdog);
        } else {
            log::error!("a shard has given no sign of life for {silence:?}");
        }
        thread::sleep(interval / 4);
    }
}

fn tell(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(false, &[state]) {
        log::warn!("cannot reach the service manager: {error}");
    }
}
