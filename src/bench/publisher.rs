//! One publisher: which batches may go, which are on their way, which were acknowledged.

use std::collections::VecDeque;

use super::dialect::{Hear, Publishing};
use super::failure::Failure;
use super::latency::Recorder;
use super::stencil::Stencil;
use super::wire::Wire;
use super::workload::{Pace, Workload};

/// Messages on their way while a backlog is made for an open loop.
const BACKLOG_WINDOW: u64 = 10_000;

/// A publisher of a run.
pub struct Publisher {
    /// Its connection.
    pub wire: Wire,
    stencil: Stencil,
    hear: Box<dyn Hear>,
    index: u16,
    batch: u64,
    pace: Pace,
    /// Nanoseconds between two batches, and when the first is due; open loop only, once begun.
    schedule: Option<(f64, f64)>,
    interval: Option<f64>,
    /// Publishers take turns: which part of an interval this one waits.
    phase: f64,
    /// Batches that may be sent in all.
    limit: u64,
    /// Batches stamped so far: the number of the next.
    number: u64,
    /// Bytes of the stencil that were stamped and have not gone.
    pending: std::ops::Range<usize>,
    /// Number and time of the batches that wait for their acknowledgement; `None` if none come.
    unacknowledged: Option<VecDeque<(u64, u64)>>,
    /// The socket had no room.
    pub blocked: bool,
}

impl Publisher {
    /// Publisher number `index`.
    pub fn new(index: usize, opened: Publishing, workload: &Workload) -> Result<Publisher, Failure> {
        Ok(Publisher {
            wire: Wire::new(opened.stream)?,
            stencil: opened.stencil,
            hear: opened.hear,
            index: index as u16,
            batch: workload.batch as u64,
            pace: workload.pace,
            interval: workload.interval(),
            phase: index as f64 / f64::from(workload.publishers),
            schedule: None,
            limit: workload.batches_each().unwrap_or(u64::MAX),
            number: 0,
            pending: 0..0,
            unacknowledged: opened.acknowledged.then(VecDeque::new),
            blocked: false,
        })
    }

    /// The schedule begins `now`, with the next batch. Until then the loop is closed.
    pub fn begin(&mut self, now: u64) {
        self.schedule = self.interval.map(|every| (every, now as f64 + every * (self.phase - self.number as f64)));
    }

    /// Sends nothing new from here on.
    pub fn stop(&mut self) {
        self.limit = self.number;
    }

    /// Messages stamped so far.
    pub fn sent(&self) -> u64 {
        self.number * self.batch
    }

    /// Whether nothing more will be sent.
    pub fn is_done(&self) -> bool {
        self.number >= self.limit && self.pending.is_empty()
    }

    /// Messages that wait for their acknowledgement.
    pub fn unacknowledged(&self) -> u64 {
        self.unacknowledged.as_ref().map_or(0, |waiting| waiting.len() as u64) * self.batch
    }

    /// Sends what may go, one sending at most. `arrived` is how many of its messages every subscriber has or has given
    /// up, `None` if nobody listens. Says whether there was anything to send.
    #[inline]
    pub fn send(&mut self, now: u64, arrived: Option<u64>) -> Result<bool, Failure> {
        if self.pending.is_empty() && !self.stamp(now, arrived) {
            return Ok(false);
        }
        self.flush()?;
        Ok(true)
    }

    fn stamp(&mut self, now: u64, arrived: Option<u64>) -> bool {
        let count = self.allowed(now, arrived).min(self.stencil.batches() as u64);
        if count == 0 {
            return false;
        }
        let len = match self.schedule {
            None => self.stencil.stamp(self.index, self.number, count as usize, |_| now),
            Some((every, first)) => {
                let due = |number: u64| (first + every * number as f64) as u64;
                self.stencil.stamp(self.index, self.number, count as usize, due)
            }
        };
        if let Some(waiting) = &mut self.unacknowledged {
            let schedule = self.schedule;
            let time = |number: u64| schedule.map_or(now, |(every, first)| (first + every * number as f64) as u64);
            waiting.extend((self.number..self.number + count).map(|number| (number, time(number))));
        }
        self.number += count;
        self.pending = 0..len;
        true
    }

    fn allowed(&self, now: u64, arrived: Option<u64>) -> u64 {
        let by_pace = match (self.pace, self.schedule) {
            (Pace::Closed { window }, _) => window.saturating_sub(self.outstanding(arrived)) / self.batch,
            (Pace::Open { .. }, Some((every, first))) => {
                let due = if now as f64 >= first { ((now as f64 - first) / every) as u64 + 1 } else { 0 };
                due.saturating_sub(self.number)
            }
            (Pace::Open { .. }, None) => BACKLOG_WINDOW.saturating_sub(self.outstanding(arrived)).div_ceil(self.batch),
        };
        by_pace.min(self.limit - self.number)
    }

    /// Messages sent that have not arrived everywhere, or were not acknowledged.
    fn outstanding(&self, arrived: Option<u64>) -> u64 {
        let coming = arrived.map_or(0, |arrived| self.sent() - arrived);
        coming.max(self.unacknowledged())
    }

    /// Writes what is pending.
    pub fn flush(&mut self) -> Result<(), Failure> {
        if !self.pending.is_empty() {
            let gone = self.wire.write(&self.stencil.bytes()[self.pending.clone()])?;
            self.pending.start += gone;
        }
        // Answers to the server only go between whole batches.
        self.blocked = !self.pending.is_empty() || !self.wire.flush()?;
        Ok(())
    }

    /// Reads answers. Acknowledgements of batches stamped from `counts_from` on are timed.
    pub fn read(&mut self, now: impl Fn() -> u64, counts_from: u64, recorder: &mut Recorder) -> Result<u64, Failure> {
        self.wire.read()?;
        let now = now();
        let (waiting, batch) = (&mut self.unacknowledged, self.batch);
        let mut acknowledged = 0;
        let mut note = |number: u64| {
            let time = settle(waiting, number).ok_or_else(|| unknown(number))?;
            acknowledged += batch;
            if time >= counts_from {
                recorder.record(now.saturating_sub(time), batch);
            }
            Ok(())
        };
        let (bytes, out) = self.wire.unread_and_outbox();
        let done = self.hear.heard(bytes, &mut note, out)?;
        self.wire.consume(done);
        if self.pending.is_empty() {
            self.flush()?;
        }
        Ok(acknowledged)
    }
}

/// Takes a batch off the list and gives its time; nearly always it is the first.
fn settle(waiting: &mut Option<VecDeque<(u64, u64)>>, number: u64) -> Option<u64> {
    let waiting = waiting.as_mut()?;
    let at = waiting.iter().position(|(waiting, _)| *waiting == number)?;
    waiting.remove(at).map(|(_, time)| time)
}

#[cold]
fn unknown(number: u64) -> Failure {
    Failure::Broker(format!("batch {number} was acknowledged that was not waiting for it"))
}
