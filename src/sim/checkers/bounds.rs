//! Deliveries keep to their bounds: in flight, attempts, credit.

use std::time::Duration;

use crate::model::Instant;
use crate::sim::book::Book;
use crate::sim::network::LinkId;
use crate::sim::subs::{Given, Source, Sub, SubId};
use crate::sim::violation::{Checked, must};
use crate::sim::witness::Delivery;

#[derive(Debug)]
pub struct Bounds {
    pub in_flight_max: usize,
    /// Without a log, the oldest records may be dropped out of flight.
    pub drops: bool,
    /// What two shards say to two members may come out in the other order within this time.
    pub grace: Duration,
}

const IN_FLIGHT: &str = "no more records of a partition are in flight than the bound says";
const ATTEMPTS: &str = "no delivery is attempted more often than the bound says";
const FORWARD: &str = "attempts are counted upwards";
/// Bytes of one frame of deliveries at most.
const FRAME_MAX: i64 = 64 * 1024;
const CREDIT: &str = "nothing is delivered without credit";

impl Bounds {
    /// A frame of deliveries goes out against credit.
    pub fn sent(&self, book: &mut Book, id: SubId, link: LinkId, (records, bytes): (u32, usize)) -> Checked {
        let shards = i64::from(book.shards);
        let sub = book.subs.of_mut(id);
        // Of what several shards serve, each may overdraw its share of the bytes once.
        let others = if sub.wanted.spread { shards - 1 } else { 0 };
        let Some(credit) = sub.credit.get_mut(&link) else { return Ok(()) };
        let had = *credit;
        *credit = (had.0 - i64::from(records), had.1 - bytes as i64);
        must(had.1 > -others * FRAME_MAX && credit.0 >= 0, CREDIT, || {
            format!("{id:?} on {link:?} had {had:?}, sent {records} records, {bytes} bytes")
        })
    }

    pub fn attempt(&self, book: &Book, now: Instant, delivery: &Delivery) -> Checked {
        let sub = book.subs.of(delivery.sub);
        let Some(attempt) = delivery.attempt else { return Ok(()) };
        let most = sub.wanted.attempts_max;
        must((1..=most.max(1)).contains(&attempt), ATTEMPTS, || format!("at most {most}: {delivery:?}"))?;
        let given = sub.sources.get(&delivery.topic).and_then(|source| source.given.get(&delivery.id));
        let before = given.map_or(0, |given| given.attempt);
        let overtaken = given.is_some_and(|given| given.link != delivery.link && now <= given.at + self.grace);
        must(before <= attempt || overtaken, FORWARD, || format!("after {before}: {delivery:?}"))
    }

    pub fn in_flight(&self, book: &Book, now: Instant, delivery: &Delivery) -> Checked {
        let sub = book.subs.of(delivery.sub);
        let Some(source) = sub.sources.get(&delivery.topic) else { return Ok(()) };
        if self.drops || source.in_flight <= self.in_flight_max {
            return Ok(());
        }
        let count = self.flying(book, sub, source, now);
        must(count <= self.in_flight_max, IN_FLIGHT, || format!("{count} of {}: {delivery:?}", self.in_flight_max))
    }

    /// Without a word the broker lets go of what has expired (its log knows times to the millisecond only), and of what
    /// had the last of its attempts on connections that were lost before it showed there.
    fn flying(&self, book: &Book, sub: &Sub, source: &Source, now: Instant) -> usize {
        let expired = |id| {
            let message = book.messages.of(id);
            message.ttl_ms > 0 && message.handed.is_some_and(|at| now.plus_ms(1) > at.plus_ms(message.ttl_ms.into()))
        };
        let spent = |given: &Given| {
            let unseen = sub.lost.iter().filter(|at| **at + self.grace > given.at + sub.wanted.retry).count();
            usize::from(given.attempt) + unseen >= usize::from(sub.wanted.attempts_max)
        };
        let flying = source.given.iter().filter(|(id, given)| given.in_flight && !expired(**id) && !spent(given));
        flying.count()
    }
}
