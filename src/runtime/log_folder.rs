//! The files of one log: how they are named, and which are there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::model::Lsn;

/// Of a segment that is complete.
const SEGMENT: &str = "log";
/// Of a segment that is being made ready, and of a checkpoint that is being written: rubbish after a crash.
const UNFINISHED: &str = "new";

/// A segment is named by the LSN of its first byte.
pub fn segment(folder: &Path, lsn: Lsn) -> PathBuf {
    folder.join(format!("{:020}.{SEGMENT}", lsn.0))
}

/// A segment under its working name.
pub fn unfinished_segment(folder: &Path, lsn: Lsn) -> PathBuf {
    folder.join(format!("{:020}.{UNFINISHED}", lsn.0))
}

/// The checkpoint.
pub fn checkpoint(folder: &Path) -> PathBuf {
    folder.join("checkpoint")
}

/// The checkpoint under its working name.
pub fn unfinished_checkpoint(folder: &Path) -> PathBuf {
    folder.join(format!("checkpoint.{UNFINISHED}"))
}

/// A file that is read once at the start and removed.
pub fn probe(folder: &Path) -> PathBuf {
    folder.join(format!("probe.{UNFINISHED}"))
}

/// What a log left behind.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The last checkpoint.
    pub checkpoint: Option<Bytes>,
    /// Segments in order, each with its length.
    pub segments: Vec<(Lsn, u64)>,
}

/// Looks. Touches nothing; files of other names are not ours and stay.
pub fn look(folder: &Path) -> io::Result<Found> {
    let checkpoint = match fs::read(checkpoint(folder)) {
        Ok(bytes) => Some(Bytes::from(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let mut segments = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if let Some(lsn) = lsn_of(&entry.path()) {
            segments.push((lsn, entry.metadata()?.len()));
        }
    }
    segments.sort_unstable();
    Ok(Found { checkpoint, segments })
}

/// Removes what a crash left unfinished.
pub fn tidy(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == UNFINISHED) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

fn lsn_of(path: &Path) -> Option<Lsn> {
    let name = path.file_name()?.to_str()?.strip_suffix(SEGMENT)?.strip_suffix('.')?;
    (name.len() == 20).then(|| name.parse().ok().map(Lsn))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_found_in_order_and_rubbish_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path();
        assert_eq!(look(folder).unwrap(), Found::default());
        for lsn in [1 << 40, 0, 4096] {
            fs::write(segment(folder, Lsn(lsn)), vec![0; lsn as usize % 5000]).unwrap();
        }
        fs::write(unfinished_segment(folder, Lsn(8192)), "x").unwrap();
        fs::write(unfinished_checkpoint(folder), "x").unwrap();
        fs::write(checkpoint(folder), "c").unwrap();
        fs::write(folder.join("12.log"), "").unwrap();
        fs::write(folder.join("notes.txt"), "").unwrap();
        let found = look(folder).unwrap();
        assert_eq!(found.checkpoint.as_deref(), Some(&b"c"[..]));
        assert_eq!(found.segments.iter().map(|(lsn, _)| lsn.0).collect::<Vec<_>>(), [0, 4096, 1 << 40]);
        assert_eq!(found.segments[1].1, 4096);
        tidy(folder).unwrap();
        assert!(!unfinished_segment(folder, Lsn(8192)).exists() && folder.join("notes.txt").exists());
        assert_eq!(look(folder).unwrap(), found);
    }
}
