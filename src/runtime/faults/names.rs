//! Names of one folder that are so for this process and not yet on the disk.

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Changes of names, in their order.
#[derive(Debug, Default)]
pub struct Names {
    waiting: VecDeque<Change>,
    /// Where a name leads; `None`: nowhere. A name that is not here leads to itself.
    leads: HashMap<PathBuf, Option<PathBuf>>,
    made: u64,
}

#[derive(Clone, Debug)]
enum Change {
    /// The file is at `stowed` until then.
    Created {
        stowed: PathBuf,
        name: PathBuf,
    },
    Renamed {
        from: PathBuf,
        to: PathBuf,
    },
    Removed {
        name: PathBuf,
    },
}

impl Names {
    /// The file that a name leads to.
    pub fn find(&self, name: &Path) -> Option<PathBuf> {
        match self.leads.get(name) {
            Some(lead) => lead.clone(),
            None => Some(name.to_owned()).filter(|name| name.exists()),
        }
    }

    /// A new file: where it is made. Its extension is that of unfinished files, which a start removes.
    pub fn create(&mut self, name: &Path) -> PathBuf {
        self.made += 1;
        let stowed = name.with_file_name(format!("held-{}-{}.new", std::process::id(), self.made));
        self.change(Change::Created { stowed: stowed.clone(), name: name.to_owned() });
        stowed
    }

    pub fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.find(from).ok_or(ErrorKind::NotFound)?;
        self.change(Change::Renamed { from: from.to_owned(), to: to.to_owned() });
        Ok(())
    }

    pub fn remove(&mut self, name: &Path) -> io::Result<()> {
        self.find(name).ok_or(ErrorKind::NotFound)?;
        self.change(Change::Removed { name: name.to_owned() });
        Ok(())
    }

    fn change(&mut self, change: Change) {
        self.follow(&change);
        self.waiting.push_back(change);
    }

    fn follow(&mut self, change: &Change) {
        match change {
            Change::Created { stowed, name } => drop(self.leads.insert(name.clone(), Some(stowed.clone()))),
            Change::Renamed { from, to } => {
                let lead = self.find(from);
                self.leads.insert(from.clone(), None);
                self.leads.insert(to.clone(), lead);
            }
            Change::Removed { name } => drop(self.leads.insert(name.clone(), None)),
        }
    }

    /// How many changes are not on the disk.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The first `count` changes reach the disk.
    pub fn let_through(&mut self, count: usize) -> io::Result<()> {
        for change in self.waiting.drain(..count).collect::<Vec<_>>() {
            match change {
                Change::Created { stowed, name } => fs::rename(stowed, name)?,
                Change::Renamed { from, to } => fs::rename(from, to)?,
                Change::Removed { name } => fs::remove_file(name)?,
            }
        }
        self.leads.clear();
        for change in self.waiting.clone() {
            self.follow(&change);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_changes_on_the_disk_in_order_and_only_when_it_is_synced() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("old"), "old").unwrap();
        let mut names = Names::default();
        let stowed = names.create(&at("new"));
        fs::write(&stowed, "new").unwrap();
        names.rename(&at("new"), &at("old")).unwrap();
        names.remove(&at("old")).unwrap();
        assert_eq!(names.find(&at("old")), None);
        assert_eq!(fs::read_to_string(at("old")).unwrap(), "old");
        names.let_through(1).unwrap();
        assert_eq!(fs::read_to_string(at("new")).unwrap(), "new");
        assert_eq!((names.find(&at("old")), names.waiting()), (None, 2));
        names.let_through(1).unwrap();
        assert_eq!(fs::read_to_string(at("old")).unwrap(), "new");
        names.let_through(1).unwrap();
        assert!(!at("old").exists() && !at("new").exists() && !stowed.exists());
        assert!(names.remove(&at("old")).is_err());
    }
}
