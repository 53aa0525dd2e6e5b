//! How coarse an index is: the more of its bound it fills, the more of the log one run covers.

use std::mem::size_of;

use super::index::Run;

/// Bytes of the log that one run may start in while the index is small: how far a reader has to look beyond what it
/// wants.
pub(super) const RUN_SPAN: u64 = 64 * 1024;
/// Times the span doubles: up to 1 MiB, which is what one read of a run asks for at most, beside its last batch.
const LEVELS: u32 = 4;

/// The bound of an index, and the span of its runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grain {
    level: u32,
    runs_max: usize,
}

impl Grain {
    /// Of an index of so many bytes.
    pub(super) fn new(bytes_max: usize) -> Grain {
        Grain { level: 0, runs_max: bytes_max / size_of::<Run>() }
    }

    /// Bytes of the log that one run may start in.
    #[inline]
    pub(super) fn span(self) -> u64 {
        RUN_SPAN << self.level
    }

    /// Whether so many runs are too many for runs this short: the bound's sixteenth, eighth, quarter, half, all of it.
    #[inline]
    pub(super) fn is_too_fine(self, runs: usize) -> bool {
        runs > self.runs_max >> (LEVELS - self.level)
    }

    /// Whether there may be no more.
    #[inline]
    pub(super) fn is_full(self, runs: usize) -> bool {
        runs >= self.runs_max
    }

    /// Twice the span; `false`: it is as long as it may be.
    pub(super) fn coarser(&mut self) -> bool {
        let may = self.level < LEVELS;
        self.level += u32::from(may);
        may
    }

    /// Shorter again when there are so few runs that it will last.
    pub(super) fn finer(&mut self, runs: usize) {
        while self.level > 0 && runs < self.runs_max >> (LEVELS - self.level + 2) {
            self.level -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_span_grows_with_the_part_of_the_bound_that_is_filled_and_shrinks_late() {
        let mut grain = Grain::new(1600 * size_of::<Run>());
        let mut spans = Vec::new();
        for runs in [100, 101, 200, 201, 400, 401, 800, 801, 1600, 1601] {
            while grain.is_too_fine(runs) && grain.coarser() {}
            spans.push(grain.span() / RUN_SPAN);
        }
        assert_eq!(spans, [1, 2, 2, 4, 4, 8, 8, 16, 16, 16]);
        assert!(!grain.is_full(1599) && grain.is_full(1600));
        grain.finer(400);
        assert_eq!(grain.span(), 16 * RUN_SPAN);
        grain.finer(399);
        assert_eq!(grain.span(), 8 * RUN_SPAN);
        grain.finer(0);
        assert_eq!(grain.span(), RUN_SPAN);
    }
}
