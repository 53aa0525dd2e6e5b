//! Everything that a recovered log still gives its readers.

use bytes::Bytes;

use super::image::{Image, LOG};
use crate::model::{FsyncPolicy, Lsn, Offset, PartitionId};
use crate::wal::{Log, LogAction, LogOptions, Recovered, THROUGH_MAX};

/// A batch as a subscription is given it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    pub partition: PartitionId,
    pub base: Offset,
    pub count: u32,
    pub lsn: Lsn,
    pub bytes: Bytes,
}

/// What came, in the order of partitions and offsets, and how many bad places were told on the way.
#[derive(Debug, Default)]
pub struct Reading {
    pub batches: Vec<Batch>,
    pub told: u64,
}

impl Reading {
    /// Reads the log as subscriptions do, from the start of each partition, going on behind what cannot be read.
    pub fn of(image: &Image, recovered: Recovered) -> Reading {
        let segment_size = recovered.segment_size();
        let (fsync, retention_ms, retention_bytes, low_water) = (FsyncPolicy::Always, 0, 0, 0);
        let options = LogOptions {
            log: LOG,
            segment_size,
            fsync,
            retention_ms,
            retention_bytes,
            low_water,
            index_max: usize::MAX,
            through_max: THROUGH_MAX,
        };
        let mut log = Log::new(options, recovered);
        let partitions: Vec<(PartitionId, Offset)> =
            log.catalog().partitions.iter().map(|(id, state)| (*id, state.start)).collect();
        let mut reading = Reading::default();
        for (partition, start) in partitions {
            reading.partition(&mut log, image, partition, start);
        }
        reading
    }

    fn partition(&mut self, log: &mut Log, image: &Image, partition: PartitionId, start: Offset) {
        let mut next = start;
        loop {
            let before = next;
            if let Some(place) = log.find(partition, next) {
                let LogAction::Read { ticket, segment, position, len, .. } = log.place_read(place, 0) else {
                    unreachable!("a place is read")
                };
                let bytes = image.read(segment, position, len);
                self.told += u64::from(bytes.len() < len);
                for found in log.batches(ticket, partition, &bytes) {
                    match found {
                        Ok((place, _)) if place.base < next => {}
                        Ok((place, bytes)) => {
                            next = place.base.plus(place.count.into());
                            let (base, count, lsn) = (place.base, place.count, place.lsn);
                            self.batches.push(Batch { partition, base, count, lsn, bytes });
                        }
                        Err(_) => self.told += 1,
                    }
                }
            }
            if next == before {
                let Some(after) = log.first_after(partition, next) else { return };
                next = after;
            }
        }
    }
}
