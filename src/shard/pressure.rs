//! When to stop reading: who waits for what, and when they go on.

use std::collections::{BTreeMap, VecDeque};

use bytes::BytesMut;

use super::Core;
use super::event::{Action, Carry};
use super::receive::Input;
use super::refusal::Refusal;
use super::session::{Conn, Hold, Session};
use super::stats::Reason;
use crate::model::{ConnId, Limits, ShardId};

/// Bytes this shard holds, by class. The shard's bound is on their sum.
#[derive(Debug, Default)]
pub struct Memory {
    /// Received and not handled, and what is set aside for frames that are coming in.
    pub input: usize,
    /// Those of the input's bytes that are frames larger than one read: coming in, or waiting whole.
    pub frames: usize,
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
        self.input + self.kept()
    }

    /// Without the input, which waits for what is kept to become less, and so must not count against itself.
    pub fn kept(&self) -> usize {
        self.output + self.volatile + self.tail + self.history
    }
}

/// How a shard's memory is divided.
#[derive(Debug, PartialEq, Eq)]
struct Parts {
    /// For what is kept. Beyond: publishers wait.
    kept: usize,
    /// With no more than this kept, they go on.
    rested: usize,
    /// For large frames that are coming in.
    frames: usize,
}

impl Parts {
    /// Frames get a quarter, but leave what is kept the room that its own bounds ask for, and get one frame at least:
    /// the configuration is refused in which that is too much.
    fn of(limits: &Limits, has_logs: bool) -> Parts {
        let (stays, passes) =
            if has_logs { (limits.tail_max, limits.log_backlog_max) } else { (0, limits.memory_queue_max) };
        let asked_for = stays + passes + limits.outbox_max + limits.qos0_backlog_max;
        let spare = limits.memory_max.saturating_sub(asked_for);
        let frames = spare.min(limits.memory_max / 4).max(limits.frame_max);
        let kept = limits.memory_max.saturating_sub(frames);
        // The tail of a log stays although nobody waits for it: going on must not wait for less than that.
        let rested = (kept / 8 * 7).max(stays + kept.saturating_sub(stays) / 2);
        Parts { kept, rested, frames }
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
        let bytes = conn.unread.len();
        let large = if bytes > Limits::READ && hold != Hold::Frame { bytes } else { 0 };
        self.count_input(conn, bytes, large);
        conn.hold = Some(hold);
        self.pause(conn);
        match hold {
            Hold::Moving(shard) => self.moving.push((conn.id, shard)),
            Hold::Output | Hold::Denied(_) | Hold::Subscribing => {}
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
            Hold::Memory => self.memory.kept() <= self.parts().rested,
            Hold::Frame => self.has_room_for_frame(limits.frame_max),
            Hold::Moving(_) | Hold::Output | Hold::Denied(_) | Hold::Subscribing => false,
        }
    }

    /// What is kept is at its bound.
    #[inline]
    pub(super) fn is_short(&self) -> bool {
        self.memory.kept() > self.parts().kept
    }

    /// How much of QoS 0 backlogs leaves room in the whole, and lets publishers that wait for memory go on.
    pub(super) fn room_for_volatile(&self) -> usize {
        let Memory { volatile, .. } = self.memory;
        let in_all = (self.options.limits.memory_max / 8 * 7).saturating_sub(self.memory.used() - volatile);
        in_all.min(self.parts().rested.saturating_sub(self.memory.kept() - volatile))
    }

    /// Whether newcomers are turned away. Without a log, what is kept for subscribers does not count: one of them may
    /// be who comes.
    pub(super) fn turns_away(&self) -> bool {
        let waits_for_subscribers = if self.has_logs() { 0 } else { self.memory.tail };
        self.memory.used() - waits_for_subscribers > self.options.limits.memory_max
    }

    fn parts(&self) -> Parts {
        Parts::of(&self.options.limits, self.has_logs())
    }

    /// Sets room aside for all of a frame that is coming in, `whole` bytes; false: it has to wait. Otherwise the
    /// beginnings of many large frames could fill the memory, and none of them would ever be complete.
    pub(super) fn set_aside(&mut self, conn: &mut Conn, whole: usize) -> bool {
        let (all, large) = conn.counted;
        if whole <= Limits::READ {
            self.count_input(conn, whole.max(all), large);
            return true;
        }
        let room = large >= whole || self.has_room_for_frame(whole - large);
        if room {
            self.count_input(conn, whole, whole);
        }
        room
    }

    /// One large frame may always come in. Frames have a part of the memory to themselves: a whole one that waits for
    /// the log, say, is never waited for by what it waits for.
    fn has_room_for_frame(&self, bytes: usize) -> bool {
        self.memory.frames == 0 || self.memory.frames + bytes <= self.parts().frames
    }

    /// What a connection's input counts for from now on, and how much of it as a large frame.
    pub(super) fn count_input(&mut self, conn: &mut Conn, all: usize, large: usize) {
        let before = std::mem::replace(&mut conn.counted, (all, large));
        self.memory.input = self.memory.input - before.0 + all;
        self.memory.frames = self.memory.frames - before.1 + large;
    }

    /// Who has a large frame here and does not go on with it, while others wait to begin theirs, is closed: after the
    /// time that a peer has for its handshake.
    pub(super) fn end_stalled_frames(&mut self) {
        if !self.holding.waiting.contains_key(&Hold::Frame) {
            return;
        }
        let patience = self.options.limits.handshake_timeout;
        let theirs = |conn: &Conn| matches!(conn.hold, None | Some(Hold::Output));
        let conns = self.conns.iter().flatten().filter(|conn| conn.counted.1 > 0 && theirs(conn));
        let stalled = conns.filter(|conn| conn.heard + patience <= self.now);
        for id in stalled.map(|conn| conn.id).collect::<Vec<_>>() {
            let Some(mut conn) = self.take_conn(id) else { continue };
            let text = "a large frame does not go on, and others wait for memory";
            self.refuse(conn.link, 0, &Refusal::limit(Reason::MemoryLimit, text));
            self.close(&mut conn);
            self.put_conn(conn);
        }
    }

    /// Handles what waited; reads on unless it has to wait again.
    pub(super) fn release(&mut self, id: ConnId, hold: Hold) {
        let Some(mut conn) = self.take_conn(id) else { return };
        if conn.hold == Some(hold) {
            conn.hold = None;
            let unread = std::mem::take(&mut conn.unread);
            self.count_input(&mut conn, 0, 0);
            // It could not be heard while it was not read.
            conn.heard = self.now;
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
        let Some(mut conn) = self.take_conn(id) else { return };
        self.count_input(&mut conn, 0, 0);
        let Conn { link, mut session, unread, partial, .. } = *conn;
        debug_assert!(partial.is_empty(), "a frame that waits is whole");
        self.stats.moves_out += 1;
        self.drop_link(link);
        session.moves += 1;
        Session::forget_routes(&mut session);
        self.actions.push_back(Action::Move { conn: id, to, carry: Box::new(Carry { session, unread }) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_default_frames_have_a_quarter_of_the_memory() {
        let limits = Limits::default();
        let parts = Parts::of(&limits, true);
        assert_eq!((parts.frames, parts.kept), (limits.memory_max / 4, limits.memory_max / 4 * 3));
        assert!(parts.rested < parts.kept);
    }

    #[test]
    fn however_the_memory_is_divided_publishers_go_on_again_while_the_tail_is_full() {
        let mut dice = fastrand::Rng::with_seed(1);
        for _ in 0..10_000 {
            let mut any = || dice.usize(1..1 << 24);
            let limits = Limits {
                tail_max: any(),
                log_backlog_max: any(),
                memory_queue_max: any(),
                outbox_max: any(),
                qos0_backlog_max: any(),
                frame_max: any(),
                ..Limits::default()
            };
            let stays = limits.tail_max + limits.log_backlog_max + limits.memory_queue_max;
            let least = stays + limits.outbox_max + limits.qos0_backlog_max + limits.frame_max;
            let limits = Limits { memory_max: least + any(), ..limits };
            let parts = Parts::of(&limits, true);
            assert!(parts.frames >= limits.frame_max && parts.kept + parts.frames <= limits.memory_max);
            assert!(limits.tail_max < parts.rested && parts.rested < parts.kept, "{parts:?} of {limits:?}");
            let parts = Parts::of(&limits, false);
            assert!(parts.kept >= limits.memory_queue_max && parts.rested < parts.kept);
        }
    }
}
