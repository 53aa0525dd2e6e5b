//! A sentence that turned out not to be true.

use std::fmt;

/// What a checker says when its sentence does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The sentence, as it should have been true.
    pub sentence: &'static str,
    /// Where it was not.
    pub detail: String,
}

/// What a checker answers.
pub type Checked = Result<(), Violation>;

/// The sentence holds if `holds`; `detail` says where it does not.
pub fn must(holds: bool, sentence: &'static str, detail: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(Violation { sentence, detail: detail() }) }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not true: \"{}\": {}", self.sentence, self.detail)
    }
}
