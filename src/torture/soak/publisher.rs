//! Publishes one topic's messages, in bursts, over connections that end in every way.

use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::body::size;
use super::life::Life;
use super::stage::lock;
use crate::bench::failure::Failure;
use crate::client::blocking::{Client, Publisher};
use crate::client::{ClientError, ProducerOptions, PublishOptions};
use crate::model::Qos;
use crate::torture::raw::Raw;

/// Messages of one burst, which version 2 sends as one batch.
const BURST: std::ops::RangeInclusive<usize> = 1..=16;
/// Bytes of one burst; a burst is at least one message.
const BURST_BYTES: usize = 1 << 20;
/// One burst in so many is followed by the end of its connection.
const ENDING: u32 = 25;
/// Between two looks.
const STEP: Duration = Duration::from_millis(20);

/// The publishing side of a life.
pub struct Publishing<'a> {
    life: &'a Life<'a>,
    dice: Rng,
    client: Option<Client>,
}

impl<'a> Publishing<'a> {
    pub fn new(life: &'a Life<'a>, dice: Rng) -> Publishing<'a> {
        Publishing { life, dice, client: None }
    }

    /// Until the life's time is over.
    pub fn run(mut self) {
        while !self.life.subscribed.load(Ordering::Acquire) && self.goes_on() {
            sleep(STEP);
        }
        let mut due = Instant::now();
        while self.goes_on() {
            let count = self.burst();
            due += Duration::from_secs_f64(count as f64 / self.life.stage.rate);
            // What was missed while the broker or the machine stood still is not caught up with.
            due = due.max(Instant::now() - STEP);
            sleep(due.saturating_duration_since(Instant::now()));
        }
        self.end_politely();
        self.life.published.store(true, Ordering::Release);
    }

    fn goes_on(&self) -> bool {
        Instant::now() < self.life.until && self.life.stage.goes_on()
    }

    fn burst(&mut self) -> usize {
        let sizes = self.sizes();
        let count = sizes.len();
        match self.dice.u32(..ENDING) {
            0 => self.reset_in_a_batch(&sizes),
            1 => self.leave_without_a_word(&sizes),
            2 => self.end_politely(),
            _ => self.send(&sizes),
        }
        count
    }

    fn sizes(&mut self) -> Vec<usize> {
        let most = self.dice.usize(BURST);
        let mut sizes = vec![size(&mut self.dice)];
        while sizes.len() < most && sizes.iter().sum::<usize>() < BURST_BYTES / 2 {
            sizes.push(size(&mut self.dice).min(BURST_BYTES / 2));
        }
        sizes
    }

    fn bodies(&self, numbers: std::ops::Range<u64>, sizes: &[usize]) -> Vec<Vec<u8>> {
        numbers.zip(sizes).map(|(number, size)| self.life.stage.bodies.make(self.life.number, number, *size)).collect()
    }

    /// A whole burst, waited for.
    fn send(&mut self, sizes: &[usize]) {
        let numbers = lock(&self.life.book).next(sizes.len());
        let bodies = self.bodies(numbers.clone(), sizes);
        let life = self.life;
        match self.client().and_then(|client| publish(client, life, &bodies)) {
            Ok(0) if self.life.qos == Qos::AtLeastOnce => lock(&self.life.book).promise(numbers),
            Ok(0) => {}
            Ok(refused) => self.life.stage.count(|totals| totals.refused += refused),
            Err(error) => {
                self.client = None;
                self.life.unexpected("the publisher", &error);
            }
        }
    }

    fn client(&mut self) -> Result<&Client, ClientError> {
        if self.client.is_none() {
            self.client = Some(self.life.stage.connect(self.life.publish_version)?);
        }
        Ok(self.client.as_ref().expect("just made"))
    }

    /// A burst whose answer nobody waits for.
    fn leave_without_a_word(&mut self, sizes: &[usize]) {
        let numbers = lock(&self.life.book).next(sizes.len());
        let bodies = self.bodies(numbers, sizes);
        let life = self.life;
        if let Err(error) = self.client().and_then(|client| leave(client, life, &bodies)) {
            life.unexpected("the publisher", &error);
        }
        self.client = None;
        self.life.stage.count(|totals| totals.publisher_disconnects += 1);
    }

    /// One burst whole, the next one cut off in the middle by a reset.
    fn reset_in_a_batch(&mut self, sizes: &[usize]) {
        if let Err(error) = self.try_reset(sizes) {
            self.life.unexpected("a connection to be reset", &error);
        }
        self.life.stage.count(|totals| totals.resets_in_a_batch += 1);
    }

    fn try_reset(&mut self, sizes: &[usize]) -> Result<(), Failure> {
        let Life { topic, qos, publish_version, book, stage, .. } = self.life;
        let mut raw = Raw::open(&stage.addr, *publish_version, topic)?;
        let numbers = lock(book).next(sizes.len());
        let whole = raw.frames(topic, *qos, &self.bodies(numbers, sizes));
        raw.say(&whole)?;
        let torn = lock(book).next(1);
        lock(book).rule_out(torn.clone());
        let frame = raw.frames(topic, *qos, &self.bodies(torn, &sizes[..1]));
        raw.say(&frame[..self.dice.usize(1..frame.len())])?;
        raw.reset()
    }

    fn end_politely(&mut self) {
        if let Some(client) = self.client.take() {
            // The broker may be closing it at this moment.
            let _ = client.close();
            self.life.stage.count(|totals| totals.publisher_disconnects += 1);
        }
    }
}

/// Waits until all are acknowledged; says how many were refused.
fn publish(client: &Client, life: &Life<'_>, bodies: &[Vec<u8>]) -> Result<u64, ClientError> {
    if client.version() == 1 {
        hand_over(client, life, bodies)?;
        client.ping()?;
        return Ok(client.take_refusals().len() as u64);
    }
    let mut publisher = gathered(client, life, bodies)?;
    match publisher.flush() {
        Ok(()) => Ok(0),
        Err(ClientError::Refused { .. }) => Ok(bodies.len() as u64),
        Err(error) => Err(error),
    }
}

/// Sends, and waits for nothing.
fn leave(client: &Client, life: &Life<'_>, bodies: &[Vec<u8>]) -> Result<(), ClientError> {
    if client.version() == 1 {
        hand_over(client, life, bodies)?;
        return client.flush();
    }
    gathered(client, life, bodies)?.send()
}

fn hand_over(client: &Client, life: &Life<'_>, bodies: &[Vec<u8>]) -> Result<(), ClientError> {
    let options = PublishOptions { qos: life.qos, ..PublishOptions::default() };
    bodies.iter().try_for_each(|body| client.send(&life.topic, body, &options))
}

fn gathered(client: &Client, life: &Life<'_>, bodies: &[Vec<u8>]) -> Result<Publisher, ClientError> {
    let options = match life.qos {
        Qos::AtLeastOnce => ProducerOptions::at_least_once(),
        Qos::AtMostOnce => ProducerOptions::at_most_once(),
    };
    let options = options.batch(u32::MAX, 2 * BURST_BYTES).linger(Duration::from_secs(3600));
    let mut publisher = client.publisher(&life.topic, options)?;
    bodies.iter().try_for_each(|body| publisher.publish(body))?;
    Ok(publisher)
}
