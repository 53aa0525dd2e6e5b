//! When to stop reading: who waits for what, and when they go on.

use std::collections::{BTreeMap, VecDeque};

use bytes::BytesMut;

use super::Core;
use super::event::{Action, Carry};
use super::receive::Input;
use super::session::{Conn, Hold, Session};
use crate::model::{ConnId, Limits, ShardId};

/// Bytes this shard holds, by class. The shard's bound is on their sum.
#[derive(Debug, Default)]
pub struct Memory {
    /// Received, not handled.
    pub input: usize,
    /// Written to connections, not taken by their sockets.
    pub output: usize,
    /// QoS 0 records for slow subscribers.
    pub volatile: usize,
    /// QoS 1 records for readers.
    pub tail: usize,
    /// Read back from logs.
    pub history: usize,
}

impl Memory {
    pub fn used(&self) -> usize {
        self.input + self.output + self.volatile + self.tail + self.history
    }
}

/// Connections whose input waits, by what for, in the order they came.
#[derive(Debug, Default)]
pub struct Holding {
    waiting: BTreeMap<Hold, VecDeque<ConnId>>,
}

impl Holding {
    fn push(&mut self, hold: Hold, conn: ConnId) {
        self.waiting.entry(hold).or_default().push_back(conn);
    }

    fn pop(&mut self, hold: Hold) -> Option<ConnId> {
        let queue = self.waiting.get_mut(&hold)?;
        let conn = queue.pop_front();
        if queue.is_empty() {
            self.waiting.remove(&hold);
        }
        conn
    }
}

impl Core {
    /// Stops reading a connection; the frame at hand and what follows it wait.
    pub(super) fn hold(&mut self, conn: &mut Conn, hold: Hold, mut input: Input) {
        let unread = input.bytes.split_off(input.at);
        conn.unread = if unread.len() < Limits::READ / 2 { BytesMut::from(&unread[..]) } else { unread };
        self.memory.input += conn.unread.len();
        conn.hold = Some(hold);
        self.pause(conn);
        match hold {
            Hold::Moving(shard) => self.moving.push((conn.id, shard)),
            Hold::Output | Hold::Denied(_) => {}
            hold => self.holding.push(hold, conn.id),
        }
    }

    fn pause(&mut self, conn: &mut Conn) {
        if !conn.paused {
            conn.paused = true;
            self.stats.pauses += 1;
            self.actions.push_back(Action::Pause { conn: conn.id });
        }
    }

    /// Lets those go on whose reason to wait is gone, one at a time, until it is there again.
    pub(super) fn release_holds(&mut self) {
        self.unpark();
        if self.holding.waiting.is_empty() {
            return;
        }
        let holds: Vec<Hold> = self.holding.waiting.keys().copied().collect();
        for hold in holds {
            let most = self.holding.waiting.get(&hold).map_or(0, VecDeque::len);
            for _ in 0..most {
                if !self.may_release(hold) {
                    break;
                }
                let Some(id) = self.holding.pop(hold) else { break };
                self.release(id, hold);
            }
        }
    }

    /// Room is given back in steps of half the bound, so that a full log is not a stream of small wake-ups.
    fn may_release(&self, hold: Hold) -> bool {
        let limits = &self.options.limits;
        match hold {
            Hold::Log(index) => {
                let log = &self.logs[index];
                log.accepts().is_err() || log.log.backlog() < limits.log_backlog_max / 2
            }
            Hold::Mesh(shard) => self.peers[shard.index()].outstanding < limits.mesh_max / 2,
            Hold::Queue(index) => {
                self.partitions.get(index).is_none_or(|partition| partition.tail.bytes() < limits.memory_queue_max)
            }
            Hold::Memory => self.memory.used() < limits.memory_max / 8 * 7,
            Hold::Moving(_) | Hold::Output | Hold::Denied(_) => false,
        }
    }

    /// Handles what waited; reads on unless it has to wait again.
    fn release(&mut self, id: ConnId, hold: Hold) {
        let Some(mut conn) = self.take_conn(id) else { return };
        if conn.hold == Some(hold) {
            conn.hold = None;
            let unread = std::mem::take(&mut conn.unread);
            self.memory.input -= unread.len();
            self.read(&mut conn, unread);
            if conn.hold.is_none() && conn.paused {
                conn.paused = false;
                self.actions.push_back(Action::Resume { conn: id });
            }
        }
        self.put_conn(conn);
    }

    /// A connection's output was taken: it may go on that waited for that.
    pub(super) fn output_drained(&mut self, id: ConnId) {
        let Some(conn) = self.conn(id) else { return };
        let backlog = self.links[conn.link].backlog();
        match conn.hold {
            Some(Hold::Moving(shard)) if backlog == 0 => self.send_away(id, shard),
            Some(Hold::Output) if backlog <= self.options.limits.outbox_max / 2 => self.release(id, Hold::Output),
            _ => {}
        }
    }

    /// Connections that are to move and have nothing left to send, go.
    pub(super) fn move_idle(&mut self) {
        while let Some((id, shard)) = self.moving.pop() {
            let ready = self.conn(id).is_some_and(|conn| self.links[conn.link].backlog() == 0);
            if ready {
                self.send_away(id, shard);
            }
        }
    }

    fn send_away(&mut self, id: ConnId, to: ShardId) {
        let Some(conn) = self.take_conn(id) else { return };
        let Conn { link, mut session, unread, partial, .. } = *conn;
        debug_assert!(partial.is_empty(), "a frame that waits is whole");
        self.memory.input -= unread.len();
        self.stats.moves_out += 1;
        self.drop_link(link);
        session.moves += 1;
        Session::forget_routes(&mut session);
        self.actions.push_back(Action::Move { conn: id, to, carry: Box::new(Carry { session, unread }) });
    }
}
