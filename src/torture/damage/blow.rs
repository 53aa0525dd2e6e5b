//! One thing that happens to the files of a log.

use bytes::Bytes;
use fastrand::Rng;

use super::image::Image;
use crate::model::Lsn;
use crate::wal::BLOCK;

/// Where the segment header and the checkpoint have their format version.
const AT_VERSION: usize = 8;
/// Bytes near the log's end: where a crash leaves its traces.
const TAIL: u64 = 96 * 1024;
/// Bytes of zeros or noise at most.
const SPREAD: usize = 64 * 1024;

/// Damage. Addresses are those of the log, or bytes of the checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Blow {
    Flip {
        segment: Lsn,
        at: usize,
        bit: u8,
    },
    Zero {
        segment: Lsn,
        at: usize,
        len: usize,
    },
    Noise {
        segment: Lsn,
        at: usize,
        len: usize,
        seed: u64,
    },
    /// The file ends earlier.
    Cut {
        segment: Lsn,
        len: usize,
    },
    Lose {
        segment: Lsn,
    },
    Swap {
        one: Lsn,
        other: Lsn,
    },
    /// A copy of one file stands in the place of another.
    Double {
        from: Lsn,
        onto: Lsn,
    },
    /// The header says another format version.
    Version {
        segment: Lsn,
        version: u8,
    },
    /// A file that is named like a segment and is none.
    Stranger {
        first: Lsn,
        len: usize,
        seed: u64,
    },
    CheckpointFlip {
        at: usize,
        bit: u8,
    },
    CheckpointZero {
        at: usize,
        len: usize,
    },
    CheckpointCut {
        len: usize,
    },
    CheckpointVersion {
        version: u8,
    },
    CheckpointNoise {
        seed: u64,
    },
    CheckpointLost,
}

impl Blow {
    /// Any of them, most often in what is used of the log, whose last entry ends at `end`.
    pub fn roll(dice: &mut Rng, image: &Image, end: Lsn) -> Blow {
        let names: Vec<Lsn> = image.segments.keys().copied().collect();
        let any = |dice: &mut Rng| names[dice.usize(0..names.len())];
        match dice.u8(0..24) {
            0..8 => {
                let (segment, at) = place(dice, image, end);
                Blow::Flip { segment, at, bit: dice.u8(0..8) }
            }
            8..11 => {
                let (segment, at) = place(dice, image, end);
                let len = length(dice);
                let at = if dice.bool() { at / BLOCK * BLOCK } else { at };
                Blow::Zero { segment, at, len }
            }
            11..13 => {
                let (segment, at) = place(dice, image, end);
                Blow::Noise { segment, at, len: length(dice), seed: dice.u64(..) }
            }
            13..15 => {
                let (segment, at) = place(dice, image, end);
                Blow::Cut { segment, len: at }
            }
            15 => Blow::Lose { segment: any(dice) },
            16 => Blow::Swap { one: any(dice), other: any(dice) },
            17 => Blow::Double { from: any(dice), onto: any(dice) },
            18 => Blow::Version { segment: any(dice), version: dice.u8(2..) },
            19 => {
                let step = [8, 4096, 1 << 20, 9 << 20][dice.usize(0..4)];
                Blow::Stranger { first: any(dice).plus(step), len: dice.usize(0..9000), seed: dice.u64(..) }
            }
            _ => checkpoint(dice, image),
        }
    }

    /// Does it. What is not there is not damaged further.
    pub fn strike(&self, image: &mut Image) {
        match *self {
            Blow::Flip { segment, at, bit } => image.change(segment, |bytes| flip(bytes, at, bit)),
            Blow::Zero { segment, at, len } => image.change(segment, |bytes| range(bytes, at, len).fill(0)),
            Blow::Noise { segment, at, len, seed } => {
                image.change(segment, |bytes| Rng::with_seed(seed).fill(range(bytes, at, len)));
            }
            Blow::Cut { segment, len } => image.change(segment, |bytes| bytes.truncate(len)),
            Blow::Lose { segment } => drop(image.segments.remove(&segment)),
            Blow::Swap { one, other } => {
                if let (Some(first), Some(second)) = (image.segments.remove(&one), image.segments.remove(&other)) {
                    image.segments.extend([(one, second), (other, first)]);
                }
            }
            Blow::Double { from, onto } => {
                if let Some(bytes) = image.segments.get(&from).cloned() {
                    image.segments.insert(onto, bytes);
                }
            }
            Blow::Version { segment, version } => image.change(segment, |bytes| set(bytes, AT_VERSION, version)),
            Blow::Stranger { first, len, seed } => {
                image.segments.entry(first).or_insert_with(|| noise(len, seed));
            }
            Blow::CheckpointLost => image.checkpoint = None,
            Blow::CheckpointNoise { seed } => image.checkpoint = Some(noise(500, seed)),
            _ => {
                let Some(bytes) = &image.checkpoint else { return };
                let mut bytes = bytes.to_vec();
                match *self {
                    Blow::CheckpointFlip { at, bit } => flip(&mut bytes, at, bit),
                    Blow::CheckpointZero { at, len } => range(&mut bytes, at, len).fill(0),
                    Blow::CheckpointCut { len } => bytes.truncate(len),
                    Blow::CheckpointVersion { version } => set(&mut bytes, AT_VERSION, version),
                    _ => unreachable!("the others are above"),
                }
                image.checkpoint = Some(bytes.into());
            }
        }
    }
}

/// In the header of a segment, in the middle, near the end, or behind it.
fn place(dice: &mut Rng, image: &Image, end: Lsn) -> (Lsn, usize) {
    let names: Vec<Lsn> = image.segments.keys().copied().collect();
    let size = image.segments.values().map(Bytes::len).max().unwrap_or(BLOCK) as u64;
    let within = |lsn: Lsn| (Lsn(lsn.0 - lsn.0 % size), (lsn.0 % size) as usize);
    match dice.u8(0..8) {
        0 => (names[dice.usize(0..names.len())], dice.usize(0..64)),
        1 => (names[dice.usize(0..names.len())], dice.usize(0..size as usize)),
        2..5 => within(Lsn(end.0 - dice.u64(1..TAIL.min(end.0)))),
        _ => within(Lsn(dice.u64(names[0].0..end.0))),
    }
}

fn length(dice: &mut Rng) -> usize {
    match dice.u8(0..3) {
        0 => dice.usize(1..64),
        1 => BLOCK,
        _ => dice.usize(1..SPREAD),
    }
}

fn checkpoint(dice: &mut Rng, image: &Image) -> Blow {
    let len = image.checkpoint.as_ref().map_or(1, Bytes::len).max(1);
    match dice.u8(0..8) {
        0..3 => Blow::CheckpointFlip { at: dice.usize(0..len), bit: dice.u8(0..8) },
        3 => Blow::CheckpointZero { at: dice.usize(0..len), len: dice.usize(1..4096) },
        4 => Blow::CheckpointCut { len: dice.usize(0..len) },
        5 => Blow::CheckpointVersion { version: dice.u8(2..) },
        6 => Blow::CheckpointNoise { seed: dice.u64(..) },
        _ => Blow::CheckpointLost,
    }
}

fn range(bytes: &mut [u8], at: usize, len: usize) -> &mut [u8] {
    let from = at.min(bytes.len());
    let to = (from + len).min(bytes.len());
    &mut bytes[from..to]
}

fn flip(bytes: &mut [u8], at: usize, bit: u8) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1 << bit;
    }
}

fn set(bytes: &mut [u8], at: usize, value: u8) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte = value;
    }
}

fn noise(len: usize, seed: u64) -> Bytes {
    let mut bytes = vec![0; len];
    Rng::with_seed(seed).fill(&mut bytes);
    bytes.into()
}
