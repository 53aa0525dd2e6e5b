//! Signals of the operator: the first asks to end, the second does not ask. SIGUSR1 asks for latencies.

use std::io;
use std::sync::mpsc::Sender;
use std::thread;

use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

use super::shard::Report;

/// Listens on a thread of its own.
pub fn listen(reports: Sender<Report>) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGUSR1])?;
    let listen = move || {
        let mut asked = false;
        for signal in signals.forever() {
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
