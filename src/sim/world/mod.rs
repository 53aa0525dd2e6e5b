//! The whole of it: cores, disk, network, clients and time, under one seed.

mod actions;
mod lives;

use std::time::Duration;

use super::book::Book;
use super::checkers::{Checkers, Rules, finish};
use super::clients::{Client, Hands, Part, Publisher, Subscriber, Vandal};
use super::dice::Dice;
use super::disk::{Disk, Lies, Moment};
use super::ledger::Ledger;
use super::mesh::Mesh;
use super::network::{LinkId, NetMoment, NetOutcome, Network};
use super::plant::Plant;
use super::process::{Process, key_of, key_ring};
use super::scheduler::{EPOCH, Scheduler};
use super::shape::{Shape, Trouble};
use super::trace::{Trace, digest};
use super::violation::{Checked, Violation};
use super::witness::Witness;
use crate::auth::KeyRing;
use crate::model::{Instant, LogId, Lsn, OverflowPolicy, ShardId};
use crate::shard::{Event, Question, Stats};

/// Something that happens at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Happening {
    /// A core asked to be told at this time, in this life.
    Timer(u32, ShardId),
    Disk(Moment),
    Net(NetMoment),
    /// Letters arrive, in this life.
    Mesh(u32, ShardId, ShardId),
    Client(usize),
    Trouble(Trouble),
    /// The disk says how much space is left.
    Space,
    /// Somebody else's files are gone.
    SpaceBack,
    Start,
    /// Faults stop.
    Calm,
    /// Is everything finished?
    Look,
}

/// One run.
#[derive(Debug)]
pub struct World {
    shape: Shape,
    scheduler: Scheduler<Happening>,
    trace: Trace,
    dice: Dice,
    keys: KeyRing,
    process: Option<Process>,
    lives: u32,
    disk: Disk,
    network: Network,
    mesh: Mesh,
    book: Book,
    ledger: Ledger,
    witness: Witness,
    checkers: Checkers,
    clients: Vec<Client>,
    /// The client of each link.
    owners: Vec<usize>,
    /// When each client is to be woken.
    wakes: Vec<Instant>,
    calm: bool,
    /// Durable bytes have changed under the broker: losing records is no longer its fault.
    rotten: bool,
    /// Nothing is owed since then.
    quiet_since: Option<Instant>,
    ended: Option<End>,
    /// When the process was asked to end by itself.
    draining: Option<Instant>,
    /// Records that the cores of this process have counted as dropped or expired.
    counted: u64,
    /// When the last process ended.
    ended_at: Option<Instant>,
    /// Where record batches stand: log, segment, position, length.
    bodies: Vec<(LogId, Lsn, u64, usize)>,
}

/// How a run came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Everything is delivered.
    Finished,
    /// Recovery found bytes that had changed, and said so.
    Refused,
}

/// What came out of a run in which every sentence was true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    pub hash: u64,
    pub steps: u64,
    pub end: End,
    pub lives: u32,
    pub messages: usize,
    pub delivered: u64,
    /// How long the world took, in its own time.
    pub took: Duration,
}

/// How long everything outstanding may take once faults stop.
const PATIENCE: Duration = Duration::from_secs(60);
const MISSED: &str = "nothing is missing that retention did not take";
/// How long nothing more may happen before a run is over.
const QUIET: Duration = Duration::from_millis(150);

impl World {
    pub fn new(seed: u64, plant: Option<Plant>, print: bool) -> World {
        let mut dice = Dice::new(seed);
        let shape = Shape::roll(&mut dice.fork(), plant);
        let book = Book::new(shape.topics.clone(), (shape.max_retries + 1, shape.retry_backoff_ms), shape.grace());
        let clients = make_clients(&shape, &mut dice);
        let rules = Rules {
            fsync: shape.fsync.unwrap_or(crate::model::FsyncPolicy::None),
            logged: shape.fsync.is_some(),
            grace: shape.grace(),
            in_flight_max: shape.limits.in_flight_max as usize,
            drops: shape.fsync.is_none() && shape.overflow == OverflowPolicy::DropOldest,
        };
        let logs = usize::from(shape.logs);
        let mut disk = Disk::new(logs, 1 << 30, shape.disk.clone(), dice.fork());
        disk.lies = Lies {
            written_early: plant == Some(Plant::AckAtAppend),
            synced_early: plant == Some(Plant::SyncClaimedEarly),
        };
        let mut world = World {
            scheduler: Scheduler::new(),
            trace: Trace::new(print),
            keys: key_ring(clients.len()),
            process: None,
            lives: 0,
            disk,
            network: Network::new(shape.net.clone(), dice.fork()),
            mesh: Mesh::new(shape.mesh, dice.fork()),
            book,
            ledger: Ledger::new(logs),
            witness: Witness::default(),
            checkers: Checkers::new(rules),
            wakes: vec![Instant::NEVER; clients.len()],
            clients,
            owners: Vec::new(),
            calm: false,
            rotten: false,
            quiet_since: None,
            ended: None,
            draining: None,
            counted: 0,
            ended_at: None,
            bodies: Vec::new(),
            dice,
            shape,
        };
        world.plan();
        world
    }

    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    fn plan(&mut self) {
        self.scheduler.at(EPOCH, Happening::Start);
        for index in 0..self.clients.len() {
            let when = EPOCH + Duration::from_micros(self.dice.below(50_000));
            self.wake_client(index, when);
        }
        for (after, trouble) in self.shape.troubles.clone() {
            self.scheduler.after(after, Happening::Trouble(trouble));
        }
        self.scheduler.after(Duration::from_millis(100), Happening::Space);
        self.scheduler.after(self.shape.calm_after, Happening::Calm);
    }

    /// Lets it all happen, until everything is finished or a sentence is not true.
    pub fn run(mut self) -> Result<Report, Violation> {
        while self.ended.is_none() {
            let Some(happening) = self.scheduler.step() else { break };
            self.happen(happening)?;
        }
        Ok(self.report())
    }

    fn report(&self) -> Report {
        Report {
            hash: self.trace.hash(),
            steps: self.trace.steps(),
            end: self.ended.unwrap_or(End::Finished),
            lives: self.lives,
            messages: self.book.messages.len(),
            delivered: self.checkers.delivered,
            took: self.scheduler.now().since(EPOCH),
        }
    }

    fn now(&self) -> Instant {
        self.scheduler.now()
    }

    fn happen(&mut self, happening: Happening) -> Checked {
        self.book.subs.at(self.scheduler.now());
        match happening {
            Happening::Timer(life, shard) => self.timer(life, shard),
            Happening::Disk(moment) => self.disk_moment(moment),
            Happening::Net(moment) => self.net_moment(moment),
            Happening::Mesh(life, from, to) => self.letters(life, from, to),
            Happening::Client(index) => {
                self.client_wakes(index);
                Ok(())
            }
            Happening::Trouble(trouble) => self.trouble(trouble),
            Happening::Space => self.tell_space(),
            Happening::SpaceBack => {
                self.disk.taken = 0;
                Ok(())
            }
            Happening::Start => self.start(),
            Happening::Calm => self.calm_down(),
            Happening::Look => self.look(),
        }
    }

    fn timer(&mut self, life: u32, shard: ShardId) -> Checked {
        let now = self.now();
        let due = self
            .process
            .as_ref()
            .is_some_and(|process| process.life == life && process.timers.get(shard.index()) == Some(&now));
        if !due {
            return Ok(());
        }
        self.trace.note(now, "timeout", &[shard.0.into()]);
        self.tell(shard, Event::Timeout)
    }

    fn letters(&mut self, life: u32, from: ShardId, to: ShardId) -> Checked {
        if self.process.as_ref().is_none_or(|process| process.life != life) {
            return Ok(());
        }
        let Some(letters) = self.mesh.arrive(from, to) else { return Ok(()) };
        self.trace.note(self.scheduler.now(), "letters", &[from.0.into(), to.0.into(), letters.len() as u64]);
        self.tell(to, Event::Mesh { from, letters })
    }

    fn net_moment(&mut self, moment: NetMoment) -> Checked {
        let now = self.now();
        let outcome = self.network.step(now, moment);
        self.replan_network();
        match outcome {
            NetOutcome::Nothing => Ok(()),
            NetOutcome::ToCore { link, shard, event } => self.socket_event(link, shard, event),
            NetOutcome::ToClient { link, bytes } => {
                self.trace.note(now, "client hears", &[link.0.into(), digest(&bytes)]);
                self.client_of(link, |client, hands| client.hears(hands, link, &bytes));
                Ok(())
            }
            NetOutcome::ClientGone { link } => {
                self.trace.note(now, "client loses", &[link.0.into()]);
                self.client_of(link, |client, hands| client.gone(hands.now, link));
                Ok(())
            }
        }
    }

    /// Lets the client of a link act, and wakes it sooner if it has something to do sooner than it thought.
    fn client_of(&mut self, link: LinkId, act: impl FnOnce(&mut Client, &mut Hands<'_>)) {
        let index = self.owners[link.0 as usize];
        let mut client = std::mem::replace(&mut self.clients[index], Client::nobody());
        act(&mut client, &mut self.hands());
        let due = client.due();
        self.clients[index] = client;
        if due < self.wakes[index] {
            self.wake_client(index, due);
        }
        self.replan_network();
    }

    fn client_wakes(&mut self, index: usize) {
        if self.wakes[index] != self.now() {
            return;
        }
        self.wakes[index] = Instant::NEVER;
        let mut client = std::mem::replace(&mut self.clients[index], Client::nobody());
        let before = client.line.link;
        let next = client.wake(&mut self.hands());
        if let Some(link) = client.line.link.filter(|link| before != Some(*link)) {
            self.witness.watch(link, index);
            self.owners.push(index);
        }
        self.clients[index] = client;
        self.replan_network();
        if let Some(next) = next {
            self.wake_client(index, next.max(self.now() + Duration::from_micros(1)));
        }
    }

    fn wake_client(&mut self, index: usize, when: Instant) {
        let when = when.max(self.now());
        self.wakes[index] = when;
        self.scheduler.at(when, Happening::Client(index));
    }

    fn hands(&mut self) -> Hands<'_> {
        let shards = self.process.as_ref().map_or(0, |process| process.cores.len() as u16);
        let now = self.scheduler.now();
        Hands { now, network: &mut self.network, book: &mut self.book, calm: self.calm, shards }
    }

    fn replan_network(&mut self) {
        for (when, moment) in self.network.take_planned() {
            self.scheduler.at(when, Happening::Net(moment));
        }
    }
}

/// The end of a run.
impl World {
    /// Faults stop; what is outstanding is to finish.
    fn calm_down(&mut self) -> Checked {
        self.trace.note(self.scheduler.now(), "calm", &[]);
        self.calm = true;
        self.disk.faults = super::disk::DiskFaults::calm();
        self.disk.taken = 0;
        self.network.calm();
        self.mesh.calm();
        for index in 0..self.clients.len() {
            self.wake_client(index, self.scheduler.now());
        }
        self.scheduler.after(Duration::from_millis(50), Happening::Look);
        Ok(())
    }

    fn look(&mut self) -> Checked {
        let now = self.now();
        self.take_stock()?;
        let owed = self.outstanding();
        self.trace.note(now, "look", &[owed.is_some().into()]);
        match owed {
            None => {
                let since = *self.quiet_since.get_or_insert(now);
                if now.since(since) >= QUIET {
                    self.ended = Some(End::Finished);
                }
            }
            Some(owed) => {
                self.quiet_since = None;
                let patient = now.since(EPOCH + self.shape.calm_after) < PATIENCE;
                super::violation::must(patient, finish::SENTENCE, || owed)?;
            }
        }
        self.scheduler.after(Duration::from_millis(50), Happening::Look);
        Ok(())
    }

    fn finish(&self) -> finish::Finish {
        let Rules { logged, drops, .. } = self.checkers.rules;
        let counted = if self.shape.plant == Some(Plant::DropsUncounted) { 0 } else { self.counted };
        let refuses = self.shape.overflow == OverflowPolicy::DropNew;
        finish::Finish { grace: self.shape.grace(), now: self.now(), logged, drops, refuses, counted }
    }

    /// What the cores have counted in this life.
    pub(super) fn take_stock(&mut self) -> Checked {
        self.counted = 0;
        let shards = self.process.as_ref().map_or(0, |process| process.cores.len() as u16);
        for shard in (0..shards).map(ShardId) {
            self.tell(shard, Event::Ask { token: 2, question: Question::Stats })?;
        }
        Ok(())
    }

    /// One core's counters.
    fn stock(&mut self, stats: &Stats) -> Checked {
        self.counted += stats.dropped_slow + stats.expired;
        let whole = stats.missed == 0 || self.rotten || self.checkers.rules.drops;
        super::violation::must(whole, MISSED, || format!("shard {}: {} records", stats.shard, stats.missed))
    }

    fn outstanding(&self) -> Option<String> {
        if self.process.is_none() {
            return Some("there is no process".into());
        }
        let busy = self.clients.iter().position(|client| !client.is_finished());
        if let Some(index) = busy {
            return Some(format!("client {index} has not finished: {:?}", self.clients[index]));
        }
        if self.rotten {
            return None;
        }
        let finish = self.finish();
        finish.owed(&self.book).or_else(|| finish.lost(&self.book).map(|lost| format!("{}: {lost}", finish::NOT_LOST)))
    }
}

fn make_clients(shape: &Shape, dice: &mut Dice) -> Vec<Client> {
    let publishers = shape.publishers.iter().map(|plan| (plan.version, Part::Publisher(Publisher::new(plan.clone()))));
    let subscribers =
        shape.subscribers.iter().map(|plan| (plan.version, Part::Subscriber(Subscriber::new(plan.clone()))));
    let vandals = (0..shape.vandals).map(|_| (1, Part::Vandal(Vandal { key: key_of(0) })));
    let parts = publishers.chain(subscribers).chain(vandals).enumerate();
    parts.map(|(index, (version, part))| Client::new(key_of(index), version, part, dice.fork())).collect()
}
