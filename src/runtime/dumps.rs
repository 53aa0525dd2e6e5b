//! Where dumps of the broker's own latencies are written.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::admin::dump::{self, Moment};

/// The folder of dumps, and what the last one knew.
#[derive(Debug)]
pub struct Dumps {
    folder: PathBuf,
    last: Mutex<Moment>,
}

impl Dumps {
    /// Into `folder`, which is made when it is needed; `start` is when counting began.
    pub fn new(folder: PathBuf, start: Moment) -> Dumps {
        Dumps { folder, last: Mutex::new(start) }
    }

    /// Writes one dump; tells the paths of its files. The oldest dumps go where there are too many.
    pub fn write(&self, now: Moment) -> io::Result<Vec<PathBuf>> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let files = dump::files(&now, &last)?;
        fs::create_dir_all(&self.folder)?;
        let folder = fs::canonicalize(&self.folder)?;
        let mut written = Vec::new();
        for file in files {
            let path = folder.join(file.name);
            fs::write(&path, file.bytes)?;
            written.push(path);
        }
        *last = now;
        drop(last);
        remove_outdated(&folder)?;
        Ok(written)
    }
}

fn remove_outdated(folder: &Path) -> io::Result<()> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        names.extend(entry?.file_name().into_string());
    }
    for name in dump::outdated(&names) {
        fs::remove_file(folder.join(name))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    #[test]
    fn dumps_are_written_into_a_folder_of_their_own_and_the_oldest_go() {
        let dir = tempfile::tempdir().unwrap();
        let dumps = Dumps::new(dir.path().join("a/hdr"), Moment::default());
        let mut files = Vec::new();
        for second in 0..=dump::DUMPS_MAX as i64 {
            files = dumps.write(Moment { at: Timestamp(second * 1000), ..Moment::default() }).unwrap();
        }
        assert!(files.iter().all(|file| file.is_file()));
        let kept = fs::read_dir(dir.path().join("a/hdr")).unwrap().count();
        assert_eq!(kept, dump::DUMPS_MAX * files.len());
    }
}
