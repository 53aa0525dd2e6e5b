//! What each recovery mode makes of a damaged log, held against what was written.
//!
//! Whatever the damage: no batch that was not written, none twice, none out of order. What is missing was told, or
//! lies at the very end, where no entry that is left, and no checkpoint, knows that it was durable. `truncate` keeps a
//! prefix of what follows the checkpoint, `skip` everything that is whole before the last place known to be durable.
//! What was decided stays decided: mended as `blipmq wal` does, the log comes back good and with the same messages.

use std::collections::BTreeSet;

use super::image::{Image, LOG};
use super::reading::{Batch, Reading};
use super::reference::Reference;
use crate::model::{Lsn, RecoveryMode};
use crate::wal::{Corruption, Recovered, RecoveryReport};

/// What the modes are called.
pub const MODES: [(RecoveryMode, &str); 3] =
    [(RecoveryMode::Refuse, "refuse"), (RecoveryMode::Truncate, "truncate"), (RecoveryMode::Skip, "skip")];

/// What came of one damage.
#[derive(Debug, Default)]
pub struct Judgement {
    /// Why each mode refuses; `truncate` and `skip` do only for another format version, or the checkpoint of another log.
    pub refused: [Option<Corruption>; 3],
    /// Bytes were cut off as unfinished.
    pub cut: bool,
    /// Bad places that each mode's recovery and its readers tell of.
    pub told: [u64; 3],
    /// Messages that each mode brings back.
    pub kept: [u64; 3],
    pub broken: Vec<String>,
}

/// One mode's recovery and what it gives its readers.
struct Back {
    report: RecoveryReport,
    reading: Reading,
}

/// A reference, and the same log damaged.
struct Case<'a> {
    reference: &'a Reference,
    damaged: &'a Image,
    /// Whether the checkpoint is still the one that was written.
    checkpoint: bool,
    judgement: Judgement,
}

/// Tries all modes.
pub fn judge(reference: &Reference, damaged: &Image) -> Judgement {
    let checkpoint = reference.image.checkpoint == damaged.checkpoint;
    let mut case = Case { reference, damaged, checkpoint, judgement: Judgement::default() };
    for (nth, (mode, name)) in MODES.into_iter().enumerate() {
        case.mode(nth, mode, name);
    }
    case.judgement
}

impl Case<'_> {
    fn mode(&mut self, nth: usize, mode: RecoveryMode, name: &str) {
        let outcome = match self.damaged.recover(mode) {
            Ok(outcome) => outcome,
            Err(_) => return self.broken(name, "recovery never ends"),
        };
        match outcome {
            Ok((recovered, report)) => {
                let back = Back { reading: Reading::of(self.damaged, recovered), report };
                self.judgement.kept[nth] = back.reading.batches.iter().map(|batch| u64::from(batch.count)).sum();
                self.judgement.told[nth] = back.reading.told + back.report.corruptions.len() as u64;
                self.came_back(mode, name, &back);
                if mode != RecoveryMode::Refuse {
                    self.stays_decided(mode, name, &back.reading.batches);
                }
            }
            Err(corruption) => {
                self.refused(mode, name, &corruption);
                self.judgement.refused[nth] = Some(corruption);
            }
        }
    }

    fn broken(&mut self, mode: &str, what: impl Into<String>) {
        self.judgement.broken.push(format!("{mode}: {}", what.into()));
    }

    fn refused(&mut self, mode: RecoveryMode, name: &str, corruption: &Corruption) {
        let hopeless = corruption.what.contains("format version") || corruption.what.contains("that of log");
        if self.reference.is_whole(self.damaged) {
            self.broken(name, format!("nothing is damaged, and it refuses: {corruption}"));
        }
        if mode != RecoveryMode::Refuse && !hopeless {
            self.broken(name, format!("does not come back: {corruption}"));
        }
    }

    fn came_back(&mut self, mode: RecoveryMode, name: &str, back: &Back) {
        let Back { report, reading } = back;
        self.nothing_is_made_up(name, &reading.batches);
        let refused = &self.judgement.refused[0];
        if (mode != RecoveryMode::Refuse && refused.is_some()) == report.corruptions.is_empty() {
            let what = format!("refused is {refused:?}, and this tells {:?}", report.corruptions);
            self.broken(name, what);
        }
        self.judgement.cut |= report.cut_entries > 0;
        let came: BTreeSet<Lsn> = reading.batches.iter().map(|batch| batch.lsn).collect();
        let reference = self.reference;
        let lost: Vec<&Batch> = reference.batches.iter().filter(|batch| !came.contains(&batch.lsn)).collect();
        let known = if self.checkpoint { self.reference.known } else { Lsn::ZERO };
        let silent = report.corruptions.is_empty() && reading.told == 0;
        let Some(early) = lost.first() else { return };
        if silent && early.lsn < known {
            self.broken(name, format!("the batch at {} is in the checkpoint, and missing without a word", early.lsn));
        }
        if report.corruptions.is_empty() {
            self.the_tail_alone_is_cut(name, report, &came, &lost, known);
        }
        if mode == RecoveryMode::Truncate && self.checkpoint {
            self.a_prefix_is_left(name, &came, &lost, known);
        }
        if mode == RecoveryMode::Skip && self.checkpoint {
            self.what_is_whole_is_kept(name, report, &lost, known);
        }
    }

    /// Each as it was written, in its order, once.
    fn nothing_is_made_up(&mut self, name: &str, batches: &[Batch]) {
        for pair in batches.windows(2) {
            if (pair[0].partition, pair[0].base) >= (pair[1].partition, pair[1].base) {
                self.broken(name, format!("{} and {} come out of order", pair[0].lsn, pair[1].lsn));
            }
        }
        let key = |batch: &Batch| (batch.partition, batch.base);
        for batch in batches {
            let written = self.reference.batches.binary_search_by_key(&key(batch), key);
            let written = written.ok().map(|at| &self.reference.batches[at]);
            if written.is_none_or(|written| written.bytes != batch.bytes || written.count != batch.count) {
                self.broken(name, format!("the batch at {} was never written like that", batch.lsn));
            }
        }
    }

    /// Nothing that is left of the log knows that what is missing was durable.
    fn the_tail_alone_is_cut(
        &mut self,
        name: &str,
        report: &RecoveryReport,
        came: &BTreeSet<Lsn>,
        lost: &[&Batch],
        known: Lsn,
    ) {
        let Some(cut) = lost.iter().map(|batch| batch.lsn).filter(|lsn| *lsn >= known).min() else { return };
        let (mut behind, mut witness) = (0, None);
        for survivor in self.reference.survivors(self.damaged).filter(|survivor| survivor.lsn > cut) {
            behind += 1;
            witness = witness.or((survivor.synced > cut).then_some(survivor.lsn));
        }
        if let Some(witness) = witness {
            self.broken(name, format!("cut at {cut}, which the entry at {witness} knows to be durable"));
        }
        if behind > 0 && report.cut_entries == 0 {
            self.broken(name, format!("cut at {cut} and {behind} whole entries behind it, and none is counted"));
        }
        if let Some(after) = came.iter().find(|lsn| **lsn > cut) {
            self.broken(name, format!("cut at {cut}, and {after} behind it is there"));
        }
    }

    fn a_prefix_is_left(&mut self, name: &str, came: &BTreeSet<Lsn>, lost: &[&Batch], known: Lsn) {
        let Some(cut) = lost.iter().map(|batch| batch.lsn).filter(|lsn| *lsn >= known).min() else { return };
        if let Some(after) = came.iter().find(|lsn| **lsn > cut) {
            self.broken(name, format!("truncated at {cut}, and {after} behind it is there"));
        }
    }

    /// But for batches of a partition whose own entry is damaged, which is told.
    fn what_is_whole_is_kept(&mut self, name: &str, report: &RecoveryReport, lost: &[&Batch], known: Lsn) {
        if report.orphans > 0 {
            return;
        }
        let survivors: Vec<(Lsn, Lsn)> =
            self.reference.survivors(self.damaged).map(|survivor| (survivor.lsn, survivor.synced)).collect();
        let durable = survivors.iter().map(|(_, synced)| *synced).max().unwrap_or(Lsn::ZERO).max(known);
        let whole = |batch: &&&Batch| survivors.binary_search_by_key(&batch.lsn, |(lsn, _)| *lsn).is_ok();
        if let Some(batch) = lost.iter().filter(|batch| batch.lsn < durable).find(whole) {
            self.broken(name, format!("the batch at {} is whole and before {durable}, and left out", batch.lsn));
        }
    }

    /// Mended as the command line does.
    fn stays_decided(&mut self, mode: RecoveryMode, name: &str, before: &[Batch]) {
        let Ok(Ok((recovered, _))) = self.damaged.recover(mode) else { return };
        let mended = mend(self.damaged, recovered);
        let (recovered, report) = match mended.recover(RecoveryMode::Refuse) {
            Ok(Ok(good)) => good,
            other => return self.broken(name, format!("mended, and still refused: {other:?}")),
        };
        for segment in recovered.segments() {
            let file = mended.segments.get(segment).cloned().unwrap_or_default();
            if let Some(Err(corruption)) = recovered.entries(LOG, *segment, file).find(Result::is_err) {
                self.broken(name, format!("mended, and still damaged: {corruption}"));
            }
        }
        let reading = Reading::of(&mended, recovered);
        if reading.told > 0 || report.cut_entries > 0 || reading.batches != before {
            let (now, was) = (reading.batches.len(), before.len());
            let what = format!(
                "mended, and {now} of {was} batches come back, {} places are bad, {} entries cut",
                reading.told, report.cut_entries
            );
            self.broken(name, what);
        }
    }
}

fn mend(damaged: &Image, mut recovered: Recovered) -> Image {
    let mut mended = damaged.clone();
    for segment in recovered.segments().to_vec() {
        let file = damaged.segments.get(&segment).cloned().unwrap_or_default();
        recovered.leave_out(LOG, segment, file);
    }
    for leftover in recovered.leftovers() {
        mended.segments.remove(leftover);
    }
    mended.checkpoint = Some(recovered.checkpoint(LOG));
    mended
}
