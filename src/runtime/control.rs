//! How threads outside the shards talk to them.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::model::ShardId;
use crate::shard::{Answer, Question};

/// One thing a thread outside asks of a shard.
#[derive(Debug)]
pub enum Order {
    /// Put this to the core; its answer goes to `reply`.
    Ask { question: Question, reply: Sender<(ShardId, Answer)> },
    /// Begin to accept connections: the listening socket is open.
    Serve,
    /// Accept no more connections.
    Refuse,
    /// End. What is written stays written.
    Stop,
}

/// A shard's letter box. The lock is taken once per order, never on the message path.
#[derive(Debug, Default)]
pub struct Mailbox {
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    orders: VecDeque<Order>,
    /// The task that waits; glommio's wakers may be used from any thread.
    waiting: Option<Waker>,
    closed: bool,
}

impl Mailbox {
    /// False when the shard has ended.
    pub fn post(&self, order: Order) -> bool {
        let mut inside = self.lock();
        if inside.closed {
            return false;
        }
        inside.orders.push_back(order);
        if let Some(waker) = &inside.waiting {
            waker.wake_by_ref();
        }
        true
    }

    /// The next order; the task of `cx` is woken when one comes.
    pub fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Order> {
        let mut inside = self.lock();
        match inside.orders.pop_front() {
            Some(order) => Poll::Ready(order),
            None => {
                inside.waiting = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// The shard has ended: whoever still asks gets no answer instead of waiting for one.
    pub fn close(&self) {
        let mut inside = self.lock();
        inside.closed = true;
        inside.waiting = None;
        inside.orders.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        // A panic ends the process; a poisoned lock is only ever seen on the way out.
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The shards, as threads outside see them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Control {
    boxes: Arc<[Arc<Mailbox>]>,
}

impl Control {
    /// One mailbox for each of `shards`.
    pub fn new(shards: usize) -> Control {
        Control { boxes: (0..shards).map(|_| Arc::default()).collect() }
    }

    /// How many shards there are.
    pub fn shards(&self) -> usize {
        self.boxes.len()
    }

    /// The mailbox of one shard.
    pub fn mailbox(&self, shard: ShardId) -> Arc<Mailbox> {
        self.boxes[shard.index()].clone()
    }

    /// Gives every shard an order.
    pub fn tell_all(&self, order: impl Fn() -> Order) {
        for mailbox in self.boxes.iter() {
            mailbox.post(order());
        }
    }

    /// Asks one shard; `None` when it does not answer within `patience`.
    pub fn ask(&self, shard: ShardId, question: Question, patience: Duration) -> Option<Answer> {
        let (reply, answers) = channel();
        self.boxes[shard.index()].post(Order::Ask { question, reply });
        answers.recv_timeout(patience).ok().map(|(_, answer)| answer)
    }

    /// Asks every shard at once; a shard that does not answer within `patience` leaves a gap.
    pub fn ask_all(&self, question: &Question, patience: Duration) -> Vec<Option<Answer>> {
        let (reply, answers) = channel();
        for mailbox in self.boxes.iter() {
            mailbox.post(Order::Ask { question: question.clone(), reply: reply.clone() });
        }
        drop(reply);
        self.collect(&answers, patience)
    }

    fn collect(&self, answers: &Receiver<(ShardId, Answer)>, patience: Duration) -> Vec<Option<Answer>> {
        let deadline = Instant::now() + patience;
        let mut all: Vec<Option<Answer>> = (0..self.shards()).map(|_| None).collect();
        while let Ok((shard, answer)) = answers.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            all[shard.index()] = Some(answer);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_come_in_the_order_they_were_given() {
        let mailbox = Mailbox::default();
        let mut cx = Context::from_waker(Waker::noop());
        assert!(mailbox.poll_next(&mut cx).is_pending());
        assert!(mailbox.post(Order::Serve) && mailbox.post(Order::Stop));
        assert!(matches!(mailbox.poll_next(&mut cx), Poll::Ready(Order::Serve)));
        assert!(matches!(mailbox.poll_next(&mut cx), Poll::Ready(Order::Stop)));
    }

    #[test]
    fn a_shard_that_has_ended_leaves_a_gap_instead_of_a_wait() {
        let control = Control::new(2);
        control.mailbox(ShardId(1)).close();
        let started = Instant::now();
        control.mailbox(ShardId(0)).close();
        let answers = control.ask_all(&Question::Stats, Duration::from_secs(30));
        assert!(answers.iter().all(Option::is_none));
        assert!(started.elapsed() < Duration::from_secs(5));
    }
}
