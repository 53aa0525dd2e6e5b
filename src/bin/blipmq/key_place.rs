//! A keys file on its way to its next version: old or new, never half, and never for more eyes than before.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use super::failure::Failure;

/// A file that is to be replaced, and what it holds.
pub struct Place {
    path: PathBuf,
    text: String,
    /// Mode, owner and group; `None` for a file that is not there yet.
    was: Option<(u32, u32, u32)>,
}

/// For a file that nobody has made yet.
const MODE: u32 = 0o600;

impl Place {
    /// Reads the file. A link is followed: what it leads to is replaced, and the link stays.
    pub fn find(path: &Path, may_be_new: bool) -> Result<Place, Failure> {
        let wrong = |error: io::Error| Failure::Local(format!("{}: {error}", path.display()));
        match fs::canonicalize(path) {
            Ok(path) => {
                let metadata = fs::metadata(&path).map_err(wrong)?;
                let was = (metadata.mode() & 0o7777, metadata.uid(), metadata.gid());
                let text = fs::read_to_string(&path).map_err(wrong)?;
                Ok(Place { path, text, was: Some(was) })
            }
            Err(error) if may_be_new && error.kind() == ErrorKind::NotFound => {
                Ok(Place { path: path.to_owned(), text: String::new(), was: None })
            }
            Err(error) => Err(wrong(error)),
        }
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// Puts `text` in its place, in one step that a crash does not cut.
    pub fn replace(&self, text: &str) -> Result<(), Failure> {
        self.try_replace(text).map_err(|error| Failure::Local(format!("{}: {error}", self.path.display())))
    }

    fn try_replace(&self, text: &str) -> io::Result<()> {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let name = self.path.file_name().ok_or(ErrorKind::InvalidInput)?.to_string_lossy();
        let next = folder.join(format!(".{name}.{}", std::process::id()));
        let written = self.write(&next, text).and_then(|()| fs::rename(&next, &self.path));
        if written.is_err() {
            // Nothing of it may stay behind, and why it failed is what is to be told.
            let _ = fs::remove_file(&next);
        }
        written.and_then(|()| File::open(folder)?.sync_all())
    }

    fn write(&self, next: &Path, text: &str) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(next)?;
        if let Some((mode, owner, group)) = self.was {
            let metadata = file.metadata()?;
            if (metadata.uid(), metadata.gid()) != (owner, group) {
                fchown(&file, Some(owner), Some(group))?;
            }
            file.set_permissions(fs::Permissions::from_mode(mode))?;
        }
        file.write_all(text.as_bytes())?;
        file.sync_all()
    }
}
