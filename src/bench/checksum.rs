//! The checksum of a batch whose stamps were renewed, without reading the batch again.
//!
//! CRC-32C is affine over exclusive or: for batches of one length, `crc(a ^ d) = crc(a) ^ L(d)` with `L` linear. All
//! that changes between two sendings of a prebuilt batch is [`Common`], the same bytes in every record. So `L` is a
//! linear map of fourteen bytes, and fourteen table look-ups renew the checksum of a batch of any size. The broker
//! still checks it over every byte.

use super::stamp::{Common, STAMP};

/// Bytes of a stamp that change.
const CHANGING: usize = 14;

/// Renews the checksum of one prebuilt batch.
#[derive(Debug)]
pub struct Renewal {
    /// The checksum with all changing bytes zero.
    base: u32,
    tables: Box<[[u32; 256]; CHANGING]>,
}

impl Renewal {
    /// `covered` is what the checksum covers, with stamps at `stamps`. Takes about a hundred passes over it.
    pub fn new(covered: &[u8], stamps: &[usize]) -> Renewal {
        let mut bytes = covered.to_vec();
        let mut set = |at: usize, value: u8| {
            stamps.iter().for_each(|stamp| bytes[stamp + at] = value);
            crc32c::crc32c(&bytes)
        };
        let base = (0..CHANGING).map(|at| set(at, 0)).last().expect("there are changing bytes");
        let mut tables = Box::new([[0; 256]; CHANGING]);
        for (at, table) in tables.iter_mut().enumerate() {
            let bits: [u32; 8] = std::array::from_fn(|bit| set(at, 1 << bit) ^ base);
            set(at, 0);
            *table = std::array::from_fn(|value| combine(&bits, value));
        }
        Renewal { base, tables }
    }

    /// The checksum with `common` in every stamp.
    #[inline]
    pub fn of(&self, common: Common) -> u32 {
        let bytes: [u8; STAMP] = common.bytes();
        self.tables.iter().zip(bytes).fold(self.base, |crc, (table, byte)| crc ^ table[byte as usize])
    }
}

fn combine(bits: &[u32; 8], value: usize) -> u32 {
    bits.iter().enumerate().filter(|(bit, _)| value >> bit & 1 == 1).fold(0, |crc, (_, bit)| crc ^ bit)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_renewed_checksum_is_the_checksum(
            publisher in any::<u16>(), number in 0u64..1 << 48, time in 0u64..1 << 48, gap in 0usize..40
        ) {
            let common = Common { publisher, number, time };
            let stamps: Vec<usize> = (0..5).map(|index| 10 + index * (STAMP + gap)).collect();
            let mut bytes: Vec<u8> = (0..10 + 5 * (STAMP + gap) + 3).map(|at| at as u8).collect();
            for (place, at) in stamps.iter().enumerate() {
                Common { publisher: 1, number: 2, time: 3 }
                    .write(place as u16, (&mut bytes[*at..at + STAMP]).try_into().unwrap());
            }
            let renewal = Renewal::new(&bytes, &stamps);
            for (place, at) in stamps.iter().enumerate() {
                common.write(place as u16, (&mut bytes[*at..at + STAMP]).try_into().unwrap());
            }
            prop_assert_eq!(renewal.of(common), crc32c::crc32c(&bytes));
        }
    }
}
