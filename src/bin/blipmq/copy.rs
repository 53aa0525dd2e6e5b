//! Files of a data directory copied so that they are there after a power cut, and looked through afterwards.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use blipmq::model::{LogId, RecoveryMode};
use blipmq::runtime::stopped_log::StoppedLog;

use super::failure::Failure;

/// Bytes of one read.
const STEP: usize = 1 << 20;

/// What went wrong, and with what.
pub fn failed(path: &Path) -> impl Fn(io::Error) -> Failure + '_ {
    move |error| Failure::Local(format!("{}: {error}", path.display()))
}

/// The folder of a log in a data directory, or in a backup.
pub fn folder(directory: &Path, log: LogId) -> PathBuf {
    directory.join(format!("shard-{:04}", log.0))
}

/// A directory of this user alone, made now or empty.
pub fn make_empty(path: &Path) -> Result<(), Failure> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed(path))?;
    match fs::read_dir(path).map_err(failed(path))?.next() {
        None => Ok(()),
        Some(_) => Err(Failure::Local(format!("{}: not empty; nothing was written", path.display()))),
    }
}

/// One folder more.
pub fn make_folder(path: &Path) -> Result<(), Failure> {
    DirBuilder::new().mode(0o700).create(path).map_err(failed(path))
}

/// Writes a file that is not there yet, for this user alone; synced.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let written = create(path).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.map_err(failed(path))
}

/// Replaces a file as a whole; synced.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let beside = path.with_extension("new");
    write(&beside, bytes)?;
    fs::rename(&beside, path).map_err(failed(path))?;
    sync_folder(path.parent().unwrap_or(path))
}

/// Makes what was created in a folder last.
pub fn sync_folder(path: &Path) -> Result<(), Failure> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(failed(path))
}

/// Copies the first `len` bytes of a file; the copy is `size` bytes long, the rest zeros. `alive` is called now and then.
pub fn copy(
    from: &Path,
    to: &Path,
    len: u64,
    size: u64,
    alive: &mut dyn FnMut() -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut source = File::open(from).map_err(failed(from))?.take(len);
    let mut target = create(to).map_err(failed(to))?;
    let (mut buffer, mut done) = (vec![0; STEP], 0);
    loop {
        alive()?;
        let count = source.read(&mut buffer).map_err(failed(from))?;
        if count == 0 {
            break;
        }
        target.write_all(&buffer[..count]).map_err(failed(to))?;
        done += count as u64;
    }
    if done < len {
        return Err(Failure::Local(format!("{}: ends after {done} of {len} bytes", from.display())));
    }
    target.set_len(size).and_then(|()| target.sync_all()).map_err(failed(to))
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// What a log was found to hold.
#[derive(Clone, Copy, Debug, Default)]
pub struct Found {
    pub end: u64,
    pub entries: u64,
    pub records: u64,
    pub bytes: u64,
}

/// Brings the log back as a broker would with `recovery = "refuse"`, then checks the checksum of every entry there is.
pub fn verify(id: LogId, folder: &Path) -> Result<Found, Failure> {
    let log = StoppedLog { id, folder: folder.to_owned() };
    let recovered = log.recover(RecoveryMode::Refuse).map_err(failed(folder))?;
    let (recovered, _) = recovered.map_err(|corruption| Failure::Corrupt(corruption.to_string()))?;
    let mut found = Found { end: recovered.end().0, ..Found::default() };
    for segment in recovered.segments() {
        let bytes = log.read(*segment).map_err(failed(folder))?;
        for entry in recovered.entries(id, *segment, bytes) {
            let entry = entry.map_err(|corruption| Failure::Corrupt(corruption.to_string()))?;
            found.entries += 1;
            found.records += u64::from(entry.header.records());
            found.bytes += entry.body.len() as u64;
        }
    }
    Ok(found)
}
