//! A log's files in memory, to be damaged as often as one likes.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use bytes::Bytes;

use crate::model::{LogId, Lsn, RecoveryMode};
use crate::wal::BLOCK;
use crate::wal::check::{self, Outcome};

/// The only log of a broker with one core.
pub const LOG: LogId = LogId(0);
/// Reads of one recovery. Beyond: it never ends.
const READS_MAX: usize = 100_000;

/// One log: its segments by the LSN they are named after, and its checkpoint.
#[derive(Clone, Debug)]
pub struct Image {
    pub segments: BTreeMap<Lsn, Bytes>,
    pub checkpoint: Option<Bytes>,
}

/// A recovery that asked for too much.
#[derive(Debug)]
pub struct NeverEnds;

impl Image {
    /// The files of a folder.
    pub fn load(folder: &Path) -> io::Result<Image> {
        let mut image = Image { segments: BTreeMap::new(), checkpoint: None };
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name == "checkpoint" {
                image.checkpoint = Some(fs::read(&path)?.into());
            } else if let Some(first) = name.strip_suffix(".log").and_then(|first| first.parse().ok()) {
                image.segments.insert(Lsn(first), fs::read(&path)?.into());
            }
        }
        Ok(image)
    }

    /// Makes a folder hold these files and no others.
    pub fn store(&self, folder: &Path) -> io::Result<()> {
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => fs::create_dir_all(folder)?,
        }
        for (first, bytes) in &self.segments {
            fs::write(folder.join(format!("{:020}.log", first.0)), bytes)?;
        }
        match &self.checkpoint {
            Some(bytes) => fs::write(folder.join("checkpoint"), bytes),
            None => Ok(()),
        }
    }

    /// So many bytes of a segment, or fewer at its end.
    pub fn read(&self, segment: Lsn, position: u64, len: usize) -> Bytes {
        let Some(file) = self.segments.get(&segment) else { return Bytes::new() };
        let from = (position as usize).min(file.len());
        file.slice(from..(from + len).min(file.len()))
    }

    /// What stands at an address, if so much is there; a file is read in whole blocks.
    pub fn at(&self, lsn: Lsn, len: usize, segment_size: u64) -> Option<Bytes> {
        let segment = Lsn(lsn.0 - lsn.0 % segment_size);
        let position = lsn.since(segment) as usize;
        let blocks = self.segments.get(&segment)?.len() / BLOCK * BLOCK;
        (position + len <= blocks).then(|| self.read(segment, position as u64, len))
    }

    /// Runs the recovery that the daemon and the command line run.
    pub fn recover(&self, mode: RecoveryMode) -> Result<Outcome, NeverEnds> {
        let segments = self.segments.iter().map(|(first, bytes)| (*first, bytes.len() as u64)).collect();
        let mut reads = 0;
        check::recover(LOG, mode, self.checkpoint.clone(), segments, |segment, position, len| {
            reads += 1;
            if reads > READS_MAX { Err(NeverEnds) } else { Ok(self.read(segment, position, len)) }
        })
    }

    /// Changes one segment's bytes.
    pub fn change(&mut self, segment: Lsn, change: impl FnOnce(&mut Vec<u8>)) {
        if let Some(bytes) = self.segments.get_mut(&segment) {
            let mut changed = bytes.to_vec();
            change(&mut changed);
            *bytes = changed.into();
        }
    }
}
