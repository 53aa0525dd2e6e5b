//! One segment's bytes on the device: what a read sees, and how to take back what was never synced.

use super::dice::Dice;

/// What a device writes whole or not at all.
pub const SECTOR: usize = 512;
/// What the log writes in.
pub const BLOCK: usize = crate::wal::BLOCK;

/// A file of fixed length. Writes are seen as soon as they land; those not yet synced can be taken back.
#[derive(Debug, Clone)]
pub struct SegmentImage {
    view: Vec<u8>,
    unsynced: Vec<Unsynced>,
}

/// A write that has landed in the device's cache, with the bytes that were there before.
#[derive(Debug, Clone)]
struct Unsynced {
    write: u64,
    position: usize,
    before: Vec<u8>,
}

/// How much of the unsynced bytes a power loss spares. Every block is kept, torn between its sectors, or lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spared {
    pub kept_per_mille: u32,
    pub torn_per_mille: u32,
}

impl Spared {
    pub const NOTHING: Spared = Spared { kept_per_mille: 0, torn_per_mille: 0 };

    /// Nothing, everything, or anything between.
    pub fn roll(dice: &mut Dice) -> Spared {
        match dice.below(6) {
            0 => Spared::NOTHING,
            1 => Spared { kept_per_mille: 1000, torn_per_mille: 0 },
            2 => Spared { kept_per_mille: 0, torn_per_mille: 1000 },
            _ => {
                let kept_per_mille = dice.below(1000) as u32;
                Spared { kept_per_mille, torn_per_mille: dice.below(u64::from(1001 - kept_per_mille)) as u32 }
            }
        }
    }
}

impl SegmentImage {
    /// All zeros, and durable.
    pub fn new(size: usize) -> SegmentImage {
        SegmentImage { view: vec![0; size], unsynced: Vec::new() }
    }

    pub fn len(&self) -> usize {
        self.view.len()
    }

    pub fn is_empty(&self) -> bool {
        self.view.is_empty()
    }

    /// What a read sees; shorter at the file's end.
    pub fn read(&self, position: usize, len: usize) -> &[u8] {
        let end = position.saturating_add(len).min(self.view.len());
        &self.view[position.min(end)..end]
    }

    /// The write has reached the device's cache.
    pub fn land(&mut self, write: u64, position: usize, bytes: &[u8]) {
        let range = position..position + bytes.len();
        self.unsynced.push(Unsynced { write, position, before: self.view[range.clone()].to_vec() });
        self.view[range].copy_from_slice(bytes);
    }

    /// The write is durable at once. What an older write left unsynced in these blocks cannot come back.
    pub fn land_through(&mut self, position: usize, bytes: &[u8]) {
        self.view[position..position + bytes.len()].copy_from_slice(bytes);
        for older in &mut self.unsynced {
            let from = position.max(older.position);
            let to = (position + bytes.len()).min(older.position + older.before.len());
            if from < to {
                let (source, target) = (from - position..to - position, from - older.position..to - older.position);
                older.before[target].copy_from_slice(&bytes[source]);
            }
        }
    }

    /// Only some pieces of `unit` bytes of the write reach the device.
    pub fn land_torn(&mut self, write: u64, position: usize, bytes: &[u8], unit: usize, dice: &mut Dice) {
        let per_mille = dice.below(1000) as u32;
        let mut torn = self.view[position..position + bytes.len()].to_vec();
        for (old, new) in torn.chunks_mut(unit).zip(bytes.chunks(unit)) {
            if dice.chance(per_mille) {
                old.copy_from_slice(new);
            }
        }
        self.land(write, position, &torn);
    }

    /// Writes that are landed and not synced.
    pub fn unsynced(&self) -> Vec<u64> {
        self.unsynced.iter().map(|unsynced| unsynced.write).collect()
    }

    /// These writes are durable now.
    pub fn sync(&mut self, writes: &[u64]) {
        self.unsynced.retain(|unsynced| !writes.contains(&unsynced.write));
    }

    /// Everything there is durable now, as when a recycled file is made ready.
    pub fn settle(&mut self) {
        self.unsynced.clear();
    }

    /// Power is lost: what is not synced survives as far as it is spared.
    pub fn cut_power(&mut self, spared: Spared, dice: &mut Dice) {
        while let Some(unsynced) = self.unsynced.pop() {
            for (index, before) in unsynced.before.chunks(BLOCK).enumerate() {
                let at = unsynced.position + index * BLOCK;
                lose_block(&mut self.view[at..at + before.len()], before, spared, dice);
            }
        }
    }

    /// Changes durable bytes under everybody's feet.
    pub fn overwrite(&mut self, position: usize, bytes: &[u8]) {
        self.view[position..position + bytes.len()].copy_from_slice(bytes);
    }
}

fn lose_block(block: &mut [u8], before: &[u8], spared: Spared, dice: &mut Dice) {
    let lot = dice.below(1000) as u32;
    if lot < spared.kept_per_mille {
        return;
    }
    let torn = lot < spared.kept_per_mille + spared.torn_per_mille;
    for (sector, before) in block.chunks_mut(SECTOR).zip(before.chunks(SECTOR)) {
        if !torn || dice.chance(500) {
            sector.copy_from_slice(before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written() -> SegmentImage {
        let mut image = SegmentImage::new(16 * BLOCK);
        image.land(1, BLOCK, &[1; 2 * BLOCK]);
        image.land(2, 3 * BLOCK, &[2; 2 * BLOCK]);
        image
    }

    #[test]
    fn synced_blocks_survive_and_unsynced_ones_do_not() {
        let mut image = written();
        image.sync(&[1]);
        image.cut_power(Spared::NOTHING, &mut Dice::new(1));
        assert!(image.read(BLOCK, 2 * BLOCK).iter().all(|byte| *byte == 1));
        assert!(image.read(3 * BLOCK, 2 * BLOCK).iter().all(|byte| *byte == 0));
    }

    #[test]
    fn what_went_through_is_not_undone_with_an_older_write_of_its_blocks() {
        let mut image = written();
        image.land_through(2 * BLOCK, &[3; 2 * BLOCK]);
        image.cut_power(Spared::NOTHING, &mut Dice::new(1));
        assert!(image.read(2 * BLOCK, 2 * BLOCK).iter().all(|byte| *byte == 3));
        assert!([BLOCK, 4 * BLOCK].iter().all(|at| image.read(*at, BLOCK).iter().all(|byte| *byte == 0)));
    }

    #[test]
    fn a_torn_block_is_torn_between_sectors() {
        let mut image = written();
        image.cut_power(Spared { kept_per_mille: 0, torn_per_mille: 1000 }, &mut Dice::new(3));
        let block = image.read(BLOCK, BLOCK);
        assert!(block.chunks(SECTOR).all(|sector| sector.iter().all(|byte| *byte == sector[0])));
        assert!(block.contains(&0) && block.contains(&1));
    }

    #[test]
    fn a_read_past_the_end_is_short() {
        let image = written();
        assert_eq!(image.read(15 * BLOCK, 2 * BLOCK).len(), BLOCK);
        assert_eq!(image.read(17 * BLOCK, BLOCK).len(), 0);
    }
}
