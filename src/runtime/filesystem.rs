//! Whether the filesystem of the data directory keeps what a log promises.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use nix::sys::statfs::{FsType, OVERLAYFS_SUPER_MAGIC, TMPFS_MAGIC, statfs};

use super::failure::{Exit, Failure};
use crate::model::FsyncPolicy;
use crate::wal::BLOCK;

/// How segments are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteMode {
    /// Past the page cache (O_DIRECT).
    Direct,
    /// Through the page cache: slower, equally safe, because a sync reaches the device all the same.
    Buffered,
}

/// What was found, and what the operator should know about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ground {
    /// How segments are to be written.
    pub mode: WriteMode,
    /// One line for the start of the log, if there is something to say.
    pub warning: Option<String>,
}

/// `ramfs`: not among the names that nix knows.
const RAMFS_MAGIC: FsType = FsType(0x8584_58f6);

/// Looks at the filesystem and tries one direct write in `dir`. Refuses where a sync would promise nothing.
pub fn check(dir: &Path, fsync: FsyncPolicy) -> Result<Ground, Failure> {
    let kind = statfs(dir).map(|stat| stat.filesystem_type()).unwrap_or(FsType(0));
    if kind == TMPFS_MAGIC || kind == RAMFS_MAGIC {
        return in_memory(dir, fsync);
    }
    if kind == OVERLAYFS_SUPER_MAGIC && volatile_overlay(dir) && fsync != FsyncPolicy::None {
        return Err(Failure::new(
            Exit::DataDirectory,
            format!("{} is on an overlay mounted `volatile`: a sync there does nothing", dir.display()),
            "put wal_path on a volume, or set fsync_policy = \"none\"",
        ));
    }
    match direct_write(dir) {
        Ok(()) => Ok(Ground { mode: WriteMode::Direct, warning: None }),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(Ground {
            mode: WriteMode::Buffered,
            warning: Some(format!("{} has no direct I/O: the log is written through the page cache", dir.display())),
        }),
        Err(error) => Err(not_writable(dir, &error)),
    }
}

/// A log that lives in memory survives the process, not the machine; only `none` promises no more than that.
fn in_memory(dir: &Path, fsync: FsyncPolicy) -> Result<Ground, Failure> {
    if fsync != FsyncPolicy::None {
        return Err(Failure::new(
            Exit::DataDirectory,
            format!("{} is in memory (tmpfs): fsync_policy = \"{fsync}\" cannot be kept there", dir.display()),
            "put wal_path on a disk, or set fsync_policy = \"none\", or run without a log (wal = \"off\")",
        ));
    }
    let warning = format!("{} is in memory (tmpfs): a reboot takes the whole log", dir.display());
    Ok(Ground { mode: WriteMode::Buffered, warning: Some(warning) })
}

/// Ways that a directory refuses to be written to.
pub fn not_writable(dir: &Path, error: &io::Error) -> Failure {
    let remedy = match error.raw_os_error() {
        Some(libc::ENOSPC | libc::EDQUOT) => "make room on that filesystem",
        Some(libc::EROFS) => "it is mounted read-only: set wal_path to another place",
        _ => "set wal_path to a directory that this user may write to",
    };
    Failure::new(Exit::DataDirectory, format!("cannot write in {}: {error}", dir.display()), remedy)
}

fn direct_write(dir: &Path) -> io::Result<()> {
    #[repr(align(4096))]
    struct Block([u8; BLOCK]);
    let path = dir.join("probe");
    let open = |flags| OpenOptions::new().write(true).create(true).truncate(true).custom_flags(flags).open(&path);
    let wrote = open(libc::O_DIRECT).and_then(|file: File| file.write_all_at(&Block([0; BLOCK]).0, 0));
    let removed = fs::remove_file(&path);
    wrote?;
    removed
}

/// The mount with the longest path above `dir` decides.
fn volatile_overlay(dir: &Path) -> bool {
    let dir = fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let fields = |line: &str| -> Option<(String, String)> {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?.to_owned(), fields.nth(1)?.to_owned()))
    };
    let above = mounts.lines().filter_map(fields).filter(|(mount, _)| dir.starts_with(mount));
    above.max_by_key(|(mount, _)| mount.len()).is_some_and(|(_, options)| options.split(',').any(|o| o == "volatile"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_written_directly_and_leaves_no_trace() {
        let dir = tempfile::tempdir().unwrap();
        let ground = check(dir.path(), FsyncPolicy::Always);
        if let Ok(ground) = ground {
            assert!(ground.mode == WriteMode::Direct || ground.warning.is_some());
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn memory_is_refused_where_a_sync_is_promised_and_warned_about_where_not() {
        let Ok(dir) = tempfile::tempdir_in("/dev/shm") else { return };
        assert_eq!(check(dir.path(), FsyncPolicy::Always).unwrap_err().exit, Exit::DataDirectory);
        let ground = check(dir.path(), FsyncPolicy::None).unwrap();
        assert_eq!(ground.mode, WriteMode::Buffered);
        assert!(ground.warning.is_some());
    }

    #[test]
    fn a_directory_that_is_not_there_is_refused_with_a_way_out() {
        let failure = check(Path::new("/nowhere/at/all"), FsyncPolicy::Always).unwrap_err();
        assert_eq!(failure.exit, Exit::DataDirectory);
        assert!(failure.remedy.contains("wal_path"));
    }
}
