//! What the service manager (systemd) is told: ready, alive, reloading, stopping. Silent where there is none.

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

/// The configuration is read again by `reload`; whoever waits for that hears when it is done.
pub fn reloading(reload: impl FnOnce()) {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell_all(&[NotifyState::Reloading, now]),
        Err(error) => log::warn!("no clock for the service manager: {error}"),
    }
    reload();
    tell(NotifyState::Ready);
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
    tell_all(&[state]);
}

fn tell_all(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(false, states) {
        log::warn!("cannot reach the service manager: {error}");
    }
}
