//! The files of a log that nobody runs: looked at, copied, mended.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::log_folder;
use crate::model::{LogId, Lsn, RecoveryMode};
use crate::wal::check::{self, Outcome};
use crate::wal::{Corruption, Loss, Recovered, RecoveryReport};

/// One log and its folder. Whoever makes this holds the directory's lock.
#[derive(Clone, Debug)]
pub struct StoppedLog {
    pub id: LogId,
    pub folder: PathBuf,
}

/// What mending a log would do. Nothing is written before [`StoppedLog::save`].
#[derive(Debug)]
pub struct Plan {
    recovered: Recovered,
    /// What recovery says of everything after the checkpoint.
    pub report: RecoveryReport,
    /// Every bad place that is left out or cut off, before the checkpoint too.
    pub corruptions: Vec<Corruption>,
    /// What is not part of the log any more.
    pub losses: Vec<Loss>,
}

impl StoppedLog {
    /// Runs a recovery in `mode`. Writes nothing.
    pub fn recover(&self, mode: RecoveryMode) -> io::Result<Outcome> {
        let found = log_folder::look(&self.folder)?;
        let mut open: Option<(Lsn, File)> = None;
        check::recover(self.id, mode, found.checkpoint, found.segments, |segment, position, len| {
            let file = match open.take() {
                Some((known, file)) if known == segment => file,
                _ => File::open(log_folder::segment(&self.folder, segment))?,
            };
            let bytes = read_up_to(&file, position, len);
            open = Some((segment, file));
            bytes
        })
    }

    /// A segment's whole file.
    pub fn read(&self, segment: Lsn) -> io::Result<Bytes> {
        fs::read(log_folder::segment(&self.folder, segment)).map(Bytes::from)
    }

    /// What recovery in `mode` decides, and what is damaged before the checkpoint left out as well.
    pub fn plan(&self, mode: RecoveryMode) -> io::Result<Result<Plan, Corruption>> {
        let (mut recovered, report) = match self.recover(mode)? {
            Ok(recovered) => recovered,
            Err(corruption) => return Ok(Err(corruption)),
        };
        let (mut corruptions, mut losses) = (report.corruptions.clone(), report.losses.clone());
        for segment in recovered.segments().to_vec() {
            for (corruption, loss) in recovered.leave_out(self.id, segment, self.read(segment)?) {
                corruptions.push(corruption);
                losses.push(loss);
            }
        }
        Ok(Ok(Plan { recovered, report, corruptions, losses }))
    }

    /// Makes a plan last: all it speaks of is synced, then the checkpoint is replaced, then files that are not part of
    /// the log are removed, as the next start would.
    pub fn save(&self, plan: &Plan) -> io::Result<()> {
        for segment in plan.recovered.segments() {
            File::open(log_folder::segment(&self.folder, *segment))?.sync_all()?;
        }
        let unfinished = log_folder::unfinished_checkpoint(&self.folder);
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        file.write_all(&plan.recovered.checkpoint(self.id))?;
        file.sync_all()?;
        fs::rename(&unfinished, log_folder::checkpoint(&self.folder))?;
        for leftover in plan.recovered.leftovers() {
            fs::remove_file(log_folder::segment(&self.folder, *leftover))?;
        }
        File::open(&self.folder)?.sync_all()
    }

    /// Copies the checkpoint and the segments that a plan cuts, leaves something out of, or lets the next start remove,
    /// into a folder of the log's name in `backup`; synced when this returns. Answers with the number of files.
    pub fn back_up(&self, plan: &Plan, backup: &Path) -> io::Result<usize> {
        let name = self.folder.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let into = backup.join(name);
        DirBuilder::new().mode(0o700).create(&into)?;
        let mut files: Vec<PathBuf> = vec![log_folder::checkpoint(&self.folder)];
        let found = log_folder::look(&self.folder)?;
        let touched = found.segments.iter().map(|(segment, _)| *segment).filter(|segment| plan.touches(*segment));
        files.extend(touched.map(|segment| log_folder::segment(&self.folder, segment)));
        files.retain(|file| file.exists());
        for file in &files {
            let copy = into.join(file.file_name().ok_or(io::ErrorKind::InvalidInput)?);
            fs::copy(file, &copy)?;
            File::open(&copy)?.sync_all()?;
        }
        File::open(&into)?.sync_all()?;
        File::open(backup)?.sync_all()?;
        Ok(files.len())
    }
}

impl Plan {
    /// Whether there is nothing to mend.
    pub fn is_empty(&self) -> bool {
        self.corruptions.is_empty() && self.losses.is_empty()
    }

    fn touches(&self, segment: Lsn) -> bool {
        let is = |of: &Lsn| *of == segment;
        let cut = self.report.cut_entries > 0 && segment.plus(self.recovered.segment_size()) > self.recovered.end();
        cut || self.losses.iter().map(|loss| &loss.segment).any(is)
            || self.corruptions.iter().map(|corruption| &corruption.segment).any(is)
            || self.recovered.leftovers().contains(&segment)
    }
}

/// Makes the directory of a backup: one that is there already is somebody's backup, and stays as it is.
pub fn make_backup(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

fn read_up_to(file: &File, position: u64, len: usize) -> io::Result<Bytes> {
    let mut bytes = vec![0; len];
    let mut done = 0;
    while done < len {
        match file.read_at(&mut bytes[done..], position + done as u64)? {
            0 => break,
            read => done += read,
        }
    }
    bytes.truncate(done);
    Ok(bytes.into())
}
