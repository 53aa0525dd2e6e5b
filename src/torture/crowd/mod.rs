//! Those who use a broker that is being tortured: many publishers and subscribers of every kind, and one book.
//!
//! | who                          | how                                                    | what is promised to them       |
//! |------------------------------|--------------------------------------------------------|--------------------------------|
//! | publishers, version 2, QoS 1 | idempotent; saying again; not caring for what has no answer | what was answered is kept |
//! | publishers, version 2, QoS 0; version 1, QoS 1 and 0 | without answers                | nothing appears that is not theirs |
//! | durable subscriptions        | exclusive, shared by two, a pattern over all topics, version 1 | everything committed, at least once |
//! | subscriptions of QoS 0       | a pattern over all topics                              | nothing wrong                  |
//!
//! What came to one durable subscription was committed, so it is owed to all of them, acknowledged or not.

pub mod book;
pub mod fences;
pub mod message;
pub mod polled;
pub mod publisher;
pub mod stage;
pub mod subscriber;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use self::book::{Audience, Book, Promises, Stream};
use self::polled::Poller;
use self::publisher::{Publisher, Style};
use self::stage::{Phase, Place, Stage};
use self::subscriber::Subscriber;
use super::daemon::KEY;
use super::verdict::Verdict;
use crate::bench::failure::Failure;
use crate::client::blocking::{Client, ConnectOptions};
use crate::client::{ClientError, SubscribeOptions};
use crate::model::{TopicName, placement};
use crate::protocol::ErrorCode;

/// After so long without anything new, what has not come will not come.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at what is outstanding.
const LOOK: Duration = Duration::from_millis(100);
/// How long a subscriber waits for what comes next before it looks whether it is over.
const NEXT: Duration = Duration::from_millis(20);
/// Between two questions of a subscriber whether the broker has heard its acknowledgements.
const FENCE_EVERY: Duration = Duration::from_millis(40);
/// Of a hundred messages, so many are left lying until the connection ends.
const LEFT: u8 = 7;
/// Credit of a subscription: small, so that a kill finds some in the broker and not all in sockets.
const CREDIT: (u32, u32) = (200, 256 * 1024);
/// What everybody publishes to begins so.
const PREFIX: &str = "torture";

/// What every client knows.
#[derive(Clone, Debug)]
pub struct Room {
    pub stage: Arc<Stage>,
    pub book: Arc<Mutex<Book>>,
    pub seed: u64,
    /// The broker may lose what it acknowledged, and forget what a producer sent.
    pub may_lose: bool,
    /// It may refuse some of what a producer sends, and so see gaps.
    pub may_refuse: bool,
}

/// Who takes part.
#[derive(Clone, Debug)]
pub struct Cast {
    pub seed: u64,
    /// Topics of each log.
    pub topics: usize,
    /// Logs of the data directory.
    pub logs: u16,
    pub promises: Promises,
    pub may_lose: bool,
    pub may_refuse: bool,
    /// The publishers of each topic.
    pub styles: &'static [Style],
}

/// Everybody, in threads.
#[derive(Debug)]
pub struct Crowd {
    pub room: Room,
    pub topics: Vec<String>,
    logs: u16,
    publishers: Vec<JoinHandle<()>>,
    subscribers: Vec<JoinHandle<()>>,
}

pub fn lock(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Room {
    fn connect(&self, place: &Place, version: u8) -> Result<Client, ClientError> {
        Client::connect(&ConnectOptions::new(&place.addr).api_key(KEY).version(version))
    }

    /// A subscriber visits one daemon after another, until it is over.
    fn attend(&self, mut visit: impl FnMut(&Place) -> Result<(), ClientError>) {
        while let Some(place) = self.stage.place(Phase::Setup) {
            if let Err(error) = visit(&place) {
                self.note(&error);
                self.stage.rest();
            }
        }
    }

    /// It was there before the first message, if this is its first visit.
    fn has_subscribed(&self, ready: &mut bool) {
        if !std::mem::replace(ready, true) {
            self.stage.ready();
        }
    }

    /// A connection ended: that is what a trial is for. What a broker must not say, though, is written down.
    pub fn note(&self, error: &ClientError) {
        let gap = (self.may_lose || self.may_refuse) && error.code() == Some(ErrorCode::Conflict);
        let taken = "exclusive";
        let fine = match error {
            ClientError::Refused { text, .. } if text.contains(taken) => true,
            ClientError::Refused { .. } | ClientError::GoAway { .. } => {
                // Version 1 knows no other word for a log that takes nothing.
                let stopped = self.may_refuse && error.code() == Some(ErrorCode::Server);
                gap || stopped || matches!(error.code(), Some(ErrorCode::Draining | ErrorCode::DiskFull))
            }
            ClientError::Closed | ClientError::Io(_) | ClientError::TimedOut => true,
            _ => false,
        };
        if !fine {
            lock(&self.book).accuse("the broker says what the protocol has for it", format!("{error:?}"));
        }
    }
}

/// Names of topics, `each` of them in every log.
fn topics(logs: u16, each: usize) -> Vec<String> {
    let mut left = vec![each; logs.into()];
    let mut found = Vec::new();
    for nth in 0.. {
        let name = format!("{PREFIX}.{nth}");
        let log = log_of(&name, logs);
        if left[log] > 0 {
            left[log] -= 1;
            found.push(name);
        }
        if found.len() == each * usize::from(logs) {
            break;
        }
    }
    found
}

fn log_of(topic: &str, logs: u16) -> usize {
    let topic = TopicName::parse(topic.as_bytes()).expect("a plain name");
    placement::log_of(&topic, 0, logs).index()
}

impl Crowd {
    /// Everybody waits for the first daemon. Threads that do not start are a failure.
    pub fn gather(cast: &Cast) -> Result<Crowd, Failure> {
        let topics = topics(cast.logs, cast.topics);
        let logs = topics.iter().map(|topic| log_of(topic, cast.logs)).collect();
        let all: Vec<usize> = (0..topics.len()).collect();
        let mut streams = Vec::new();
        for topic in &all {
            streams.extend(cast.styles.iter().map(|style| Stream::new(*topic, style.qos(), style.is_ordered())));
        }
        let mut audiences = vec![
            Audience::new("everything", all.clone(), true, true),
            Audience::new("everything of QoS 0", all.clone(), false, true),
        ];
        for topic in &all {
            audiences.push(Audience::new(&format!("{} exclusive", topics[*topic]), vec![*topic], true, true));
            audiences.push(Audience::new(&format!("{} shared", topics[*topic]), vec![*topic], true, false));
            audiences.push(Audience::new(&format!("{} version 1", topics[*topic]), vec![*topic], true, true));
        }
        let book = Book::new(cast.seed, logs, cast.promises, streams, audiences);
        let room = Room {
            stage: Arc::new(Stage::new()),
            book: Arc::new(Mutex::new(book)),
            seed: cast.seed,
            may_lose: cast.may_lose,
            may_refuse: cast.may_refuse,
        };
        let mut crowd = Crowd { room, topics, logs: cast.logs, publishers: Vec::new(), subscribers: Vec::new() };
        crowd.subscribe_all()?;
        crowd.publish_all(cast)?;
        Ok(crowd)
    }

    fn subscribe_all(&mut self) -> Result<(), Failure> {
        let pattern = SubscribeOptions::new(&format!("{PREFIX}.>"));
        self.subscribe(0, pattern.clone().at_least_once().durable("everything"))?;
        self.subscribe(1, pattern)?;
        for (topic, name) in self.topics.clone().into_iter().enumerate() {
            let plain = SubscribeOptions::new(&name).at_least_once();
            let first = 2 + 3 * topic;
            self.subscribe(first, plain.clone().durable("exclusive"))?;
            self.subscribe(first + 1, plain.clone().durable("shared").shared())?;
            self.subscribe(first + 1, plain.durable("shared").shared())?;
            let dice = self.dice();
            let poller =
                Poller { room: self.room.clone(), audience: first + 2, topic, topic_name: name, dice, ready: false };
            self.subscribers.push(start(move || poller.run())?);
        }
        Ok(())
    }

    fn subscribe(&mut self, audience: usize, options: SubscribeOptions) -> Result<(), Failure> {
        let topics: HashMap<String, usize> = self.topics.iter().cloned().zip(0..).collect();
        let options = options.credit(CREDIT.0, CREDIT.1);
        let (room, dice) = (self.room.clone(), self.dice());
        let subscriber = Subscriber { room, audience, options, topics, dice, ready: false };
        self.subscribers.push(start(move || subscriber.run())?);
        Ok(())
    }

    fn publish_all(&mut self, cast: &Cast) -> Result<(), Failure> {
        let mut stream = 0;
        for topic in self.topics.clone() {
            for style in cast.styles {
                let publisher = Publisher {
                    room: self.room.clone(),
                    style: *style,
                    stream,
                    topic: topic.clone(),
                    dice: self.dice(),
                    pending: VecDeque::new(),
                    epoch: 0,
                };
                self.publishers.push(start(move || publisher.run())?);
                stream += 1;
            }
        }
        Ok(())
    }

    /// Everybody's own chance.
    fn dice(&self) -> fastrand::Rng {
        let nth = (self.publishers.len() + self.subscribers.len()) as u64;
        fastrand::Rng::with_seed(self.room.seed.wrapping_mul(31).wrapping_add(nth))
    }

    /// The log of a topic.
    pub fn log_of(&self, topic: usize) -> usize {
        log_of(&self.topics[topic], self.logs)
    }

    /// A daemon is there: everybody may connect.
    pub fn enter(&self, life: usize, addr: &str) {
        self.room.stage.enter(Some(Place { life, addr: addr.to_owned() }));
    }

    /// It is gone, or about to.
    pub fn leave(&self) {
        self.room.stage.enter(None);
    }

    /// All subscriptions are there; the first message may be sent.
    pub fn wait_for_subscribers(&self) -> Result<(), Failure> {
        match self.room.stage.all_ready(self.subscribers.len(), PATIENCE) {
            true => Ok(()),
            false => Err(Failure::Broker("not all clients could subscribe".into())),
        }
    }

    /// Publishers get everything acknowledged and end; subscribers take what is there. True when nothing is
    /// outstanding; false when nothing new has come for a long time.
    pub fn drain(&mut self) -> bool {
        self.room.stage.set(Phase::Draining);
        let mut before = (0, 0);
        let mut moved = Instant::now();
        loop {
            let publishing = self.publishers.iter().filter(|thread| !thread.is_finished()).count();
            let (outstanding, tally) = {
                let book = lock(&self.room.book);
                (book.outstanding(), book.tally)
            };
            if publishing == 0 && outstanding == 0 {
                return true;
            }
            let now = (tally.delivered, tally.acknowledged);
            if now != before {
                (before, moved) = (now, Instant::now());
            } else if moved.elapsed() > PATIENCE {
                return false;
            }
            thread::sleep(LOOK);
        }
    }

    /// Everybody ends; what they saw is in the verdict. Answers with how many messages were lost.
    pub fn dismiss(self, verdict: &mut Verdict) -> u64 {
        self.room.stage.set(Phase::Over);
        for thread in self.publishers.into_iter().chain(self.subscribers) {
            if thread.join().is_err() {
                verdict.broken("a client of the trial panicked".into());
            }
        }
        let mut book = lock(&self.room.book);
        let lost = book.close();
        let tally = book.tally;
        verdict.figure("messages sent", tally.sent);
        verdict.figure("acknowledged", tally.acknowledged);
        verdict.figure("delivered", tally.delivered);
        verdict.figure("delivered, QoS 0", tally.delivered_qos_0);
        verdict.figure("redelivered", tally.redelivered);
        verdict.figure("settled by subscribers", tally.settled);
        let (told, count) = book.broken();
        told.iter().for_each(|what| verdict.broken(what.clone()));
        (told.len() as u64..count).for_each(|_| verdict.broken("and another".into()));
        lost
    }
}

fn start(run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Failure> {
    Ok(thread::Builder::new().spawn(run)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_log_has_its_topics() {
        let names = topics(3, 2);
        let mut logs: Vec<usize> = names.iter().map(|name| log_of(name, 3)).collect();
        logs.sort_unstable();
        assert_eq!(logs, [0, 0, 1, 1, 2, 2]);
        assert!(names.iter().all(|name| name.starts_with(PREFIX)));
    }
}
