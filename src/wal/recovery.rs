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

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::catalog::Catalog;
use super::checkpoint::{CHECKPOINT_VERSION, Checkpoint, NotACheckpoint};
use super::entry::{BLOCK, Entry, Header, Kind, NotAnEntry, claimed_epoch, claims};
use super::group_commit::{next_group, segment_of};
use super::index::{Index, Indexed};
use super::log::LogOptions;
use super::recovery_report::{Loss, RecoveryReport};
use super::scan::{Corruption, FoundEntry, entry_at, next_header};
use super::segment::{FORMAT_VERSION, NotASegment, SegmentHeader};
use super::segments::Found;
use super::stats::LogStats;
use crate::model::{LogId, Lsn, PartitionId, RecoveryMode};

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

/// What the segments say of themselves, and where to begin.
impl Recovery {
    fn next_segment_header(&mut self) -> Advance {
        match self.headers.last() {
            Some(first) => Advance::Read { at: *first, len: BLOCK },
            None => {
                self.begin();
                Advance::Again
            }
        }
    }

    fn segment_header(&mut self) {
        let first = self.headers.pop().expect("its header was asked for");
        let decoded = SegmentHeader::decode(&self.window.bytes);
        if let (Ok(header), None) = (&decoded, &self.checkpoint)
            && header.first == first
            && self.report.segment_size == 0
        {
            self.size = header.size;
            self.report.segment_size = header.size;
        }
        let bad = match decoded {
            Ok(header) if header.first != first => Some("the segment is another one: it was renamed"),
            Ok(header) if header.log != self.log => Some("the segment belongs to another log"),
            Ok(header) if header.size != self.size => Some("the segment's size is not that of the log's segments"),
            Ok(_) => None,
            Err(NotASegment::Version(version)) => {
                return self.fail(first, unknown_version("segment", version, FORMAT_VERSION));
            }
            Err(NotASegment::Bad(what)) => Some(what),
        };
        self.files.get_mut(&first).expect("its header was asked for").bad = bad;
    }

    fn begin(&mut self) {
        self.window = Window::default();
        self.report.segment_size = self.size;
        self.stage = Stage::Scan;
        let strangers: Vec<Lsn> = self.files.keys().copied().filter(|first| first.0 % self.size != 0).collect();
        for stranger in &strangers {
            self.files.remove(stranger);
            self.corrupt(*stranger, "no segment of this log begins where this file's name says");
        }
        self.strangers = strangers;
        match self.checkpoint.take() {
            Some(checkpoint) => self.begin_at(checkpoint),
            None => self.begin_without(),
        }
    }

    fn begin_at(&mut self, checkpoint: Checkpoint) {
        let Checkpoint { clean, epoch, end, last, next, segments, holes, catalog, index, .. } = checkpoint;
        self.last = last;
        (self.at, self.end, self.epoch, self.epoch_max) = (next, end, epoch, epoch);
        (self.synced, self.catalog, self.index, self.holes) = (end, catalog, index, holes);
        self.index.bound(self.index_max);
        self.index.keep_within(&self.holes);
        self.index.fence(next);
        for segment in segments {
            match self.files.get(&segment).map(|file| file.bad) {
                Some(Some(what)) if !self.holes.contains_key(&segment) => self.corrupt(segment, what),
                Some(_) => {}
                None => {
                    self.corrupt(segment, "the segment is missing");
                    let (bytes, records) = self.index.forget_range(segment, segment.plus(self.size));
                    self.lost(segment, bytes, 0, records);
                    continue;
                }
            }
            self.use_segment(segment);
            self.look_for_a_cut(segment, end);
        }
        self.report.clean = clean;
        if self.used.contains(&segment_of(last, self.size)) && last < end {
            self.stage = Stage::Last;
        } else if clean {
            self.stage = Stage::Done;
        }
    }

    /// A file that ends although the log is known to reach `known`: readers would run into its end. Where the log has gone
    /// on in the next segment that is told too, whether or not anything stood there: the next start has only the
    /// checkpoint to ask, and that does not know where the last entry of a segment was.
    fn look_for_a_cut(&mut self, segment: Lsn, known: Lsn) {
        let len = self.files.get(&segment).map_or(0, |file| file.len);
        let (cut, end) = (segment.plus(len), segment.plus(self.size));
        let told = self.holes.range(..=cut).next_back().is_some_and(|(_, to)| *to > cut);
        if len < self.size && cut < known && !told {
            self.corrupt(cut, CUT_SHORT);
            let next = self.holes.range(cut..).next().map_or(end, |(hole, _)| end.min(*hole));
            self.holes.insert(cut, next);
            let (bytes, records) = self.index.forget_range(cut, next);
            self.lost(cut, bytes, 0, records);
        }
    }

    /// A header that is not believed is a hole: it was told once, and what follows it speaks for itself.
    fn use_segment(&mut self, segment: Lsn) {
        self.used.insert(segment);
        if self.files.get(&segment).is_some_and(|file| file.bad.is_some()) {
            self.holes.insert(segment, segment.plus(BLOCK as u64));
        }
    }

    /// A checkpoint is saved after what it knows is durable: if that is not there, the files are not those it was made
    /// for, or they were damaged.
    fn look_at_last(&mut self) -> Advance {
        let within = |window: &Window, at| window.start <= at && at < window.end();
        if !within(&self.window, self.last)
            && let Some(read) = self.read(self.last, 2 * BLOCK as u64)
        {
            return read;
        }
        let Window { start, bytes } = &self.window;
        let rest = if within(&self.window, self.last) { &bytes[self.last.since(*start) as usize..] } else { &[] };
        match Header::decode(rest, self.last) {
            Ok(header) if header.end() == self.end => {}
            _ if self.doubted != Some(self.last) => {
                self.doubted = Some(self.last);
                self.window = Window::default();
                return Advance::Again;
            }
            _ => {
                self.corrupt(self.last, "the last entry that the checkpoint knows is not there");
                // The next checkpoint does not vouch for it again.
                self.last = self.end;
            }
        }
        self.stage = if self.report.clean { Stage::Done } else { Stage::Scan };
        Advance::Again
    }

    /// Without a checkpoint everything there is has to be looked at; and it has to be everything.
    fn begin_without(&mut self) {
        self.index = Index::new(self.size, self.index_max);
        self.report.rebuilt = true;
        let Some(first) = self.files.keys().next().copied() else {
            self.stage = Stage::Done;
            return;
        };
        if first != Lsn::ZERO {
            self.corrupt(first, "the checkpoint is missing, and the log's beginning with it");
            let first = segment_of(first, self.size);
            (self.at, self.last, self.end, self.synced) = (first.plus(BLOCK as u64), first, first, first);
        }
    }
}

/// Entry after entry.
impl Recovery {
    fn scan(&mut self) -> Advance {
        let segment = segment_of(self.at, self.size);
        let Some(file) = self.files.get(&segment) else {
            return self.bad_place("the segment is missing");
        };
        if let Some(what) = file.bad.filter(|_| !self.used.contains(&segment)) {
            return self.bad_place(what);
        }
        match self.look() {
            Ok(found) => self.take(found),
            Err(NotAnEntry::Short(needed)) => {
                let read = self.read(self.at, needed as u64);
                read.unwrap_or_else(|| self.bad_place(CUT_SHORT))
            }
            Err(NotAnEntry::Bad(what)) => self.bad_place(what),
        }
    }

    fn look(&self) -> Result<FoundEntry, NotAnEntry> {
        let Window { start, bytes } = &self.window;
        if self.at < *start || self.at > self.window.end() {
            return Err(NotAnEntry::Short(BLOCK));
        }
        let found = entry_at(bytes, self.at.since(*start) as usize, self.at)?;
        let fresh = found.header.epoch >= self.epoch;
        if fresh { Ok(found) } else { Err(NotAnEntry::Bad("the entry is left over from before a cut")) }
    }

    /// A read that brings `needed` bytes at `at` or as much of them as the file has; `None` if that much is there already.
    fn read(&self, at: Lsn, needed: u64) -> Option<Advance> {
        let segment = segment_of(at, self.size);
        let start = Lsn(at.0 - at.0 % BLOCK as u64);
        let file_end = segment.plus(self.files[&segment].len);
        let len = READ.max((at.since(start) + needed).next_multiple_of(BLOCK as u64)).min(file_end.since(start));
        let window = &self.window;
        if len == 0 || (window.start <= start && start < window.end() && window.end() >= start.plus(len)) {
            return None;
        }
        Some(Advance::Read { at: start, len: len as usize })
    }

    fn take(&mut self, found: FoundEntry) -> Advance {
        let FoundEntry { header, body } = found;
        match Entry::from_parts(&header, body) {
            Ok(Some(entry)) => self.fold(&header, &entry),
            Ok(None) => {}
            Err(what) => return self.bad_place(what),
        }
        self.use_segment(segment_of(self.at, self.size));
        self.report.entries += 1;
        self.report.bytes += header.size() as u64;
        self.epoch = header.epoch;
        self.epoch_max = self.epoch_max.max(header.epoch);
        self.synced = self.synced.max(header.synced);
        self.last = header.lsn;
        self.end = header.end();
        self.whole = header.is_last();
        self.at = match (header.kind, self.whole) {
            (Kind::End, _) => segment_of(header.lsn, self.size).plus(self.size + BLOCK as u64),
            (_, true) => next_group(self.end, self.size),
            (_, false) => self.end,
        };
        if header.kind == Kind::End {
            self.look_for_a_cut(segment_of(header.lsn, self.size), self.at);
        }
        Advance::Again
    }

    fn fold(&mut self, header: &Header, entry: &Entry) {
        match entry {
            Entry::Batch { .. } => return self.fold_batch(header, entry),
            Entry::PartitionDeleted { id } => self.index.forget(*id),
            Entry::PartitionStart { id, start } => self.index.forget_before(*id, *start),
            _ => {}
        }
        self.catalog.fold(entry);
    }

    fn fold_batch(&mut self, header: &Header, entry: &Entry) {
        let partition = PartitionId(header.id);
        self.report.batches += 1;
        self.report.records += u64::from(header.count);
        let known = self.catalog.partitions.get(&partition);
        let Some(state) = known.filter(|state| header.is_moved() || state.next <= header.base) else {
            self.report.orphans += 1;
            return;
        };
        let live = header.base.plus(header.count.into()) > state.start;
        let (lsn, size, count) = (header.lsn, header.size() as u64, header.count);
        let batch = Indexed { partition, base: header.base, count, lsn, size, appended_at: header.appended_at };
        match (live, header.is_moved()) {
            (true, false) => self.index.append(&batch),
            (true, true) => self.fold_moved(&batch),
            (false, _) => {}
        }
        self.index.keep_within(&self.holes);
        self.catalog.fold(entry);
    }

    /// What a run has before a moved batch was dead when it was moved, whether or not the checkpoint knew that yet.
    fn fold_moved(&mut self, batch: &Indexed) {
        let run = self.index.find(batch.partition, batch.base);
        if run.is_some_and(|run| run.base < batch.base && run.lsn < batch.lsn) {
            self.catalog.start(batch.partition, batch.base);
            self.index.forget_before(batch.partition, batch.base);
        }
        self.index.moved(batch);
    }

    /// Believed when it was read twice.
    fn bad_place(&mut self, what: &'static str) -> Advance {
        if self.doubted != Some(self.at) {
            self.doubted = Some(self.at);
            self.window = Window::default();
            return Advance::Again;
        }
        let bad = self.at;
        let here = self.stands_at(bad);
        let header = here.flatten().filter(|header| header.end() <= segment_of(bad, self.size).plus(self.size));
        let records = header.as_ref().map_or(0, records_of);
        let here = (u64::from(here.is_some()), records);
        let last_end = header.map_or(bad, |header| header.end());
        let mut search = Search { bad, what, at: bad, first: None, found: 0, records: 0, last_end, here };
        if self.window.start <= bad && bad < self.window.end() {
            search.at = bad.plus(8);
        }
        self.stage = Stage::Search(search);
        Advance::Again
    }

    /// Whether an entry of this log stands, or stood, at a place where none is whole; and its header, if that is.
    fn stands_at(&self, at: Lsn) -> Option<Option<Header>> {
        let Window { start, bytes } = &self.window;
        if at < *start || at >= self.window.end() {
            return None;
        }
        let bytes = &bytes[at.since(*start) as usize..];
        let header = Header::decode(bytes, at).ok();
        (claims(bytes, at) && claimed_epoch(bytes) >= self.epoch).then_some(header)
    }
}

/// What is behind a bad place.
impl Recovery {
    fn search(&mut self) -> Advance {
        let Stage::Search(search) = &mut self.stage else { unreachable!("asked for in this stage") };
        let Some((file, len)) = self.files.range(segment_of(search.at, self.size)..).next().map(|(f, s)| (*f, s.len))
        else {
            return self.decide();
        };
        search.at = search.at.max(file.plus(BLOCK as u64));
        let end = file.plus(len);
        if search.at >= end {
            search.at = search.at.max(file.plus(self.size));
            return Advance::Again;
        }
        let Window { start, bytes } = &self.window;
        let window_end = self.window.end();
        if search.at < *start || search.at >= window_end || *start < file {
            let at = search.at;
            return self.read(at, BLOCK as u64).expect("the window is elsewhere");
        }
        let from = search.at.since(*start) as usize;
        let Some(header) = next_header(bytes, *start, from, 0) else {
            search.at = if window_end < end { search.at.max(Lsn(window_end.0 - OVERLAP)) } else { end };
            self.window = Window::default();
            return Advance::Again;
        };
        search.at = header.end().min(file.plus(self.size));
        self.epoch_max = self.epoch_max.max(header.epoch);
        if header.epoch < self.epoch {
            return Advance::Again;
        }
        self.synced = self.synced.max(header.synced);
        search.first.get_or_insert(header.lsn);
        search.found += 1;
        search.records += records_of(&header);
        search.last_end = header.end();
        if self.surveyed { self.decide() } else { Advance::Again }
    }

    /// The table at the top of this page.
    fn decide(&mut self) -> Advance {
        let Stage::Search(search) = std::mem::replace(&mut self.stage, Stage::Scan) else {
            unreachable!("decided after a search")
        };
        self.surveyed = true;
        self.window = Window::default();
        let corrupt = self.synced > search.bad || self.is_cut_short(&search);
        if corrupt {
            self.corrupt(search.bad, search.what);
        }
        match search.first.filter(|_| corrupt && self.mode == RecoveryMode::Skip) {
            Some(next) => self.leave_out(next, search.here),
            None => self.cut(&search),
        }
        Advance::Again
    }

    /// Whether the log comes to the end of a file that is not whole. A segment has its full size, synced, before the
    /// first entry goes into it: no crash takes the rest away.
    fn is_cut_short(&self, search: &Search) -> bool {
        let short = |file: &File| file.bad.is_none() && file.len < self.size;
        search.what == CUT_SHORT && self.files.get(&segment_of(search.bad, self.size)).is_some_and(short)
    }

    /// The log goes on at `next`.
    fn leave_out(&mut self, next: Lsn, (entries, records): (u64, u64)) {
        self.use_segment(segment_of(next, self.size));
        if next > self.at {
            self.holes.insert(self.at, next);
            self.lost(self.at, next.since(self.at), entries, records);
        }
        self.at = next;
        self.index.fence(next);
    }

    fn cut(&mut self, search: &Search) {
        self.stage = Stage::Done;
        let (entries, records) = (search.found + search.here.0, search.records + search.here.1);
        self.report.cut_entries = entries.max(u64::from(!self.whole));
        self.report.cut_bytes = search.last_end.since(search.bad);
        if self.report.cut_entries > 0 {
            self.lost(search.bad, self.report.cut_bytes, self.report.cut_entries, records);
        }
    }
}

/// Where the log goes on.
impl Recovery {
    fn recovered(mut self) -> (Recovered, RecoveryReport) {
        let next = self.next_write();
        if next != self.at {
            self.holes.insert(self.at, next);
        }
        self.index.fence(next);
        let head = segment_of(next, self.size);
        let whole = |first: Lsn| self.files.get(&first).is_some_and(|file| file.bad.is_none() && file.len == self.size);
        let mut frontier = head;
        while whole(frontier) {
            frontier = frontier.plus(self.size);
        }
        let odd = self.used.iter().copied().filter(|first| !whole(*first)).collect();
        let ready = |first: Lsn| head <= first && first < frontier && first.0 % self.size == 0;
        let bad = |(first, file): (&Lsn, &File)| Some((*first, file.bad?));
        self.report.unusable =
            self.files.iter().filter_map(bad).filter(|(first, _)| !self.used.contains(first)).collect();
        let unused = self.files.keys().copied().filter(|first| !self.used.contains(first));
        let leftovers = unused.filter(|first| !ready(*first)).chain(self.strangers).collect();
        let used = self.used.into_iter().collect();
        let segment = segment_of(self.end, self.size);
        self.report.end = (segment, self.end.since(segment));
        let stats = LogStats {
            corruptions: self.report.corruptions.len() as u64,
            cut_entries: self.report.cut_entries,
            cut_bytes: self.report.cut_bytes,
            ..LogStats::default()
        };
        let recovered = Recovered {
            epoch: self.epoch_max + 1,
            segment_size: self.size,
            synced: self.synced.min(self.end),
            last: self.last,
            end: self.end,
            next,
            found: Found { used, odd, head, frontier, leftovers },
            catalog: self.catalog,
            index: self.index,
            holes: self.holes,
            stats,
        };
        (recovered, self.report)
    }

    /// The first block that nothing of this log was ever acknowledged in; in a segment that can be written whole.
    fn next_write(&self) -> Lsn {
        let next = next_group(self.at, self.size);
        let segment = segment_of(next, self.size);
        let file = self.files.get(&segment);
        let writable = file.is_some_and(|file| file.bad.is_none() && file.len == self.size);
        if writable || !self.used.contains(&segment) {
            return next;
        }
        segment.plus(self.size + BLOCK as u64)
    }
}

fn records_of(header: &Header) -> u64 {
    if header.kind == Kind::Batch { header.count.into() } else { 0 }
}

fn unknown_version(what: &str, version: u32, known: u32) -> String {
    format!("the {what} has format version {version}; this program knows version {known}")
}
