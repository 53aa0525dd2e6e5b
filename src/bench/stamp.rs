//! The sixteen bytes at the start of every message of a benchmark: who sent it, as which one, and when.
//!
//! | at | bytes | field (little-endian)                                         |
//! |---:|------:|---------------------------------------------------------------|
//! |  0 |     6 | number of the batch among its publisher's                     |
//! |  6 |     2 | publisher                                                     |
//! |  8 |     6 | when it was sent, or was to be sent: ns since the run began   |
//! | 14 |     2 | place in its batch                                            |
//!
//! The place never changes in a batch that is sent again and again with other numbers; everything else is the same for
//! all messages of one batch. That is what makes a batch's checksum cheap to renew ([`super::checksum`]).

/// Bytes of a stamp: the smallest message.
pub const STAMP: usize = 16;
/// Messages in one batch at most: a place is two bytes.
pub const BATCH_MAX: usize = 1 << 16;
/// Six bytes.
pub const NUMBER_MAX: u64 = (1 << 48) - 1;

/// What the messages of one batch have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Common {
    /// Who sent it.
    pub publisher: u16,
    /// Which of its batches; from 0.
    pub number: u64,
    /// Nanoseconds since the run began.
    pub time: u64,
}

impl Common {
    /// The first 14 bytes of the stamp, then two zeros.
    #[inline]
    pub fn bytes(self) -> [u8; STAMP] {
        let mut out = [0; STAMP];
        out[..8].copy_from_slice(&self.first().to_le_bytes());
        out[8..].copy_from_slice(&self.time.to_le_bytes());
        out
    }

    #[inline]
    fn first(self) -> u64 {
        debug_assert!(self.number <= NUMBER_MAX && self.time <= NUMBER_MAX);
        self.number | u64::from(self.publisher) << 48
    }

    /// Writes the stamp of the message at `place`.
    #[inline]
    pub fn write(self, place: u16, out: &mut [u8; STAMP]) {
        out[..8].copy_from_slice(&self.first().to_le_bytes());
        out[8..].copy_from_slice(&(self.time | u64::from(place) << 48).to_le_bytes());
    }
}

/// A stamp as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// What it shares with its batch.
    pub common: Common,
    /// Its place there.
    pub place: u16,
}

impl Stamp {
    /// Reads the start of a message.
    #[inline]
    pub fn read(bytes: &[u8; STAMP]) -> Stamp {
        let first = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"));
        let second = u64::from_le_bytes(bytes[8..].try_into().expect("eight bytes"));
        let common = Common { publisher: (first >> 48) as u16, number: first & NUMBER_MAX, time: second & NUMBER_MAX };
        Stamp { common, place: (second >> 48) as u16 }
    }

    /// Its number among all messages of its publisher, which sends batches of `batch` messages.
    #[inline]
    pub fn sequence(&self, batch: u64) -> u64 {
        self.common.number * batch + u64::from(self.place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_stamped_is_read() {
        let common = Common { publisher: 65_535, number: NUMBER_MAX, time: 1 };
        let mut bytes = [0; STAMP];
        common.write(7, &mut bytes);
        let stamp = Stamp::read(&bytes);
        assert_eq!(stamp, Stamp { common, place: 7 });
        common.write(0, &mut bytes);
        assert_eq!(bytes, common.bytes());
        let early = Stamp { common: Common { publisher: 1, number: 3, time: 0 }, place: 9 };
        assert_eq!(early.sequence(100), 309);
    }
}
