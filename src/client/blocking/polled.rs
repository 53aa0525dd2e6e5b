//! A version 1 subscription: messages are asked for, many POLLs at a time.
//!
//! A POLL that finds nothing is not answered, so a client cannot know by itself which of its POLLs are still to be
//! answered. Each round of POLLs is therefore followed by a PING: once its PONG is here, they all are done.

use std::collections::VecDeque;
use std::time::{Duration, Instant as Moment};

use super::connection::{Connection, Link};
use super::mailbox::Told;
use super::subscription::deadline;
use crate::client::session::Owner;
use crate::client::{ClientError, PolledMessage};
use crate::model::Qos;

/// Messages of one version 1 subscription. As an iterator it waits for ever and ends with the connection's error.
#[derive(Debug)]
pub struct PolledSubscription {
    link: Link,
    id: u64,
    rounds: Rounds,
    over: bool,
}

/// Which POLLs are still to be answered.
#[derive(Debug)]
struct Rounds {
    owner: Owner,
    /// POLLs not answered and messages not taken, together, at most.
    window: u64,
    sent: u64,
    taken: u64,
    /// POLLs that a PONG says are done.
    done: u64,
    /// PINGs not answered yet.
    pings: VecDeque<Round>,
    /// The pause after a round that found nothing; doubles while that goes on.
    pause: Duration,
    asleep_until: Option<Moment>,
}

/// POLLs followed by a PING.
#[derive(Clone, Copy, Debug)]
struct Round {
    ping: u64,
    /// POLLs sent before the PING, of all rounds.
    sent: u64,
    /// Messages that had come before this round.
    arrived: u64,
}

impl Rounds {
    const PAUSE_MIN: Duration = Duration::from_millis(1);
    const PAUSE_MAX: Duration = Duration::from_millis(20);

    /// Hears what the broker said, and asks for more when half of the window is free. True: there is something to send.
    fn go_on(&mut self, id: u64, connection: &mut Connection) -> Result<bool, ClientError> {
        let waiting = connection.mail.waiting(id);
        let arrived = self.taken + waiting;
        while let Some(told) = connection.mail.told(self.owner) {
            match told {
                Told::Pong { correlation } => self.pong(correlation, arrived),
                Told::Refused(refusal) => return Err(refusal.into()),
                Told::Published { .. } => {}
            }
        }
        let outstanding = self.sent.saturating_sub(self.done.max(arrived));
        let free = self.window.saturating_sub(outstanding + waiting);
        let rested = self.asleep_until.is_none_or(|until| Moment::now() >= until);
        let ask = rested && free >= self.window.div_ceil(2);
        if ask {
            self.ask(free, arrived, id, connection);
        }
        Ok(ask)
    }

    fn ask(&mut self, polls: u64, arrived: u64, id: u64, connection: &mut Connection) {
        self.asleep_until = None;
        for _ in 0..polls {
            connection.session.poll_message(self.owner, id);
        }
        self.sent += polls;
        let ping = connection.session.ping(self.owner);
        self.pings.push_back(Round { ping, sent: self.sent, arrived });
    }

    /// A round that found nothing, and nobody is asking any more: there is nothing to be had.
    fn pong(&mut self, correlation: u64, arrived: u64) {
        while let Some(round) = self.pings.pop_front() {
            self.done = self.done.max(round.sent);
            if round.ping == correlation {
                self.rest(round.arrived == arrived && self.done == self.sent);
                return;
            }
        }
    }

    fn rest(&mut self, idle: bool) {
        if idle {
            self.asleep_until = Some(Moment::now() + self.pause);
            self.pause = (self.pause * 2).min(Rounds::PAUSE_MAX);
        } else {
            self.pause = Rounds::PAUSE_MIN;
        }
    }
}

impl PolledSubscription {
    /// POLLs that may be outstanding, unless said otherwise.
    const WINDOW: u64 = 256;

    pub(super) fn new(link: Link, id: u64) -> Result<PolledSubscription, ClientError> {
        let owner = link.turn().mail.open()?;
        let rounds = Rounds {
            owner,
            window: PolledSubscription::WINDOW,
            sent: 0,
            taken: 0,
            done: 0,
            pings: VecDeque::new(),
            pause: Rounds::PAUSE_MIN,
            asleep_until: None,
        };
        Ok(PolledSubscription { link, id, rounds, over: false })
    }

    /// The subscription's number.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// How many POLLs may be outstanding, and so how many messages may be waiting here unasked for.
    #[must_use]
    pub fn window(mut self, polls: u64) -> PolledSubscription {
        self.rounds.window = polls.max(1);
        self
    }

    /// The next message. `None`: nothing came within `timeout`.
    pub fn next_message(&mut self, timeout: Option<Duration>) -> Result<Option<PolledMessage>, ClientError> {
        let (id, deadline) = (self.id, deadline(timeout));
        loop {
            if let Some(message) = self.take()? {
                return Ok(Some(message));
            }
            if deadline.is_some_and(|deadline| Moment::now() >= deadline) {
                return Ok(None);
            }
            let rounds = &mut self.rounds;
            // A pause ends by itself, so it is a deadline too; one that begins is looked at again.
            let before = rounds.asleep_until;
            self.link.wait([deadline, before].into_iter().flatten().min(), |connection| {
                if rounds.go_on(id, connection)? {
                    connection.flush()?;
                }
                let fell_asleep = rounds.asleep_until.is_some() && rounds.asleep_until != before;
                Ok((fell_asleep || connection.mail.waiting(id) > 0).then_some(()))
            })?;
        }
    }

    /// A message that is here; what was acknowledged meanwhile is sent with the next POLLs.
    fn take(&mut self) -> Result<Option<PolledMessage>, ClientError> {
        let mut connection = self.link.turn();
        if connection.mail.waiting(self.id) == 0 {
            return Ok(None);
        }
        if self.rounds.go_on(self.id, &mut connection)? {
            connection.flush()?;
        }
        self.rounds.taken += 1;
        Ok(connection.mail.message(self.id))
    }

    /// Acknowledges a QoS 1 message, at once.
    pub fn ack(&mut self, message: &PolledMessage) -> Result<(), ClientError> {
        self.ack_later(message);
        self.link.turn().flush()
    }

    /// Acknowledges a QoS 1 message with whatever is sent next.
    pub fn ack_later(&mut self, message: &PolledMessage) {
        if message.qos == Qos::AtLeastOnce {
            self.link.turn().session.ack(message.subscription, message.tag);
        }
    }
}

impl Iterator for PolledSubscription {
    type Item = Result<PolledMessage, ClientError>;

    fn next(&mut self) -> Option<Result<PolledMessage, ClientError>> {
        if self.over {
            return None;
        }
        let next = self.next_message(None);
        self.over = next.is_err();
        next.transpose()
    }
}

impl Drop for PolledSubscription {
    fn drop(&mut self) {
        let mut connection = self.link.turn();
        let _ = connection.flush();
        connection.mail.close(self.rounds.owner);
    }
}
