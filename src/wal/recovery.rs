//! How to come back.

use std::collections::BTreeMap;

use super::catalog::Catalog;
use super::entry::BLOCK;
use super::index::Index;
use super::segments::Found;
use super::stats::LogStats;
use crate::model::Lsn;

/// What recovery brought back of one log: all that [`super::Log`] needs to go on, and the catalogue of what it holds.
#[derive(Debug)]
pub struct Recovered {
    pub(super) epoch: u32,
    pub(super) segment_size: u64,
    pub(super) synced: Lsn,
    pub(super) end: Lsn,
    pub(super) next: Lsn,
    pub(super) found: Found,
    pub(super) catalog: Catalog,
    pub(super) index: Index,
    pub(super) holes: BTreeMap<Lsn, Lsn>,
    pub(super) stats: LogStats,
}

impl Recovered {
    /// A log that never was.
    pub fn nothing(segment_size: u64) -> Recovered {
        Recovered {
            epoch: 1,
            segment_size,
            synced: Lsn::ZERO,
            end: Lsn::ZERO,
            next: Lsn(BLOCK as u64),
            found: Found::default(),
            catalog: Catalog::default(),
            index: Index::new(segment_size),
            holes: BTreeMap::new(),
            stats: LogStats::default(),
        }
    }
}
