//! Messages arrive: counted, checked for order, and timed.

use super::latency::Recorder;
use super::ledger::Ledger;
use super::stamp::{STAMP, Stamp};

/// What one subscriber has heard so far.
#[derive(Debug)]
pub struct Heard {
    /// One for each publisher of its topic.
    pub ledgers: Vec<Ledger>,
    /// Its topic.
    pub topic: u16,
    /// Messages that came, the same again included.
    pub came: u64,
    /// Messages that no publisher of this run sent to this topic.
    pub foreign: u64,
}

impl Heard {
    /// For a topic with so many publishers.
    pub fn new(topic: u16, publishers: usize) -> Heard {
        let ledgers = std::iter::repeat_with(Ledger::default).take(publishers).collect();
        Heard { ledgers, topic, came: 0, foreign: 0 }
    }
}

/// What is the same for all messages of a run.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Topics of the run: how publishers are shared out.
    pub topics: u16,
    /// Messages of a batch.
    pub batch: u64,
    /// Bytes of a message.
    pub size: usize,
    /// Messages stamped earlier are warm-up.
    pub counts_from: u64,
    /// Check every byte.
    pub verify: bool,
}

/// Takes the messages of one read.
#[derive(Debug)]
pub struct Sink<'a> {
    heard: &'a mut Heard,
    recorder: &'a mut Recorder,
    terms: &'a Terms,
    now: u64,
    /// Publisher of the last message, and where its ledger is.
    last: Option<(u16, usize)>,
    /// Messages in a row with one stamped time share one entry in the histogram.
    time: u64,
    run: u64,
}

impl<'a> Sink<'a> {
    /// `now` is when these messages were read.
    pub fn new(heard: &'a mut Heard, recorder: &'a mut Recorder, terms: &'a Terms, now: u64) -> Sink<'a> {
        Sink { heard, recorder, terms, now, last: None, time: 0, run: 0 }
    }

    /// Bytes of every message.
    pub fn size(&self) -> usize {
        self.terms.size
    }

    /// Whether every byte is to be checked.
    pub fn verify(&self) -> bool {
        self.terms.verify
    }

    /// A message came; these are its first bytes.
    #[inline]
    pub fn message(&mut self, stamp: &[u8; STAMP]) {
        let stamp = Stamp::read(stamp);
        self.heard.came += 1;
        let Some(slot) = self.slot(stamp.common.publisher) else {
            self.heard.foreign += 1;
            return;
        };
        self.heard.ledgers[slot].came(stamp.sequence(self.terms.batch));
        if stamp.common.time != self.time {
            self.flush();
            self.time = stamp.common.time;
        }
        self.run += 1;
    }

    /// A message that is not ours came.
    pub fn foreign(&mut self) {
        self.heard.came += 1;
        self.heard.foreign += 1;
    }

    #[inline]
    fn slot(&mut self, publisher: u16) -> Option<usize> {
        match self.last {
            Some((last, slot)) if last == publisher => Some(slot),
            _ => self.look_up(publisher),
        }
    }

    #[cold]
    fn look_up(&mut self, publisher: u16) -> Option<usize> {
        let slot = usize::from(publisher / self.terms.topics);
        let known = publisher % self.terms.topics == self.heard.topic && slot < self.heard.ledgers.len();
        self.last = known.then_some((publisher, slot));
        known.then_some(slot)
    }

    fn flush(&mut self) {
        if self.run > 0 && self.time >= self.terms.counts_from {
            self.recorder.record(self.now.saturating_sub(self.time), self.run);
        }
        self.run = 0;
    }
}

impl Drop for Sink<'_> {
    fn drop(&mut self) {
        self.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::super::stamp::Common;
    use super::*;

    #[test]
    fn messages_are_told_apart_by_publisher_and_timed_from_their_stamp() {
        let terms = Terms { topics: 2, batch: 2, size: 16, counts_from: 50, verify: false };
        let (mut heard, mut recorder) = (Heard::new(1, 2), Recorder::default());
        let mut sink = Sink::new(&mut heard, &mut recorder, &terms, 100);
        // Publishers 1 and 3 send to topic 1; 2 does not; 5 does not exist.
        for (publisher, number, place, time) in
            [(1, 0, 0, 40), (1, 0, 1, 60), (3, 0, 0, 60), (2, 0, 0, 60), (5, 0, 0, 60), (3, 1, 0, 70)]
        {
            let mut bytes = [0; STAMP];
            Common { publisher, number, time }.write(place, &mut bytes);
            sink.message(&bytes);
        }
        drop(sink);
        assert_eq!((heard.came, heard.foreign), (6, 2));
        assert_eq!((heard.ledgers[0].next(), heard.ledgers[1].next()), (2, 3));
        assert_eq!(heard.ledgers[1].lost(3), 1);
        let (latencies, _) = recorder.end();
        assert_eq!((latencies.len(), latencies.min(), latencies.max()), (3, 30, 40));
    }
}
