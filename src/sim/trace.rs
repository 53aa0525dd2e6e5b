//! Everything that happened, folded into one number.

use crate::model::Instant;

/// The trace of one run. Two runs of one seed have the same hash, or something in the world is not decided by the seed.
#[derive(Debug, Default)]
pub struct Trace {
    hash: u64,
    steps: u64,
    print: bool,
}

impl Trace {
    /// `print`: also write each step to standard output.
    pub fn new(print: bool) -> Trace {
        Trace { hash: 0xcbf2_9ce4_8422_2325, steps: 0, print }
    }

    pub fn hash(&self) -> u64 {
        self.hash
    }

    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Something happened; the numbers say what exactly.
    pub fn note(&mut self, now: Instant, what: &str, numbers: &[u64]) {
        self.steps += 1;
        self.fold(now.0);
        self.fold(what.len() as u64 ^ u64::from(what.as_bytes()[0]) << 8);
        numbers.iter().for_each(|number| self.fold(*number));
        if self.print {
            println!("{:>14.6} {what} {numbers:?}", (now.0 - super::scheduler::EPOCH.0) as f64 / 1e6);
        }
    }

    /// More of what happened, in words; printed and not folded.
    pub fn say(&self, now: Instant, words: impl FnOnce() -> String) {
        if self.print {
            println!("{:>14.6}   {}", (now.0 - super::scheduler::EPOCH.0) as f64 / 1e6, words());
        }
    }

    fn fold(&mut self, number: u64) {
        self.hash = (self.hash ^ number).wrapping_mul(0x0000_0100_0000_01b3);
        self.hash ^= self.hash >> 29;
    }
}

/// A number for some bytes, to be noted.
pub fn digest(bytes: &[u8]) -> u64 {
    u64::from(crc32c::crc32c(bytes)) << 32 | bytes.len() as u64
}
