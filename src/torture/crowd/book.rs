//! What was sent, what was acknowledged to whom, and what came: every delivery is held against it.

use std::collections::BTreeMap;
use std::time::Instant;

use super::fences::Fence;
use super::message::{self, Name, Wrong};
use crate::model::Qos;

/// Broken promises that are kept in words; the rest are counted.
const TOLD_MAX: usize = 50;

const KNOWN: &str = "nothing appears that was never sent";
const WHOLE: &str = "nothing comes with a wrong body";
const HOME: &str = "a message comes under its topic and its quality";
const ORDER: &str = "first deliveries of one publisher come in its order";
const PLACE: &str = "a message is at the offset that was acknowledged";
const SETTLED: &str = "what was acknowledged by a subscriber does not come again";
const COVERED: &str = "an acknowledgement that is in the log outlives the process";
const ARRIVES: &str = "every acknowledged message is delivered to each durable subscription";

/// Messages of one publisher to one topic with one quality.
#[derive(Debug)]
pub struct Stream {
    pub topic: usize,
    pub qos: Qos,
    /// Sent once and in order, as far as anybody knows.
    pub ordered: bool,
    sent: Vec<Sent>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sent {
    acknowledged: Option<Acknowledged>,
    /// It came to a durable subscription from this offset: so it is committed, whoever was told.
    came: Option<u64>,
}

/// Where it is, and when its publisher knew.
#[derive(Clone, Copy, Debug)]
pub struct Acknowledged {
    pub offset: u64,
    pub at: Instant,
}

/// What the broker said of messages that were sent together.
#[derive(Clone, Copy, Debug)]
pub struct Batch {
    /// The first of them, and how many.
    pub first: u64,
    pub count: u32,
    /// Where the first is.
    pub offset: u64,
    /// It was there before.
    pub duplicate: bool,
    pub sent: Instant,
}

/// A subscription, or the whole group of a shared one.
#[derive(Debug)]
pub struct Audience {
    pub name: String,
    pub topics: Vec<usize>,
    pub durable: bool,
    /// One reader, so that it can tell the order.
    pub ordered: bool,
    came: BTreeMap<usize, Came>,
}

/// What came of one stream.
#[derive(Debug, Default)]
struct Came {
    given: Vec<Given>,
    /// One after the largest number that came.
    next: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Given {
    times: u32,
    settled: Option<Settled>,
}

/// The broker has heard of the acknowledgement by then.
#[derive(Clone, Copy, Debug)]
struct Settled {
    life: usize,
    at: Instant,
}

/// One daemon, from its start to its end.
#[derive(Debug)]
struct Life {
    fences: Vec<Fence>,
    /// It closed its logs properly.
    clean: bool,
}

/// Where and how a delivery came.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    pub audience: usize,
    pub life: usize,
    pub topic: usize,
    pub qos: Qos,
    /// Version 1 does not say it.
    pub offset: Option<u64>,
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub sent: u64,
    pub acknowledged: u64,
    pub delivered: u64,
    pub redelivered: u64,
    pub settled: u64,
    /// QoS 0 among the delivered.
    pub delivered_qos_0: u64,
}

/// What is promised, beside that nothing acknowledged is lost.
#[derive(Clone, Copy, Debug)]
pub struct Promises {
    /// Logged cursors survive.
    pub cursors: bool,
}

#[derive(Debug)]
pub struct Book {
    seed: u64,
    /// The log of each topic.
    logs: Vec<usize>,
    promises: Promises,
    streams: Vec<Stream>,
    audiences: Vec<Audience>,
    lives: Vec<Life>,
    pub tally: Tally,
    broken: Vec<String>,
    broken_count: u64,
}

impl Stream {
    pub fn new(topic: usize, qos: Qos, ordered: bool) -> Stream {
        Stream { topic, qos, ordered, sent: Vec::new() }
    }
}

impl Audience {
    pub fn new(name: &str, topics: Vec<usize>, durable: bool, ordered: bool) -> Audience {
        Audience { name: name.into(), topics, durable, ordered, came: BTreeMap::new() }
    }
}

impl Book {
    pub fn new(
        seed: u64,
        logs: Vec<usize>,
        promises: Promises,
        streams: Vec<Stream>,
        audiences: Vec<Audience>,
    ) -> Book {
        let (lives, tally, broken) = (Vec::new(), Tally::default(), Vec::new());
        Book { seed, logs, promises, streams, audiences, lives, tally, broken, broken_count: 0 }
    }

    /// A daemon starts; answers with its number.
    pub fn begin_life(&mut self) -> usize {
        let logs = self.logs.iter().max().map_or(0, |most| most + 1);
        self.lives.push(Life { fences: (0..logs).map(|_| Fence::default()).collect(), clean: false });
        self.lives.len() - 1
    }

    /// The number of the last daemon.
    pub fn last_life(&self) -> usize {
        self.lives.len() - 1
    }

    /// The last one ended as asked, everything written down.
    pub fn ended_clean(&mut self) {
        self.lives.last_mut().expect("one has begun").clean = true;
    }

    /// The next message of a stream; it counts as sent from now on.
    pub fn send(&mut self, stream: usize) -> (Name, Vec<u8>) {
        let messages = &mut self.streams[stream].sent;
        let name = Name { stream, number: messages.len() as u64 };
        messages.push(Sent::default());
        self.tally.sent += 1;
        (name, message::make(self.seed, name))
    }

    /// The broker has acknowledged a batch of a stream.
    pub fn acknowledged(&mut self, life: usize, stream: usize, batch: Batch) {
        let at = Instant::now();
        let messages = &mut self.streams[stream].sent;
        for nth in 0..u64::from(batch.count) {
            let offset = batch.offset + nth;
            messages[(batch.first + nth) as usize].acknowledged = Some(Acknowledged { offset, at });
        }
        self.tally.acknowledged += u64::from(batch.count);
        // What was in the log already says nothing of what came into it since.
        if !batch.duplicate {
            let log = self.logs[self.streams[stream].topic];
            self.lives[life].fences[log].published(batch.sent, at);
        }
    }

    /// Something came. What it is, if it is to be acknowledged.
    pub fn delivered(&mut self, arrival: Arrival, value: &[u8]) -> Option<Name> {
        self.tally.delivered += 1;
        let name = match message::read(self.seed, value) {
            Ok(name) => name,
            Err(Wrong::Foreign) => return self.accused(KNOWN, format!("{arrival:?}: {} bytes", value.len())),
            Err(Wrong::Body(name)) => return self.accused(WHOLE, format!("{arrival:?}: {name:?}")),
        };
        let known = self.streams.get(name.stream).is_some_and(|stream| name.number < stream.sent.len() as u64);
        if !known {
            return self.accused(KNOWN, format!("{arrival:?}: {name:?}"));
        }
        let stream = &self.streams[name.stream];
        if stream.topic != arrival.topic || (arrival.qos == Qos::AtLeastOnce && stream.qos == Qos::AtMostOnce) {
            return self.accused(HOME, format!("{arrival:?}: {name:?}"));
        }
        self.check_place(&arrival, name);
        self.check_settled(&arrival, name);
        self.note(&arrival, name);
        (arrival.qos == Qos::AtLeastOnce).then_some(name)
    }

    /// A stream that may hold a message twice has it at two offsets.
    fn check_place(&mut self, arrival: &Arrival, name: Name) {
        let stream = &self.streams[name.stream];
        let acknowledged = stream.sent[name.number as usize].acknowledged.filter(|_| stream.ordered);
        if let (Some(Acknowledged { offset, .. }), Some(came)) = (acknowledged, arrival.offset)
            && offset != came
        {
            self.accuse(PLACE, format!("{arrival:?}: {name:?} was acknowledged at {offset}"));
        }
    }

    fn check_settled(&mut self, arrival: &Arrival, name: Name) {
        // Where a message is twice in the log, each of the two is settled by itself.
        if !self.streams[name.stream].ordered {
            return;
        }
        let came = self.audiences[arrival.audience].came.get(&name.stream);
        let given = came.and_then(|came| came.given.get(name.number as usize));
        let Some(settled) = given.and_then(|given| given.settled) else { return };
        let life = &self.lives[settled.life];
        let log = self.logs[arrival.topic];
        if settled.life == arrival.life {
            self.accuse(SETTLED, format!("{}: {arrival:?}: {name:?}", self.audiences[arrival.audience].name));
        } else if self.promises.cursors && (life.clean || life.fences[log].covers(settled.at)) {
            let how = if life.clean { "of a daemon that was stopped" } else { "of a daemon that was killed" };
            let whose = &self.audiences[arrival.audience].name;
            self.accuse(COVERED, format!("{whose}, {how}, settled in life {}: {arrival:?}: {name:?}", settled.life));
        }
    }

    fn note(&mut self, arrival: &Arrival, name: Name) {
        let stream = &mut self.streams[name.stream];
        let audience = &mut self.audiences[arrival.audience];
        let logged = arrival.qos == Qos::AtLeastOnce;
        if let Some(offset) = arrival.offset.filter(|_| audience.durable && logged) {
            let first = &mut stream.sent[name.number as usize].came;
            *first = Some(first.map_or(offset, |first| first.min(offset)));
        }
        let came = audience.came.entry(name.stream).or_default();
        let at = name.number as usize;
        if came.given.len() <= at {
            came.given.resize(at + 1, Given::default());
        }
        came.given[at].times += 1;
        let again = came.given[at].times > 1;
        let late = !again && name.number < came.next;
        let next = came.next;
        came.next = came.next.max(name.number + 1);
        self.tally.redelivered += u64::from(again && logged);
        self.tally.delivered_qos_0 += u64::from(!logged);
        if late && audience.ordered && stream.ordered {
            let whose = audience.name.clone();
            self.accuse(ORDER, format!("{whose}: {arrival:?}: {name:?} after number {}", next - 1));
        }
    }

    /// The broker has heard that these were acknowledged.
    pub fn settled(&mut self, audience: usize, life: usize, names: &[Name]) {
        let settled = Settled { life, at: Instant::now() };
        for name in names {
            let came = self.audiences[audience].came.get_mut(&name.stream).expect("only what came is acknowledged");
            came.given[name.number as usize].settled = Some(settled);
        }
        self.tally.settled += names.len() as u64;
    }

    /// A promise was broken, seen by a client.
    pub fn accuse(&mut self, sentence: &str, what: String) {
        self.broken_count += 1;
        if self.broken.len() < TOLD_MAX {
            self.broken.push(format!("{sentence}: {what}"));
        }
    }

    fn accused(&mut self, sentence: &str, what: String) -> Option<Name> {
        self.accuse(sentence, what);
        None
    }

    /// Committed messages that have not come to some durable subscription, as often as that is so.
    pub fn outstanding(&self) -> u64 {
        self.audiences
            .iter()
            .filter(|audience| audience.durable)
            .map(|audience| self.missing(audience).count() as u64)
            .sum()
    }

    fn missing<'a>(&'a self, audience: &'a Audience) -> impl Iterator<Item = Name> + 'a {
        let streams = self.streams.iter().enumerate();
        let concerned = move |(_, stream): &(usize, &Stream)| {
            stream.qos == Qos::AtLeastOnce && audience.topics.contains(&stream.topic)
        };
        streams.filter(concerned).flat_map(move |(index, stream)| {
            let came = audience.came.get(&index);
            let has = move |at: usize| came.and_then(|came| came.given.get(at)).is_some_and(|given| given.times > 0);
            let sent = stream.sent.iter().enumerate();
            let owed = sent.filter(move |(at, sent)| (sent.acknowledged.is_some() || sent.came.is_some()) && !has(*at));
            owed.map(move |(at, _)| Name { stream: index, number: at as u64 })
        })
    }

    /// The end: whatever is still outstanding is lost. Answers with how many are.
    pub fn close(&mut self) -> u64 {
        let mut told = Vec::new();
        let mut lost = 0;
        for audience in self.audiences.iter().filter(|audience| audience.durable) {
            for name in self.missing(audience) {
                lost += 1;
                let Sent { acknowledged, came } = self.streams[name.stream].sent[name.number as usize];
                told.push(format!("{}: {name:?}, {acknowledged:?}, came to another from {came:?}", audience.name));
            }
        }
        told.into_iter().for_each(|what| self.accuse(ARRIVES, what));
        lost
    }

    /// Acknowledged messages of a topic at `next` or beyond: what a log that ends there has lost. They are not
    /// acknowledged any more.
    pub fn forget_from(&mut self, topic: usize, next: u64) -> Vec<Acknowledged> {
        let mut lost = Vec::new();
        for stream in self.streams.iter_mut().filter(|stream| stream.topic == topic && stream.qos == Qos::AtLeastOnce) {
            for sent in &mut stream.sent {
                lost.extend(sent.acknowledged.take_if(|acknowledged| acknowledged.offset >= next));
                sent.came = sent.came.filter(|offset| *offset < next);
            }
        }
        lost
    }

    /// What was broken, in words, and how often.
    pub fn broken(&self) -> (&[String], u64) {
        (&self.broken, self.broken_count)
    }

    /// What holds so far.
    pub fn holds(&self) -> bool {
        self.broken_count == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: u64 = 7;

    /// One topic, one ordered stream of QoS 1, two durable subscriptions.
    fn book() -> Book {
        let streams = vec![Stream::new(0, Qos::AtLeastOnce, true)];
        let audiences = vec![Audience::new("a", vec![0], true, true), Audience::new("b", vec![0], true, true)];
        let mut book = Book::new(SEED, vec![0], Promises { cursors: true }, streams, audiences);
        book.begin_life();
        book
    }

    fn came(book: &mut Book, audience: usize, life: usize, number: u64) {
        let value = message::make(SEED, Name { stream: 0, number });
        let arrival = Arrival { audience, life, topic: 0, qos: Qos::AtLeastOnce, offset: Some(number) };
        book.delivered(arrival, &value);
    }

    fn acknowledged(book: &mut Book, count: u32, offset: u64) {
        book.acknowledged(0, 0, Batch { first: 0, count, offset, duplicate: false, sent: Instant::now() });
    }

    fn told(book: &Book) -> String {
        book.broken().0.join("\n")
    }

    #[test]
    fn what_is_acknowledged_or_came_to_one_is_owed_to_all() {
        let mut book = book();
        (0..3).for_each(|_| drop(book.send(0)));
        acknowledged(&mut book, 1, 0);
        assert_eq!(book.outstanding(), 2);
        came(&mut book, 0, 0, 0);
        came(&mut book, 0, 0, 1);
        assert_eq!(book.outstanding(), 2, "the second came to one of them");
        came(&mut book, 1, 0, 0);
        assert_eq!(book.close(), 1);
        assert!(told(&book).starts_with(ARRIVES));
    }

    #[test]
    fn what_was_never_sent_and_what_is_changed_is_seen() {
        let mut book = book();
        came(&mut book, 0, 0, 0);
        assert!(told(&book).starts_with(KNOWN));
        book.send(0);
        let mut value = message::make(SEED, Name { stream: 0, number: 0 });
        *value.last_mut().unwrap() ^= 1;
        let arrival = Arrival { audience: 0, life: 0, topic: 0, qos: Qos::AtLeastOnce, offset: Some(0) };
        book.delivered(arrival, &value);
        assert!(told(&book).contains(WHOLE));
    }

    #[test]
    fn a_first_delivery_out_of_order_is_seen_and_a_redelivery_is_not() {
        let mut book = book();
        (0..3).for_each(|_| drop(book.send(0)));
        for number in [0, 2, 0, 2] {
            came(&mut book, 0, 0, number);
        }
        assert!(book.holds());
        assert_eq!(book.tally.redelivered, 2);
        came(&mut book, 0, 0, 1);
        assert!(told(&book).starts_with(ORDER));
    }

    #[test]
    fn what_was_settled_comes_again_neither_in_this_life_nor_after_a_clean_end() {
        let mut book = book();
        (0..2).for_each(|_| drop(book.send(0)));
        came(&mut book, 0, 0, 0);
        book.settled(0, 0, &[Name { stream: 0, number: 0 }]);
        let next = book.begin_life();
        came(&mut book, 0, next, 0);
        assert!(book.holds(), "killed, and nothing says that it was written down");
        book.settled(0, next, &[Name { stream: 0, number: 0 }]);
        came(&mut book, 0, next, 0);
        assert!(told(&book).starts_with(SETTLED));
        book.ended_clean();
        let last = book.begin_life();
        came(&mut book, 0, last, 0);
        assert!(told(&book).contains(COVERED));
    }

    #[test]
    fn what_a_log_has_lost_is_counted_and_owed_no_more() {
        let mut book = book();
        (0..3).for_each(|_| drop(book.send(0)));
        acknowledged(&mut book, 3, 10);
        assert_eq!(book.forget_from(0, 11).len(), 2);
        assert_eq!(book.outstanding(), 2, "the first, to both");
    }
}
