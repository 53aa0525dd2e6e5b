//! Messages written once and stamped again for each sending.

use std::ops::Range;

use super::checksum::Renewal;
use super::stamp::{Common, STAMP};

/// Bytes that one sending takes to the socket at most, unless one batch alone is larger: what a second-level cache keeps.
const CHUNK: usize = 64 * 1024;

/// One batch as its protocol says it, and where it changes.
#[derive(Debug)]
pub struct Batch {
    /// The bytes on the wire.
    pub bytes: Vec<u8>,
    /// Where its messages begin, in order: there stand their stamps.
    pub stamps: Vec<usize>,
    /// Where the batch's number goes as eight bytes, big-endian, if its protocol has a place for it.
    pub number_at: Option<usize>,
    /// Where a CRC-32C goes, big-endian, and what it covers.
    pub checksum: Option<(usize, Range<usize>)>,
}

/// As many batches as one sending takes, ready to be stamped and sent.
#[derive(Debug)]
pub struct Stencil {
    bytes: Vec<u8>,
    batch_len: usize,
    batches: usize,
    stamps: Vec<usize>,
    number_at: Option<usize>,
    checksum: Option<(usize, Renewal)>,
}

impl Stencil {
    /// The places are written here, for good.
    pub fn new(mut batch: Batch) -> Stencil {
        let nobody = Common { publisher: 0, number: 0, time: 0 };
        for (place, at) in batch.stamps.iter().enumerate() {
            nobody.write(place as u16, stamp_at(&mut batch.bytes, *at));
        }
        let checksum = batch.checksum.map(|(at, covered)| {
            let stamps: Vec<usize> = batch.stamps.iter().map(|stamp| stamp - covered.start).collect();
            (at, Renewal::new(&batch.bytes[covered], &stamps))
        });
        let batches = (CHUNK / batch.bytes.len()).max(1);
        Stencil {
            batch_len: batch.bytes.len(),
            bytes: batch.bytes.repeat(batches),
            batches,
            stamps: batch.stamps,
            number_at: batch.number_at,
            checksum,
        }
    }

    /// Batches that one sending takes.
    pub fn batches(&self) -> usize {
        self.batches
    }

    /// Bytes of one batch on the wire.
    pub fn batch_len(&self) -> usize {
        self.batch_len
    }

    /// Stamps `count` batches from `number` on, each with its time, and says how many bytes of [`Stencil::bytes`] they are.
    #[inline]
    pub fn stamp(&mut self, publisher: u16, number: u64, count: usize, time: impl Fn(u64) -> u64) -> usize {
        assert!(count <= self.batches, "a sending has its bound");
        for (index, bytes) in self.bytes.chunks_exact_mut(self.batch_len).take(count).enumerate() {
            let number = number + index as u64;
            let common = Common { publisher, number, time: time(number) };
            for (place, at) in self.stamps.iter().enumerate() {
                common.write(place as u16, stamp_at(bytes, *at));
            }
            if let Some(at) = self.number_at {
                bytes[at..at + 8].copy_from_slice(&number.to_be_bytes());
            }
            if let Some((at, renewal)) = &self.checksum {
                bytes[*at..at + 4].copy_from_slice(&renewal.of(common).to_be_bytes());
            }
        }
        count * self.batch_len
    }

    /// What was stamped last.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

#[inline]
fn stamp_at(bytes: &mut [u8], at: usize) -> &mut [u8; STAMP] {
    (&mut bytes[at..at + STAMP]).try_into().expect("sixteen bytes")
}

#[cfg(test)]
mod tests {
    use super::super::stamp::Stamp;
    use super::*;

    #[test]
    fn each_batch_gets_its_number_its_time_and_its_checksum() {
        let batch =
            Batch { bytes: vec![9; 100], stamps: vec![20, 50], number_at: Some(4), checksum: Some((0, 12..100)) };
        let mut stencil = Stencil::new(batch);
        assert_eq!(stencil.batches(), 655);
        let len = stencil.stamp(3, 40, 2, |number| number * 10);
        assert_eq!(len, 200);
        for (index, bytes) in stencil.bytes()[..len].chunks(100).enumerate() {
            let number = 40 + index as u64;
            assert_eq!(bytes[4..12], number.to_be_bytes());
            assert_eq!(bytes[..4], crc32c::crc32c(&bytes[12..]).to_be_bytes());
            for (place, at) in [20, 50].into_iter().enumerate() {
                let stamp = Stamp::read(bytes[at..at + STAMP].try_into().unwrap());
                let common = Common { publisher: 3, number, time: number * 10 };
                assert_eq!(stamp, Stamp { common, place: place as u16 });
            }
        }
    }

    #[test]
    fn a_batch_larger_than_a_chunk_goes_alone() {
        let stamps = vec![0];
        let stencil = Stencil::new(Batch { bytes: vec![0; CHUNK + 1], stamps, number_at: None, checksum: None });
        assert_eq!(stencil.batches(), 1);
    }
}
