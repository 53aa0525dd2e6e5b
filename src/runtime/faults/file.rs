//! A file on that device.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fastrand::Rng;
use glommio::timer::sleep;

use super::device::{Faults, lock};
use super::held::Held;

/// Pieces that a sync writes before others get their turn, and a kill its chance.
const AT_ONCE: usize = 16;

/// Opened by its name; what is held of it belongs to the device.
#[derive(Debug)]
pub struct FaultyFile {
    device: &'static Faults,
    file: File,
    folder: PathBuf,
    held: Arc<Mutex<Held>>,
}

fn broken() -> io::Error {
    io::Error::from_raw_os_error(libc::EIO)
}

impl FaultyFile {
    /// Opens it, made if it is not there and may be.
    pub fn open(device: &'static Faults, path: &Path, create: bool) -> io::Result<FaultyFile> {
        let (place, new) = device.place(path);
        if new && !create {
            return Err(io::ErrorKind::NotFound.into());
        }
        let file = OpenOptions::new().read(true).write(true).create(create).truncate(false).mode(0o600).open(place)?;
        let held = device.held(&file, new)?;
        let folder = path.parent().expect("a file has a folder").to_owned();
        Ok(FaultyFile { device, file, folder, held })
    }

    /// Gives it its size. The room is taken at once, as a filesystem does that keeps its word about it.
    pub fn allocate(&self, size: u64) -> io::Result<()> {
        let mut held = lock(&self.held);
        let more = size.saturating_sub(held.size);
        if more > 0 && self.device.free(&self.folder).is_some_and(|free| free < more) {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        held.size = held.size.max(size);
        if !self.device.options.hold {
            self.file.set_len(held.size)?;
        }
        Ok(())
    }

    /// Writes all of it, or a part of it and fails.
    pub async fn write(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.allocate(position + bytes.len() as u64)?;
        self.wait().await;
        if self.device.write_fails() {
            self.tear(bytes, position)?;
            return Err(broken());
        }
        if !self.device.options.hold {
            return self.file.write_all_at(bytes, position);
        }
        let mut dice = self.device.dice();
        let mut held = lock(&self.held);
        held.write(&self.file, position, bytes)?;
        match dice.u32(..1000) < self.device.options.early {
            true => self.some_early(&mut held, &mut dice),
            false => Ok(()),
        }
    }

    /// A failed write is not a write that did nothing.
    fn tear(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        let mut torn = Held::new(position + bytes.len() as u64);
        torn.write(&self.file, position, bytes)?;
        self.some_early(&mut torn, &mut self.device.dice())
    }

    /// About half of what is held.
    fn some_early(&self, held: &mut Held, dice: &mut Rng) -> io::Result<()> {
        let pieces = held.pieces(dice);
        for piece in &pieces[..pieces.len().div_ceil(2)] {
            held.let_through(&self.file, piece)?;
        }
        Ok(())
    }

    /// What was written before this was asked for is durable when it returns.
    pub async fn sync(&self) -> io::Result<()> {
        let began = Instant::now();
        let mut dice = self.device.dice();
        let (pieces, size) = {
            let held = lock(&self.held);
            if held.distrusted {
                self.device.asked_again();
            }
            (held.pieces(&mut dice), held.size)
        };
        self.wait().await;
        if self.device.sync_fails() {
            let mut held = lock(&self.held);
            held.drop_all();
            held.distrusted = true;
            return Err(broken());
        }
        if self.file.metadata()?.len() < size {
            self.file.set_len(size)?;
        }
        for some in pieces.chunks(AT_ONCE) {
            let sectors: Vec<u64> = some.concat();
            lock(&self.held).let_through(&self.file, &sectors)?;
            // One that never ends, because its process does, counts as well.
            self.device.synced(began.elapsed());
            if dice.u8(..8) == 0 {
                sleep(Duration::from_micros(dice.u64(..200))).await;
            }
        }
        self.device.synced(began.elapsed());
        Ok(())
    }

    /// Reads what was written, synced or not.
    pub fn read(&self, position: u64, len: usize) -> io::Result<Bytes> {
        let held = lock(&self.held);
        held.read(&self.file, position, len, held.size).map(Bytes::from)
    }

    async fn wait(&self) {
        if !self.device.options.delay.is_zero() {
            sleep(self.device.options.delay).await;
        }
    }
}
