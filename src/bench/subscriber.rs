//! One subscriber: reads, and keeps its books.

use super::dialect::{Listen, Listening};
use super::failure::Failure;
use super::latency::Recorder;
use super::sink::{Heard, Sink, Terms};
use super::wire::Wire;

/// A subscriber of a run.
pub struct Subscriber {
    /// Its connection.
    pub wire: Wire,
    listen: Box<dyn Listen>,
    /// Its protocol wants to be asked.
    pub asks: bool,
    /// What it got.
    pub heard: Heard,
    /// The socket had no room for what it has to say.
    pub blocked: bool,
}

impl Subscriber {
    /// Of `topic`, which has so many publishers.
    pub fn new(opened: Listening, topic: u16, publishers: usize) -> Result<Subscriber, Failure> {
        let heard = Heard::new(topic, publishers);
        let asks = opened.listen.asks();
        Ok(Subscriber { wire: Wire::new(opened.stream)?, listen: opened.listen, asks, heard, blocked: false })
    }

    /// Reads once. Gives the number of messages that came.
    #[inline]
    pub fn read(&mut self, now: impl Fn() -> u64, terms: &Terms, recorder: &mut Recorder) -> Result<u64, Failure> {
        self.wire.read()?;
        let before = self.heard.came;
        let mut sink = Sink::new(&mut self.heard, recorder, terms, now());
        let (bytes, out) = self.wire.unread_and_outbox();
        let done = self.listen.heard(bytes, &mut sink, out)?;
        drop(sink);
        self.wire.consume(done);
        self.flush()?;
        Ok(self.heard.came - before)
    }

    /// `coming` messages are on their way to it.
    pub fn ask(&mut self, coming: u64) -> Result<(), Failure> {
        self.listen.ask(coming, &mut self.wire.outbox);
        self.flush()
    }

    /// Takes the backlog from here on.
    pub fn release(&mut self) -> Result<(), Failure> {
        self.listen.release(&mut self.wire.outbox);
        self.flush()
    }

    /// Says goodbye, as far as there is room.
    pub fn farewell(&mut self) -> Result<(), Failure> {
        self.listen.farewell(&mut self.wire.outbox);
        self.flush()
    }

    /// Writes what it has to say.
    pub fn flush(&mut self) -> Result<(), Failure> {
        self.blocked = !self.wire.flush()?;
        Ok(())
    }
}
