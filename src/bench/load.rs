//! The run: one thread that publishes, listens, and keeps time.

use std::thread;
use std::time::Duration;

use super::clock::Clock;
use super::cpu::{Sample, Usage};
use super::dialect::Dialect;
use super::failure::Failure;
use super::latency::{Interval, Latencies, Recorder};
use super::poller::Poller;
use super::publisher::Publisher;
use super::sink::Terms;
use super::subscriber::Subscriber;
use super::workload::{Stop, Workload};

/// Without any news for so long, what has not come is lost.
const PATIENCE: Duration = Duration::from_secs(5);
/// Time between two looks at what has nothing to do with sockets, in nanoseconds.
const TICK: u64 = 100_000_000;
/// An interval of the log at most, in nanoseconds.
const INTERVAL: u64 = 1_000_000_000;

/// What looks on.
pub trait Watcher {
    /// What the broker has used so far, if it can be known.
    fn broker(&self) -> Option<Sample>;
    /// The run goes on: after so much time, so many messages were delivered, and these were the last interval's latencies.
    fn progress(&mut self, seconds: f64, delivered: u64);
}

/// What a run brought.
#[derive(Debug)]
pub struct Outcome {
    /// Seconds that count.
    pub seconds: f64,
    /// Messages delivered in them, over all subscribers.
    pub delivered: u64,
    /// Messages acknowledged to publishers in them; `None` without acknowledgements.
    pub acknowledged: Option<u64>,
    /// Messages sent in the whole run.
    pub sent: u64,
    /// From sent (or to be sent) to delivered.
    pub latencies: Latencies,
    /// From sent (or to be sent) to acknowledged.
    pub acknowledgements: Option<Latencies>,
    /// The latencies of delivery over time.
    pub intervals: Vec<Interval>,
    /// Messages that were sent and did not come, over all subscribers.
    pub lost: u64,
    /// Messages that came again.
    pub duplicates: u64,
    /// Messages that came after a later one.
    pub reordered: u64,
    /// Messages that nobody sent here.
    pub foreign: u64,
    /// What the broker used in the seconds that count.
    pub broker: Option<Usage>,
    /// Resident bytes of the broker at their end.
    pub resident: Option<u64>,
    /// What the load used.
    pub load: Usage,
    /// Seconds from release to the end of the backlog.
    pub catch_up: Option<f64>,
}

/// Opens everything, runs, and says what came of it. `run` makes topics and names this run's own.
pub fn run(
    dialect: &dyn Dialect,
    workload: &Workload,
    run: &str,
    watcher: &mut dyn Watcher,
) -> Result<Outcome, Failure> {
    workload.check()?;
    let mut load = Load::open(dialect, workload, run)?;
    load.publish_backlog(watcher)?;
    load.go(watcher)?;
    load.drain(watcher)?;
    load.farewell();
    Ok(load.outcome())
}

/// What counted when.
#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    at: u64,
    delivered: u64,
    acknowledged: u64,
    broker: Option<Sample>,
    load: Usage,
}

struct Load<'a> {
    workload: &'a Workload,
    publishers: Vec<Publisher>,
    subscribers: Vec<Subscriber>,
    poller: Poller,
    clock: Clock,
    terms: Terms,
    deliveries: Recorder,
    acknowledgements: Recorder,
    delivered: u64,
    acknowledged: u64,
    /// Subscribers wait until the backlog is there.
    held: bool,
    /// Nanoseconds of the last news.
    news: u64,
    tick: u64,
    interval: Mark,
    from: Mark,
    to: Mark,
    released: u64,
    catch_up: Option<f64>,
}

impl<'a> Load<'a> {
    fn open(dialect: &dyn Dialect, workload: &'a Workload, run: &str) -> Result<Load<'a>, Failure> {
        let topic = |index: usize| format!("{run}.{}", workload.topic_of(index));
        let subscribers = (0..usize::from(workload.subscribers)).map(|index| {
            let opened = dialect.subscriber(&topic(index), &format!("{run}.{index}"), workload)?;
            let number = workload.topic_of(index);
            Subscriber::new(opened, number, workload.publishers_of(number))
        });
        let subscribers = subscribers.collect::<Result<Vec<_>, _>>()?;
        let publishers = (0..usize::from(workload.publishers))
            .map(|index| Publisher::new(index, dialect.publisher(&topic(index), workload)?, workload));
        let publishers = publishers.collect::<Result<Vec<_>, _>>()?;
        let poller = Poller::new()?;
        for (index, publisher) in publishers.iter().enumerate() {
            poller.add(&publisher.wire, index)?;
        }
        for (index, subscriber) in subscribers.iter().enumerate() {
            poller.add(&subscriber.wire, publishers.len() + index)?;
        }
        let terms = Terms {
            topics: workload.topics,
            batch: workload.batch as u64,
            size: workload.size,
            counts_from: u64::MAX,
            verify: workload.verify,
        };
        Ok(Load {
            workload,
            publishers,
            subscribers,
            poller,
            clock: Clock::start(),
            terms,
            deliveries: Recorder::default(),
            acknowledgements: Recorder::default(),
            delivered: 0,
            acknowledged: 0,
            held: workload.backlog > 0,
            news: 0,
            tick: 0,
            interval: Mark::default(),
            from: Mark::default(),
            to: Mark::default(),
            released: 0,
            catch_up: None,
        })
    }

    fn publish_backlog(&mut self, watcher: &mut dyn Watcher) -> Result<(), Failure> {
        if !self.held {
            return Ok(());
        }
        let each = self.workload.backlog.div_ceil(u64::from(self.workload.publishers) * self.terms.batch);
        while self.publishers.iter().map(Publisher::sent).sum::<u64>()
            < each * self.terms.batch * self.publishers.len() as u64
        {
            self.step(watcher)?;
            self.give_up_in_silence()?;
        }
        self.held = false;
        self.released = self.clock.now();
        self.subscribers.iter_mut().try_for_each(Subscriber::release)
    }

    /// Warm-up, then what counts.
    fn go(&mut self, watcher: &mut dyn Watcher) -> Result<(), Failure> {
        let begin = self.clock.now();
        self.publishers.iter_mut().for_each(|publisher| publisher.begin(begin));
        let (warmup, duration) = match self.workload.stop {
            Stop::After(duration) => (self.workload.warmup, duration),
            Stop::Count(_) => (Duration::ZERO, Duration::MAX),
        };
        self.run_until(begin.saturating_add(nanos(warmup)), watcher)?;
        self.from = self.mark(watcher);
        self.interval = self.from;
        self.terms.counts_from = self.from.at;
        self.run_until(self.from.at.saturating_add(nanos(duration)), watcher)?;
        self.to = self.mark(watcher);
        self.cut();
        self.publishers.iter_mut().for_each(Publisher::stop);
        Ok(())
    }

    /// Until `until`, or everything has been sent, or nothing happens any more.
    fn run_until(&mut self, until: u64, watcher: &mut dyn Watcher) -> Result<(), Failure> {
        while self.clock.now() < until && !self.is_complete() && !self.is_silent() {
            self.step(watcher)?;
        }
        Ok(())
    }

    /// What was sent arrives, or does not.
    fn drain(&mut self, watcher: &mut dyn Watcher) -> Result<(), Failure> {
        self.news = self.clock.now();
        while !self.is_complete() && !self.is_silent() {
            self.step(watcher)?;
        }
        Ok(())
    }

    fn is_silent(&self) -> bool {
        self.clock.now().saturating_sub(self.news) > nanos(PATIENCE)
            && self.workload.interval().is_none_or(|every| every < PATIENCE.as_nanos() as f64)
    }

    fn give_up_in_silence(&self) -> Result<(), Failure> {
        if self.is_silent() { Err(Failure::Broker("the broker takes no more".into())) } else { Ok(()) }
    }

    /// Everything was sent, has arrived everywhere, and was acknowledged.
    fn is_complete(&self) -> bool {
        let sent = |publisher: &Publisher| publisher.is_done() && publisher.unacknowledged() == 0;
        self.publishers.iter().all(sent)
            && self
                .publishers
                .iter()
                .enumerate()
                .all(|(index, publisher)| self.arrived(index).is_none_or(|arrived| arrived >= publisher.sent()))
    }

    /// One look at every socket that is ready, and one sending of every publisher that may.
    #[inline]
    fn step(&mut self, watcher: &mut dyn Watcher) -> Result<(), Failure> {
        let now = self.clock.now();
        let sent = self.send(now)?;
        let patience = if sent || self.workload.spin { 0 } else { self.patience(now) };
        let news = self.news;
        self.receive(patience)?;
        if patience == 0 && !sent && self.news == news {
            // The kernel ends the device's writes in threads of its own, perhaps on this CPU: a load that spins
            // without ever letting them run would measure the scheduler's slice, 4 ms, instead of the broker.
            thread::yield_now();
        }
        if now >= self.tick {
            self.tick = now + TICK;
            self.look_around(now, watcher);
        }
        Ok(())
    }

    /// Milliseconds to wait at most. An open loop never sleeps: waking would be late.
    fn patience(&self, now: u64) -> u16 {
        if self.workload.interval().is_some() {
            0
        } else {
            (self.tick.saturating_sub(now) / 1_000_000 + 1).min(100) as u16
        }
    }

    fn send(&mut self, now: u64) -> Result<bool, Failure> {
        let mut any = false;
        for index in 0..self.publishers.len() {
            if self.publishers[index].blocked {
                continue;
            }
            let arrived = if self.workload.backlog > 0 { None } else { self.arrived(index) };
            let publisher = &mut self.publishers[index];
            any |= publisher.send(now, arrived)?;
            if publisher.blocked {
                self.poller.set(&publisher.wire, index, true)?;
            }
        }
        self.ask()?;
        Ok(any)
    }

    /// Subscribers that must ask are told what is coming.
    fn ask(&mut self) -> Result<(), Failure> {
        if self.held {
            return Ok(());
        }
        for index in 0..self.subscribers.len() {
            if !self.subscribers[index].asks || self.subscribers[index].blocked {
                continue;
            }
            let coming = self.coming(index);
            if coming > 0 {
                self.subscribers[index].ask(coming)?;
                self.watch_room(index)?;
            }
        }
        Ok(())
    }

    fn coming(&self, subscriber: usize) -> u64 {
        let heard = &self.subscribers[subscriber].heard;
        let sent = self.publishers.iter().skip(heard.topic.into()).step_by(self.terms.topics.into());
        sent.zip(&heard.ledgers).map(|(publisher, ledger)| publisher.sent().saturating_sub(ledger.next())).sum()
    }

    fn watch_room(&self, subscriber: usize) -> Result<(), Failure> {
        let wire = &self.subscribers[subscriber];
        if wire.blocked {
            self.poller.set(&wire.wire, self.publishers.len() + subscriber, true)?;
        }
        Ok(())
    }

    /// How many messages of a publisher every subscriber of its topic has, or has seen later ones of.
    #[inline]
    fn arrived(&self, publisher: usize) -> Option<u64> {
        let (topics, topic) = (usize::from(self.terms.topics), publisher % usize::from(self.terms.topics));
        let listening = self.subscribers.iter().skip(topic).step_by(topics);
        listening.map(|subscriber| subscriber.heard.ledgers[publisher / topics].next()).min()
    }

    fn receive(&mut self, patience: u16) -> Result<(), Failure> {
        let clock = self.clock;
        let now = || clock.now();
        let count = self.publishers.len();
        let mut room = Vec::new();
        for ready in self.poller.wait(patience)? {
            if ready.index < count {
                let publisher = &mut self.publishers[ready.index];
                if ready.writable {
                    publisher.flush()?;
                    room.push(ready.index);
                }
                if ready.readable {
                    self.acknowledged += publisher.read(now, self.terms.counts_from, &mut self.acknowledgements)?;
                }
            } else {
                let subscriber = &mut self.subscribers[ready.index - count];
                if ready.writable {
                    subscriber.flush()?;
                    room.push(ready.index);
                }
                if ready.readable {
                    self.delivered += subscriber.read(now, &self.terms, &mut self.deliveries)?;
                }
            }
            self.news = now();
        }
        self.unwatch(&room)
    }

    /// Sockets that had no room have some: they are watched for reading only, unless they are full again.
    fn unwatch(&self, room: &[usize]) -> Result<(), Failure> {
        let count = self.publishers.len();
        for index in room.iter().copied() {
            let (wire, blocked) = if index < count {
                (&self.publishers[index].wire, self.publishers[index].blocked)
            } else {
                (&self.subscribers[index - count].wire, self.subscribers[index - count].blocked)
            };
            self.poller.set(wire, index, blocked)?;
        }
        Ok(())
    }

    fn look_around(&mut self, now: u64, watcher: &mut dyn Watcher) {
        let counting = self.from.at > 0 && self.to.at == 0;
        if counting && now - self.interval.at >= self.interval_length() {
            self.cut();
        }
        if counting {
            watcher.progress((now - self.from.at) as f64 / 1e9, self.delivered - self.from.delivered);
        }
        if self.workload.backlog > 0 && !self.held && self.catch_up.is_none() {
            self.note_catch_up(now);
        }
    }

    fn note_catch_up(&mut self, now: u64) {
        let behind: u64 = (0..self.subscribers.len()).map(|index| self.coming(index)).sum();
        if behind < self.workload.backlog / 100 {
            self.catch_up = Some((now - self.released) as f64 / 1e9);
        }
    }

    fn interval_length(&self) -> u64 {
        match self.workload.stop {
            Stop::After(duration) => (nanos(duration) / 10).clamp(TICK, INTERVAL),
            Stop::Count(_) => INTERVAL,
        }
    }

    fn cut(&mut self) {
        let now = self.clock.now();
        self.deliveries.cut(self.interval.at, now, self.delivered - self.interval.delivered);
        self.interval = Mark { at: now, delivered: self.delivered, ..self.interval };
    }

    fn mark(&self, watcher: &dyn Watcher) -> Mark {
        Mark {
            at: self.clock.now(),
            delivered: self.delivered,
            acknowledged: self.acknowledged,
            broker: watcher.broker(),
            load: Usage::of_this_thread(),
        }
    }

    fn farewell(&mut self) {
        for subscriber in &mut self.subscribers {
            // The run is over; a broker that is gone by now is not asked.
            let _ = subscriber.farewell();
        }
    }

    fn outcome(self) -> Outcome {
        let (from, to) = (self.from, self.to);
        let acknowledges = self.acknowledged > 0;
        let mut lost = 0;
        for subscriber in &self.subscribers {
            let topic = usize::from(subscriber.heard.topic);
            let sent = self.publishers.iter().skip(topic).step_by(self.terms.topics.into()).map(Publisher::sent);
            lost += sent.zip(&subscriber.heard.ledgers).map(|(sent, ledger)| ledger.lost(sent)).sum::<u64>();
        }
        let sum = |count: fn(&super::ledger::Ledger) -> u64| -> u64 {
            self.subscribers.iter().flat_map(|subscriber| &subscriber.heard.ledgers).map(count).sum()
        };
        let (duplicates, reordered) = (sum(|ledger| ledger.duplicates), sum(|ledger| ledger.reordered));
        let (latencies, intervals) = self.deliveries.end();
        Outcome {
            seconds: (to.at - from.at) as f64 / 1e9,
            delivered: to.delivered - from.delivered,
            acknowledged: acknowledges.then_some(to.acknowledged - from.acknowledged),
            sent: self.publishers.iter().map(Publisher::sent).sum(),
            latencies,
            acknowledgements: acknowledges.then(|| self.acknowledgements.end().0),
            intervals,
            lost,
            duplicates,
            reordered,
            foreign: self.subscribers.iter().map(|subscriber| subscriber.heard.foreign).sum(),
            broker: to.broker.zip(from.broker).map(|(to, from)| to.usage.since(from.usage)),
            resident: to.broker.and_then(|broker| broker.resident),
            load: to.load.since(from.load),
            catch_up: self.catch_up,
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
