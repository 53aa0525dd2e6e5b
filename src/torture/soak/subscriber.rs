//! Reads one topic's messages over connections that restart, and holds each against the book.

use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::book::Receipt;
use super::life::Life;
use super::stage::lock;
use super::taking::{Source, Taken};
use crate::client::ClientError;
use crate::client::blocking::Client;
use crate::model::Qos;

/// How long one connection lasts.
const SECONDS: std::ops::Range<u32> = 1..15;
/// How long a wait for the next message lasts.
const PAUSE: Duration = Duration::from_millis(50);
/// Acknowledgements are made sure of after so many, and in every pause.
const OWED_MAX: usize = 32;
/// One message in so many is refused, and one in so many left to time out.
const CONTRARY: u32 = 200;
/// Without a message for so long after the last was published, what is missing is lost.
const QUIET: Duration = Duration::from_secs(60);
/// For the broker to notice that a connection has ended.
const NOTICE: Duration = Duration::from_secs(60);

/// The subscribing side of a life.
pub struct Subscribing<'a> {
    life: &'a Life<'a>,
    dice: Rng,
    /// Acknowledged; whether the broker has heard it is not known.
    owed: Vec<u64>,
    heard: Instant,
}

impl<'a> Subscribing<'a> {
    pub fn new(life: &'a Life<'a>, dice: Rng) -> Subscribing<'a> {
        Subscribing { life, dice, owed: Vec::new(), heard: Instant::now() }
    }

    /// Until everything has come that was promised, or nothing comes any more.
    pub fn run(mut self) {
        while !self.is_over() {
            if let Err(error) = self.session() {
                self.life.unexpected("the subscriber", &error);
                // Whatever it was, it is not asked again at once.
                sleep(PAUSE);
            }
            self.forget_connection();
        }
        if let Err(error) = self.unsubscribe() {
            self.life.unexpected("the end of the subscription", &error);
        }
    }

    fn is_over(&self) -> bool {
        let published = self.life.published.load(Ordering::Acquire);
        let quiet = self.heard.elapsed() > if self.life.qos == Qos::AtLeastOnce { QUIET } else { PAUSE };
        published && (quiet && !self.life.stage.stood_still_lately() || self.is_complete())
    }

    fn is_complete(&self) -> bool {
        self.life.qos == Qos::AtLeastOnce && lock(&self.life.book).missing() == 0
    }

    fn session(&mut self) -> Result<(), ClientError> {
        let (client, mut source) = self.subscribe()?;
        let until = Instant::now() + Duration::from_secs(self.dice.u32(SECONDS).into());
        while Instant::now() < until && !self.is_over() {
            match source.next(PAUSE)? {
                Some(taken) => self.take(&mut source, &taken)?,
                None => self.make_sure(&client, &mut source)?,
            }
            if self.owed.len() >= OWED_MAX {
                self.make_sure(&client, &mut source)?;
            }
        }
        if self.dice.bool() {
            self.make_sure(&client, &mut source)?;
            drop(source);
            return client.close();
        }
        // Acknowledgements that were not said stay so; what came and was not read makes the end a reset.
        self.life.stage.count(|totals| totals.subscriber_resets += 1);
        Ok(())
    }

    fn subscribe(&mut self) -> Result<(Client, Source), ClientError> {
        let deadline = Instant::now() + NOTICE;
        let client = self.life.stage.connect(self.life.subscribe_version)?;
        loop {
            match Source::open(&client, self.life) {
                Ok(source) => {
                    self.life.subscribed.store(true, Ordering::Release);
                    self.heard = Instant::now();
                    return Ok((client, source));
                }
                // The last connection's end has not been noticed.
                Err(ClientError::Refused { code: 409, .. }) if Instant::now() < deadline => sleep(PAUSE),
                Err(error) => return Err(error),
            }
        }
    }

    fn take(&mut self, source: &mut Source, taken: &Taken) -> Result<(), ClientError> {
        self.heard = Instant::now();
        let Some(number) = self.life.stage.bodies.number(self.life.number, taken.value()) else {
            self.life.stage.count(|totals| totals.wrong_bodies += 1);
            self.life.broken(format!("a body of {} bytes is not as it was sent", taken.value().len()));
            return Ok(());
        };
        let receipt = lock(&self.life.book).receive(number);
        self.check(number, receipt);
        if self.life.qos == Qos::AtMostOnce {
            return Ok(());
        }
        match (self.dice.u32(..CONTRARY), taken) {
            (0, _) => {
                self.life.stage.count(|totals| totals.left_to_time_out += 1);
                lock(&self.life.book).may_repeat(number);
            }
            (1, Taken::Pushed(message)) => {
                self.life.stage.count(|totals| totals.nacked += 1);
                lock(&self.life.book).may_repeat(number);
                source.refuse(message, Duration::from_millis(self.dice.u64(..1000)))?;
            }
            _ => {
                source.acknowledge(taken);
                self.owed.push(number);
            }
        }
        Ok(())
    }

    fn check(&self, number: u64, receipt: Receipt) {
        match receipt {
            Receipt::First => {}
            Receipt::Repeat => self.life.stage.count(|totals| totals.repeats += 1),
            Receipt::Duplicate if self.life.qos == Qos::AtLeastOnce && self.life.stage.stood_still_lately() => {
                self.life.stage.count(|totals| totals.repeats += 1);
            }
            Receipt::Duplicate => {
                self.life.stage.count(|totals| totals.duplicates += 1);
                self.life.broken(format!("message {number} came again for no reason"));
            }
            Receipt::Impossible => {
                self.life.broken(format!("message {number} came and was refused, or not sent whole"))
            }
        }
    }

    /// After the answer to PING the broker has handled every acknowledgement.
    fn make_sure(&mut self, client: &Client, source: &mut Source) -> Result<(), ClientError> {
        if !self.owed.is_empty() {
            source.flush()?;
            client.ping()?;
            self.owed.clear();
        }
        Ok(())
    }

    fn forget_connection(&mut self) {
        self.life.stage.count(|totals| totals.subscriber_restarts += 1);
        let mut book = lock(&self.life.book);
        self.owed.drain(..).for_each(|number| book.may_repeat(number));
        drop(book);
        self.wait_until_noticed();
    }

    /// Version 1 takes over a session that nobody holds: before the broker has noticed the end of the last connection,
    /// it would begin another one.
    fn wait_until_noticed(&self) {
        let deadline = Instant::now() + NOTICE;
        let path = format!("/api/v1/topics/{}/subscriptions", self.life.topic);
        while self.life.subscribe_version == 1 && Instant::now() < deadline {
            match self.life.stage.http.ask("GET", &path) {
                Ok((200, text)) if text.contains("\"members\":1") => sleep(PAUSE),
                Ok(_) => return,
                Err(error) => return self.life.unexpected("the admin listener", &error),
            }
        }
    }

    fn unsubscribe(&mut self) -> Result<(), ClientError> {
        if self.life.subscribe_version == 1 || !self.life.subscribed.load(Ordering::Acquire) {
            return Ok(());
        }
        let (client, source) = self.subscribe()?;
        source.end()?;
        client.close()
    }
}
