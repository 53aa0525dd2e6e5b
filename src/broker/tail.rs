//! Batches of one stream held in memory, oldest first, without gaps.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::model::{Instant, Offset};

/// One batch and its place.
#[derive(Clone, Debug)]
pub struct Held {
    pub base: Offset,
    pub count: u32,
    /// [`Instant::NEVER`] for one that does not expire.
    pub expires_at: Instant,
    pub bytes: Bytes,
    /// When it came in; [`Held::BACK`] for one that was read back from the log.
    pub at: Instant,
    /// The bytes are not a slice of a read buffer, or a large one.
    pub own: bool,
}

impl Held {
    /// Stands for a time that is not known.
    pub const BACK: Instant = Instant(0);

    pub fn end(&self) -> Offset {
        self.base.plus(u64::from(self.count))
    }

    pub fn holds(&self, offset: Offset) -> bool {
        self.base <= offset && offset < self.end()
    }

    /// Replaces a small slice that pins a whole read buffer by a copy of its own.
    pub fn detach(&mut self) {
        if !std::mem::replace(&mut self.own, true) && self.bytes.len() < Tail::DETACH_BELOW {
            self.bytes = Bytes::copy_from_slice(&self.bytes);
        }
    }
}

/// A run of batches whose offsets follow one another.
#[derive(Debug)]
pub struct Tail {
    batches: VecDeque<Held>,
    bytes: usize,
    next: Offset,
}

impl Tail {
    /// A slice at least this long is kept as it is: it pins at most twice its size of read buffer.
    pub const DETACH_BELOW: usize = 32 * 1024;

    pub fn new(next: Offset) -> Tail {
        Tail { batches: VecDeque::new(), bytes: 0, next }
    }

    /// The oldest offset held; `next` if none is.
    pub fn first(&self) -> Offset {
        self.batches.front().map_or(self.next, |held| held.base)
    }

    /// The offset that the next record gets.
    pub fn next(&self) -> Offset {
        self.next
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn batches(&self) -> usize {
        self.batches.len()
    }

    pub fn push(&mut self, held: Held) {
        debug_assert_eq!(held.base, self.next, "a tail has no gaps");
        self.next = held.end();
        self.bytes += held.bytes.len();
        self.batches.push_back(held);
    }

    /// The batch that holds `offset`, if it is still here.
    pub fn at(&self, offset: Offset) -> Option<&Held> {
        let newest = self.batches.back()?;
        if offset >= newest.base {
            return (offset < self.next).then_some(newest);
        }
        self.index_of(offset).map(|index| &self.batches[index])
    }

    pub fn at_mut(&mut self, offset: Offset) -> Option<&mut Held> {
        self.index_of(offset).map(|index| &mut self.batches[index])
    }

    fn index_of(&self, offset: Offset) -> Option<usize> {
        if offset < self.first() || offset >= self.next {
            return None;
        }
        Some(self.batches.partition_point(|held| held.base <= offset) - 1)
    }

    /// Forgets the batches that end at or before `offset`; returns their bytes.
    pub fn forget_before(&mut self, offset: Offset) -> usize {
        let mut freed = 0;
        while self.batches.front().is_some_and(|held| held.end() <= offset) {
            freed += self.pop().map_or(0, |held| held.bytes.len());
        }
        freed
    }

    /// Takes the oldest batch out.
    pub fn pop(&mut self) -> Option<Held> {
        let held = self.batches.pop_front()?;
        self.bytes -= held.bytes.len();
        Some(held)
    }

    /// Gives what is still held of the newest read a copy of its own.
    pub fn detach_newest(&mut self) {
        for held in self.batches.iter_mut().rev() {
            if held.own {
                break;
            }
            held.detach();
        }
    }

    pub fn oldest(&self) -> Option<&Held> {
        self.batches.front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(counts: &[u32]) -> Tail {
        let mut tail = Tail::new(Offset(100));
        for count in counts {
            let bytes = Bytes::from(vec![0; 10]);
            tail.push(Held {
                base: tail.next(),
                count: *count,
                expires_at: Instant::NEVER,
                bytes,
                at: Held::BACK,
                own: false,
            });
        }
        tail
    }

    #[test]
    fn every_offset_is_found_in_its_batch() {
        let tail = tail(&[3, 1, 5]);
        for offset in 100..109 {
            assert!(tail.at(Offset(offset)).unwrap().holds(Offset(offset)));
        }
        assert!(tail.at(Offset(99)).is_none());
        assert!(tail.at(Offset(109)).is_none());
    }

    #[test]
    fn a_batch_is_forgotten_only_when_all_of_it_is() {
        let mut tail = tail(&[3, 1, 5]);
        assert_eq!(tail.forget_before(Offset(102)), 0);
        assert_eq!(tail.forget_before(Offset(104)), 20);
        assert_eq!((tail.first(), tail.bytes()), (Offset(104), 10));
        assert_eq!(tail.forget_before(Offset(200)), 10);
        assert_eq!((tail.first(), tail.next()), (Offset(109), Offset(109)));
    }
}
