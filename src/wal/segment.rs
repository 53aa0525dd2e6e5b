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
