//! Which segments there are: in use, made ready ahead, and dead.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::action::LogAction;
use super::segment::SegmentHeader;
use crate::model::{Instant, LogId, Lsn};

/// The segments of one log, as far as the log knows them.
#[derive(Debug)]
pub(super) struct Segments {
    log: LogId,
    pub(super) size: u64,
    epoch: u32,
    /// Segments that hold entries, or are about to.
    used: BTreeMap<Lsn, Used>,
    /// The segment that takes the next entry.
    head: Lsn,
    head_is_used: bool,
    /// Every segment from `head` up to here is ready to be written.
    frontier: Lsn,
    preparing: bool,
    /// A full disk refused the last segment: the next one is asked for when there is space.
    refused: bool,
    /// Dead, and no checkpoint speaks of them any more; a reader may still be at them.
    retired: Vec<Lsn>,
    /// Dead, and their files are free for use.
    spare: VecDeque<Lsn>,
    /// Files that are no use to anybody; removed before anything new is made ready.
    leftovers: Vec<Lsn>,
    removing: BTreeSet<Lsn>,
    /// When the head was entered, and whether the one before was filled quickly.
    entered: Instant,
    busy: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Used {
    readers: u32,
    /// Not of full size: cannot be used again.
    odd: bool,
    /// Cleaning met something it could not read: what is live here stays here.
    kept: bool,
}

/// What recovery found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) used: Vec<Lsn>,
    /// Of these, those whose files are not of full size.
    pub(super) odd: Vec<Lsn>,
    pub(super) head: Lsn,
    pub(super) frontier: Lsn,
    pub(super) leftovers: Vec<Lsn>,
}

/// Segments are made ready two ahead if the last one was filled within this time.
const BUSY_MS: u64 = 10_000;
/// Segments ready ahead, and the same under load.
const AHEAD: u64 = 1;
const AHEAD_BUSY: u64 = 2;
/// Dead segments kept to be made ready next: to use one again costs nothing, to make a new one costs as many writes as
/// it will ever take.
const SPARE_MAX: usize = 1;

impl Segments {
    pub(super) fn new(log: LogId, size: u64, epoch: u32, found: Found) -> Segments {
        let odd: BTreeSet<Lsn> = found.odd.into_iter().collect();
        let used = |first: Lsn| (first, Used { odd: odd.contains(&first), ..Used::default() });
        Segments {
            log,
            size,
            epoch,
            head_is_used: found.used.contains(&found.head),
            used: found.used.into_iter().map(used).collect(),
            head: found.head,
            frontier: found.frontier,
            preparing: false,
            refused: false,
            retired: Vec::new(),
            spare: VecDeque::new(),
            leftovers: found.leftovers,
            removing: BTreeSet::new(),
            entered: Instant::default(),
            busy: false,
        }
    }

    /// The next entry goes into `segment`.
    #[inline]
    pub(super) fn enter(&mut self, now: Instant, segment: Lsn) {
        if segment != self.head || !self.head_is_used {
            self.enter_new(now, segment);
        }
    }

    #[cold]
    fn enter_new(&mut self, now: Instant, segment: Lsn) {
        assert!(segment >= self.head, "a log grows forward");
        self.busy = segment > self.head && now < self.entered.plus_ms(BUSY_MS);
        self.entered = now;
        self.head = segment;
        self.head_is_used = true;
        self.used.entry(segment).or_default();
    }

    pub(super) fn is_ready(&self, segment: Lsn) -> bool {
        segment < self.frontier
    }

    pub(super) fn head(&self) -> Lsn {
        self.head
    }

    /// Segments that a checkpoint has to speak of.
    pub(super) fn used(&self) -> impl Iterator<Item = Lsn> + '_ {
        self.used.keys().copied().filter(|segment| !self.retired.contains(segment))
    }

    pub(super) fn is_kept(&self, segment: Lsn) -> bool {
        self.used.get(&segment).is_some_and(|used| used.kept)
    }

    pub(super) fn keep(&mut self, segment: Lsn) {
        if let Some(used) = self.used.get_mut(&segment) {
            used.kept = true;
        }
    }

    /// Number of segments that are in use and full.
    pub(super) fn sealed(&self) -> u64 {
        (self.used.len() - usize::from(self.head_is_used)) as u64
    }

    /// Number of files on the device.
    pub(super) fn count(&self) -> u64 {
        let ahead = self.frontier.since(self.head) / self.size;
        let ahead = if self.head_is_used { ahead.saturating_sub(1) } else { ahead };
        (self.used.len() + self.spare.len() + self.leftovers.len() + self.removing.len()) as u64 + ahead
    }

    pub(super) fn reading(&mut self, segment: Lsn) {
        if let Some(used) = self.used.get_mut(&segment) {
            used.readers += 1;
        }
    }

    pub(super) fn read(&mut self, segment: Lsn) {
        if let Some(used) = self.used.get_mut(&segment) {
            used.readers = used.readers.saturating_sub(1);
        }
    }

    /// No checkpoint speaks of these any more: their files are free as soon as nobody reads them.
    pub(super) fn retire(&mut self, segments: Vec<Lsn>) {
        self.retired.extend(segments);
    }

    fn release_retired(&mut self) {
        let (used, head, size) = (&mut self.used, &mut self.head, self.size);
        let head_is_used = &mut self.head_is_used;
        let (spare, leftovers) = (&mut self.spare, &mut self.leftovers);
        self.retired.retain(|segment| match used.get(segment) {
            Some(state) if state.readers > 0 => true,
            state => {
                match state.is_some_and(|state| state.odd) {
                    true => leftovers.push(*segment),
                    false => spare.push_back(*segment),
                }
                used.remove(segment);
                // A full head can die before anything is written behind it.
                if *segment == *head {
                    (*head, *head_is_used) = (segment.plus(size), false);
                }
                false
            }
        });
    }

    /// What is to be removed or made ready now.
    pub(super) fn poll(&mut self) -> Option<LogAction> {
        if !self.retired.is_empty() {
            self.release_retired();
        }
        if let Some(segment) = self.leftovers.pop() {
            self.removing.insert(segment);
            return Some(LogAction::Remove { segment });
        }
        let ahead = self.frontier.since(self.head) / self.size;
        let wanted = 1 + if self.busy { AHEAD_BUSY } else { AHEAD };
        let refused = self.refused && self.spare.is_empty();
        let free = !self.preparing && !refused && !self.removing.contains(&self.frontier);
        if free && ahead < wanted {
            return Some(self.prepare());
        }
        if self.spare.len() > SPARE_MAX {
            let segment = self.spare.pop_front()?;
            self.removing.insert(segment);
            return Some(LogAction::Remove { segment });
        }
        None
    }

    fn prepare(&mut self) -> LogAction {
        self.preparing = true;
        let segment = self.frontier;
        let header = SegmentHeader { first: segment, size: self.size, log: self.log, epoch: self.epoch };
        LogAction::Prepare { segment, size: self.size, header: header.encode(), recycle: self.spare.pop_front() }
    }

    pub(super) fn prepared(&mut self, segment: Lsn) {
        assert!(self.preparing && segment == self.frontier, "segments are made ready one by one, in order");
        self.preparing = false;
        self.refused = false;
        self.frontier = self.frontier.plus(self.size);
    }

    /// The disk is full.
    pub(super) fn refused(&mut self) {
        self.preparing = false;
        self.refused = true;
    }

    pub(super) fn is_refused(&self) -> bool {
        self.refused
    }

    pub(super) fn try_again(&mut self) {
        self.refused = false;
    }

    pub(super) fn removed(&mut self, segment: Lsn) {
        self.removing.remove(&segment);
    }
}
