//! Signals of the operator: the first asks to end, the second does not ask; SIGHUP asks to read the configuration again,
//! SIGUSR1 asks for latencies.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

use super::shard::Report;

/// A SIGHUP that came before anybody could act on it.
#[derive(Debug)]
pub struct Early(Arc<AtomicBool>);

/// From now on SIGHUP does not end the process, as it would by default: a broker that recovers is not to be lost to an
/// operator who asks for a reload.
pub fn keep_hangups() -> io::Result<Early> {
    let came = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(SIGHUP, came.clone())?;
    Ok(Early(came))
}

/// Listens on a thread of its own.
pub fn listen(reports: Sender<Report>, early: Early, reload: impl Fn() + Send + 'static) -> io::Result<()> {
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM, SIGUSR1])?;
    let listen = move || {
        if early.0.load(Ordering::Relaxed) {
            reload();
        }
        let mut asked = false;
        for signal in signals.forever() {
            if signal == SIGHUP {
                reload();
                continue;
            }
            if signal == SIGUSR1 {
                // Nobody is left to do it only when the process ends.
                let _ = reports.send(Report::Dump);
                continue;
            }
            // A second signal, or nobody left to ask: as the signal itself would have done.
            if asked || reports.send(Report::Signal(signal)).is_err() {
                std::process::exit(128 + signal);
            }
            asked = true;
        }
    };
    thread::Builder::new().name("signals".into()).spawn(listen).map(drop)
}
