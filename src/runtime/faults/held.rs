//! What of one file has not reached it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use fastrand::Rng;

/// The smallest piece that a device writes whole.
pub const SECTOR: usize = 512;
/// Sectors of the larger piece that many devices write whole.
const PAGE: u64 = 8;

/// Held sectors of a file, and its size as this process sees it.
#[derive(Debug)]
pub struct Held {
    sectors: BTreeMap<u64, Box<[u8; SECTOR]>>,
    pub size: u64,
    /// A sync failed: what a later one says of this file is worth nothing.
    pub distrusted: bool,
}

impl Held {
    /// Nothing is held of a file of this size.
    pub fn new(size: u64) -> Held {
        Held { sectors: BTreeMap::new(), size, distrusted: false }
    }

    pub fn is_empty(&self) -> bool {
        self.sectors.is_empty()
    }

    /// Takes a write. What begins or ends within a sector is filled up from `file`.
    pub fn write(&mut self, file: &File, position: u64, bytes: &[u8]) -> io::Result<()> {
        let first = position / SECTOR as u64 * SECTOR as u64;
        let end = position + bytes.len() as u64;
        let mut whole = self.read(file, first, (end.next_multiple_of(SECTOR as u64) - first) as usize, u64::MAX)?;
        let at = (position - first) as usize;
        whole[at..at + bytes.len()].copy_from_slice(bytes);
        for (nth, sector) in whole.chunks_exact(SECTOR).enumerate() {
            let sector: [u8; SECTOR] = sector.try_into().expect("a whole sector");
            self.sectors.insert(first / SECTOR as u64 + nth as u64, Box::new(sector));
        }
        self.size = self.size.max(end);
        Ok(())
    }

    /// Reads what this process wrote, held or not: `len` bytes, or fewer at `end`.
    pub fn read(&self, file: &File, position: u64, len: usize, end: u64) -> io::Result<Vec<u8>> {
        let len = (end.saturating_sub(position)).min(len as u64) as usize;
        let mut bytes = vec![0; len];
        let mut filled = 0;
        while filled < len {
            match file.read_at(&mut bytes[filled..], position + filled as u64)? {
                0 => break,
                count => filled += count,
            }
        }
        let (first, last) = (position / SECTOR as u64, (position + len as u64).div_ceil(SECTOR as u64));
        for (sector, held) in self.sectors.range(first..last) {
            let at = sector * SECTOR as u64;
            let (from, to) = (at.max(position), (at + SECTOR as u64).min(position + len as u64));
            let source = &held[(from - at) as usize..(to - at) as usize];
            bytes[(from - position) as usize..(to - position) as usize].copy_from_slice(source);
        }
        Ok(bytes)
    }

    /// Pieces of what is held, in any order.
    pub fn pieces(&self, dice: &mut Rng) -> Vec<Vec<u64>> {
        let unit = if dice.bool() { 1 } else { PAGE };
        let mut pieces: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        self.sectors.keys().for_each(|sector| pieces.entry(sector / unit).or_default().push(*sector));
        let mut pieces: Vec<Vec<u64>> = pieces.into_values().collect();
        dice.shuffle(&mut pieces);
        pieces
    }

    /// Sectors reach the file.
    pub fn let_through(&mut self, file: &File, sectors: &[u64]) -> io::Result<()> {
        for sector in sectors {
            let Some(bytes) = self.sectors.remove(sector) else { continue };
            let at = sector * SECTOR as u64;
            let len = (self.size - at).min(SECTOR as u64) as usize;
            file.write_all_at(&bytes[..len], at)?;
        }
        Ok(())
    }

    /// What was held is lost, as after a failed sync: the file is what it is.
    pub fn drop_all(&mut self) {
        self.sectors.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_reads_what_it_wrote_and_the_file_has_it_piece_by_piece() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&[1; 2000], 0).unwrap();
        let mut held = Held::new(2000);
        held.write(&file, 600, &[2; 3000]).unwrap();
        assert_eq!(held.size, 3600);
        let bytes = held.read(&file, 500, 5000, held.size).unwrap();
        assert_eq!(bytes.len(), 3100);
        assert!(bytes[..100].iter().all(|byte| *byte == 1) && bytes[100..].iter().all(|byte| *byte == 2));
        assert_eq!(file.metadata().unwrap().len(), 2000, "nothing has reached it");
        let pieces = held.pieces(&mut Rng::with_seed(1));
        let all: usize = pieces.iter().map(Vec::len).sum();
        assert_eq!(all, 7);
        pieces.iter().for_each(|piece| held.let_through(&file, piece).unwrap());
        assert!(held.is_empty());
        assert_eq!(Held::new(3600).read(&file, 500, 5000, 3600).unwrap(), bytes);
    }
}
