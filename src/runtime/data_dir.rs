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
    _lock: Option<Flock<File>>,
}

/// What somebody wants of the directory of a broker that does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visit {
    /// Writes nothing, and works on a copy without a lock file.
    Look,
    Mend,
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
        let version = match Version::read(path)? {
            Some(version) => version,
            None => create(path, shards).map_err(refused)?,
        };
        version.check_folders(path)?;
        sync_dir(path).map_err(refused)?;
        // glommio opens directories by absolute paths only.
        let path = fs::canonicalize(path).map_err(refused)?;
        Ok(DataDir { path, logs: version.logs, _lock: Some(lock) })
    }

    /// Opens the directory of a broker that does not run, and keeps one from being started meanwhile. Makes nothing.
    pub fn visit(path: &Path, visit: Visit) -> Result<DataDir, Failure> {
        fs::read_dir(path).map_err(|error| unreadable(path, &error))?;
        let version = Version::read(path)?.ok_or_else(|| not_ours(path))?;
        let lock = match visit {
            Visit::Look => lock_to_look(path)?,
            Visit::Mend => Some(lock(path)?),
        };
        version.check_folders(path)?;
        Ok(DataDir { path: path.to_owned(), logs: version.logs, _lock: lock })
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
    /// What the directory's version file says; `None` where there is none, and nothing that it could be missing for.
    fn read(path: &Path) -> Result<Option<Version>, Failure> {
        let file = path.join("version");
        let version = match fs::read_to_string(&file) {
            Ok(text) => Version::parse(&text).ok_or_else(|| damaged(&file))?,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(damaged(&file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let logs = filled_folders(path).map_err(|error| unreadable(path, &error))?;
                return if logs.is_empty() { Ok(None) } else { Err(without_version(path, logs.len())) };
            }
            Err(error) => return Err(unreadable(path, &error)),
        };
        version.check(path)?;
        Ok(Some(version))
    }

    /// The folders were made before the version file: one that is not there was lost, with all that was in it.
    fn check_folders(&self, path: &Path) -> Result<(), Failure> {
        if let Some(log) = (0..self.logs).map(LogId).find(|log| !folder(path, *log).is_dir()) {
            return Err(lost_folder(&folder(path, log)));
        }
        let logs = filled_folders(path).map_err(|error| unreadable(path, &error))?;
        match logs.last().filter(|log| log.0 >= self.logs) {
            Some(log) => Err(unknown_folder(&folder(path, *log), self.logs)),
            None => Ok(()),
        }
    }

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

/// The logs, in order, in whose folders there is something.
fn filled_folders(path: &Path) -> io::Result<Vec<LogId>> {
    let mut logs = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name();
        let log = name.to_str().and_then(|name| name.strip_prefix("shard-")?.parse().ok());
        if let Some(log) = log.filter(|_| entry.path().is_dir())
            && fs::read_dir(entry.path())?.next().is_some()
        {
            logs.push(LogId(log));
        }
    }
    logs.sort_unstable();
    Ok(logs)
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

/// Nobody may write here while somebody looks; but a copy has nobody who writes.
fn lock_to_look(path: &Path) -> Result<Option<Flock<File>>, Failure> {
    let file = match File::open(path.join("lock")) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(path, &error)),
    };
    Flock::lock(file, FlockArg::LockSharedNonblock).map(Some).map_err(|(file, errno)| match errno {
        nix::errno::Errno::EWOULDBLOCK => taken(path, file),
        errno => unreadable(path, &errno.into()),
    })
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

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    let what = format!("cannot read {}: {error}", path.display());
    Failure::new(Exit::DataDirectory, what, "give the directory that wal_path names, as a user who may read it")
}

fn not_ours(path: &Path) -> Failure {
    let what = format!("{} is not the data directory of a broker: no logs in it", path.display());
    Failure::new(Exit::DataDirectory, what, "give the directory that wal_path names")
}

fn without_version(path: &Path, logs: usize) -> Failure {
    Failure::new(
        Exit::DataDirectory,
        format!("{} holds {logs} logs, and its version file is missing", path.display()),
        format!(
            "restore it, or write it again: \"format {FORMAT_VERSION}\", \"logs N\" for N shard folders, \
                 \"placement {PLACEMENT_VERSION}\", one a line"
        ),
    )
}

fn lost_folder(folder: &Path) -> Failure {
    Failure::new(
        Exit::DataDirectory,
        format!("{} is missing, with the log that was in it", folder.display()),
        "restore it from a backup; or make an empty folder of that name, to go on without the messages it held",
    )
}

fn unknown_folder(folder: &Path, logs: u16) -> Failure {
    Failure::new(
        Exit::DataDirectory,
        format!("{} holds a log, and the version file knows {logs} logs", folder.display()),
        "restore the version file from a backup; or move that folder away, to go on without the messages it holds",
    )
}

/// The version file last: where it is, the folders are.
fn create(path: &Path, logs: u16) -> io::Result<Version> {
    for log in 0..logs {
        make_folder(&folder(path, LogId(log)))?;
    }
    sync_dir(path)?;
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
    fn a_lost_folder_or_version_file_is_never_made_good_in_silence() {
        let dir = tempfile::tempdir().unwrap();
        DataDir::open(dir.path(), 3).unwrap();
        let lost = folder(dir.path(), LogId(1));
        fs::remove_dir(&lost).unwrap();
        assert!(DataDir::open(dir.path(), 3).unwrap_err().what.contains("shard-0001 is missing"));
        assert!(DataDir::visit(dir.path(), Visit::Look).unwrap_err().what.contains("shard-0001 is missing"));
        fs::create_dir(&lost).unwrap();
        DataDir::open(dir.path(), 3).unwrap();
        fs::write(folder(dir.path(), LogId(2)).join("checkpoint"), "x").unwrap();
        let version = fs::read_to_string(dir.path().join("version")).unwrap();
        fs::write(dir.path().join("version"), version.replace("logs 3", "logs 2")).unwrap();
        assert!(DataDir::open(dir.path(), 3).unwrap_err().what.contains("knows 2 logs"));
        fs::remove_file(dir.path().join("version")).unwrap();
        assert!(DataDir::open(dir.path(), 3).unwrap_err().what.contains("version file is missing"));
        fs::write(dir.path().join("version"), [0xff, 0xfe]).unwrap();
        assert!(DataDir::open(dir.path(), 3).unwrap_err().what.contains("is damaged"));
    }

    #[test]
    fn a_start_that_was_cut_short_before_the_version_file_is_made_again() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(folder(dir.path(), LogId(0))).unwrap();
        assert_eq!(DataDir::open(dir.path(), 2).unwrap().logs(), 2);
    }

    #[test]
    fn who_looks_keeps_brokers_away_and_makes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        assert!(DataDir::visit(dir.path(), Visit::Look).unwrap_err().what.contains("no logs in it"));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        let broker = DataDir::open(dir.path(), 1).unwrap();
        for visit in [Visit::Look, Visit::Mend] {
            assert!(DataDir::visit(dir.path(), visit).unwrap_err().what.contains("in use by process"));
        }
        drop(broker);
        let looking = DataDir::visit(dir.path(), Visit::Look).unwrap();
        let together = DataDir::visit(dir.path(), Visit::Look).unwrap();
        assert_eq!((looking.logs(), together.logs()), (1, 1));
        assert!(DataDir::open(dir.path(), 1).is_err());
        drop((looking, together));
        assert!(DataDir::visit(dir.path(), Visit::Mend).is_ok());
        fs::remove_file(dir.path().join("lock")).unwrap();
        DataDir::visit(dir.path(), Visit::Look).unwrap();
        assert!(!dir.path().join("lock").exists());
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
