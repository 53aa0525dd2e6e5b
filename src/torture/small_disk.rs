//! A small disk that can be filled up: an ext4 image, loop-mounted, or the size that the faulty device is told.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::statvfs::statvfs;

use super::daemon::Workspace;
use super::faults;
use crate::bench::failure::Failure;

/// The smallest piece of room that is taken.
const BLOCK: u64 = 4096;

/// Unmounted when dropped.
#[derive(Debug)]
pub struct SmallDisk {
    data: PathBuf,
    bytes: u64,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// The data directory is the root of a filesystem of its own.
    Mounted { ballast: PathBuf },
    /// The device is told its size by this file.
    Told { size: PathBuf },
}

impl SmallDisk {
    /// A filesystem of so many bytes for the daemons of `workspace`.
    pub fn mount(workspace: &Workspace, bytes: u64) -> Result<SmallDisk, Failure> {
        let (image, data) = (workspace.path().join("disk.img"), workspace.data());
        File::create(&image)?.set_len(bytes)?;
        fs::create_dir_all(&data)?;
        // No blocks are kept back for root: what statvfs says is free can be had.
        run("mkfs.ext4", &["-q", "-F", "-m", "0"], &[&image])?;
        run("mount", &["-o", "loop"], &[&image, &data])?;
        let ballast = data.join("ballast");
        Ok(SmallDisk { data, bytes, kind: Kind::Mounted { ballast } })
    }

    /// A faulty device of so many bytes.
    pub fn tell(workspace: &Workspace, bytes: u64) -> Result<SmallDisk, Failure> {
        faults::require(workspace)?;
        let size = workspace.path().join("size");
        fs::write(&size, bytes.to_string())?;
        Ok(SmallDisk { data: workspace.data(), bytes, kind: Kind::Told { size } })
    }

    /// A mounted one where this process may mount, otherwise the other.
    pub fn make(workspace: &Workspace, bytes: u64) -> Result<SmallDisk, Failure> {
        match nix::unistd::geteuid().is_root() {
            true => SmallDisk::mount(workspace, bytes).or_else(|_| SmallDisk::tell(workspace, bytes)),
            false => SmallDisk::tell(workspace, bytes),
        }
    }

    /// For the verdict.
    pub fn describe(&self) -> &'static str {
        match self.kind {
            Kind::Mounted { .. } => "ext4, loop-mounted",
            Kind::Told { .. } => "a device of the feature faults",
        }
    }

    /// What a daemon on it must be told.
    pub fn prepare(&self, command: &mut Command) {
        if let Kind::Told { size } = &self.kind {
            command.env(faults::VARIABLE, format!("capacity={}", size.display()));
        }
    }

    /// Somebody else takes so much that `free` bytes are left, or as little more as cannot be had.
    pub fn leave(&self, free: u64) -> Result<(), Failure> {
        match &self.kind {
            Kind::Mounted { ballast } => fill(ballast, free),
            Kind::Told { size } => Ok(replace(size, used(&self.data) + free)?),
        }
    }

    /// They give it back.
    pub fn empty(&self) -> Result<(), Failure> {
        match &self.kind {
            Kind::Mounted { ballast } => Ok(fs::remove_file(ballast)?),
            Kind::Told { size } => Ok(replace(size, self.bytes)?),
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if matches!(self.kind, Kind::Mounted { .. }) {
            // The daemon is gone; if somebody looks into it all the same, it goes when they do.
            let _ = run("umount", &["-l"], &[&self.data]);
        }
    }
}

/// Whoever reads it finds the old number or the new one.
fn replace(file: &Path, bytes: u64) -> std::io::Result<()> {
    let beside = file.with_extension("new");
    fs::write(&beside, bytes.to_string())?;
    fs::rename(beside, file)
}

/// Bytes of the logs.
fn used(data: &Path) -> u64 {
    let folders = fs::read_dir(data).into_iter().flatten().flatten();
    let files = folders.filter_map(|folder| fs::read_dir(folder.path()).ok()).flatten().flatten();
    files.filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum()
}

fn fill(ballast: &Path, free: u64) -> Result<(), Failure> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(ballast)?;
    let mut held = file.metadata()?.len();
    let mut step = u64::MAX;
    while step >= BLOCK {
        let stat = statvfs(ballast)?;
        let there = stat.blocks_available() * stat.fragment_size();
        if there <= free && held > 0 && free - there >= BLOCK && step == u64::MAX {
            held = held.saturating_sub(free - there);
            file.set_len(held)?;
            return Ok(());
        }
        let more = there.saturating_sub(free).min(step) / BLOCK * BLOCK;
        if more == 0 {
            return Ok(());
        }
        match fallocate(&file, FallocateFlags::empty(), held as i64, more as i64) {
            Ok(()) => held += more,
            // What a filesystem needs for itself is not for files, whatever it says is free.
            Err(nix::errno::Errno::ENOSPC) => step = more / 2,
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

fn run(program: &str, options: &[&str], paths: &[&Path]) -> Result<(), Failure> {
    let mut command = Command::new(program);
    let output = command.args(options).args(paths).stdin(Stdio::null()).output();
    let output = output.map_err(|error| Failure::Local(format!("{program}: {error}")))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(Failure::Local(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim()))),
    }
}
