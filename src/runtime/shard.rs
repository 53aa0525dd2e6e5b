//! One shard at work: tells its core what happened, does what the core asks.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;

use bytes::BytesMut;
use glommio::TaskQueueHandle;
use glommio::net::TcpStream;

use super::alarm::Alarm;
use super::bell::Bell;
use super::clock::Clock;
use super::connection::{Connection, Phase};
use super::connections::Connections;
use super::doorkeeper::{Doorkeeper, Place};
use super::gauges::{Gauges, add};
use super::log_device::LogDevice;
use super::mesh::{Mesh, Parcel};
use super::outbox;
use super::pulse::Pulse;
use super::read_buffer::ReadBuffer;
use super::tls::Tls;
use super::tls_session::{Broken, TlsSession};
use super::turns::Turns;
use super::{reader, writer};
use crate::model::{ConnId, Instant, LogId, Seldom, ShardId, TlsFailure};
use crate::shard::{Action, Answer, Arrival, Carry, Core, Disconnect, Event, Question};

/// The contract of the core, so that tests can put something simpler in its place.
pub trait Logic {
    /// Something happened.
    fn handle(&mut self, now: Instant, event: Event);
    /// What to do next.
    fn poll(&mut self) -> Option<Action>;
    /// When to tell `Event::Timeout` if nothing happens first.
    fn poll_timeout(&self) -> Option<Instant>;
}

impl Logic for Core {
    fn handle(&mut self, now: Instant, event: Event) {
        Core::handle(self, now, event);
    }

    fn poll(&mut self) -> Option<Action> {
        Core::poll(self)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        Core::poll_timeout(self)
    }
}

/// What a shard tells the thread that started it.
#[derive(Debug)]
pub enum Report {
    /// Recovered and connected to its peers; waits to serve.
    Ready(ShardId),
    /// Could not start.
    Failed(super::Failure),
    /// Everything is finished after a drain.
    Drained(ShardId),
    /// The core asks to end the process.
    Halt { code: i32, reason: String },
    /// A signal asks to end.
    Signal(i32),
    /// A signal asks for the histograms of latencies.
    Dump,
    /// The executor is gone, for whatever reason.
    Ended(ShardId),
}

/// Times that answers made while acting are told to the core before other tasks get a turn: a reader as fast as the
/// core would otherwise keep one step going for ever.
const ROUNDS_MAX: usize = 16;

/// One core, its sockets and its devices. Lives on one executor, shared by that executor's tasks.
///
/// Borrow, step, drop the borrow, then act: no cell is borrowed while an action is carried out, and tasks are only
/// ever scheduled from here, never run in place.
pub struct Shard {
    /// Which one.
    pub id: ShardId,
    /// The clock of the process.
    pub clock: Clock,
    /// Figures for other threads.
    pub gauges: Arc<Gauges>,
    /// The sockets.
    pub connections: Connections,
    /// Where reads go.
    pub input: RefCell<ReadBuffer>,
    /// The other shards.
    pub mesh: Mesh,
    /// When the core wants to be told that time has passed.
    pub alarm: Alarm,
    /// Keeps the executor awake while there is work.
    pub pulse: Rc<Pulse>,
    /// Whose turn it is.
    pub turns: Turns,
    /// Rung when answers are left over for a later step.
    pub leftovers: Bell,
    /// Rung when no more connections are to be accepted.
    pub refuse: Bell,
    tls: Option<Arc<Tls>>,
    tls_log: Seldom,
    core: RefCell<Box<dyn Logic>>,
    logs: HashMap<LogId, Rc<LogDevice>>,
    /// Counts the connections of all shards.
    pub doorkeeper: Arc<Doorkeeper>,
    background: TaskQueueHandle,
    answers: RefCell<VecDeque<Event>>,
    dirty: RefCell<Vec<Rc<Connection>>>,
    asked: RefCell<HashMap<u64, Sender<(ShardId, Answer)>>>,
    tokens: Cell<u64>,
    reports: Sender<Report>,
}

/// What a shard is made of.
pub struct Parts {
    /// Which one.
    pub id: ShardId,
    /// The clock of the process.
    pub clock: Clock,
    /// Figures for other threads.
    pub gauges: Arc<Gauges>,
    /// Keeps the executor awake while there is work.
    pub pulse: Rc<Pulse>,
    /// The core.
    pub core: Box<dyn Logic>,
    /// The devices of the logs that this shard runs.
    pub logs: Vec<Rc<LogDevice>>,
    /// The other shards.
    pub mesh: Mesh,
    /// What connections are accepted with, if the port speaks TLS.
    pub tls: Option<Arc<Tls>>,
    /// Counts connections.
    pub doorkeeper: Arc<Doorkeeper>,
    /// Where work goes that nobody waits for.
    pub background: TaskQueueHandle,
    /// The thread that started it.
    pub reports: Sender<Report>,
}

impl Shard {
    /// Puts the parts together; nothing runs yet.
    pub fn new(parts: Parts) -> Rc<Shard> {
        Rc::new(Shard {
            id: parts.id,
            clock: parts.clock,
            gauges: parts.gauges,
            connections: Connections::new(parts.id),
            input: RefCell::new(ReadBuffer::default()),
            mesh: parts.mesh,
            alarm: Alarm::default(),
            pulse: parts.pulse,
            turns: Turns::default(),
            leftovers: Bell::default(),
            refuse: Bell::default(),
            tls: parts.tls,
            tls_log: Seldom::default(),
            core: RefCell::new(parts.core),
            logs: parts.logs.into_iter().map(|log| (log.id(), log)).collect(),
            doorkeeper: parts.doorkeeper,
            background: parts.background,
            answers: RefCell::default(),
            dirty: RefCell::default(),
            asked: RefCell::default(),
            tokens: Cell::new(0),
            reports: parts.reports,
        })
    }

    /// Tells the core one thing and does all that follows from it.
    pub fn drive(self: &Rc<Self>, event: Event) {
        let now = self.clock.now();
        self.core.borrow_mut().handle(now, event);
        self.carry_out(now);
    }

    /// The alarm has rung, or a first look after the start.
    pub fn look_at_the_time(self: &Rc<Self>) {
        self.carry_out(self.clock.now());
    }

    /// Acts until the core wants nothing more, then tells it what came of that, and so on.
    fn carry_out(self: &Rc<Self>, now: Instant) {
        self.pulse.work();
        for _ in 0..ROUNDS_MAX {
            self.act_on_all();
            self.flush();
            if !self.tell_answers(now) {
                break;
            }
        }
        self.mesh.post();
        if !self.answers.borrow().is_empty() {
            self.leftovers.ring();
        }
        let due = self.core.borrow().poll_timeout();
        self.alarm.set(due);
    }

    fn act_on_all(self: &Rc<Self>) {
        loop {
            let action = self.core.borrow_mut().poll();
            match action {
                Some(action) => self.act(action),
                None => return,
            }
        }
    }

    /// Tells the core what its actions came to, and that its time has come. False if there was nothing to tell.
    fn tell_answers(&self, now: Instant) -> bool {
        let mut core = self.core.borrow_mut();
        let mut told = false;
        while let Some(event) = self.answers.borrow_mut().pop_front() {
            core.handle(now, event);
            told = true;
        }
        if core.poll_timeout().is_some_and(|due| due <= now) {
            core.handle(now, Event::Timeout);
            told = true;
        }
        told
    }

    fn act(self: &Rc<Self>, action: Action) {
        match action {
            Action::Send { conn, chunks } => self.send(conn, chunks),
            Action::Close { conn } => self.close(conn),
            Action::Pause { conn } => self.pause(conn, true),
            Action::Resume { conn } => self.pause(conn, false),
            Action::Move { conn, to, carry } => self.give_away(conn, to, carry),
            Action::Mesh { to, letters } => self.mesh.write(to, letters),
            Action::Log { log, action } => self.logs[&log].start(self, action),
            Action::Answer { token, answer } => self.reply(token, answer),
            Action::Halt { code, reason } => self.report(Report::Halt { code, reason }),
            Action::Drained => self.report(Report::Drained(self.id)),
        }
    }

    /// Remembers something that happened while acting, for the core to be told in the same step.
    pub fn answer(&self, event: Event) {
        self.answers.borrow_mut().push_back(event);
    }

    fn send(&self, conn: ConnId, chunks: Vec<crate::model::Chunk>) {
        let Some(connection) = self.connections.find(conn) else { return };
        if connection.phase.get() != Phase::Open {
            return;
        }
        connection.outbox.borrow_mut().push(chunks);
        if !connection.dirty.replace(true) {
            self.dirty.borrow_mut().push(connection);
        }
    }

    /// One system call for each connection that has something new, and none for those whose socket is full.
    fn flush(self: &Rc<Self>) {
        // Taken out while it is walked, put back to keep its memory.
        let mut dirty = self.dirty.take();
        for connection in dirty.drain(..) {
            connection.dirty.set(false);
            self.flush_one(&connection);
        }
        self.dirty.replace(dirty);
    }

    fn flush_one(self: &Rc<Self>, connection: &Rc<Connection>) {
        if connection.writing.get() || connection.phase.get() == Phase::Over {
            return;
        }
        let sent = connection.send();
        self.count_sent(connection, sent.bytes);
        match sent.state {
            outbox::State::Empty => {}
            outbox::State::Full => {
                connection.writing.set(true);
                self.spawn(writer::run(self.clone(), connection.clone()));
            }
            outbox::State::Broken(_) => self.end(connection, Disconnect::Reset),
        }
    }

    /// Remembers that the socket took some bytes.
    pub fn count_sent(&self, connection: &Connection, bytes: usize) {
        if bytes > 0 {
            add(&self.gauges.sent_bytes, bytes as u64);
            if connection.known.get() {
                self.answer(Event::Sent { conn: connection.id, bytes });
            }
        }
    }

    fn close(self: &Rc<Self>, conn: ConnId) {
        let Some(connection) = self.connections.find(conn) else { return };
        self.flush_one(&connection);
        if connection.phase.get() != Phase::Open {
            return;
        }
        connection.enter(Phase::Closing);
        connection.give_up_handshake();
        if connection.is_sent() {
            self.end(&connection, Disconnect::Ours);
        } else {
            self.spawn(writer::deadline(self.clone(), connection));
        }
    }

    fn pause(&self, conn: ConnId, paused: bool) {
        if let Some(connection) = self.connections.find(conn) {
            connection.paused.set(paused);
            if !paused {
                connection.reader.ring();
            }
        }
    }

    /// The core need not hear of this connection again: forgets it and lets it go the way that fits. Tells the core
    /// in the same step, or, called from a task, in the step that the task takes next.
    pub fn end(self: &Rc<Self>, connection: &Rc<Connection>, why: Disconnect) {
        if !connection.known.replace(false) {
            return;
        }
        self.connections.forget(connection.id);
        self.count_connections();
        self.answer(Event::Disconnected { conn: connection.id, why });
        match why {
            Disconnect::Reset => connection.abort(),
            Disconnect::Ours => {
                connection.say_goodbye();
                connection.reader.ring();
            }
            Disconnect::Eof if connection.is_sent() => {
                connection.say_goodbye();
                connection.abort();
            }
            Disconnect::Eof => {
                connection.enter(Phase::Closing);
                self.spawn(writer::deadline(self.clone(), connection.clone()));
            }
        }
    }

    fn give_away(&self, conn: ConnId, to: ShardId, carry: Box<Carry>) {
        let Some(connection) = self.connections.find(conn) else { return };
        assert!(connection.outbox.borrow().is_empty(), "a connection moves after all it was sent has been taken");
        connection.known.set(false);
        self.connections.forget(conn);
        self.count_connections();
        let socket = connection.duplicate();
        let tls = connection.tls.take();
        let place = connection.place.take().expect("an open connection has its place");
        // The reading task drops its stream when it next runs; a poll it has with the kernel is withdrawn, and it
        // never takes bytes out of the socket.
        connection.enter(Phase::Over);
        add(&self.gauges.moved_out, 1);
        self.mesh.send(to, Parcel::Connection { socket: socket.ok(), tls, peer: connection.peer, carry, place });
    }

    /// A socket was accepted here.
    pub fn accepted(self: &Rc<Self>, peer: IpAddr, stream: TcpStream) {
        add(&self.gauges.accepted, 1);
        let tls = match self.tls.as_ref().map(|tls| tls.accept()).transpose() {
            Ok(tls) => tls.map(Box::new),
            // Only for want of memory or chance; the next one may be luckier.
            Err(error) => return log::error!("connection from {peer}: TLS cannot begin: {error}"),
        };
        let (place, crowd) = self.doorkeeper.enter(peer);
        self.connected(peer, stream, tls, Arrival::Accepted(crowd), place);
    }

    /// A socket of this shard is open: tells the core, then reads.
    pub fn connected(
        self: &Rc<Self>,
        peer: IpAddr,
        stream: TcpStream,
        tls: Option<Box<TlsSession>>,
        arrival: Arrival,
        place: Place,
    ) {
        let connection = self.connections.add(peer, stream, tls);
        connection.place.replace(Some(place));
        self.count_connections();
        self.spawn(reader::run(self.clone(), connection.clone()));
        self.drive(Event::Connected { conn: connection.id, peer, arrival });
        if connection.is_tls() {
            // One that moved here may have something of its own on the way.
            self.flush_one(&connection);
        }
    }

    /// What one read of a TLS connection brought. What the core is told of it is what stood in it.
    pub fn decrypt(self: &Rc<Self>, connection: &Rc<Connection>, bytes: &[u8]) -> Option<BytesMut> {
        let was_handshaking = connection.is_handshaking();
        match connection.decrypt(bytes) {
            Ok(plain) => {
                add(&self.gauges.tls_handshakes, u64::from(was_handshaking && !connection.is_handshaking()));
                // Its own answers; mostly there are none.
                self.flush_one(connection);
                Some(plain)
            }
            Err(broken) => {
                self.tls_failed(connection, &broken);
                None
            }
        }
    }

    /// The peer of a TLS connection went before the handshake was done: a port scan, a health check, a client that does
    /// not accept our certificate and does not say so.
    pub fn tls_gone(&self, connection: &Connection) {
        add(&self.gauges.tls_failures[TlsFailure::Gone as usize], 1);
        log::debug!("connection from {}: gone during the TLS handshake", connection.peer);
    }

    /// Counts and logs, says as much to the peer as it can understand, and lets it go.
    pub fn tls_failed(self: &Rc<Self>, connection: &Rc<Connection>, broken: &Broken) {
        add(&self.gauges.tls_failures[broken.failure as usize], 1);
        if let Some(silent) = self.tls_log.due(self.clock.now()) {
            let Broken { failure, text } = broken;
            log::warn!("connection from {}: TLS failed ({failure}): {text}{silent}", connection.peer);
        }
        // Nothing of the core's can be said any more; what TLS says of the end can.
        connection.outbox.borrow_mut().clear();
        if broken.failure == TlsFailure::Plain {
            connection.answer_in_plain();
        }
        // A socket that takes nothing now need not be told.
        let _ = connection.send();
        connection.enter(Phase::Closing);
        self.end(connection, Disconnect::Ours);
        self.look_at_the_time();
    }

    fn count_connections(&self) {
        self.gauges.connections.store(self.connections.count() as u64, Ordering::Relaxed);
    }

    /// Puts a question of another thread to the core.
    pub fn ask(self: &Rc<Self>, question: Question, reply: Sender<(ShardId, Answer)>) {
        if matches!(question, Question::Drain { .. }) {
            self.refuse.ring();
        }
        let token = self.tokens.get();
        self.tokens.set(token + 1);
        self.asked.borrow_mut().insert(token, reply);
        self.drive(Event::Ask { token, question });
    }

    fn reply(&self, token: u64, mut answer: Answer) {
        if let Answer::Latency(latency) = &mut answer {
            self.pulse.add_stalls(latency);
        }
        if let Some(reply) = self.asked.borrow_mut().remove(&token) {
            // Whoever asked may have stopped waiting.
            let _ = reply.send((self.id, answer));
        }
    }

    fn report(&self, report: Report) {
        // The thread that started us is only gone when the process ends.
        let _ = self.reports.send(report);
    }

    /// Schedules a task beside the message path's other tasks.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        spawn_into(task, TaskQueueHandle::default());
    }

    /// Schedules a task that nobody waits for.
    pub fn spawn_in_background(&self, task: impl Future<Output = ()> + 'static) {
        spawn_into(task, self.background);
    }

    /// The logs that this shard runs.
    pub fn logs(&self) -> impl Iterator<Item = &Rc<LogDevice>> {
        self.logs.values()
    }
}

/// Unlike `spawn_local`, which runs the task in place up to its first wait: a step is never entered twice.
fn spawn_into(task: impl Future<Output = ()> + 'static, queue: TaskQueueHandle) {
    glommio::spawn_local_into(task, queue).expect("the queue was made when the shard was").detach();
}

/// Tells the core what was left over when a step had gone on for long enough.
pub async fn tell_leftovers(shard: Rc<Shard>) {
    loop {
        shard.leftovers.rung().await;
        shard.look_at_the_time();
        shard.turns.next().await;
    }
}
