//! How late this machine is with everything, which no promise about time can hold against the daemon.
//!
//! Two measures, because one says little of the other. The longest that a short sleep here was too long: a machine that
//! stood still. And how long each shard of the daemon was ready to run and waited for a processor: kernels let those run
//! at once who have slept, and those wait for their turn who work, as shards do.

use std::collections::VecDeque;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long the one sleeps who measures.
const TICK: Duration = Duration::from_millis(2);
/// Ticks between two looks at the daemon's shards.
const LOOK: u64 = 5;
/// Looks that are remembered: more than a promise is long.
const LOOKS_MAX: usize = 1000;
/// Names of the threads that are looked at begin with it.
const SHARD: &str = "shard-";

/// Measures until it is dropped.
#[derive(Debug)]
pub struct Lateness(Arc<Measured>);

#[derive(Debug, Default)]
struct Measured {
    slept_us: AtomicU64,
    daemon: AtomicU32,
    looks: Mutex<VecDeque<Look>>,
}

/// What was seen of all shards at one moment.
#[derive(Debug)]
struct Look {
    at: Instant,
    shards: Vec<Shard>,
}

/// What was seen of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shard {
    thread: u32,
    /// It has run, and had waited for a processor when it last ran, in all.
    ran: Duration,
    waited: Duration,
    /// It is ready to run, or runs.
    ready: bool,
    /// For so long it has been ready and not run: in `waited` once it does.
    waiting: Duration,
}

impl Lateness {
    /// Begins to measure.
    pub fn measure() -> Lateness {
        let measured = Arc::new(Measured::default());
        let told = Arc::downgrade(&measured);
        thread::spawn(move || {
            for tick in 1.. {
                let Some(measured) = told.upgrade() else { return };
                measured.sleep();
                if tick % LOOK == 0 {
                    measured.look();
                }
            }
        });
        Lateness(measured)
    }

    /// From now on, the shards of this daemon are looked at.
    pub fn watch(&self, daemon: u32) {
        self.0.daemon.store(daemon, Ordering::Relaxed);
        self.0.looks().clear();
    }

    /// The longest that this process overslept.
    pub fn overslept(&self) -> Duration {
        Duration::from_micros(self.0.slept_us.load(Ordering::Relaxed))
    }

    /// How long the shard that waited longest for a processor has waited from one moment to another. What is killed
    /// waits, too, before it is gone: `end` is before that.
    pub fn waited(&self, begin: Instant, end: Instant) -> Duration {
        let looks = self.0.looks();
        let before = looks.iter().rev().find(|look| look.at <= begin).or_else(|| looks.front());
        let after = looks.iter().find(|look| look.at >= end).or_else(|| looks.back());
        let (Some(before), Some(after)) = (before, after) else { return Duration::ZERO };
        let waited = |shard: &Shard| shard.late().saturating_sub(before.late(shard.thread));
        after.shards.iter().map(waited).max().unwrap_or_default()
    }
}

impl Measured {
    fn looks(&self) -> MutexGuard<'_, VecDeque<Look>> {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sleep(&self) {
        let began = Instant::now();
        thread::sleep(TICK);
        self.slept_us.fetch_max((began.elapsed() - TICK).as_micros() as u64, Ordering::Relaxed);
    }

    /// A daemon that has ended has no threads: the last look at it stays.
    fn look(&self) {
        let daemon = self.daemon.load(Ordering::Relaxed);
        let mut shards = if daemon == 0 { Vec::new() } else { shards(daemon) };
        if shards.is_empty() {
            return;
        }
        let at = Instant::now();
        let mut looks = self.looks();
        if let Some(last) = looks.back() {
            shards.iter_mut().for_each(|shard| shard.follow(last, at));
        }
        if looks.len() == LOOKS_MAX {
            looks.pop_front();
        }
        looks.push_back(Look { at, shards });
    }
}

impl Look {
    fn shard(&self, thread: u32) -> Option<&Shard> {
        self.shards.iter().find(|shard| shard.thread == thread)
    }

    fn late(&self, thread: u32) -> Duration {
        self.shard(thread).map(Shard::late).unwrap_or_default()
    }
}

impl Shard {
    fn late(&self) -> Duration {
        self.waited + self.waiting
    }

    /// The kernel counts a wait when it is over; until then it is this one's to see.
    fn follow(&mut self, last: &Look, at: Instant) {
        let Some(before) = last.shard(self.thread) else { return };
        let still = before.ready && self.ready && (before.ran, before.waited) == (self.ran, self.waited);
        self.waiting = if still { before.waiting + (at - last.at) } else { Duration::ZERO };
    }
}

/// The shards of a process; none where it has ended, or the kernel does not say.
fn shards(process: u32) -> Vec<Shard> {
    let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    threads.filter_map(|thread| shard(&thread.path())).collect()
}

/// A thread's three numbers in `schedstat`: nanoseconds that it ran, nanoseconds that it waited, how often it ran.
fn shard(path: &Path) -> Option<Shard> {
    let stat = fs::read_to_string(path.join("stat")).ok()?;
    let (name, rest) = stat.split_once('(')?.1.rsplit_once(") ")?;
    if !name.starts_with(SHARD) {
        return None;
    }
    let text = fs::read_to_string(path.join("schedstat")).ok()?;
    let mut numbers = text.split_whitespace().map(|number| number.parse().map(Duration::from_nanos));
    let (ran, waited) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    let thread = path.file_name()?.to_str()?.parse().ok()?;
    Some(Shard { thread, ran, waited, ready: rest.starts_with('R'), waiting: Duration::ZERO })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn seen(ran: u32, waited: u32, ready: bool) -> Shard {
        Shard { thread: 7, ran: MS * ran, waited: MS * waited, ready, waiting: Duration::ZERO }
    }

    /// Lateness of a shard that was seen like this every ten milliseconds, from each of these looks to the last.
    fn since_each(seen: &[Shard]) -> Vec<u128> {
        let lateness = Lateness(Arc::new(Measured::default()));
        let began = Instant::now();
        for (nth, shard) in (0..).zip(seen) {
            let (at, mut shard) = (began + MS * 10 * nth, *shard);
            let mut looks = lateness.0.looks();
            looks.back().into_iter().for_each(|last| shard.follow(last, at));
            looks.push_back(Look { at, shards: vec![shard] });
        }
        let looks = seen.len() as u32;
        let since = |nth| lateness.waited(began + MS * 10 * nth, began + MS * 10 * (looks - 1)).as_millis();
        (0..looks).map(since).collect()
    }

    #[test]
    fn a_shard_that_sleeps_or_runs_is_not_late() {
        assert_eq!(since_each(&[seen(1, 5, false), seen(1, 5, false), seen(1, 5, false)]), [0, 0, 0]);
        assert_eq!(since_each(&[seen(1, 5, true), seen(9, 5, true), seen(19, 5, true)]), [0, 0, 0]);
    }

    #[test]
    fn what_it_waited_before_does_not_count() {
        assert_eq!(since_each(&[seen(1, 5, true), seen(2, 12, true), seen(3, 20, false)]), [15, 8, 0]);
    }

    #[test]
    fn one_that_waits_still_is_late_already_and_counted_once() {
        let waits = seen(1, 5, true);
        assert_eq!(since_each(&[waits, waits, waits]), [20, 10, 0]);
        assert_eq!(since_each(&[waits, waits, waits, seen(2, 30, true)]), [25, 15, 5, 0]);
    }

    #[test]
    fn threads_of_this_process_are_found_by_their_names() {
        let own = || shards(std::process::id()).len();
        let (tell, told) = std::sync::mpsc::channel::<()>();
        let before = own();
        let waits = thread::Builder::new().name(format!("{SHARD}of-a-story")).spawn(move || told.recv()).unwrap();
        let patience = Instant::now() + Duration::from_secs(30);
        while own() == before {
            assert!(Instant::now() < patience, "the kernel has no such thread");
            thread::yield_now();
        }
        drop(tell);
        waits.join().unwrap().unwrap_err();
    }
}
