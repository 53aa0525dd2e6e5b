//! Connections come, say who they are, and go.

use std::net::IpAddr;

use bytes::{Bytes, BytesMut};

use super::Core;
use super::event::{Action, Arrival, Crowd, Disconnect};
use super::letter::Letter;
use super::link::{Link, LinkIndex};
use super::receive::{Flow, Input};
use super::refusal::Refusal;
use super::session::{Conn, Hold, Phase, Session};
use super::stats::Reason;
use super::timers::Timer;
use crate::auth::Offence;
use crate::model::{Chunk, ConnId, Instant, ShardId, TopicName};
use crate::protocol::ErrorCode;
use crate::protocol::native::frame::Frame;
use crate::protocol::native::reply::{self, Welcome};
use crate::protocol::native::request::{self, GoAway, Request};

/// Deadlines of connections are rounded up to multiples of this: whoever opened ten thousand of them does not wake the
/// core ten thousand times, each for one that has shaken hands long ago.
const TOGETHER_NS: u64 = 100_000_000;

fn together(deadline: Instant) -> Instant {
    deadline.0.checked_next_multiple_of(TOGETHER_NS).map_or(Instant::NEVER, Instant)
}

impl Core {
    pub(super) fn connected(&mut self, id: ConnId, peer: IpAddr, arrival: Arrival) {
        let (session, unread, crowd) = match arrival {
            Arrival::Accepted(crowd) => (Session::new(), BytesMut::new(), crowd),
            Arrival::Moved(carry) => {
                self.stats.moves_in += 1;
                (carry.session, carry.unread, Crowd::default())
            }
        };
        let fresh = session.phase == Phase::Hello;
        let link = self.links.insert(Link::new(id, session.version));
        let mut conn = Box::new(Conn {
            id,
            peer,
            link,
            session,
            partial: BytesMut::new(),
            counted: (0, 0),
            unread: BytesMut::new(),
            hold: None,
            paused: false,
            opened: self.now,
            heard: self.now,
            timer: Instant::NEVER,
            complained: false,
        });
        self.stats.connections_opened += u64::from(fresh);
        self.arm_conn(&mut conn);
        let slot = id.slot as usize;
        if self.conns.len() <= slot {
            self.conns.resize_with(slot + 1, || None);
        }
        assert!(self.conns[slot].is_none(), "a slot holds one connection");
        self.conns[slot] = Some(conn);
        if !fresh {
            self.renew(id);
        }
        if fresh && self.drain.is_on() {
            self.turn_away(id, &Refusal::draining());
        } else if let Some(refusal) = self.too_many(crowd) {
            self.turn_away(id, &refusal);
        } else if !unread.is_empty() {
            self.received(id, unread);
        }
    }

    fn too_many(&self, crowd: Crowd) -> Option<Refusal> {
        if self.turns_away() && crowd != Crowd::default() {
            return Some(Refusal::limit(Reason::MemoryLimit, "the broker is at its memory bound"));
        }
        let limits = &self.options.limits;
        let text = match crowd {
            Crowd { all, .. } if all > limits.connections_max => "too many connections",
            Crowd { from_address, .. } if from_address > limits.connections_per_address_max => {
                "too many connections from this address"
            }
            _ => return None,
        };
        Some(Refusal::limit(Reason::ConnectionLimit, text))
    }

    fn turn_away(&mut self, id: ConnId, refusal: &Refusal) {
        let Some(mut conn) = self.take_conn(id) else { return };
        self.refuse(conn.link, 0, refusal);
        self.close(&mut conn);
        self.put_conn(conn);
    }

    /// Takes a connection out while it is worked on; [`Core::put_conn`] puts it back.
    pub(super) fn take_conn(&mut self, id: ConnId) -> Option<Box<Conn>> {
        let slot = self.conns.get_mut(id.slot as usize)?;
        if slot.as_ref()?.id != id {
            return None;
        }
        slot.take()
    }

    /// Puts a connection back, unless it has moved away.
    pub(super) fn put_conn(&mut self, conn: Box<Conn>) {
        let slot = conn.id.slot as usize;
        self.conns[slot] = Some(conn);
    }

    pub(super) fn conn(&self, id: ConnId) -> Option<&Conn> {
        self.conns.get(id.slot as usize)?.as_deref().filter(|conn| conn.id == id)
    }

    /// HELLO, then AUTH, and nothing else before.
    pub(super) fn handshake(&mut self, conn: &mut Conn, input: &Input, frame: &Frame) -> Flow {
        let correlation = frame.correlation;
        let payload = &input.bytes[input.at + frame.payload.start..input.at + frame.end];
        if conn.session.phase == Phase::Closing {
            return Flow::Close;
        }
        if !request::is_handshake(frame.kind) {
            let refusal = Refusal::new(ErrorCode::Unauthenticated, Reason::Unauthenticated, "unauthenticated");
            self.refuse(conn.link, correlation, &refusal);
            return Flow::Go;
        }
        match (conn.session.phase, request::decode(conn.session.version, frame.kind, payload)) {
            (_, Err(malformed)) => self.malformed(conn, correlation, malformed),
            (Phase::Hello, Ok(Request::Hello { version, .. })) => self.hello(conn, correlation, version),
            (Phase::Auth, Ok(Request::Auth { key })) => self.authenticate(conn, correlation, key.as_bytes()),
            (Phase::Hello, Ok(_)) => self.bad_order(conn, correlation, "AUTH before HELLO"),
            (_, Ok(_)) => self.bad_order(conn, correlation, "HELLO was said already"),
        }
    }

    fn bad_order(&mut self, conn: &mut Conn, correlation: u64, text: &'static str) -> Flow {
        self.refuse(conn.link, correlation, &Refusal::bad(text));
        Flow::Go
    }

    fn hello(&mut self, conn: &mut Conn, correlation: u64, version: u16) -> Flow {
        if version != 1 && version != 2 {
            let refusal = Refusal::new(ErrorCode::UnsupportedVersion, Reason::Version, "unsupported protocol version");
            self.refuse(conn.link, correlation, &refusal);
            return Flow::Go;
        }
        conn.session.version = version as u8;
        conn.session.phase = Phase::Auth;
        self.links[conn.link].version = version as u8;
        if version == 1 {
            self.reply(conn.link, |out| reply::ack(out, correlation, 0));
            return Flow::Go;
        }
        let limits = &self.options.limits;
        let welcome = Welcome {
            version,
            capabilities: 0,
            frame_max: limits.frame_max as u32,
            aliases_max: limits.aliases_max,
            in_flight_max: limits.in_flight_max,
            topic_len_max: TopicName::MAX as u16,
            shards: self.options.shards,
        };
        self.reply(conn.link, |out| reply::welcome(out, correlation, &welcome));
        Flow::Go
    }

    fn authenticate(&mut self, conn: &mut Conn, correlation: u64, key: &[u8]) -> Flow {
        match self.options.keys.authenticate(key) {
            Some(identity) => {
                conn.session.identity = Some(identity.clone());
                conn.session.phase = Phase::Open;
                self.arm_conn(conn);
                self.reply(conn.link, |out| reply::ack(out, correlation, 0));
                Flow::Go
            }
            None => self.denied(conn, correlation),
        }
    }

    /// A wrong key: the answer waits, longer each time for the same address. Nothing more is read meanwhile, and nobody
    /// else waits for it.
    fn denied(&mut self, conn: &mut Conn, correlation: u64) -> Flow {
        let Offence { failures, delay } = self.offenders.note(conn.peer, self.now);
        // One line for the first, the second, the fourth and so on of an address.
        if failures == 0 || failures.is_power_of_two() {
            if let Some(silent) = self.denial_log.due(self.now) {
                log::warn!(
                    "connection {} from {}: invalid API key ({failures} from there of late){silent}",
                    conn.id,
                    conn.peer
                );
            }
        }
        self.timers.set(self.now + delay, Timer::Denial(conn.id));
        Flow::Hold(Hold::Denied(correlation))
    }

    /// The answer to a wrong key has waited long enough.
    pub(super) fn deny(&mut self, id: ConnId) {
        let Some(mut conn) = self.take_conn(id) else { return };
        if let Some(Hold::Denied(correlation)) = conn.hold {
            let refusal = Refusal::new(ErrorCode::Unauthenticated, Reason::WrongKey, "invalid API key");
            self.refuse(conn.link, correlation, &refusal);
            self.close(&mut conn);
        }
        self.put_conn(conn);
    }

    /// Sets the connection's timer, unless one is set that fires before: that one looks again.
    pub(super) fn arm_conn(&mut self, conn: &mut Conn) {
        let limits = &self.options.limits;
        let deadline = match conn.session.phase {
            Phase::Open if limits.idle_timeout.is_zero() => return,
            Phase::Open => conn.heard + limits.idle_timeout,
            _ => conn.opened + limits.handshake_timeout,
        };
        let deadline = together(deadline);
        if deadline < conn.timer {
            conn.timer = deadline;
            self.timers.set(deadline, Timer::Conn(conn.id));
        }
    }

    /// A connection's deadline: it is closed if it has been silent for so long, or is not who it should be by now.
    pub(super) fn conn_due(&mut self, id: ConnId) {
        let Some(mut conn) = self.take_conn(id) else { return };
        if conn.timer > self.now {
            return self.put_conn(conn);
        }
        conn.timer = Instant::NEVER;
        let limits = &self.options.limits;
        let idle = !limits.idle_timeout.is_zero() && conn.heard + limits.idle_timeout <= self.now;
        match conn.session.phase {
            Phase::Closing => {}
            Phase::Open if idle => {
                self.stats.refused[Reason::IdleTimeout as usize] += 1;
                self.say_goodbye(conn.link, ErrorCode::OverLimit, "idle for too long");
                self.close(&mut conn);
            }
            Phase::Open => self.arm_conn(&mut conn),
            _ if conn.opened + limits.handshake_timeout <= self.now => {
                let refusal =
                    Refusal::new(ErrorCode::Unauthenticated, Reason::HandshakeTimeout, "handshake took too long");
                self.refuse(conn.link, 0, &refusal);
                self.close(&mut conn);
            }
            _ => self.arm_conn(&mut conn),
        }
        self.put_conn(conn);
    }

    /// Version 2 hears why; version 1 has no word for it.
    pub(super) fn say_goodbye(&mut self, link: LinkIndex, code: ErrorCode, text: &str) {
        if self.links[link].version == 2 {
            let go_away = GoAway { code: code.as_u16(), retry_after_ms: 1000, text };
            self.reply(link, |out| reply::go_away(out, &go_away));
        }
    }

    /// Ends a connection: what was written still goes out, what arrives is not read.
    pub(super) fn close(&mut self, conn: &mut Conn) {
        if conn.session.phase == Phase::Closing {
            return;
        }
        conn.session.phase = Phase::Closing;
        self.count_input(conn, 0, 0);
        conn.unread = BytesMut::new();
        conn.partial = BytesMut::new();
        conn.hold = None;
        self.detach_all(conn);
        self.flush_link(conn.link);
        self.actions.push_back(Action::Close { conn: conn.id });
    }

    pub(super) fn disconnected(&mut self, id: ConnId, why: Disconnect) {
        let Some(mut conn) = self.take_conn(id) else { return };
        log::debug!("connection {id} from {} ended: {why:?}", conn.peer);
        self.stats.connections_closed += 1;
        if conn.session.phase != Phase::Closing {
            self.count_input(&mut conn, 0, 0);
            self.detach_all(&mut conn);
        }
        self.queries.retain(|(asker, _), _| *asker != id);
        self.drop_link(conn.link);
    }

    /// Ends everything a connection subscribes to, here and elsewhere.
    fn detach_all(&mut self, conn: &mut Conn) {
        self.detach_link(conn.link);
        conn.session.subscriptions.clear();
        if self.options.shards > 1 {
            for shard in self.other_shards() {
                self.write_letter(shard, Letter::Gone { conn: conn.id });
            }
        }
    }

    /// Frees a link whose connection is gone; what other shards wrote for it and was not sent, they get back.
    pub(super) fn drop_link(&mut self, index: LinkIndex) {
        let link = self.links.remove(index);
        self.dirty.retain(|dirty| *dirty != index);
        self.memory.output -= link.backlog();
        for (shard, bytes) in link.owed {
            if let Some(shard) = shard {
                self.write_letter(shard, Letter::Taken { conn: link.conn, bytes });
            }
        }
    }

    /// Writes small frames to a link.
    #[inline]
    pub(super) fn reply(&mut self, index: LinkIndex, encode: impl FnOnce(&mut BytesMut)) {
        let link = &mut self.links[index];
        let before = link.written();
        link.write(encode);
        self.memory.output += link.written() - before;
        self.mark_dirty(index);
    }

    #[inline]
    pub(super) fn mark_dirty(&mut self, index: LinkIndex) {
        let link = &mut self.links[index];
        if !link.dirty {
            link.dirty = true;
            self.dirty.push(index);
        }
    }

    /// Writes a header and shared bytes to a link.
    #[inline]
    pub(super) fn push(&mut self, index: LinkIndex, head: &[u8], body: Bytes) {
        self.memory.output += head.len() + body.len();
        self.links[index].push(head, body);
        self.mark_dirty(index);
    }

    /// Hands this step's output on: to the socket, or to the shard that holds it.
    pub(super) fn flush_links(&mut self) {
        while let Some(index) = self.dirty.pop() {
            self.flush_link(index);
        }
    }

    fn flush_link(&mut self, index: LinkIndex) {
        let Some(link) = self.links.get_mut(index) else { return };
        if link.written() == 0 {
            link.dirty = false;
            return;
        }
        let (conn, bytes) = (link.conn, link.written());
        let chunks = link.take_output();
        if conn.shard == self.options.shard {
            if !link.owed.is_empty() {
                let owed: usize = link.owed.iter().map(|(_, bytes)| bytes).sum();
                link.owed.push_back((None, link.unsent - owed));
            }
            self.stats.bytes_out += bytes as u64;
            self.actions.push_back(Action::Send { conn, chunks });
        } else {
            self.write_letter(conn.shard, Letter::Output { conn, chunks });
        }
    }

    /// The socket took more: shards that wrote it hear of it, and who waited for room goes on.
    pub(super) fn sent(&mut self, id: ConnId, bytes: usize) {
        let Some(index) = self.conn(id).map(|conn| conn.link) else { return };
        self.taken(index, bytes);
        let mut left = bytes;
        while left > 0 {
            let Some((shard, owed)) = self.links[index].owed.front_mut() else { break };
            let part = left.min(*owed);
            *owed -= part;
            left -= part;
            let (shard, empty) = (*shard, *owed == 0);
            if empty {
                self.links[index].owed.pop_front();
            }
            if let Some(shard) = shard {
                self.write_letter(shard, Letter::Taken { conn: id, bytes: part });
            }
        }
        self.output_drained(id);
    }

    /// `bytes` of a link's output are gone.
    pub(super) fn taken(&mut self, index: LinkIndex, bytes: usize) {
        let link = &mut self.links[index];
        assert!(bytes <= link.unsent, "a socket takes what it was given");
        link.unsent -= bytes;
        self.memory.output -= bytes;
        if link.wanted && link.has_room(usize::MAX) {
            link.wanted = false;
            self.wake_link(index);
        }
    }

    /// Frames that another shard wrote for a connection of ours.
    pub(super) fn forward_output(&mut self, from: ShardId, id: ConnId, chunks: Vec<Chunk>) {
        let Some(index) = self.conn(id).map(|conn| conn.link) else {
            let bytes = chunks.iter().map(Chunk::len).sum();
            self.write_letter(from, Letter::Taken { conn: id, bytes });
            return;
        };
        let link = &mut self.links[index];
        let before = link.backlog() - link.owed.iter().map(|(_, bytes)| bytes).sum::<usize>();
        if before > 0 {
            link.owed.push_back((None, before));
        }
        let bytes = link.append(chunks);
        link.owed.push_back((Some(from), bytes));
        self.memory.output += bytes;
        self.mark_dirty(index);
    }
}
