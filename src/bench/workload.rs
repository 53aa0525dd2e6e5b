//! What is sent, by whom, to whom, and how fast: one benchmark in plain values.

use std::time::Duration;

use super::failure::Failure;
use super::stamp::{BATCH_MAX, NUMBER_MAX, STAMP};
use crate::model::Qos;

/// One benchmark.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// Publisher `i` sends to topic `i mod topics`.
    pub publishers: u16,
    /// Subscriber `i` listens to topic `i mod topics`. With fewer subscribers than topics, some topics go unheard.
    pub subscribers: u16,
    /// How many.
    pub topics: u16,
    /// Bytes of a message.
    pub size: usize,
    /// Messages that are handed over at once: one record batch in version 2.
    pub batch: usize,
    /// How fast.
    pub pace: Pace,
    /// For how long.
    pub stop: Stop,
    /// Before anything counts.
    pub warmup: Duration,
    /// Of messages and subscriptions.
    pub qos: Qos,
    /// Subscriptions have names and outlive their connections.
    pub durable: bool,
    /// Messages that are published before subscribers take the first one.
    pub backlog: u64,
    /// Never sleep: look for news all the time.
    pub spin: bool,
    /// Check every byte of what is delivered against its checksum.
    pub verify: bool,
}

/// When the next message is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// As soon as fewer than `window` messages of a publisher are on their way.
    Closed { window: u64 },
    /// At fixed times, `rate` messages a second over all publishers, whatever happened to those before. Latency counts
    /// from the time at which a message was to be sent.
    Open { rate: f64 },
}

/// When no more is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stop {
    /// So long after warm-up.
    After(Duration),
    /// After so many messages over all publishers, rounded up to whole batches of each; nothing is warm-up.
    Count(u64),
}

impl Workload {
    /// Checks that the values fit together.
    pub fn check(&self) -> Result<(), Failure> {
        let problem = if self.publishers == 0 || self.topics == 0 {
            "there must be a publisher and a topic"
        } else if self.size < STAMP {
            "a message has at least 16 bytes: it carries its sequence and its time"
        } else if self.batch == 0 || self.batch > BATCH_MAX {
            "a batch has 1 to 65536 messages"
        } else if matches!(self.pace, Pace::Closed { window } if window < self.batch as u64) {
            "the window must hold a batch"
        } else if matches!(self.pace, Pace::Open { rate } if rate.is_nan() || rate <= 0.0) {
            "the rate must be more than zero"
        } else if matches!(self.stop, Stop::After(duration) if duration.as_nanos() > u128::from(NUMBER_MAX / 2)) {
            "a run lasts a day at most"
        } else if self.backlog > 0 && self.qos == Qos::AtMostOnce {
            "only QoS 1 keeps a backlog"
        } else {
            return Ok(());
        };
        Err(Failure::Usage(problem.to_owned()))
    }

    /// The topic of publisher or subscriber `index`.
    pub fn topic_of(&self, index: usize) -> u16 {
        (index % usize::from(self.topics)) as u16
    }

    /// Publishers of one topic.
    pub fn publishers_of(&self, topic: u16) -> usize {
        (0..usize::from(self.publishers)).filter(|index| self.topic_of(*index) == topic).count()
    }

    /// Batches that each publisher sends, if that was said.
    pub fn batches_each(&self) -> Option<u64> {
        match self.stop {
            Stop::After(_) => None,
            Stop::Count(count) => Some(count.div_ceil(u64::from(self.publishers) * self.batch as u64)),
        }
    }

    /// Nanoseconds between two batches of one publisher, in an open loop.
    pub fn interval(&self) -> Option<f64> {
        match self.pace {
            Pace::Closed { .. } => None,
            Pace::Open { rate } => Some(1e9 * self.batch as f64 * f64::from(self.publishers) / rate),
        }
    }
}

#[cfg(test)]
pub(crate) fn small() -> Workload {
    Workload {
        publishers: 1,
        subscribers: 1,
        topics: 1,
        size: 128,
        batch: 10,
        pace: Pace::Closed { window: 1000 },
        stop: Stop::Count(5000),
        warmup: Duration::ZERO,
        qos: Qos::AtMostOnce,
        durable: false,
        backlog: 0,
        spin: false,
        verify: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_do_not_fit_are_refused() {
        assert!(small().check().is_ok());
        let wrong = [
            Workload { size: 15, ..small() },
            Workload { batch: 0, ..small() },
            Workload { batch: 1001, ..small() },
            Workload { publishers: 0, ..small() },
            Workload { pace: Pace::Open { rate: 0.0 }, ..small() },
            Workload { backlog: 1, ..small() },
        ];
        wrong.iter().for_each(|workload| assert!(workload.check().is_err(), "{workload:?}"));
    }

    #[test]
    fn work_is_shared_out_by_topic() {
        let workload = Workload { publishers: 5, topics: 2, ..small() };
        assert_eq!((workload.publishers_of(0), workload.publishers_of(1)), (3, 2));
        assert_eq!(workload.batches_each(), Some(100));
        let open = Workload { pace: Pace::Open { rate: 1e6 }, ..workload };
        assert_eq!(open.interval(), Some(50_000.0));
    }
}
