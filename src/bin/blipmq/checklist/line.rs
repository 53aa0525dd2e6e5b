//! One line of the checklist.

use std::fmt::Display;

use super::site::Site;

/// What is promised, and how it is seen.
pub struct Line {
    /// From 1.
    pub section: u8,
    pub says: &'static str,
    /// How to see it by hand.
    pub repeat: &'static str,
    pub check: fn(&Site) -> Checked,
}

/// What was found where all is well, or why it is not.
pub type Checked = Result<String, No>;

/// Why a line does not pass.
#[derive(Debug)]
pub enum No {
    Fails(String),
    /// It cannot be seen here, or not in a few minutes.
    Skipped(String),
}

/// What goes wrong on the way is a failure of the line.
impl<E: Display> From<E> for No {
    fn from(error: E) -> No {
        No::Fails(error.to_string())
    }
}

/// Fails with these words unless `so`.
pub fn need(so: bool, otherwise: impl FnOnce() -> String) -> Result<(), No> {
    if so { Ok(()) } else { Err(No::Fails(otherwise())) }
}

/// A line for which there is another way.
pub fn skipped(why: &str) -> Checked {
    Err(No::Skipped(why.into()))
}
