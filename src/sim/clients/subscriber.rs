//! A client that subscribes, and acknowledges, refuses, forgets and dawdles.

use std::collections::VecDeque;

use super::{Hands, Line};
use crate::model::{Instant, Offset, Qos, StartAt, SubscriptionMode};
use crate::protocol::native::command;
use crate::protocol::native::reply::Deliver;
use crate::protocol::native::request::{Credit, How, Settle, SubscribeWith};
use crate::protocol::native::response::Response;
use crate::sim::dice::Dice;
use crate::sim::messages::TopicId;

/// What a subscriber is like.
#[derive(Clone, Debug)]
pub struct SubscriberPlan {
    pub version: u8,
    /// Version 1: this topic.
    pub topic: TopicId,
    /// Version 2: this pattern.
    pub pattern: Vec<u8>,
    /// Empty: not durable.
    pub name: String,
    pub qos: Qos,
    pub shared: bool,
    pub auto_acknowledge: bool,
    pub start: StartAt,
    pub credit: (u32, u32),
    pub retry_delay_ms: u32,
    pub max_retries: Option<u16>,
    pub dead_letter: Vec<u8>,
    /// Of a thousand deliveries: refused, forgotten; the rest is acknowledged.
    pub refuses_per_mille: u32,
    pub forgets_per_mille: u32,
    /// Turns in which it ends its subscription, and deletes it unless it is shared.
    pub unsubscribes_per_mille: u32,
    /// Turns in which it goes away for a while; what is durable stays.
    pub leaves_per_mille: u32,
    /// Longest time it takes over a delivery.
    pub dawdles_max_us: u64,
}

#[derive(Debug)]
pub struct Subscriber {
    plan: SubscriberPlan,
    asked: u64,
    number: Option<u64>,
    /// Answers to deliveries, each at its time.
    later: VecDeque<(Instant, Reply)>,
    /// Version 1: a POLL that may still be answered, and when it was said.
    polled: Option<Instant>,
    ask_again: Instant,
}

#[derive(Debug)]
enum Reply {
    Settle(Settle),
    Credit(Credit),
    Ack(u64),
}

impl Subscriber {
    pub fn new(plan: SubscriberPlan) -> Subscriber {
        let (later, ask_again) = (VecDeque::new(), Instant::NEVER);
        Subscriber { plan, asked: 0, number: None, later, polled: None, ask_again }
    }

    pub fn is_attached(&self) -> bool {
        self.number.is_some()
    }

    /// When the next answer is to be given.
    pub fn due(&self) -> Instant {
        self.later.front().map_or(Instant::NEVER, |(due, _)| *due)
    }

    pub fn begin(&mut self, line: &mut Line, hands: &mut Hands<'_>) {
        self.ask_again = Instant::NEVER;
        self.asked = line.next_correlation();
        if self.plan.version == 1 {
            let name = hands.book.name(self.plan.topic).as_bytes().to_vec();
            command::subscribe(&mut line.out, self.asked, &name, self.plan.qos);
            return;
        }
        let plan = &self.plan;
        let said = SubscribeWith {
            qos: plan.qos,
            mode: if plan.shared { SubscriptionMode::Shared } else { SubscriptionMode::Exclusive },
            auto_acknowledge: plan.auto_acknowledge,
            start: plan.start,
            credit_messages: plan.credit.0,
            credit_bytes: plan.credit.1,
            retry_delay_ms: plan.retry_delay_ms,
            max_retries: plan.max_retries,
            name: &plan.name,
            dead_letter: &plan.dead_letter,
            pattern: &plan.pattern,
        };
        command::subscribe_with(&mut line.out, self.asked, &said);
    }

    pub fn act(&mut self, line: &mut Line, hands: &mut Hands<'_>, dice: &mut Dice) -> Option<Instant> {
        if hands.now >= self.ask_again {
            self.begin(line, hands);
        }
        while self.later.front().is_some_and(|(due, _)| *due <= hands.now) {
            if let Some((_, reply)) = self.later.pop_front() {
                self.reply(line, reply);
            }
        }
        if let Some(number) = self.number {
            self.turn(line, hands, dice, number);
        }
        let due = self.due();
        let idle = if self.plan.version == 1 { 4 } else { 25 };
        Some(due.min(hands.now.plus_ms(idle)))
    }

    fn turn(&mut self, line: &mut Line, hands: &mut Hands<'_>, dice: &mut Dice, number: u64) {
        if self.plan.version == 1 {
            let waited = self.polled.is_none_or(|at| hands.now.since(at).as_millis() > 20);
            if waited {
                self.poll(line, hands.now, number);
            }
        } else if !hands.calm && dice.chance(self.plan.unsubscribes_per_mille) {
            // A shared subscription goes with its last member, and who is the last is for the shards to find out.
            self.end(line, number, !self.plan.shared);
            self.ask_again = hands.now.plus_ms(dice.between(0, 50));
        } else if !hands.calm && self.plan.leaves_per_mille > 0 && dice.chance(self.plan.leaves_per_mille) {
            self.end(line, number, false);
            self.ask_again = hands.now.plus_ms(dice.between(0, 300));
        }
    }

    fn end(&mut self, line: &mut Line, number: u64, delete: bool) {
        let correlation = line.next_correlation();
        command::unsubscribe(&mut line.out, correlation, number, delete);
        self.number = None;
        self.later.clear();
    }

    fn poll(&mut self, line: &mut Line, now: Instant, number: u64) {
        let correlation = line.next_correlation();
        command::poll(&mut line.out, correlation, number);
        self.polled = Some(now);
    }

    fn reply(&mut self, line: &mut Line, reply: Reply) {
        let correlation = line.next_correlation();
        match reply {
            Reply::Settle(said) => command::settle(&mut line.out, correlation, &said),
            Reply::Credit(said) => command::credit(&mut line.out, correlation, &said),
            Reply::Ack(tag) => {
                if let Some(number) = self.number {
                    command::ack(&mut line.out, tag, number);
                }
            }
        }
    }

    pub fn told(
        &mut self,
        line: &mut Line,
        hands: &mut Hands<'_>,
        dice: &mut Dice,
        (correlation, response): (u64, &Response<'_>),
    ) {
        match response {
            Response::Ack { subscription } if correlation == self.asked => self.number = Some(*subscription),
            Response::Subscribed(said) if correlation == self.asked => self.number = Some(said.subscription),
            Response::Nack { .. } if correlation == self.asked => {
                self.ask_again = hands.now.plus_ms(dice.between(5, 50));
            }
            Response::Deliver { deliver, batch } => self.delivered(hands, dice, deliver, batch.len()),
            Response::Publish(said) => {
                if said.qos == Qos::AtLeastOnce && !dice.chance(self.forgets(hands)) {
                    let due = self.pace(hands, dice);
                    self.put_off(due, Reply::Ack(correlation));
                }
                if let Some(number) = self.number {
                    self.poll(line, hands.now, number);
                }
            }
            _ => {}
        }
    }

    fn forgets(&self, hands: &Hands<'_>) -> u32 {
        if hands.calm { 0 } else { self.plan.forgets_per_mille }
    }

    fn pace(&self, hands: &Hands<'_>, dice: &mut Dice) -> Instant {
        let most = if hands.calm { 50 } else { self.plan.dawdles_max_us };
        hands.now + std::time::Duration::from_micros(dice.between(0, most))
    }

    fn put_off(&mut self, due: Instant, reply: Reply) {
        let at = self.later.partition_point(|(other, _)| *other <= due);
        self.later.insert(at, (due, reply));
    }

    fn delivered(&mut self, hands: &Hands<'_>, dice: &mut Dice, said: &Deliver, batch_len: usize) {
        let due = self.pace(hands, dice);
        if said.qos == Qos::AtLeastOnce && !self.plan.auto_acknowledge {
            self.decide(hands, dice, said, due);
        }
        let subscription = said.subscription;
        let bytes = (batch_len + 64) as u32;
        self.put_off(due, Reply::Credit(Credit { subscription, messages: said.count, bytes }));
    }

    fn decide(&mut self, hands: &Hands<'_>, dice: &mut Dice, said: &Deliver, due: Instant) {
        let (first, last) = (said.first_offset, Offset(said.first_offset.0 + u64::from(said.count) - 1));
        let settle = |how| Reply::Settle(Settle { subscription: said.subscription, source: said.source, how });
        let lot = dice.below(1000) as u32;
        let refuses = if hands.calm { 0 } else { self.plan.refuses_per_mille };
        if lot < refuses {
            let delay_ms = if dice.chance(500) { 0 } else { dice.between(1, 60) as u32 };
            self.put_off(due, settle(How::Refuse { first, last, delay_ms }));
        } else if lot < refuses + self.forgets(hands) {
            // Nothing is said: the broker has to try again.
        } else if dice.chance(150) && !self.plan.shared {
            self.put_off(due, settle(How::UpTo { last }));
        } else if dice.chance(200) && said.count > 1 {
            let middle = Offset(first.0 + dice.below(u64::from(said.count) - 1));
            self.put_off(due, settle(How::Range { first: middle.plus(1), last }));
            let due = self.pace(hands, dice);
            self.put_off(due, settle(How::Range { first, last: middle }));
        } else {
            self.put_off(due, settle(How::Range { first, last }));
        }
    }

    pub fn gone(&mut self) {
        self.number = None;
        self.polled = None;
        self.later.clear();
    }
}
