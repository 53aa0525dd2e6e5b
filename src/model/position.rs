//! Positions: in a partition, and in a log. They never meet.

use std::fmt;

/// A record's position in its partition: dense, from zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Offset(pub u64);

/// A byte's position in one shard's log, counted over all segments that ever were: segment `n` of size `s` holds the
/// bytes `n * s .. (n + 1) * s`. So an entry's LSN says where it stands, and an entry found elsewhere is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Lsn(pub u64);

impl Offset {
    pub const ZERO: Offset = Offset(0);
    pub const MAX: Offset = Offset(u64::MAX);

    #[must_use]
    pub fn plus(self, records: u64) -> Offset {
        Offset(self.0 + records)
    }

    /// Records from `earlier` up to, not including, `self`; zero if `earlier` is not earlier.
    pub fn since(self, earlier: Offset) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Lsn {
    pub const ZERO: Lsn = Lsn(0);

    #[must_use]
    pub fn plus(self, bytes: u64) -> Lsn {
        Lsn(self.0 + bytes)
    }

    /// Bytes from `earlier` up to, not including, `self`; zero if `earlier` is not earlier.
    pub fn since(self, earlier: Lsn) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
