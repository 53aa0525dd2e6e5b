//! The log before anything happened to it: what was written, entry by entry, and what every reader is given.

use bytes::Bytes;

use super::image::{Image, LOG};
use super::reading::{Batch, Reading};
use crate::model::{Lsn, RecoveryMode};

/// An undamaged log.
#[derive(Debug)]
pub struct Reference {
    pub image: Image,
    pub segment_size: u64,
    pub entries: Vec<Place>,
    pub batches: Vec<Batch>,
    /// Everything before is in the checkpoint.
    pub known: Lsn,
    /// Where the last entry ends.
    pub end: Lsn,
}

/// An entry, and what it says was durable when it was written.
#[derive(Clone, Debug)]
pub struct Place {
    pub lsn: Lsn,
    pub synced: Lsn,
    pub bytes: Bytes,
}

impl Reference {
    /// Everything there is in a log that must be good.
    pub fn of(image: Image) -> Result<Reference, String> {
        let outcome = image.recover(RecoveryMode::Refuse).map_err(|_| "recovery never ends")?;
        let (recovered, report) = outcome.map_err(|corruption| corruption.to_string())?;
        let (segment_size, end) = (recovered.segment_size(), recovered.end());
        let mut entries = Vec::new();
        for segment in recovered.segments() {
            for entry in recovered.entries(LOG, *segment, image.segments[segment].clone()) {
                let header = entry.map_err(|corruption| corruption.to_string())?.header;
                let bytes = image.at(header.lsn, header.size(), segment_size).ok_or("an entry is not where it is")?;
                entries.push(Place { lsn: header.lsn, synced: header.synced, bytes });
            }
        }
        let after = entries.len().checked_sub(report.entries as usize).ok_or("more entries than there are")?;
        let known = entries.get(after).map_or(end, |first| first.lsn);
        let reading = Reading::of(&image, recovered);
        match reading.told {
            0 => Ok(Reference { image, segment_size, entries, batches: reading.batches, known, end }),
            _ => Err("an undamaged log cannot be read".into()),
        }
    }

    /// The entries that are still whole where they were, in order.
    pub fn survivors<'a>(&'a self, damaged: &'a Image) -> impl Iterator<Item = &'a Place> {
        self.entries.iter().filter(|entry| self.survives(damaged, entry.lsn, &entry.bytes))
    }

    fn survives(&self, damaged: &Image, lsn: Lsn, bytes: &Bytes) -> bool {
        damaged.at(lsn, bytes.len(), self.segment_size).is_some_and(|now| now == bytes)
    }

    /// Whether nothing that the log needs has changed: then nobody may complain.
    pub fn is_whole(&self, damaged: &Image) -> bool {
        let same_names = self.image.segments.keys().eq(damaged.segments.keys());
        let headers = || {
            let pairs = self.image.segments.iter().zip(&damaged.segments);
            pairs.map(|((_, before), (_, now))| before.get(..4096) == now.get(..4096) && before.len() == now.len())
        };
        let checkpoint = self.image.checkpoint == damaged.checkpoint;
        checkpoint && same_names && headers().all(|same| same) && self.survivors(damaged).count() == self.entries.len()
    }
}
