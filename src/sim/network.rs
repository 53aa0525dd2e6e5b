//! Connections between clients and shards, as bad as TCP can be: cut into any pieces, stalled, closed, reset.
//!
//! A link is one TCP connection as its client sees it; a [`ConnId`] is what the shard that holds it calls it at the
//! moment. Bytes up: queue of the client, then one `Event::Received` at a time. Bytes down: outbox of the process,
//! then the socket's bounded buffer (which is when `Event::Sent` is told), then the client.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::dice::Dice;
use super::violation::{Checked, must};
use crate::model::{Chunk, ConnId, Instant, Limits, ShardId};
use crate::shard::{Arrival, Carry, Crowd, Disconnect, Event};

/// One TCP connection; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u32);

/// How slow and how bad a network is.
#[derive(Clone, Debug)]
pub struct NetFaults {
    pub delay: (Duration, Duration),
    /// Pieces that take `stall` longer.
    pub stall_per_mille: u32,
    pub stall: (Duration, Duration),
    /// Links that are cut into tiny pieces.
    pub crumbs_per_mille: u32,
    /// Pieces after which the link is reset instead of the next one being carried.
    pub reset_per_million: u32,
    /// Bytes that a socket's buffer holds, between.
    pub buffer: (u64, u64),
}

impl NetFaults {
    pub fn calm() -> NetFaults {
        NetFaults {
            delay: (Duration::from_micros(10), Duration::from_micros(100)),
            stall_per_mille: 0,
            stall: (Duration::ZERO, Duration::ZERO),
            crumbs_per_mille: 0,
            reset_per_million: 0,
            buffer: (64 * 1024, 64 * 1024),
        }
    }
}

/// Something the network does at its own time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetMoment {
    /// The connection reaches the shard it was made to, or moved to.
    Arrive(LinkId, ShardId),
    /// The process reads what has come.
    Up(LinkId),
    /// The process is told that the socket took bytes.
    Sent(LinkId, ConnId, usize),
    /// The client reads what has come.
    Down(LinkId),
    /// The process gives up writing and closes.
    CloseDeadline(LinkId),
    /// The process learns that the socket is gone.
    Gone(LinkId, Disconnect),
    /// The client learns that the connection is gone.
    ClientGone(LinkId),
}

/// What a moment brought.
#[derive(Debug)]
pub enum NetOutcome {
    Nothing,
    ToCore { link: LinkId, shard: ShardId, event: Event },
    ToClient { link: LinkId, bytes: Bytes },
    ClientGone { link: LinkId },
}

#[derive(Debug)]
struct Link {
    server: ServerSide,
    client_open: bool,
    /// The client has said all it will.
    finished: bool,
    paused: bool,
    up: BytesMut,
    up_planned: bool,
    outbox: BytesMut,
    buffer: BytesMut,
    buffer_max: usize,
    down_planned: bool,
    /// The client does not read before.
    held_until: Instant,
    /// `Event::Sent` keeps its order.
    told_sent: Instant,
    /// The largest piece, by link.
    piece_max: usize,
    carry: Option<Box<Carry>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ServerSide {
    Coming,
    Open(ConnId),
    /// Told to close; writing what is left.
    Closing(ConnId),
    Gone,
}

#[derive(Debug)]
pub struct Network {
    links: Vec<Link>,
    by_conn: BTreeMap<ConnId, LinkId>,
    slots: Vec<Slots>,
    planned: Vec<(Instant, NetMoment)>,
    pub faults: NetFaults,
    dice: Dice,
}

/// The connection slots of one shard.
#[derive(Debug, Default)]
struct Slots {
    generations: Vec<u32>,
    free: Vec<u32>,
}

impl Slots {
    fn take(&mut self, shard: ShardId) -> ConnId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.generations.push(0);
            self.generations.len() as u32 - 1
        });
        let generation = &mut self.generations[slot as usize];
        *generation += 1;
        ConnId { shard, slot, generation: *generation }
    }

    fn give_back(&mut self, conn: ConnId) {
        self.free.push(conn.slot);
    }
}

impl Network {
    pub fn new(faults: NetFaults, dice: Dice) -> Network {
        Network { links: Vec::new(), by_conn: BTreeMap::new(), slots: Vec::new(), planned: Vec::new(), faults, dice }
    }

    /// A process with so many shards has started.
    pub fn process_started(&mut self, shards: usize) {
        self.slots = (0..shards).map(|_| Slots::default()).collect();
    }

    /// What the network wants to do and when; the world asks after every call.
    pub fn take_planned(&mut self) -> Vec<(Instant, NetMoment)> {
        std::mem::take(&mut self.planned)
    }

    fn plan(&mut self, when: Instant, moment: NetMoment) {
        self.planned.push((when, moment));
    }

    fn delay(&mut self) -> Duration {
        let mut delay = self.dice.delay(self.faults.delay);
        if self.dice.chance(self.faults.stall_per_mille) {
            delay += self.dice.delay(self.faults.stall);
        }
        delay
    }

    fn link(&mut self, link: LinkId) -> &mut Link {
        &mut self.links[link.0 as usize]
    }

    fn piece(&mut self, link: LinkId, available: usize) -> usize {
        let most = self.link(link).piece_max.min(available);
        if self.dice.chance(300) { most } else { self.dice.between(1, most as u64) as usize }
    }

    /// The name of a link's socket in its process, while it has one.
    pub fn conn(&self, link: LinkId) -> Option<ConnId> {
        match self.links[link.0 as usize].server {
            ServerSide::Open(conn) | ServerSide::Closing(conn) => Some(conn),
            ServerSide::Coming | ServerSide::Gone => None,
        }
    }

    /// Whether the process goes on reading a link.
    pub fn reads(&self, link: LinkId) -> bool {
        let state = &self.links[link.0 as usize];
        matches!(state.server, ServerSide::Open(_)) && !state.paused
    }

    /// Sockets that the process holds.
    pub fn open(&self) -> usize {
        self.by_conn.len()
    }
}

/// The client's side.
impl Network {
    /// A client connects; some shard accepts.
    pub fn connect(&mut self, now: Instant, shard: ShardId) -> LinkId {
        let id = LinkId(self.links.len() as u32);
        let crumbs = self.dice.chance(self.faults.crumbs_per_mille);
        let piece_max = if crumbs { *self.dice.pick(&[1, 2, 7, 50]) } else { *self.dice.pick(&[1000, Limits::READ]) };
        self.links.push(Link {
            server: ServerSide::Coming,
            client_open: true,
            finished: false,
            paused: false,
            up: BytesMut::new(),
            up_planned: false,
            outbox: BytesMut::new(),
            buffer: BytesMut::new(),
            buffer_max: self.dice.between(self.faults.buffer.0, self.faults.buffer.1) as usize,
            down_planned: false,
            held_until: now,
            told_sent: now,
            piece_max,
            carry: None,
        });
        let when = now + self.delay();
        self.plan(when, NetMoment::Arrive(id, shard));
        id
    }

    pub fn write(&mut self, now: Instant, link: LinkId, bytes: &[u8]) {
        if self.link(link).client_open && !self.link(link).finished {
            self.link(link).up.extend_from_slice(bytes);
            self.plan_up(now, link);
        }
    }

    /// Bytes the client has written and the process has not read.
    pub fn unread(&self, link: LinkId) -> usize {
        self.links[link.0 as usize].up.len()
    }

    /// The client closes: the process reads what was written, then the end.
    pub fn client_closes(&mut self, now: Instant, link: LinkId) {
        self.link(link).finished = true;
        self.link(link).client_open = false;
        self.plan_up(now, link);
    }

    /// The client does not read for a while.
    pub fn hold(&mut self, link: LinkId, until: Instant) {
        self.link(link).held_until = until;
    }

    /// The connection breaks for both, and what was under way is lost.
    pub fn reset(&mut self, now: Instant, link: LinkId) {
        let state = self.link(link);
        if !state.client_open && state.server == ServerSide::Gone {
            return;
        }
        state.up.clear();
        state.buffer.clear();
        state.outbox.clear();
        state.finished = true;
        let (one, other) = (now + self.delay(), now + self.delay());
        self.plan(one, NetMoment::Gone(link, Disconnect::Reset));
        if self.link(link).client_open {
            self.plan(other, NetMoment::ClientGone(link));
        }
    }

    fn plan_up(&mut self, now: Instant, link: LinkId) {
        let state = self.link(link);
        let open = matches!(state.server, ServerSide::Open(_));
        if !open || state.paused || state.up_planned || (state.up.is_empty() && !state.finished) {
            return;
        }
        state.up_planned = true;
        let when = now + self.delay();
        self.plan(when, NetMoment::Up(link));
    }

    fn plan_down(&mut self, now: Instant, link: LinkId) {
        let state = self.link(link);
        if state.down_planned || state.buffer.is_empty() {
            return;
        }
        state.down_planned = true;
        let held = state.held_until;
        let when = (now + self.delay()).max(held);
        self.plan(when, NetMoment::Down(link));
    }
}

/// The process's side.
impl Network {
    /// Faults have stopped, for the links there are too.
    pub fn calm(&mut self) {
        self.faults = NetFaults::calm();
        for link in &mut self.links {
            link.piece_max = Limits::READ;
            link.buffer_max = link.buffer_max.max(Limits::READ);
        }
    }

    /// Which link a connection is, while the process holds it.
    pub fn link_of(&self, conn: ConnId) -> Option<LinkId> {
        self.by_conn.get(&conn).copied()
    }

    /// `Action::Send`.
    pub fn send(&mut self, now: Instant, conn: ConnId, chunks: &[Chunk]) -> Checked {
        let link = self.known(conn)?;
        if let Some(link) = link {
            let state = self.link(link);
            chunks.iter().for_each(|chunk| state.outbox.extend_from_slice(chunk.as_slice()));
            self.fill_buffer(now, link);
        }
        Ok(())
    }

    /// The connection's link; a connection that the core has been told is gone is not to be spoken of.
    fn known(&self, conn: ConnId) -> Result<Option<LinkId>, super::violation::Violation> {
        let link = self.link_of(conn);
        must(link.is_some(), "nothing is said of a connection that is gone", || format!("connection {conn}"))?;
        Ok(link)
    }

    /// The socket takes what it has room for, and the process is told.
    fn fill_buffer(&mut self, now: Instant, link: LinkId) {
        let state = self.link(link);
        let (ServerSide::Open(conn) | ServerSide::Closing(conn)) = state.server else { return };
        // What a client that is gone would have read vanishes on the way.
        let room = if state.client_open { state.buffer_max - state.buffer.len() } else { usize::MAX };
        let taken = state.outbox.len().min(room);
        if taken == 0 {
            return;
        }
        let bytes = state.outbox.split_to(taken);
        if state.client_open {
            state.buffer.unsplit(bytes);
        }
        let told = (now + Duration::from_nanos(500)).max(state.told_sent);
        state.told_sent = told;
        self.plan(told, NetMoment::Sent(link, conn, taken));
        if !self.link(link).client_open && self.dice.chance(300) {
            let when = told + self.delay();
            self.plan(when, NetMoment::Gone(link, Disconnect::Reset));
        }
        self.plan_down(now, link);
        self.close_if_written(now, link);
    }

    /// `Action::Close`.
    pub fn close(&mut self, now: Instant, conn: ConnId) -> Checked {
        let Some(link) = self.known(conn)? else { return Ok(()) };
        self.link(link).server = ServerSide::Closing(conn);
        self.plan(now.plus_ms(1000), NetMoment::CloseDeadline(link));
        self.close_if_written(now, link);
        Ok(())
    }

    fn close_if_written(&mut self, now: Instant, link: LinkId) {
        let state = self.link(link);
        if matches!(state.server, ServerSide::Closing(_)) && state.outbox.is_empty() {
            let told = state.told_sent.max(now);
            self.plan(told, NetMoment::Gone(link, Disconnect::Ours));
        }
    }

    /// `Action::Pause`.
    pub fn pause(&mut self, conn: ConnId) -> Checked {
        if let Some(link) = self.known(conn)? {
            self.link(link).paused = true;
        }
        Ok(())
    }

    /// `Action::Resume`.
    pub fn resume(&mut self, now: Instant, conn: ConnId) -> Checked {
        if let Some(link) = self.known(conn)? {
            self.link(link).paused = false;
            self.plan_up(now, link);
        }
        Ok(())
    }

    /// `Action::Move`.
    pub fn depart(&mut self, now: Instant, conn: ConnId, to: ShardId, carry: Box<Carry>) -> Checked {
        let Some(link) = self.known(conn)? else { return Ok(()) };
        let state = self.link(link);
        let (left, state_was) = (state.outbox.len(), state.server);
        must(left == 0, "a connection moves when everything sent has been taken", || format!("{conn}: {left} bytes"))?;
        must(state_was == ServerSide::Open(conn), "a connection that closes does not move", || format!("{conn}"))?;
        state.carry = Some(carry);
        state.server = ServerSide::Coming;
        self.forget(conn);
        let when = now + self.delay();
        self.plan(when, NetMoment::Arrive(link, to));
        Ok(())
    }

    fn forget(&mut self, conn: ConnId) {
        self.by_conn.remove(&conn);
        self.slots[conn.shard.index()].give_back(conn);
    }

    /// The process is gone. What its sockets' buffers held may still reach the clients after a kill, not after a
    /// power cut.
    pub fn process_ended(&mut self, now: Instant, power_lost: bool) {
        self.by_conn.clear();
        for index in 0..self.links.len() as u32 {
            self.orphan(now, LinkId(index), power_lost);
        }
    }

    fn orphan(&mut self, now: Instant, link: LinkId, power_lost: bool) {
        let lost = power_lost || self.dice.chance(500);
        let state = self.link(link);
        if state.server == ServerSide::Gone {
            return;
        }
        state.server = ServerSide::Gone;
        state.carry = None;
        state.up.clear();
        state.outbox.clear();
        if lost {
            state.buffer.clear();
        }
        if state.buffer.is_empty() && state.client_open {
            let when = now + self.delay();
            self.plan(when, NetMoment::ClientGone(link));
        }
    }
}

/// What happens at its own time.
impl Network {
    pub fn step(&mut self, now: Instant, moment: NetMoment) -> NetOutcome {
        match moment {
            NetMoment::Arrive(link, shard) => self.arrive(now, link, shard),
            NetMoment::Up(link) => self.carry_up(now, link),
            NetMoment::Sent(link, conn, bytes) if self.conn(link) == Some(conn) => {
                NetOutcome::ToCore { link, shard: conn.shard, event: Event::Sent { conn, bytes } }
            }
            NetMoment::Sent(..) => NetOutcome::Nothing,
            NetMoment::Down(link) => self.carry_down(now, link),
            NetMoment::CloseDeadline(link) => {
                if matches!(self.link(link).server, ServerSide::Closing(_)) {
                    self.link(link).outbox.clear();
                    self.plan(now, NetMoment::Gone(link, Disconnect::Ours));
                }
                NetOutcome::Nothing
            }
            NetMoment::Gone(link, why) => self.disconnect(now, link, why),
            NetMoment::ClientGone(link) => self.end_client(link),
        }
    }

    fn arrive(&mut self, now: Instant, link: LinkId, shard: ShardId) -> NetOutcome {
        if self.link(link).server != ServerSide::Coming {
            return NetOutcome::Nothing;
        }
        if shard.index() >= self.slots.len() {
            self.link(link).server = ServerSide::Gone;
            self.plan(now, NetMoment::ClientGone(link));
            return NetOutcome::Nothing;
        }
        let conn = self.slots[shard.index()].take(shard);
        self.by_conn.insert(conn, link);
        let state = self.link(link);
        state.server = ServerSide::Open(conn);
        state.paused = false;
        let arrival = state.carry.take().map_or(Arrival::Accepted(Crowd::default()), Arrival::Moved);
        let peer = IpAddr::V4(Ipv4Addr::new(10, 0, (link.0 >> 8) as u8, link.0 as u8));
        self.plan_up(now, link);
        NetOutcome::ToCore { link, shard, event: Event::Connected { conn, peer, arrival } }
    }

    fn carry_up(&mut self, now: Instant, link: LinkId) -> NetOutcome {
        self.link(link).up_planned = false;
        let state = self.link(link);
        let ServerSide::Open(conn) = state.server else { return NetOutcome::Nothing };
        if state.paused {
            return NetOutcome::Nothing;
        }
        if state.up.is_empty() {
            return if state.finished { self.disconnect(now, link, Disconnect::Eof) } else { NetOutcome::Nothing };
        }
        if self.dice.rarely(self.faults.reset_per_million) {
            self.reset(now, link);
            return NetOutcome::Nothing;
        }
        let available = self.link(link).up.len().min(Limits::READ);
        let piece = self.piece(link, available);
        let bytes = BytesMut::from(&self.link(link).up.split_to(piece)[..]);
        self.plan_up(now, link);
        NetOutcome::ToCore { link, shard: conn.shard, event: Event::Received { conn, bytes } }
    }

    fn carry_down(&mut self, now: Instant, link: LinkId) -> NetOutcome {
        self.link(link).down_planned = false;
        if self.link(link).buffer.is_empty() {
            return NetOutcome::Nothing;
        }
        if self.dice.rarely(self.faults.reset_per_million) {
            self.reset(now, link);
            return NetOutcome::Nothing;
        }
        let available = self.link(link).buffer.len();
        let piece = self.piece(link, available);
        let bytes = self.link(link).buffer.split_to(piece).freeze();
        self.fill_buffer(now, link);
        self.plan_down(now, link);
        let state = self.link(link);
        if !state.client_open {
            return NetOutcome::Nothing;
        }
        if state.server == ServerSide::Gone && state.buffer.is_empty() {
            self.plan(now, NetMoment::ClientGone(link));
        }
        NetOutcome::ToClient { link, bytes }
    }

    fn disconnect(&mut self, now: Instant, link: LinkId, why: Disconnect) -> NetOutcome {
        let (ServerSide::Open(conn) | ServerSide::Closing(conn)) = self.link(link).server else {
            return self.disconnect_later(now, link, why);
        };
        self.forget(conn);
        let state = self.link(link);
        state.server = ServerSide::Gone;
        state.up.clear();
        state.outbox.clear();
        if state.buffer.is_empty() && state.client_open {
            let when = now + self.delay();
            self.plan(when, NetMoment::ClientGone(link));
        }
        NetOutcome::ToCore { link, shard: conn.shard, event: Event::Disconnected { conn, why } }
    }

    /// A connection that is under way between shards must arrive before it can end.
    fn disconnect_later(&mut self, now: Instant, link: LinkId, why: Disconnect) -> NetOutcome {
        if self.link(link).server == ServerSide::Coming {
            self.plan(now + Duration::from_millis(1), NetMoment::Gone(link, why));
        }
        NetOutcome::Nothing
    }

    fn end_client(&mut self, link: LinkId) -> NetOutcome {
        let state = self.link(link);
        if !state.client_open {
            return NetOutcome::Nothing;
        }
        state.client_open = false;
        state.buffer.clear();
        NetOutcome::ClientGone { link }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::scheduler::{EPOCH, Scheduler};

    /// A server that is no core: it says what it hears.
    struct Bench {
        network: Network,
        scheduler: Scheduler<NetMoment>,
        heard: Vec<u8>,
        told: Vec<u8>,
        sent: usize,
        ends: Vec<Disconnect>,
        client_gone: bool,
        pieces: usize,
    }

    impl Bench {
        fn new(faults: NetFaults, seed: u64) -> Bench {
            let mut network = Network::new(faults, Dice::new(seed));
            network.process_started(2);
            let (heard, told, ends) = (vec![], vec![], vec![]);
            let scheduler = Scheduler::new();
            Bench { network, scheduler, heard, told, sent: 0, ends, client_gone: false, pieces: 0 }
        }

        fn run(&mut self) {
            self.replan();
            while let Some(moment) = self.scheduler.step() {
                let outcome = self.network.step(self.scheduler.now(), moment);
                self.take(outcome);
                self.replan();
            }
        }

        fn replan(&mut self) {
            for (when, moment) in self.network.take_planned() {
                self.scheduler.at(when, moment);
            }
        }

        fn take(&mut self, outcome: NetOutcome) {
            match outcome {
                NetOutcome::ToCore { event: Event::Received { bytes, .. }, .. } => {
                    self.pieces += 1;
                    self.heard.extend_from_slice(&bytes);
                }
                NetOutcome::ToCore { event: Event::Sent { bytes, .. }, .. } => self.sent += bytes,
                NetOutcome::ToCore { event: Event::Disconnected { why, .. }, .. } => self.ends.push(why),
                NetOutcome::ToClient { bytes, .. } => self.told.extend_from_slice(&bytes),
                NetOutcome::ClientGone { .. } => self.client_gone = true,
                _ => {}
            }
        }
    }

    fn crumbs() -> NetFaults {
        NetFaults { crumbs_per_mille: 1000, buffer: (1, 20), ..NetFaults::calm() }
    }

    #[test]
    fn bytes_arrive_in_order_whatever_the_pieces() {
        for seed in 0..20 {
            let mut bench = Bench::new(crumbs(), seed);
            let link = bench.network.connect(EPOCH, ShardId(0));
            let said: Vec<u8> = (0..200).collect();
            bench.network.write(EPOCH, link, &said);
            bench.run();
            assert_eq!(bench.heard, said);
            assert!(bench.pieces > 1);
            let conn = bench.network.conn(link).unwrap();
            let chunks = [Chunk::head(&said[..50]), Bytes::from(said[50..].to_vec()).into()];
            bench.network.send(bench.scheduler.now(), conn, &chunks).unwrap();
            bench.run();
            assert_eq!((&bench.told, bench.sent), (&said, 200));
        }
    }

    #[test]
    fn a_close_writes_what_is_left_and_both_sides_hear_of_it_once() {
        let mut bench = Bench::new(crumbs(), 1);
        let link = bench.network.connect(EPOCH, ShardId(1));
        bench.run();
        let conn = bench.network.conn(link).unwrap();
        let now = bench.scheduler.now();
        bench.network.send(now, conn, &[Bytes::from(vec![5; 100]).into()]).unwrap();
        bench.network.close(now, conn).unwrap();
        bench.run();
        assert_eq!((bench.told.len(), bench.ends, bench.client_gone), (100, vec![Disconnect::Ours], true));
        assert!(bench.network.send(now, conn, &[]).is_err(), "the connection is gone");
    }

    #[test]
    fn the_end_comes_after_everything_the_client_wrote() {
        let mut bench = Bench::new(crumbs(), 1);
        let link = bench.network.connect(EPOCH, ShardId(0));
        bench.network.write(EPOCH, link, &[1; 30]);
        bench.network.client_closes(EPOCH, link);
        bench.run();
        assert_eq!((bench.heard.len(), bench.ends), (30, vec![Disconnect::Eof]));
    }

    #[test]
    fn a_paused_connection_is_not_read() {
        let mut bench = Bench::new(NetFaults::calm(), 1);
        let link = bench.network.connect(EPOCH, ShardId(0));
        bench.run();
        let conn = bench.network.conn(link).unwrap();
        bench.network.pause(conn).unwrap();
        bench.network.write(bench.scheduler.now(), link, &[1; 30]);
        bench.run();
        assert_eq!(bench.heard.len(), 0);
        bench.network.resume(bench.scheduler.now(), conn).unwrap();
        bench.run();
        assert_eq!(bench.heard.len(), 30);
    }

    #[test]
    fn a_connection_moves_with_its_unread_bytes_and_gets_a_new_name() {
        let mut bench = Bench::new(crumbs(), 1);
        let link = bench.network.connect(EPOCH, ShardId(0));
        bench.run();
        let old = bench.network.conn(link).unwrap();
        bench.network.write(bench.scheduler.now(), link, &[1; 30]);
        let carry = Box::new(Carry { session: crate::sim::network::tests::session(), unread: BytesMut::new() });
        bench.network.depart(bench.scheduler.now(), old, ShardId(1), carry).unwrap();
        bench.run();
        assert_eq!(bench.network.conn(link).unwrap().shard, ShardId(1));
        assert_eq!(bench.heard.len(), 30);
        assert!(bench.network.pause(old).is_err());
    }

    pub fn session() -> crate::shard::session::Session {
        crate::shard::session::Session::new()
    }
}
