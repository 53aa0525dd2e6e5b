//! The life of one topic: made by whoever subscribes first, published to by connections that come and go, read by a
//! subscriber that restarts, deleted.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::book::Book;
use super::publisher::Publishing;
use super::stage::{Stage, lock};
use super::subscriber::Subscribing;
use crate::model::Qos;

/// How long a topic is published to.
const SECONDS: std::ops::Range<u32> = 5..40;

/// One topic and what is known of it.
#[derive(Debug)]
pub struct Life<'a> {
    pub stage: &'a Stage,
    pub number: u32,
    pub topic: String,
    pub qos: Qos,
    /// Of the protocol.
    pub publish_version: u8,
    pub subscribe_version: u8,
    pub until: Instant,
    pub book: Mutex<Book>,
    /// Somebody subscribes.
    pub subscribed: AtomicBool,
    /// Everything is published.
    pub published: AtomicBool,
}

/// Lives one after another until the soak's time is over.
pub fn lane(stage: &Stage, dice: &mut Rng, numbers: &AtomicU32) {
    while stage.goes_on() {
        let life = Life::begin(stage, dice, numbers.fetch_add(1, Ordering::Relaxed));
        life.live(dice.fork(), dice.fork());
    }
}

impl<'a> Life<'a> {
    fn begin(stage: &'a Stage, dice: &mut Rng, number: u32) -> Life<'a> {
        let length = Duration::from_secs(dice.u32(SECONDS).into());
        Life {
            stage,
            number,
            topic: format!("soak.{}.{number}", number % 7),
            qos: if dice.u8(..3) == 0 { Qos::AtMostOnce } else { Qos::AtLeastOnce },
            publish_version: dice.u8(1..=2),
            subscribe_version: dice.u8(1..=2),
            until: (Instant::now() + length).min(stage.until),
            book: Mutex::default(),
            subscribed: AtomicBool::new(false),
            published: AtomicBool::new(false),
        }
    }

    fn live(&self, publisher: Rng, subscriber: Rng) {
        std::thread::scope(|scope| {
            scope.spawn(|| Publishing::new(self, publisher).run());
            Subscribing::new(self, subscriber).run();
        });
        self.judge();
        self.delete();
    }

    fn judge(&self) {
        let book = lock(&self.book);
        let (sent, promised, received) = book.counts();
        let missing = book.missing();
        if missing > 0 {
            let first = book.first_missing().unwrap_or(0);
            self.broken(format!("{missing} of {promised} acknowledged messages never came, the first is {first}"));
        }
        self.stage.count(|totals| {
            totals.lives += 1;
            totals.lost += missing;
            match self.qos {
                Qos::AtLeastOnce => {
                    totals.sent += sent;
                    totals.promised += promised;
                    totals.received += received;
                }
                Qos::AtMostOnce => {
                    totals.volatile_sent += sent;
                    totals.volatile_received += received;
                }
            }
        });
    }

    fn delete(&self) {
        match self.stage.http.ask("DELETE", &format!("/api/v1/topics/{}?force=true", self.topic)) {
            Ok((200..300, _)) => self.stage.count(|totals| totals.topics_deleted += 1),
            // A QoS 0 topic that nobody uses any more goes by itself.
            Ok((404, _)) if self.qos == Qos::AtMostOnce => {}
            Ok((status, text)) => self.broken(format!("the topic cannot be deleted: {status} {text}")),
            Err(error) => self.broken(format!("the topic cannot be deleted: {error}")),
        }
    }

    /// A promise did not hold.
    pub fn broken(&self, what: String) {
        let (publish, subscribe) = (self.publish_version, self.subscribe_version);
        let qos = self.qos as u8;
        self.stage.broken(format!("{} (QoS {qos}, version {publish} to {subscribe}): {what}", self.topic));
    }

    /// An error that nobody here caused, unless the machine stood still.
    pub fn unexpected(&self, who: &str, error: &dyn std::fmt::Display) {
        if !self.stage.stood_still_lately() {
            self.broken(format!("{who}: {error}"));
        }
    }
}
