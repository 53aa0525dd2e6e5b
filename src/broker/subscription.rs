//! One subscription to one partition: what it is owed, and who is there to take it.

use super::{Cursor, Flight, InFlight, Redelivery, Retry};
use crate::model::{Backoff, Instant, Limits, Offset, Qos, SubscriptionId, SubscriptionMode, TopicName};

/// Whether a subscription outlives its members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Goes with its last member.
    Ephemeral,
    /// Stays until it is deleted; `id` is its number in the log, if there is a log.
    Named { id: Option<SubscriptionId> },
    /// A version 1 session: stays for `session_expiry` without a member.
    Session { id: Option<SubscriptionId> },
}

/// How often, and how far apart, an unacknowledged record comes again, and where it goes then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    pub backoff: Backoff,
    /// Redeliveries after the first delivery.
    pub max_retries: u16,
    /// Where a record goes after the last of them; `None`: it is dropped and counted.
    pub dead_letter: Option<TopicName>,
}

/// Somebody who takes deliveries. `link` and `binding` are the shard's own numbers for the connection and for the
/// connection's subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Never used twice.
    pub serial: u64,
    pub link: usize,
    pub binding: u64,
    /// How this member's client calls the partition.
    pub source: u32,
    /// Delivered is settled: the client asked for no acknowledgement.
    pub auto_settle: bool,
}

/// What a subscription has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubscriptionCounters {
    pub delivered: u64,
    pub redelivered: u64,
    pub settled: u64,
    /// QoS 0 records lost because this subscription was slow.
    pub dropped: u64,
    /// Records that expired before they were settled.
    pub expired: u64,
    /// Records given up after the last retry.
    pub dead: u64,
    /// Records that retention took before they were settled.
    pub missed: u64,
}

/// What to deliver next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Records for the first time: `first..end`, all committed and unsettled.
    New {
        first: Offset,
        end: Offset,
    },
    /// Records that come again.
    Again(Retry),
    /// Records whose last retry is over.
    Dead(Retry),
    Nothing,
}

/// A cursor over one partition plus what is delivered and not yet acknowledged.
#[derive(Debug)]
pub struct Subscription {
    /// Unique in its partition; empty for an ephemeral one.
    pub name: String,
    /// Never used twice on this shard: a late answer finds the right one or none.
    pub serial: u64,
    pub partition: usize,
    pub qos: Qos,
    pub mode: SubscriptionMode,
    pub durability: Durability,
    pub retry: RetryPolicy,
    pub in_flight_max: u32,
    pub cursor: Cursor,
    /// The first QoS 1 record that has never been delivered.
    pub next: Offset,
    /// The next record of the QoS 0 stream.
    pub volatile_next: Offset,
    pub in_flight: InFlight,
    pub redelivery: Redelivery,
    /// Records on their way to the dead-letter topic. One that is acknowledged after all is settled like any other.
    pub burying: InFlight,
    pub members: Vec<Member>,
    /// Where the next round among the members starts.
    pub turn: usize,
    pub counters: SubscriptionCounters,
}

impl Subscription {
    /// Delivered and not settled, or on the way to be delivered again or buried.
    pub fn outstanding(&self) -> u64 {
        self.in_flight.records() + self.redelivery.records() + self.burying.records()
    }

    pub fn is_durable(&self) -> bool {
        self.durability != Durability::Ephemeral
    }

    /// The number it has in the log.
    pub fn logged_id(&self) -> Option<SubscriptionId> {
        match self.durability {
            Durability::Ephemeral => None,
            Durability::Named { id } | Durability::Session { id } => id,
        }
    }

    /// What to deliver next of the QoS 1 stream, when records before `committed` may be delivered and those before
    /// `start` are gone.
    pub fn due(&mut self, now: Instant, start: Offset, committed: Offset) -> Due {
        self.skip_gone(start);
        if let Some(retry) = self.redelivery.front(now) {
            return if retry.attempts > self.retry.max_retries { Due::Dead(retry) } else { Due::Again(retry) };
        }
        let room = u64::from(self.in_flight_max).saturating_sub(self.outstanding());
        if room == 0 || self.cursor.ranges() >= Limits::ACKED_RANGES_MAX {
            return Due::Nothing;
        }
        let (first, end) = self.cursor.unsettled(self.next);
        if first >= committed {
            return Due::Nothing;
        }
        self.next = first;
        Due::New { first, end: end.min(committed).min(first.plus(room)) }
    }

    /// Records that retention took are nobody's any more.
    fn skip_gone(&mut self, start: Offset) {
        if self.cursor.floor() >= start {
            return;
        }
        let floor = self.cursor.floor();
        let mut unsettled = start.since(floor);
        for (first, end) in self.cursor.above() {
            unsettled -= end.min(start).since(first.min(start));
        }
        self.counters.missed += unsettled;
        self.forget(floor, start);
        self.next = self.next.max(start);
    }

    /// `first..end` has just been handed to `member`, for the `attempt`th time. `dice`: any uniform number.
    pub fn delivered(&mut self, now: Instant, first: Offset, end: Offset, attempt: u16, member: &Member, dice: u64) {
        let records = end.since(first);
        self.counters.delivered += records;
        if attempt > 1 {
            self.counters.redelivered += records;
        }
        self.next = self.next.max(end);
        if self.qos == Qos::AtMostOnce || member.auto_settle {
            self.counters.settled += records;
            self.cursor.settle(first, end);
            return;
        }
        let due = now + self.retry.backoff.delay(attempt, dice);
        self.in_flight.add(Flight { first, end, attempt, due, member: member.serial });
    }

    /// Settles what of `first..end` has been delivered and is not settled; returns the number of records.
    pub fn settle(&mut self, first: Offset, end: Offset) -> u64 {
        let settled = self.forget(first, end.min(self.next));
        self.counters.settled += settled;
        settled
    }

    /// Counts `first..end` as expired.
    pub fn expire(&mut self, first: Offset, end: Offset) {
        self.next = self.next.max(end);
        self.forget(first, end);
        self.counters.expired += end.since(first);
    }

    /// Takes `first..end` out of everything that waits; returns how many records were waiting.
    fn forget(&mut self, first: Offset, end: Offset) -> u64 {
        if first >= end {
            return 0;
        }
        let flying = self.in_flight.take(first, end, |_| {}) + self.burying.take(first, end, |_| {});
        let waiting = flying + self.redelivery.take(first, end);
        self.cursor.settle(first, end);
        waiting
    }

    /// The front of the redeliveries is dead: up to `end`, it goes to the dead-letter topic.
    pub fn bury(&mut self, retry: Retry, end: Offset) {
        let Retry { first, attempts, .. } = retry;
        self.redelivery.take_front(end.since(first));
        self.burying.add(Flight { first, end, attempt: attempts, due: Instant::NEVER, member: 0 });
    }

    /// The dead letters of `first..end` are safe: what of it was not acknowledged meanwhile is settled. Answers with
    /// the number of records.
    pub fn buried(&mut self, first: Offset, end: Offset) -> u64 {
        let cursor = &mut self.cursor;
        let dead = self.burying.take(first, end, |part| {
            cursor.settle(part.first, part.end);
        });
        self.counters.dead += dead;
        dead
    }

    /// The dead letters of `first..end` were refused: what of it was not acknowledged meanwhile comes up again at `due`.
    pub fn unburied(&mut self, due: Instant, first: Offset, end: Offset) {
        let redelivery = &mut self.redelivery;
        self.burying.take(first, end, |part| redelivery.add(due, &part));
    }

    /// The client gives `first..end` back: they come again after `delay`, or after the backoff of their attempt.
    pub fn nack(&mut self, now: Instant, first: Offset, end: Offset, delay_ms: u32, dice: u64) -> u64 {
        let (retry, redelivery) = (&self.retry, &mut self.redelivery);
        self.in_flight.take(first, end, |flight| {
            let due = match delay_ms {
                0 => now + retry.backoff.delay(flight.attempt, dice),
                ms => now.plus_ms(u64::from(ms)),
            };
            redelivery.add(due, &flight);
        })
    }

    /// Moves what was not acknowledged in time to the redeliveries.
    pub fn time_out(&mut self, now: Instant) {
        let redelivery = &mut self.redelivery;
        self.in_flight.take_due(now, |flight| redelivery.add(flight.due, &flight));
    }

    /// A member is gone: what it held comes again at once, to another or when somebody comes back.
    pub fn leave(&mut self, now: Instant, serial: u64) {
        self.members.retain(|member| member.serial != serial);
        let redelivery = &mut self.redelivery;
        self.in_flight.take_member(serial, |flight| redelivery.add(now, &flight));
    }

    /// The next time at which something happens without anybody saying anything. What is due already and still
    /// waits, waits for credit or for room, not for a time.
    pub fn next_due(&self, now: Instant) -> Option<Instant> {
        let again = if self.members.is_empty() { None } else { self.redelivery.due_after(now) };
        [self.in_flight.earliest_due(), again].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn subscription() -> Subscription {
        let backoff = Backoff { base: Duration::from_millis(100), cap: Duration::from_secs(1) };
        Subscription {
            name: "s".into(),
            serial: 1,
            partition: 0,
            qos: Qos::AtLeastOnce,
            mode: SubscriptionMode::Exclusive,
            durability: Durability::Named { id: None },
            retry: RetryPolicy { backoff, max_retries: 2, dead_letter: None },
            in_flight_max: 10,
            cursor: Cursor::new(Offset(0)),
            next: Offset(0),
            volatile_next: Offset(0),
            in_flight: InFlight::default(),
            redelivery: Redelivery::default(),
            burying: InFlight::default(),
            members: vec![MEMBER],
            turn: 0,
            counters: SubscriptionCounters::default(),
        }
    }

    const MEMBER: Member = Member { serial: 7, link: 0, binding: 1, source: 0, auto_settle: false };
    const DICE: u64 = 512;

    fn ms(ms: u64) -> Instant {
        Instant(ms * 1_000_000)
    }

    #[test]
    fn nothing_is_delivered_before_it_is_committed_or_beyond_the_in_flight_bound() {
        let mut sub = subscription();
        assert_eq!(sub.due(ms(0), Offset(0), Offset(0)), Due::Nothing);
        assert_eq!(sub.due(ms(0), Offset(0), Offset(4)), Due::New { first: Offset(0), end: Offset(4) });
        sub.delivered(ms(0), Offset(0), Offset(4), 1, &MEMBER, DICE);
        assert_eq!(sub.due(ms(0), Offset(0), Offset(100)), Due::New { first: Offset(4), end: Offset(10) });
        sub.delivered(ms(0), Offset(4), Offset(10), 1, &MEMBER, DICE);
        assert_eq!(sub.due(ms(0), Offset(0), Offset(100)), Due::Nothing);
        assert_eq!(sub.settle(Offset(2), Offset(5)), 3);
        assert_eq!(sub.due(ms(0), Offset(0), Offset(100)), Due::New { first: Offset(10), end: Offset(13) });
    }

    #[test]
    fn an_unacknowledged_record_comes_again_later_and_later_and_is_dead_after_the_last_retry() {
        let mut sub = subscription();
        sub.delivered(ms(0), Offset(0), Offset(1), 1, &MEMBER, DICE);
        let mut now = ms(0);
        for (attempt, delay) in [(1u16, 100), (2, 200), (3, 400)] {
            assert_eq!(sub.next_due(now), Some(now.plus_ms(delay)));
            now = now.plus_ms(delay);
            sub.time_out(now);
            let retry = Retry { first: Offset(0), end: Offset(1), attempts: attempt };
            if attempt == 3 {
                assert_eq!(sub.due(now, Offset(0), Offset(1)), Due::Dead(retry));
                break;
            }
            assert_eq!(sub.due(now, Offset(0), Offset(1)), Due::Again(retry));
            sub.redelivery.take_front(1);
            sub.delivered(now, Offset(0), Offset(1), attempt + 1, &MEMBER, DICE);
        }
        assert_eq!(sub.counters.redelivered, 2);
    }

    #[test]
    fn an_acknowledged_record_never_comes_again_even_when_its_retry_was_waiting() {
        let mut sub = subscription();
        sub.delivered(ms(0), Offset(0), Offset(3), 1, &MEMBER, DICE);
        sub.time_out(ms(100));
        assert_eq!(sub.settle(Offset(0), Offset(3)), 3);
        assert_eq!(sub.due(ms(1000), Offset(0), Offset(3)), Due::Nothing);
        assert_eq!((sub.outstanding(), sub.cursor.floor()), (0, Offset(3)));
    }

    #[test]
    fn what_is_acknowledged_on_its_way_to_the_dead_letters_is_settled_and_does_not_come_again() {
        for refused in [false, true] {
            let mut sub = subscription();
            sub.delivered(ms(0), Offset(0), Offset(3), 3, &MEMBER, DICE);
            sub.time_out(ms(1000));
            let Due::Dead(retry) = sub.due(ms(1000), Offset(0), Offset(3)) else { panic!("its retries are over") };
            sub.bury(retry, retry.end);
            assert_eq!(sub.settle(Offset(0), Offset(2)), 2);
            assert_eq!((sub.cursor.floor(), sub.outstanding()), (Offset(2), 1));
            if refused {
                sub.unburied(ms(2000), Offset(0), Offset(3));
                let again = Retry { first: Offset(2), end: Offset(3), attempts: 3 };
                assert_eq!(sub.due(ms(2000), Offset(0), Offset(3)), Due::Dead(again));
            } else {
                assert_eq!(sub.buried(Offset(0), Offset(3)), 1);
                assert_eq!((sub.cursor.floor(), sub.counters.dead, sub.counters.settled), (Offset(3), 1, 2));
            }
        }
    }

    #[test]
    fn a_lost_member_gives_back_what_it_held() {
        let mut sub = subscription();
        sub.delivered(ms(0), Offset(0), Offset(3), 1, &MEMBER, DICE);
        sub.leave(ms(5), MEMBER.serial);
        let retry = Retry { first: Offset(0), end: Offset(3), attempts: 1 };
        assert_eq!(sub.due(ms(5), Offset(0), Offset(3)), Due::Again(retry));
    }

    #[test]
    fn an_acknowledgement_of_what_was_never_delivered_is_nothing() {
        let mut sub = subscription();
        assert_eq!(sub.settle(Offset(0), Offset(50)), 0);
        assert_eq!(sub.due(ms(0), Offset(0), Offset(4)), Due::New { first: Offset(0), end: Offset(4) });
    }

    #[test]
    fn what_retention_took_is_counted_and_skipped() {
        let mut sub = subscription();
        sub.delivered(ms(0), Offset(0), Offset(2), 1, &MEMBER, DICE);
        sub.settle(Offset(1), Offset(2));
        assert_eq!(sub.due(ms(0), Offset(5), Offset(6)), Due::New { first: Offset(5), end: Offset(6) });
        assert_eq!((sub.counters.missed, sub.outstanding()), (4, 0));
    }

    #[test]
    fn a_nack_with_a_delay_waits_that_long() {
        let mut sub = subscription();
        sub.delivered(ms(0), Offset(0), Offset(2), 1, &MEMBER, DICE);
        assert_eq!(sub.nack(ms(1), Offset(0), Offset(1), 50, DICE), 1);
        assert_eq!(sub.next_due(ms(1)), Some(ms(51)));
    }
}
