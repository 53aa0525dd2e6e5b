//! A sample of the damages, tried on the real daemon: it starts or it does not, as the judgement in this process says,
//! and gives its subscribers the same messages. Damage to the directory itself is tried here only.

use std::fs;
use std::path::Path;
use std::time::Duration;

use fastrand::Rng;
use nix::sys::signal::Signal;

use super::super::daemon::{Daemon, Workspace};
use super::super::http::Http;
use super::image::Image;
use super::judge::{Judgement, MODES};
use super::writing::{self, Messages};
use crate::bench::failure::Failure;

/// The exit code for a directory that cannot be used.
const REFUSED: &str = "exit status: 4";
const PATIENCE: Duration = Duration::from_secs(20);

/// Starts the daemon on a damaged log in each mode.
pub fn try_modes(
    workspace: &Workspace,
    damaged: &Image,
    judgement: &Judgement,
    written: &Messages,
) -> Result<Vec<String>, Failure> {
    let mut broken = Vec::new();
    for (nth, (_, mode)) in MODES.into_iter().enumerate() {
        damaged.store(&workspace.data().join("shard-0000"))?;
        match (writing::start(workspace, mode), &judgement.refused[nth]) {
            (Ok(daemon), None) => {
                let suspect = judgement.told[nth] > 0;
                broken.extend(
                    serves(daemon, written, judgement.kept[nth], suspect)?.map(|what| format!("{mode}: {what}")),
                );
            }
            (Ok(_), Some(_)) => broken.push(format!("blipmqd, {mode}: starts on a log that is to be refused")),
            (Err(Failure::Embedded(words)), Some(why)) => {
                if !words.contains(REFUSED) || !words.contains(&why.to_string()) || !words.contains("blipmq wal check")
                {
                    broken.push(format!("blipmqd, {mode}: does not say why it refuses: {words}"));
                }
            }
            (Err(failure), _) => broken.push(format!("blipmqd, {mode}: {failure}")),
        }
    }
    Ok(broken)
}

/// What it gives is what was written, as much as was judged to be there; and what is wrong is counted.
fn serves(mut daemon: Daemon, written: &Messages, kept: u64, suspect: bool) -> Result<Option<String>, Failure> {
    let came = writing::read(&daemon)?;
    let mut count = 0;
    for (topic, messages) in &came {
        for (offset, value) in messages {
            count += 1;
            if written.get(topic).and_then(|known| known.get(offset)) != Some(value) {
                return Ok(Some(format!("blipmqd gives message {offset} of {topic}, which was never written")));
            }
        }
    }
    let counted = Http::of(&daemon)?.figures()?.sum("blipmq_wal_corruptions_total");
    daemon.signal(Signal::SIGTERM)?;
    let ended = daemon.wait(PATIENCE)?;
    Ok(match () {
        () if count != kept => Some(format!("blipmqd gives {count} messages, and {kept} were judged to be there")),
        () if (counted > 0.0) != suspect => Some(format!("{counted} corruptions are counted, suspect: {suspect}")),
        () if !ended.is_some_and(|status| status.success()) => Some(format!("it ends with {ended:?}")),
        () => None,
    })
}

/// Damages the version file or the lock file, or loses the log's folder: refused with a word, or of no consequence.
pub fn try_directory(workspace: &Workspace, image: &Image, dice: &mut Rng) -> Result<Vec<String>, Failure> {
    let data = workspace.data();
    let folder = data.join("shard-0000");
    image.store(&folder)?;
    let version = fs::read(data.join("version"))?;
    let what = damage_directory(&data, &version, dice)?;
    let started = writing::start(workspace, "refuse");
    let mut broken = Vec::new();
    match (started, what) {
        (Ok(daemon), "lock") => daemon.kill()?,
        (Ok(_), what) => broken.push(format!("blipmqd starts although its {what} is damaged")),
        (Err(Failure::Embedded(words)), what) if what != "lock" && words.contains(REFUSED) => {}
        (Err(failure), what) => broken.push(format!("{what}: {failure}")),
    }
    if what == "folder" && folder.exists() {
        broken.push("blipmqd makes an empty folder where a log was lost".into());
    }
    fs::write(data.join("version"), version)?;
    Ok(broken)
}

fn damage_directory(data: &Path, version: &[u8], dice: &mut Rng) -> Result<&'static str, Failure> {
    Ok(match dice.u8(0..5) {
        0 => {
            fs::write(data.join("lock"), (0..dice.usize(0..99)).map(|_| dice.u8(..)).collect::<Vec<u8>>())?;
            "lock"
        }
        1 => {
            fs::remove_dir_all(data.join("shard-0000"))?;
            "folder"
        }
        2 => {
            fs::remove_file(data.join("version"))?;
            "version file"
        }
        3 => {
            let mut changed = version.to_vec();
            // The numbers in it; a letter more or less in its words is noticed as well, a blank is not looked at.
            let digits: Vec<usize> = (0..version.len()).filter(|at| version[*at].is_ascii_digit()).collect();
            changed[digits[dice.usize(0..digits.len())]] ^= 1 << dice.u8(0..7);
            fs::write(data.join("version"), changed)?;
            "version file"
        }
        _ => {
            fs::write(data.join("version"), &version[..dice.usize(0..version.len() - 2)])?;
            "version file"
        }
    })
}
