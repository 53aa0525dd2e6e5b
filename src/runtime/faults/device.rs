//! The device: what it still takes, how long it needs, which files it holds back.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fastrand::Rng;

use super::held::Held;
use super::names::Names;
use super::options::Options;

/// One for the process: all logs are on it.
#[derive(Debug)]
pub struct Faults {
    pub options: Options,
    writes: AtomicU64,
    syncs: AtomicU64,
    slowest_sync_us: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    dice: Rng,
    /// By device and inode: a file keeps them under every name.
    files: HashMap<(u64, u64), Arc<Mutex<Held>>>,
    folders: HashMap<PathBuf, Names>,
}

pub fn lock<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Faults {
    pub fn new(options: Options) -> Faults {
        let state = State { dice: Rng::with_seed(options.seed), files: HashMap::new(), folders: HashMap::new() };
        Faults {
            options,
            writes: AtomicU64::new(0),
            syncs: AtomicU64::new(0),
            slowest_sync_us: AtomicU64::new(0),
            state: Mutex::new(state),
        }
    }

    /// Chance of its own, for somebody who must not hold the device up.
    pub fn dice(&self) -> Rng {
        lock(&self.state).dice.fork()
    }

    /// One more write, and whether it fails. A broken device stays broken.
    pub fn write_fails(&self) -> bool {
        let nth = self.writes.fetch_add(1, Ordering::Relaxed);
        self.options.fail_write_after.is_some_and(|after| nth >= after)
    }

    /// One more sync, and whether it fails. The next one says that all is well: so do kernels.
    pub fn sync_fails(&self) -> bool {
        let nth = self.syncs.fetch_add(1, Ordering::Relaxed);
        self.options.fail_sync_after == Some(nth)
    }

    /// A sync has taken so long by now.
    pub fn synced(&self, took: Duration) {
        let took = took.as_micros() as u64;
        if self.slowest_sync_us.fetch_max(took, Ordering::Relaxed) < took
            && let Some(report) = &self.options.report
        {
            // Who reads it finds an older figure at worst.
            let _ = fs::write(report, took.to_string());
        }
    }

    /// A sync was asked for of a file of which one had failed: whoever does that believes a device that lies.
    pub fn asked_again(&self) {
        if let Some(report) = &self.options.report {
            // Who looks for it finds it, or the trial's own directory is broken.
            let _ = fs::write(report.with_extension("again"), "");
        }
    }

    /// What is held of a file that is open; a new one begins without.
    pub fn held(&self, file: &fs::File, new: bool) -> io::Result<Arc<Mutex<Held>>> {
        let metadata = file.metadata()?;
        let mut state = lock(&self.state);
        let key = (metadata.dev(), metadata.ino());
        if new {
            state.files.remove(&key);
        }
        let fresh = || Arc::new(Mutex::new(Held::new(metadata.len())));
        Ok(state.files.entry(key).or_insert_with(fresh).clone())
    }

    /// The file that a name leads to, or where it is to be made and true.
    pub fn place(&self, path: &Path) -> (PathBuf, bool) {
        if !self.options.hold {
            return (path.to_owned(), !path.exists());
        }
        self.with_names(path, |names, _| match names.find(path) {
            Some(found) => (found, false),
            None => (names.create(path), true),
        })
    }

    /// Renames a file.
    pub fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        if !self.options.hold {
            return fs::rename(from, to);
        }
        self.with_names(from, |names, dice| {
            names.rename(from, to)?;
            perhaps_early(names, dice)
        })
    }

    /// Removes a file.
    pub fn remove(&self, path: &Path) -> io::Result<()> {
        if !self.options.hold {
            return fs::remove_file(path);
        }
        self.with_names(path, |names, dice| {
            names.remove(path)?;
            perhaps_early(names, dice)
        })
    }

    /// The names of a folder reach the disk.
    pub fn sync_directory(&self, path: &Path) -> io::Result<()> {
        if self.sync_fails() {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        self.with_names(&path.join("anything"), |names, _| names.let_through(names.waiting()))
    }

    fn with_names<T>(&self, path: &Path, act: impl FnOnce(&mut Names, &mut Rng) -> T) -> T {
        let folder = path.parent().expect("a file has a folder");
        let State { dice, folders, .. } = &mut *lock(&self.state);
        act(folders.entry(folder.to_owned()).or_default(), dice)
    }

    /// Bytes free for the logs in `folder` and beside it, if the device has a size.
    pub fn free(&self, folder: &Path) -> Option<u64> {
        let capacity = fs::read_to_string(self.options.capacity.as_ref()?).ok()?.trim().parse::<u64>().ok()?;
        let root = folder.parent().unwrap_or(folder);
        let folders = fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
        let files = folders.filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
        let used: u64 = files.filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum();
        Some(capacity.saturating_sub(used))
    }
}

/// A filesystem writes its journal when it likes.
fn perhaps_early(names: &mut Names, dice: &mut Rng) -> io::Result<()> {
    match dice.u8(..4) {
        0 => names.let_through(dice.usize(..=names.waiting())),
        _ => Ok(()),
    }
}
