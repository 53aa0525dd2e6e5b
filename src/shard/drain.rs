//! The end of service: nothing new comes in, what is in flight is finished, the logs are closed.

use super::Core;
use super::ask::{Answer, Question};
use super::event::Action;
use super::timers::Timer;
use crate::model::ConnId;
use crate::protocol::ErrorCode;

/// How far a drain is.
#[derive(Debug, Default)]
pub struct Drain {
    phase: Phase,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Phase {
    #[default]
    Off,
    /// Waiting for acknowledgements.
    Waiting,
    /// Waiting for the logs.
    Closing,
    Done,
}

impl Drain {
    pub fn is_on(&self) -> bool {
        self.phase != Phase::Off
    }
}

impl Core {
    pub(super) fn asked(&mut self, token: u64, question: Question) {
        let answer = match question {
            Question::Stats => Answer::Stats(Box::new(self.stats())),
            Question::Latency => Answer::Latency(self.latency.clone()),
            Question::Drain { wait_ms } => {
                self.start_drain(wait_ms);
                Answer::Done
            }
            Question::Reload(terms) => {
                self.reload(*terms);
                Answer::Done
            }
            Question::Admin(question) => return self.administer(token, *question),
        };
        self.actions.push_back(Action::Answer { token, answer });
    }

    fn start_drain(&mut self, wait_ms: u64) {
        if self.drain.is_on() {
            return;
        }
        self.drain.phase = Phase::Waiting;
        self.timers.set(self.now.plus_ms(wait_ms), Timer::Drain);
        let conns: Vec<(ConnId, usize)> = self.conns.iter().flatten().map(|conn| (conn.id, conn.link)).collect();
        for (_, link) in conns {
            self.say_goodbye(link, ErrorCode::Draining, "the broker is draining");
        }
    }

    pub(super) fn drain_is_over(&mut self) {
        if self.drain.phase == Phase::Waiting {
            self.close_logs();
        }
    }

    /// Goes on with a drain: first acknowledgements, then the logs, then the end.
    pub(super) fn poll_drain(&mut self) {
        if self.drain.phase == Phase::Waiting && self.is_quiet() {
            self.close_logs();
        }
        if self.drain.phase == Phase::Closing && self.logs.iter().all(|log| log.log.is_closed()) {
            self.drain.phase = Phase::Done;
            self.actions.push_back(Action::Drained);
        }
    }

    /// While a log closes, acknowledgements still come. Its last checkpoint knows that what they settled may go; so it
    /// has to know the cursors, too, or the next start takes it for lost to retention.
    pub(super) fn log_last_cursors(&mut self) {
        if self.drain.phase == Phase::Closing {
            self.log_cursors();
        }
    }

    /// Nothing waits for its commit or for a commit's word, and nothing delivered waits for its acknowledgement.
    fn is_quiet(&self) -> bool {
        let committed = self.logs.iter().all(|log| log.waiting.is_empty() && log.confirmations.is_empty());
        let parked = self.peers.iter().all(|peer| peer.parked.is_empty());
        committed && parked && self.subscriptions.iter().all(|(_, serving)| serving.sub.in_flight.is_empty())
    }

    fn close_logs(&mut self) {
        self.drain.phase = Phase::Closing;
        self.log_cursors();
        for log in &mut self.logs {
            log.log.close(self.now);
        }
        self.poll_logs();
    }
}
