//! Damaged logs: whatever happens to the files, it is noticed, told by name, and decided as documented.
//!
//! A real daemon writes a log, once killed and once closed. Each damage is one to three `Blow`s from a seed, on a
//! copy in memory. It is judged in this process by the recovery that the daemon and `blipmq wal` run (`judge`); a
//! sample is tried on the real daemon (`live`). A watchdog ends what never ends.

mod blow;
mod image;
mod judge;
mod live;
mod reading;
mod reference;
mod writing;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use fastrand::Rng;
use nix::sys::signal::Signal;

use super::cli::Common;
use super::daemon::Workspace;
use super::verdict::Verdict;
use crate::bench::failure::Failure;
use blow::Blow;
use image::Image;
use judge::{Judgement, judge};
use reference::Reference;
use writing::Messages;

/// Damage the files of a log in every way there is, and see what recovery makes of it
#[derive(Args, Clone, Debug)]
pub struct Arguments {
    #[command(flatten)]
    pub common: Common,
    /// Damaged copies to judge
    #[arg(long, default_value_t = 3000)]
    pub damages: u64,
    /// One in so many is tried on the real daemon as well, in all modes; 0 for none
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub live: u64,
}

/// One damage that takes longer has hung.
const HANG: Duration = Duration::from_secs(60);
/// Judged damages that wait to be tried on the daemon.
const JUDGED_AHEAD: usize = 4;
/// A daemon that was asked to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the trial counts.
#[derive(Default)]
struct Counts {
    refused: u64,
    hopeless: u64,
    cut: u64,
    read: u64,
    harmless: u64,
    live: u64,
    directory: u64,
    messages: [u64; 3],
}

/// The logs before anything happened to them, and what the daemon was given to write.
struct Made {
    references: [Arc<Reference>; 2],
    written: Messages,
}

/// A damage, as its number and the seed decide.
fn blows(seed: u64, nth: u64, reference: &Reference) -> (Vec<Blow>, Image) {
    let mut dice = Rng::with_seed(seed.wrapping_add(nth.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    let mut image = reference.image.clone();
    let count = [1, 1, 1, 1, 2, 3][dice.usize(0..6)];
    let mut blows = Vec::new();
    for _ in 0..count {
        if image.segments.is_empty() {
            break;
        }
        let blow = Blow::roll(&mut dice, &image, reference.end);
        blow.strike(&mut image);
        blows.push(blow);
    }
    (blows, image)
}

/// Runs the trial.
pub fn run(arguments: &Arguments, seed: u64) -> Result<Verdict, Failure> {
    let mut verdict = Verdict::new();
    let workspace = Workspace::make(&arguments.common)?;
    let made = make(&workspace, seed)?;
    let started = Instant::now();
    let mut counts = Counts::default();
    let (tell, told) = sync_channel(JUDGED_AHEAD);
    let references = made.references.clone();
    let damages = arguments.damages;
    thread::spawn(move || {
        for nth in 0..damages {
            let (blows, image) = blows(seed, nth, of(&references, nth));
            let judged = catch_unwind(AssertUnwindSafe(|| judge(of(&references, nth), &image)));
            if tell.send((nth, blows, image, judged)).is_err() {
                return;
            }
        }
    });
    loop {
        let (nth, blows, image, judged) = match told.recv_timeout(HANG) {
            Ok(judged) => judged,
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                verdict.broken("a recovery hangs".into());
                break;
            }
        };
        let judgement = judged.unwrap_or_else(|panic| panicked(panic.as_ref()));
        counts.count(&judgement);
        judgement.broken.iter().for_each(|what| verdict.broken(format!("damage {nth} {blows:?}: {what}")));
        if arguments.live > 0 && nth % arguments.live == 0 {
            counts.live += 1;
            for what in live::try_modes(&workspace, &image, &judgement, &made.written)? {
                verdict.broken(format!("damage {nth} {blows:?}: {what}"));
            }
        }
        if arguments.live > 0 && nth % (3 * arguments.live) == 1 {
            counts.directory += 1;
            let mut dice = Rng::with_seed(seed.wrapping_add(nth));
            for what in live::try_directory(&workspace, &made.references[0].image, &mut dice)? {
                verdict.broken(what);
            }
        }
    }
    counts.tell(&mut verdict, &made, arguments.damages, started);
    Ok(verdict)
}

/// Four in five damages are done to the log of a killed daemon.
fn of(references: &[Arc<Reference>; 2], nth: u64) -> &Reference {
    &references[usize::from(nth % 5 == 4)]
}

fn panicked(panic: &(dyn Any + Send)) -> Judgement {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let what = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("something");
    Judgement { broken: vec![format!("panics: {what}")], ..Judgement::default() }
}

fn make(workspace: &Workspace, seed: u64) -> Result<Made, Failure> {
    let folder = workspace.data().join("shard-0000");
    let daemon = writing::start(workspace, "refuse")?;
    let written = writing::write(&daemon, &mut Rng::with_seed(seed))?;
    daemon.kill()?;
    let killed = Image::load(&folder)?;
    let mut daemon = writing::start(workspace, "refuse")?;
    daemon.signal(Signal::SIGTERM)?;
    daemon.wait(PATIENCE)?;
    let closed = Image::load(&folder)?;
    let refer = |image| Reference::of(image).map(Arc::new).map_err(Failure::Local);
    Ok(Made { references: [refer(killed)?, refer(closed)?], written })
}

impl Counts {
    fn count(&mut self, judgement: &Judgement) {
        let Judgement { refused, told, kept, .. } = judgement;
        let which = match (&refused[0], judgement.cut, told[0]) {
            (Some(_), _, _) => &mut self.refused,
            (None, true, _) => &mut self.cut,
            (None, false, 0) => &mut self.harmless,
            (None, false, _) => &mut self.read,
        };
        *which += 1;
        self.hopeless += u64::from(refused[2].is_some());
        self.messages.iter_mut().zip(kept).for_each(|(sum, kept)| *sum += kept);
    }

    fn tell(&self, verdict: &mut Verdict, made: &Made, damages: u64, started: Instant) {
        let reference = &made.references[0];
        let messages: usize = made.written.values().map(|messages| messages.len()).sum();
        verdict.figure("segments", reference.image.segments.len());
        verdict.figure("entries", reference.entries.len());
        verdict.figure("messages", messages);
        verdict.figure("damages", damages);
        verdict.figure("refused", self.refused);
        verdict.figure("refused in every mode", self.hopeless);
        verdict.figure("cut as unfinished", self.cut);
        verdict.figure("told to readers", self.read);
        verdict.figure("of no consequence", self.harmless);
        let [refuse, truncate, skip] = self.messages;
        verdict.figure("messages back by refuse", refuse);
        verdict.figure("messages back by truncate", truncate);
        verdict.figure("messages back by skip", skip);
        verdict.figure("tried on the daemon", self.live * 3);
        verdict.figure("directories tried", self.directory);
        verdict.figure("seconds", started.elapsed().as_secs());
    }
}
