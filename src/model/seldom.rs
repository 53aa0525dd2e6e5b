//! A log line that others can cause, so often and no oftener.

use std::cell::Cell;
use std::fmt;

use super::Instant;

/// Lines of one kind in one [`PERIOD_MS`]. Beyond: they are counted, and the next line says how many.
const LINES: u32 = 10;
const PERIOD_MS: u64 = 1000;

/// Counts lines of one kind. Lives on one core.
#[derive(Debug, Default)]
pub struct Seldom {
    /// When the period at hand ends.
    until: Cell<Option<Instant>>,
    lines: Cell<u32>,
    silent: Cell<u64>,
}

/// What was not logged; shows itself as the end of a line, and as nothing if there was nothing.
#[derive(Debug, PartialEq, Eq)]
pub struct Silent(u64);

impl Seldom {
    /// Whether a line may be written now, and what it has to say of those that were not.
    pub fn due(&self, now: Instant) -> Option<Silent> {
        if self.until.get().is_none_or(|until| until <= now) {
            self.until.set(Some(now.plus_ms(PERIOD_MS)));
            self.lines.set(0);
        }
        if self.lines.get() >= LINES {
            self.silent.set(self.silent.get() + 1);
            return None;
        }
        self.lines.set(self.lines.get() + 1);
        Some(Silent(self.silent.take()))
    }
}

impl fmt::Display for Silent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 { Ok(()) } else { write!(f, " (and {} more like it)", self.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_the_bound_lines_are_counted_and_told_of_later() {
        let (seldom, now) = (Seldom::default(), Instant(5));
        for _ in 0..LINES {
            assert_eq!(seldom.due(now), Some(Silent(0)));
        }
        assert_eq!((seldom.due(now), seldom.due(now)), (None, None));
        let later = now.plus_ms(PERIOD_MS);
        assert_eq!(seldom.due(later).unwrap().to_string(), " (and 2 more like it)");
        assert_eq!(seldom.due(later).unwrap().to_string(), "");
    }
}
