//! Letters between shards: late, in order, never lost.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::dice::Dice;
use crate::model::{Instant, ShardId};
use crate::shard::Letter;

/// Letters under way, by writer and reader.
#[derive(Debug)]
pub struct Mesh {
    ways: BTreeMap<(ShardId, ShardId), Way>,
    delay: (Duration, Duration),
    dice: Dice,
}

#[derive(Debug, Default)]
struct Way {
    letters: VecDeque<Vec<Letter>>,
    /// When the latest of them arrives.
    last: Instant,
}

impl Mesh {
    pub fn new(delay: (Duration, Duration), dice: Dice) -> Mesh {
        Mesh { ways: BTreeMap::new(), delay, dice }
    }

    /// Takes letters; says when they arrive.
    pub fn post(&mut self, now: Instant, from: ShardId, to: ShardId, letters: Vec<Letter>) -> Instant {
        let delay = self.dice.delay(self.delay);
        let way = self.ways.entry((from, to)).or_default();
        way.last = way.last.max(now + delay);
        way.letters.push_back(letters);
        way.last
    }

    /// The letters that arrive next on this way.
    pub fn arrive(&mut self, from: ShardId, to: ShardId) -> Option<Vec<Letter>> {
        self.ways.get_mut(&(from, to))?.letters.pop_front()
    }

    /// The process has ended.
    pub fn process_ended(&mut self) {
        self.ways.clear();
    }

    /// Faults have stopped.
    pub fn calm(&mut self) {
        self.delay = (Duration::from_micros(1), Duration::from_micros(50));
    }
}
