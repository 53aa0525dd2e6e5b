//! The first block of a segment: whose it is, where it belongs, how big it is.
//!
//! Little-endian; the rest of the block is zeros.
//!
//! | at | bytes | field                                                        |
//! |---:|------:|--------------------------------------------------------------|
//! |  0 |     8 | `BLIPSEG` and a zero byte                                     |
//! |  8 |     4 | format version, 1                                            |
//! | 12 |     4 | CRC-32C of the bytes 16 to 44                                 |
//! | 16 |     8 | LSN of the segment's first byte                              |
//! | 24 |     8 | bytes of the segment                                         |
//! | 32 |     2 | log                                                          |
//! | 34 |     2 | zero                                                         |
//! | 36 |     4 | epoch in which it was made ready                             |
//! | 40 |     4 | zero                                                         |

use bytes::{BufMut, Bytes, BytesMut};

use super::entry::BLOCK;
use super::take::Take;
use crate::model::{LogId, Lsn};

const MAGIC: &[u8; 8] = b"BLIPSEG\0";
/// The version of the segments and entries that this code writes, and the only one it reads.
pub const FORMAT_VERSION: u32 = 1;
const LEN: usize = 44;

/// What a segment says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    pub first: Lsn,
    pub size: u64,
    pub log: LogId,
    pub epoch: u32,
}

/// Why a block does not begin a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotASegment {
    /// No header, or a damaged one.
    Bad(&'static str),
    /// A whole header, of a format that is not known.
    Version(u32),
}

impl SegmentHeader {
    pub fn encode(&self) -> Bytes {
        let mut block = BytesMut::with_capacity(BLOCK);
        block.put_slice(MAGIC);
        block.put_u32_le(FORMAT_VERSION);
        block.put_u32_le(0);
        block.put_u64_le(self.first.0);
        block.put_u64_le(self.size);
        block.put_u16_le(self.log.0);
        block.put_u16_le(0);
        block.put_u32_le(self.epoch);
        block.put_u32_le(0);
        let crc = crc32c::crc32c(&block[16..LEN]);
        block[12..16].copy_from_slice(&crc.to_le_bytes());
        block.resize(BLOCK, 0);
        block.freeze()
    }

    pub fn decode(block: &[u8]) -> Result<SegmentHeader, NotASegment> {
        const SHORT: NotASegment = NotASegment::Bad("the segment's header is cut short");
        let head = block.get(..LEN).ok_or(SHORT)?;
        let mut take = Take::new(head);
        if take.bytes(MAGIC.len()) != Some(MAGIC) {
            return Err(NotASegment::Bad("there is no segment header"));
        }
        let version = take.u32().ok_or(SHORT)?;
        if version != FORMAT_VERSION {
            return Err(NotASegment::Version(version));
        }
        if take.u32() != Some(crc32c::crc32c(&head[16..])) {
            return Err(NotASegment::Bad("the segment header's checksum does not match"));
        }
        let first = Lsn(take.u64().ok_or(SHORT)?);
        let size = take.u64().ok_or(SHORT)?;
        let log = LogId(take.u16().ok_or(SHORT)?);
        take.u16().ok_or(SHORT)?;
        let epoch = take.u32().ok_or(SHORT)?;
        let blocks = BLOCK as u64;
        if size < 2 * blocks || size % blocks != 0 || first.0 % size != 0 {
            return Err(NotASegment::Bad("the segment header makes no sense"));
        }
        Ok(SegmentHeader { first, size, log, epoch })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEADER: SegmentHeader = SegmentHeader { first: Lsn(3 << 20), size: 1 << 20, log: LogId(2), epoch: 9 };

    #[test]
    fn a_header_comes_back_as_it_was() {
        assert_eq!(HEADER.encode().len(), BLOCK);
        assert_eq!(SegmentHeader::decode(&HEADER.encode()), Ok(HEADER));
    }

    #[test]
    fn a_header_cut_anywhere_is_refused() {
        let block = HEADER.encode();
        assert!((0..LEN).all(|cut| matches!(SegmentHeader::decode(&block[..cut]), Err(NotASegment::Bad(_)))));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        for bit in 0..LEN * 8 {
            let mut block = HEADER.encode().to_vec();
            block[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::decode(&block).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_block_of_zeros_is_no_header_and_another_version_is_told_apart() {
        assert!(matches!(SegmentHeader::decode(&[0; BLOCK]), Err(NotASegment::Bad(_))));
        let mut block = HEADER.encode().to_vec();
        block[8] = 0;
        assert_eq!(SegmentHeader::decode(&block), Err(NotASegment::Version(0)));
    }

    proptest! {
        #[test]
        fn random_bytes_are_never_a_header(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            prop_assert!(SegmentHeader::decode(&bytes).is_err());
        }
    }
}
