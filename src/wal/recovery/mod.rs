//! How to come back.
//!
//! Recovery asks for bytes ([`Recovery::poll`], [`Recovery::handle`]) and folds what follows the checkpoint. At the
//! first place `P` without a valid entry it looks at everything behind it once, and decides:
//!
//! | behind `P`                                                   | `refuse` | `truncate` | `skip`               |
//! |--------------------------------------------------------------|----------|------------|----------------------|
//! | nothing that belongs to the log                              | the end  | the end    | the end              |
//! | valid entries, none of which knows that `P` was synced       | cut, counted | cut, counted | cut, counted   |
//! | an entry that says `synced > P`: corruption                  | refuse   | cut, told  | left out, told       |
//! | the end of a file that is not whole: corruption              | refuse   | cut, told  | cut or left out, told |
//! | the file of a segment that the log has gone past is not whole | refuse  | left out, told | left out, told   |
//! | a segment of the checkpoint is missing or is not itself       | refuse   | left out, told | left out, told   |
//! | the last entry that the checkpoint knows is not there        | refuse   | go on, told | go on, told         |
//! | the checkpoint is damaged, or missing with the log's beginning | refuse | scan what there is, told | the same |
//! | a format version that is not known                           | refuse   | refuse     | refuse               |

mod begin;
mod entries;
pub mod report;
mod resume;
mod search;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use self::report::{Loss, RecoveryReport};
use super::catalog::Catalog;
use super::checkpoint::{CHECKPOINT_VERSION, Checkpoint, NotACheckpoint};
use super::entry::{BLOCK, Header, Kind};
use super::group_commit::segment_of;
use super::index::Index;
use super::log::LogOptions;
use super::scan::Corruption;
use super::segments::Found;
use super::stats::LogStats;
use crate::model::{LogId, Lsn, RecoveryMode};

/// What recovery brought back of one log: all that [`super::Log`] needs to go on, and the catalogue of what it holds.
#[derive(Debug)]
pub struct Recovered {
    pub(super) epoch: u32,
    pub(super) segment_size: u64,
    pub(super) synced: Lsn,
    pub(super) last: Lsn,
    pub(super) end: Lsn,
    pub(super) next: Lsn,
    pub(super) found: Found,
    pub(super) catalog: Catalog,
    pub(super) index: Index,
    pub(super) holes: BTreeMap<Lsn, Lsn>,
    pub(super) stats: LogStats,
}

/// What recovery needs next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecoveryStep {
    /// So many bytes of a segment, for [`Recovery::handle`]; fewer if the file ends before.
    Read {
        segment: Lsn,
        position: u64,
        len: usize,
    },
    Done,
}

/// Brings one log back.
#[derive(Debug)]
pub struct Recovery {
    log: LogId,
    mode: RecoveryMode,
    size: u64,
    files: BTreeMap<Lsn, File>,
    headers: Vec<Lsn>,
    /// Files whose names fit no segment.
    strangers: Vec<Lsn>,
    checkpoint: Option<Checkpoint>,
    index_max: usize,
    stage: Stage,
    window: Window,
    asked: usize,
    /// Where the next entry is expected, where the last one starts and ends, and the epoch it had.
    at: Lsn,
    last: Lsn,
    end: Lsn,
    epoch: u32,
    /// Whether the last entry was the last of its group.
    whole: bool,
    /// The largest epoch of any entry, and everything before this LSN was durable.
    epoch_max: u32,
    synced: Lsn,
    /// Whether everything behind the first bad place has been looked at.
    surveyed: bool,
    /// A bad place is read twice before it is believed.
    doubted: Option<Lsn>,
    used: BTreeSet<Lsn>,
    catalog: Catalog,
    index: Index,
    holes: BTreeMap<Lsn, Lsn>,
    report: RecoveryReport,
    failure: Option<Corruption>,
}

#[derive(Debug)]
struct File {
    /// Whole blocks of it.
    len: u64,
    bad: Option<&'static str>,
}

#[derive(Debug)]
enum Stage {
    Headers,
    /// Is the last entry there that the checkpoint knows?
    Last,
    Scan,
    Search(Search),
    Done,
}

/// Looks for entries behind a bad place.
#[derive(Debug)]
struct Search {
    bad: Lsn,
    what: &'static str,
    at: Lsn,
    first: Option<Lsn>,
    found: u64,
    records: u64,
    last_end: Lsn,
    /// Entries and records at the bad place itself, as far as its header can be read.
    here: (u64, u64),
}

#[derive(Debug, Default)]
struct Window {
    start: Lsn,
    bytes: Bytes,
}

impl Window {
    fn end(&self) -> Lsn {
        self.start.plus(self.bytes.len() as u64)
    }
}

enum Advance {
    Again,
    Read { at: Lsn, len: usize },
    Done,
}

const CUT_SHORT: &str = "the segment is cut short";
/// Bytes of one read.
const READ: u64 = 1024 * 1024;
/// Bytes at the end of one read that a search looks at again with the next: more than a header.
const OVERLAP: u64 = 128;

impl Recovered {
    /// A log that never was.
    pub fn nothing(segment_size: u64) -> Recovered {
        Recovered {
            epoch: 1,
            segment_size,
            synced: Lsn::ZERO,
            last: Lsn::ZERO,
            end: Lsn::ZERO,
            next: Lsn(BLOCK as u64),
            found: Found::default(),
            catalog: Catalog::default(),
            index: Index::new(segment_size, usize::MAX),
            holes: BTreeMap::new(),
            stats: LogStats::default(),
        }
    }

    /// What the log will remember.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }
}

impl Recovery {
    /// `checkpoint` is the checkpoint file, if there is one; `segments` are the segment files by the LSN they are named
    /// after, with their lengths.
    pub fn new(
        options: &LogOptions,
        mode: RecoveryMode,
        checkpoint: Option<Bytes>,
        segments: Vec<(Lsn, u64)>,
    ) -> Recovery {
        let block = BLOCK as u64;
        let whole_blocks = |(first, len): &(Lsn, u64)| (*first, File { len: len / block * block, bad: None });
        let files: BTreeMap<Lsn, File> = segments.iter().map(whole_blocks).collect();
        let mut recovery = Recovery {
            log: options.log,
            mode,
            size: options.segment_size,
            headers: files.keys().rev().copied().collect(),
            files,
            strangers: Vec::new(),
            checkpoint: None,
            index_max: options.index_max,
            stage: Stage::Headers,
            window: Window::default(),
            asked: 0,
            at: Lsn(block),
            last: Lsn::ZERO,
            end: Lsn::ZERO,
            epoch: 0,
            whole: true,
            epoch_max: 0,
            synced: Lsn::ZERO,
            surveyed: false,
            doubted: None,
            used: BTreeSet::new(),
            catalog: Catalog::default(),
            index: Index::new(options.segment_size, options.index_max),
            holes: BTreeMap::new(),
            report: RecoveryReport {
                log: options.log,
                configured_size: options.segment_size,
                segments: segments.len(),
                ..RecoveryReport::default()
            },
            failure: None,
        };
        recovery.read_checkpoint(checkpoint);
        recovery
    }

    fn read_checkpoint(&mut self, bytes: Option<Bytes>) {
        let Some(bytes) = bytes else { return };
        match Checkpoint::decode(&bytes) {
            Ok(checkpoint) if checkpoint.log == self.log => {
                self.size = checkpoint.segment_size;
                self.checkpoint = Some(checkpoint);
            }
            Ok(other) => self.fail(Lsn::ZERO, format!("the checkpoint is that of log {}", other.log)),
            Err(NotACheckpoint::Version(version)) => {
                self.fail(Lsn::ZERO, unknown_version("checkpoint", version, CHECKPOINT_VERSION))
            }
            Err(NotACheckpoint::Bad(what)) => self.corrupt(Lsn::ZERO, what),
        }
    }

    /// What to read next.
    pub fn poll(&mut self) -> RecoveryStep {
        while self.failure.is_none() {
            let advance = match self.stage {
                Stage::Headers => self.next_segment_header(),
                Stage::Last => self.look_at_last(),
                Stage::Scan => self.scan(),
                Stage::Search(_) => self.search(),
                Stage::Done => Advance::Done,
            };
            match advance {
                Advance::Again => {}
                Advance::Done => break,
                Advance::Read { at, len } => {
                    let segment = self.file_of(at);
                    self.window = Window { start: at, bytes: Bytes::new() };
                    self.asked = len;
                    return RecoveryStep::Read { segment, position: at.since(segment), len };
                }
            }
        }
        RecoveryStep::Done
    }

    /// The bytes that were asked for.
    pub fn handle(&mut self, bytes: Bytes) {
        let segment = self.file_of(self.window.start);
        let position = self.window.start.since(segment);
        if let Some(file) = self.files.get_mut(&segment).filter(|_| bytes.len() < self.asked) {
            // The file is shorter than it was said to be.
            file.len = file.len.min(position + (bytes.len() / BLOCK * BLOCK) as u64);
        }
        self.window.bytes = bytes;
        if matches!(self.stage, Stage::Headers) {
            self.segment_header();
        }
    }

    /// What came of it.
    pub fn finish(mut self) -> Result<(Recovered, RecoveryReport), Corruption> {
        match self.failure.take() {
            Some(corruption) => Err(corruption),
            None => Ok(self.recovered()),
        }
    }

    /// Files are asked for by the names they have, which need not fit the size of the log's segments.
    fn file_of(&self, at: Lsn) -> Lsn {
        match self.stage {
            Stage::Headers => at,
            _ => segment_of(at, self.size),
        }
    }

    fn lost(&mut self, at: Lsn, bytes: u64, entries: u64, records: u64) {
        let segment = segment_of(at, self.size);
        self.report.losses.push(Loss { segment, position: at.since(segment), bytes, entries, records });
    }

    fn fail(&mut self, at: Lsn, what: String) {
        let segment = segment_of(at, self.size);
        let position = at.since(segment);
        self.failure.get_or_insert(Corruption { log: self.log, segment, position, what });
    }

    /// A bad place that is not the tail: the operator's mode decides whether it is the end of it all.
    fn corrupt(&mut self, at: Lsn, what: &str) {
        if self.mode == RecoveryMode::Refuse {
            return self.fail(at, what.into());
        }
        let segment = segment_of(at, self.size);
        let corruption = Corruption { log: self.log, segment, position: at.since(segment), what: what.into() };
        self.report.corruptions.push(corruption);
    }
}

fn records_of(header: &Header) -> u64 {
    if header.kind == Kind::Batch { header.count.into() } else { 0 }
}

fn unknown_version(what: &str, version: u32, known: u32) -> String {
    format!("the {what} has format version {version}; this program knows version {known}")
}
