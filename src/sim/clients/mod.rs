//! Scripted clients: what the outside world does to the broker.

pub mod publisher;
pub mod subscriber;
pub mod vandal;

use std::time::Duration;

use bytes::BytesMut;

use super::book::Book;
use super::dice::Dice;
use super::network::{LinkId, Network};
use crate::model::{Instant, Limits, ShardId};
use crate::protocol::native::frame::split;
use crate::protocol::native::response::{self, Response};
use crate::protocol::native::{Split, command};

pub use publisher::Publisher;
pub use subscriber::Subscriber;
pub use vandal::Vandal;

/// What a client can touch while it acts.
pub struct Hands<'a> {
    pub now: Instant,
    pub network: &'a mut Network,
    pub book: &'a mut Book,
    /// Faults have stopped: finish what is outstanding, start nothing new.
    pub calm: bool,
    /// Shards of the process; none while there is no process.
    pub shards: u16,
}

/// One client: a connection at a time, and a part to play.
#[derive(Debug)]
pub struct Client {
    pub key: String,
    pub version: u8,
    pub line: Line,
    part: Part,
    /// Says everything of the handshake at once, and what follows it too.
    hasty: bool,
    ready: bool,
    auth: u64,
    connected_at: Instant,
    /// Does not connect before.
    rests_until: Instant,
    dice: Dice,
}

/// The client's end of a connection.
#[derive(Debug)]
pub struct Line {
    pub link: Option<LinkId>,
    pub correlation: u64,
    heard: BytesMut,
    pub out: BytesMut,
}

#[derive(Debug)]
pub enum Part {
    Publisher(Publisher),
    Subscriber(Subscriber),
    Vandal(Vandal),
}

impl Line {
    /// A correlation id of this client, never used again.
    pub fn next_correlation(&mut self) -> u64 {
        self.correlation += 1;
        self.correlation
    }
}

/// How long a client waits for the handshake before it tries again.
const PATIENCE: Duration = Duration::from_secs(3);

impl Client {
    pub fn new(key: String, version: u8, part: Part, mut dice: Dice) -> Client {
        Client {
            key,
            version,
            // Far from the numbers that a broker gives to deliveries.
            line: Line { link: None, correlation: 1 << 32, heard: BytesMut::new(), out: BytesMut::new() },
            part,
            hasty: dice.chance(300),
            ready: false,
            auth: 0,
            connected_at: Instant::default(),
            rests_until: Instant::default(),
            dice,
        }
    }

    /// Stands in a client's place while the client acts.
    pub fn nobody() -> Client {
        Client::new(String::new(), 1, Part::Vandal(Vandal { key: String::new() }), Dice::new(0))
    }

    /// When it has something to do, as far as it knows.
    pub fn due(&self) -> Instant {
        match (&self.part, self.line.link) {
            (_, None) => self.rests_until,
            (Part::Subscriber(subscriber), Some(_)) => subscriber.due(),
            _ => Instant::NEVER,
        }
    }

    /// Time has come to do something; answers when to be woken next. `None`: it has no more to do.
    pub fn wake(&mut self, hands: &mut Hands<'_>) -> Option<Instant> {
        let Some(link) = self.line.link else { return self.connect(hands) };
        if let Part::Vandal(vandal) = &mut self.part {
            return Some(vandal.act(&mut self.line, hands, &mut self.dice));
        }
        if !self.ready {
            if hands.now.since(self.connected_at) > PATIENCE {
                self.abandon(hands, link);
            }
            return Some(hands.now.plus_ms(100));
        }
        let next = match &mut self.part {
            Part::Publisher(publisher) => publisher.act(&mut self.line, hands, &mut self.dice),
            Part::Subscriber(subscriber) => subscriber.act(&mut self.line, hands, &mut self.dice),
            Part::Vandal(_) => None,
        };
        self.flush(hands);
        next
    }

    fn connect(&mut self, hands: &mut Hands<'_>) -> Option<Instant> {
        if hands.shards == 0 || hands.now < self.rests_until {
            return Some(self.rests_until.max(hands.now.plus_ms(5)));
        }
        if !self.has_work(hands.calm) {
            return None;
        }
        let shard = ShardId(self.dice.below(hands.shards.into()) as u16);
        self.line.link = Some(hands.network.connect(hands.now, shard));
        self.line.heard.clear();
        self.ready = false;
        self.connected_at = hands.now;
        if !matches!(self.part, Part::Vandal(_)) {
            self.greet();
            if self.hasty {
                self.begin(hands);
            }
            self.flush(hands);
        }
        Some(hands.now.plus_ms(1))
    }

    fn has_work(&self, calm: bool) -> bool {
        match &self.part {
            Part::Publisher(publisher) => publisher.has_work(calm),
            Part::Subscriber(_) => true,
            Part::Vandal(_) => !calm,
        }
    }

    fn greet(&mut self) {
        let hello = self.line.next_correlation();
        command::hello(&mut self.line.out, hello, self.version.into());
        self.auth = self.line.next_correlation();
        command::auth(&mut self.line.out, self.auth, &self.key);
    }

    fn begin(&mut self, hands: &mut Hands<'_>) {
        self.ready = true;
        match &mut self.part {
            Part::Publisher(publisher) => publisher.begin(&mut self.line, hands),
            Part::Subscriber(subscriber) => subscriber.begin(&mut self.line, hands),
            Part::Vandal(_) => {}
        }
    }

    fn flush(&mut self, hands: &mut Hands<'_>) {
        if let (Some(link), false) = (self.line.link, self.line.out.is_empty()) {
            let bytes = self.line.out.split();
            hands.network.write(hands.now, link, &bytes);
        }
    }

    fn abandon(&mut self, hands: &mut Hands<'_>, link: LinkId) {
        hands.network.reset(hands.now, link);
    }

    /// Bytes have come.
    pub fn hears(&mut self, hands: &mut Hands<'_>, link: LinkId, bytes: &[u8]) {
        if self.line.link != Some(link) {
            return;
        }
        self.line.heard.extend_from_slice(bytes);
        while let Split::Frame(frame) = split(&self.line.heard, Limits::FRAME_MAX + 1024) {
            let bytes = self.line.heard.split_to(frame.end).freeze();
            let Ok(response) = response::decode(self.version, frame.kind, &bytes[frame.payload.clone()]) else { break };
            self.told(hands, frame.correlation, response);
        }
        self.flush(hands);
    }

    fn told(&mut self, hands: &mut Hands<'_>, correlation: u64, response: Response<'_>) {
        if !self.ready && correlation == self.auth && matches!(response, Response::Ack { .. }) {
            self.begin(hands);
            return;
        }
        match &mut self.part {
            Part::Publisher(publisher) => publisher.told(correlation, &response),
            Part::Subscriber(subscriber) => {
                subscriber.told(&mut self.line, hands, &mut self.dice, (correlation, &response));
            }
            Part::Vandal(_) => {}
        }
    }

    /// The connection is gone, by whoever's doing.
    pub fn gone(&mut self, now: Instant, link: LinkId) {
        if self.line.link == Some(link) {
            self.line.link = None;
            self.ready = false;
            self.line.out.clear();
            self.rests_until = now.plus_ms(self.dice.between(0, 30));
            match &mut self.part {
                Part::Publisher(publisher) => publisher.gone(),
                Part::Subscriber(subscriber) => subscriber.gone(),
                Part::Vandal(_) => {}
            }
        }
    }

    /// Whether nothing that it must finish is left.
    pub fn is_finished(&self) -> bool {
        match &self.part {
            Part::Publisher(publisher) => publisher.is_finished(),
            Part::Subscriber(subscriber) => self.ready && subscriber.is_attached(),
            Part::Vandal(_) => true,
        }
    }

    /// Puts a bad end to the connection, if the dice say so.
    pub fn mischief(&mut self, hands: &mut Hands<'_>) {
        let Some(link) = self.line.link else { return };
        match self.dice.below(4) {
            0 => hands.network.reset(hands.now, link),
            1 => {
                hands.network.client_closes(hands.now, link);
                self.gone(hands.now, link);
            }
            _ => {
                let until = hands.now.plus_ms(self.dice.between(1, 400));
                hands.network.hold(link, until);
            }
        }
    }
}
