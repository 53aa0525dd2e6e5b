//! A message that proves itself: the seed of the trial, who sent it, as which one; and a body that follows from these.
//!
//! It begins with the stamp of the benchmarks ([`crate::bench::stamp`]), with the trial's seed in the place of the time.

use crate::bench::stamp::{Common, NUMBER_MAX, STAMP, Stamp};

/// Bytes of a body at most.
const BODY_MAX: usize = 300;

/// Which message it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name {
    /// Whose stream of messages.
    pub stream: usize,
    /// Its place there, from 0.
    pub number: u64,
}

/// What is wrong with bytes that were delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// It is no message of this trial.
    Foreign,
    /// It says who it is, and is not that.
    Body(Name),
}

/// The bytes of a message.
pub fn make(seed: u64, name: Name) -> Vec<u8> {
    let stamp = Common { publisher: name.stream as u16, number: name.number, time: seed & NUMBER_MAX };
    let mut dice = fastrand::Rng::with_seed(seed ^ (name.stream as u64) << 48 ^ name.number);
    let mut bytes = stamp.bytes().to_vec();
    bytes.resize(STAMP + dice.usize(..=BODY_MAX), 0);
    dice.fill(&mut bytes[STAMP..]);
    bytes
}

/// Which message these bytes are, every one of them compared.
pub fn read(seed: u64, bytes: &[u8]) -> Result<Name, Wrong> {
    let head = bytes.get(..STAMP).ok_or(Wrong::Foreign)?;
    let stamp = Stamp::read(head.try_into().expect("as long as a stamp"));
    if stamp.place != 0 || stamp.common.time != seed & NUMBER_MAX {
        return Err(Wrong::Foreign);
    }
    let name = Name { stream: stamp.common.publisher.into(), number: stamp.common.number };
    if make(seed, name) == bytes { Ok(name) } else { Err(Wrong::Body(name)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_of_a_message_counts() {
        let name = Name { stream: 513, number: 70_000 };
        let bytes = (0..100).map(|seed| make(seed, name)).find(|bytes| bytes.len() > STAMP + 9).unwrap();
        let seed = (0..100).find(|seed| make(*seed, name) == bytes).unwrap();
        assert_eq!(read(seed, &bytes), Ok(name));
        for at in 0..bytes.len() {
            let mut wrong = bytes.clone();
            wrong[at] ^= 1;
            assert!(read(seed, &wrong).is_err(), "byte {at}");
        }
        assert_eq!(read(seed, &bytes[..bytes.len() - 1]), Err(Wrong::Body(name)));
        assert_eq!(read(seed, &bytes[..5]), Err(Wrong::Foreign));
        assert_eq!(read(seed + 1, &bytes), Err(Wrong::Foreign));
    }
}
