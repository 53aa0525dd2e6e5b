//! The data directory: one process, one format, a fixed number of logs.
//!
//! ```text
//! <wal_path>/
//!   lock         locked (flock) by the process that runs; holds its process id
//!   version      "format 1\nlogs 4\nplacement 1\n", written once
//!   api-key      the key made at the first start, mode 0600
//!   shard-0000/  one folder a log: 00000000000000000000.log and so on, and `checkpoint`
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use super::failure::{Exit, Failure};
use super::filesystem::not_writable;
use crate::model::LogId;
use crate::model::placement::PLACEMENT_VERSION;

/// The format of segments, entries and checkpoints that this program reads and writes.
pub const FORMAT_VERSION: u32 = 1;

/// An open, locked data directory. The lock lives as long as this.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    logs: u16,
    _lock: Flock<File>,
}

/// What the version file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Version {
    format: u32,
    logs: u16,
    placement: u32,
}

impl DataDir {
    /// Opens the directory, or creates it with `shards` logs. The number of logs never changes after that.
    pub fn open(path: &Path, shards: u16) -> Result<DataDir, Failure> {
        // glommio opens directories without a base for relative paths.
        let path = &std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let refused = |error: io::Error| not_writable(path, &error);
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(refused)?;
        let lock = lock(path)?;
        let file = path.join("version");
        let version = match fs::read_to_string(&file) {
            Ok(text) => Version::parse(&text).ok_or_else(|| damaged(&file))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => create(path, shards).map_err(refused)?,
            Err(error) => return Err(refused(error)),
        };
        version.check(path)?;
        for log in 0..version.logs {
            make_folder(&folder(path, LogId(log))).map_err(refused)?;
        }
        sync_dir(path).map_err(refused)?;
        // glommio opens directories by absolute paths only.
        let path = fs::canonicalize(path).map_err(refused)?;
        Ok(DataDir { path, logs: version.logs, _lock: lock })
    }

    /// Logs of this directory, as many as there were shards when it was created.
    pub fn logs(&self) -> u16 {
        self.logs
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder of one log.
    pub fn log_folder(&self, log: LogId) -> PathBuf {
        folder(&self.path, log)
    }

    /// The key of this directory, made from `make` if there is none. Readable by this user alone.
    pub fn api_key(&self, make: impl FnOnce() -> String) -> Result<String, Failure> {
        let file = self.path.join("api-key");
        let refused = |error: io::Error| not_writable(&self.path, &error);
        match fs::read_to_string(&file) {
            Ok(key) if !key.trim().is_empty() => Ok(key.trim().to_owned()),
            Ok(_) => Err(damaged(&file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let key = make();
                replace(&file, format!("{key}\n").as_bytes()).map_err(refused)?;
                Ok(key)
            }
            Err(error) => Err(refused(error)),
        }
    }
}

impl Version {
    fn parse(text: &str) -> Option<Version> {
        let field = |name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            value?.trim().parse::<u32>().ok()
        };
        let logs = u16::try_from(field("logs")?).ok().filter(|logs| *logs > 0)?;
        Some(Version { format: field("format")?, logs, placement: field("placement")? })
    }

    fn text(&self) -> String {
        format!("format {}\nlogs {}\nplacement {}\n", self.format, self.logs, self.placement)
    }

    fn check(&self, path: &Path) -> Result<(), Failure> {
        if (self.format, self.placement) == (FORMAT_VERSION, PLACEMENT_VERSION) {
            return Ok(());
        }
        Err(Failure::new(
            Exit::DataDirectory,
            format!(
                "{} has format {}, placement {}; this program reads format {FORMAT_VERSION}, placement {PLACEMENT_VERSION}",
                path.display(),
                self.format,
                self.placement
            ),
            "run the version that wrote it, or set wal_path to an empty directory",
        ))
    }
}

fn folder(path: &Path, log: LogId) -> PathBuf {
    path.join(format!("shard-{:04}", log.0))
}

fn make_folder(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

fn lock(path: &Path) -> Result<Flock<File>, Failure> {
    let file = path.join("lock");
    let mut options = OpenOptions::new();
    let open = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&file);
    let open = open.map_err(|error| not_writable(path, &error))?;
    let mut held = Flock::lock(open, FlockArg::LockExclusiveNonblock).map_err(|(file, errno)| match errno {
        nix::errno::Errno::EWOULDBLOCK => taken(path, file),
        errno => not_writable(path, &errno.into()),
    })?;
    let noted = held.set_len(0).and_then(|()| writeln!(held, "{}", std::process::id()));
    noted.map_err(|error| not_writable(path, &error))?;
    Ok(held)
}

fn taken(path: &Path, mut file: File) -> Failure {
    let mut pid = String::new();
    let who = match file.read_to_string(&mut pid) {
        Ok(_) if !pid.trim().is_empty() => format!("process {}", pid.trim()),
        _ => "another process".into(),
    };
    Failure::new(
        Exit::DataDirectory,
        format!("{} is in use by {who}", path.display()),
        "stop that one, or set wal_path to another directory",
    )
}

fn damaged(file: &Path) -> Failure {
    Failure::new(
        Exit::DataDirectory,
        format!("{} is damaged", file.display()),
        "restore it from a backup, or set wal_path to an empty directory",
    )
}

fn create(path: &Path, logs: u16) -> io::Result<Version> {
    let version = Version { format: FORMAT_VERSION, logs, placement: PLACEMENT_VERSION };
    replace(&path.join("version"), version.text().as_bytes())?;
    Ok(version)
}

/// Writes beside, syncs, renames, syncs the directory: after a crash the file is whole or not there.
fn replace(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = file.with_extension("new");
    let mut options = OpenOptions::new();
    let mut out = options.write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    out.write_all(bytes)?;
    out.sync_all()?;
    fs::rename(&beside, file)?;
    sync_dir(file.parent().expect("a file of the data directory has a parent"))
}

fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_number_of_logs_is_fixed_when_the_directory_is_created() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        assert_eq!(DataDir::open(&path, 3).unwrap().logs(), 3);
        let again = DataDir::open(&path, 8).unwrap();
        assert_eq!(again.logs(), 3);
        assert!(again.log_folder(LogId(2)).is_dir());
    }

    #[test]
    fn a_relative_path_is_made_absolute() {
        let dir = tempfile::tempdir_in(".").unwrap();
        let name = Path::new(dir.path().file_name().unwrap());
        assert!(DataDir::open(name, 1).unwrap().log_folder(LogId(0)).is_absolute());
    }

    #[test]
    fn a_second_process_is_refused_and_told_who_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataDir::open(dir.path(), 1).unwrap();
        let failure = DataDir::open(dir.path(), 1).unwrap_err();
        assert_eq!(failure.exit, Exit::DataDirectory);
        assert!(failure.what.contains(&format!("process {}", std::process::id())), "{failure}");
        drop(first);
        assert!(DataDir::open(dir.path(), 1).is_ok());
    }

    #[test]
    fn a_newer_format_or_another_placement_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["format 2\nlogs 1\nplacement 1\n", "format 1\nlogs 1\nplacement 7\n"] {
            fs::write(dir.path().join("version"), text).unwrap();
            let failure = DataDir::open(dir.path(), 1).unwrap_err();
            assert_eq!(failure.exit, Exit::DataDirectory);
        }
        for text in ["", "format 1\nlogs 0\nplacement 1\n", "format one\n"] {
            fs::write(dir.path().join("version"), text).unwrap();
            assert!(DataDir::open(dir.path(), 1).unwrap_err().what.contains("damaged"));
        }
    }

    #[test]
    fn the_key_is_made_once_and_is_for_this_user_alone() {
        let dir = tempfile::tempdir().unwrap();
        let open = DataDir::open(dir.path(), 1).unwrap();
        assert_eq!(open.api_key(|| "one".into()).unwrap(), "one");
        assert_eq!(open.api_key(|| "two".into()).unwrap(), "one");
        let mode = fs::metadata(dir.path().join("api-key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        let failure = DataDir::open(&dir.path().join("file"), 1).unwrap_err();
        assert_eq!(failure.exit, Exit::DataDirectory);
    }
}
