//! The core: one shard's state, told and asked. What it does with an event is in the files of verbs beside this one.

use std::collections::{BTreeMap, VecDeque};

use slab::Slab;

use super::event::{Action, Event};
use super::learn::Patterns;
use super::letter::Letter;
use super::link::{Link, LinkIndex};
use super::publish::Run;
use super::serving::Serving;
use super::session::Conn;
use super::shard_log::ShardLog;
use super::stats::Stats;
use super::timers::Timers;
use crate::auth::{KeyRing, Offenders};
use crate::broker::Partition;
use crate::config::TopicRules;
use crate::model::record_batch::BatchBuilder;
use crate::model::{Backoff, ConnId, Instant, Limits, LogId, Offset, OverflowPolicy, Seldom, ShardId, TopicName};
use crate::wal::{Log, PatternKey};

/// What a core is made with.
#[derive(Debug, Clone)]
pub struct CoreOptions {
    pub shard: ShardId,
    /// Shards of this broker.
    pub shards: u16,
    /// Logs of the data directory: what placement divides by. With `wal = off`, as many as shards.
    pub logs: u16,
    pub overflow: OverflowPolicy,
    pub limits: Limits,
    pub keys: KeyRing,
    /// Redeliveries and their delays, where a subscription says nothing of them.
    pub max_retries: u16,
    pub retry: Backoff,
    pub topics: TopicRules,
    /// Chance is an input.
    pub seed: u64,
}

/// Another shard, as this one sees it.
#[derive(Debug, Default)]
pub(super) struct Peer {
    /// Written in this step.
    pub letters: Vec<Letter>,
    /// Bytes of publishes it has not handled yet.
    pub outstanding: usize,
    /// Bytes of its publishes handled in this step.
    pub handled: usize,
    /// Its publishes that wait for a log or a queue of this shard.
    pub parked: VecDeque<Box<super::letter::ForeignPublish>>,
}

/// One shard. Lives on one core; nothing of it is shared.
#[derive(Debug)]
pub struct Core {
    pub(super) options: CoreOptions,
    pub(super) now: Instant,
    pub(super) dice: fastrand::Rng,
    pub(super) actions: VecDeque<Action>,
    /// By slot.
    pub(super) conns: Vec<Option<Box<Conn>>>,
    pub(super) links: Slab<Link>,
    /// Links of connections that other shards hold.
    pub(super) guests: BTreeMap<ConnId, LinkIndex>,
    pub(super) topics: BTreeMap<TopicName, usize>,
    pub(super) partitions: Slab<Partition>,
    pub(super) subscriptions: Slab<Serving>,
    pub(super) logs: Vec<ShardLog>,
    /// By shard.
    pub(super) peers: Vec<Peer>,
    /// Subscriptions that may have something to deliver.
    pub(super) ready: VecDeque<usize>,
    /// Links with output.
    pub(super) dirty: Vec<LinkIndex>,
    /// Partitions whose QoS 0 stream was appended to in this step.
    pub(super) touched: Vec<usize>,
    /// Bindings with a pattern: new topics join them.
    pub(super) patterns: Vec<(LinkIndex, u64)>,
    /// Durable pattern subscriptions, held or not: new topics are owed to them.
    pub(super) known_patterns: BTreeMap<PatternKey, super::patterns::Known>,
    /// QoS 1 batches in memory in the order they came, to be detached and then evicted.
    pub(super) tail_order: VecDeque<(usize, Offset)>,
    pub(super) tail_detached: usize,
    pub(super) memory: super::pressure::Memory,
    pub(super) holding: super::pressure::Holding,
    /// Connections that go to another shard at the end of this step, if their output is sent.
    pub(super) moving: Vec<(ConnId, ShardId)>,
    pub(super) timers: Timers,
    pub(super) builder: BatchBuilder,
    pub(super) run: Option<Run>,
    /// Subscriptions with a read under way, by serial.
    pub(super) reads: BTreeMap<u64, usize>,
    /// Subscriptions whose cursor moved since it was logged.
    pub(super) unlogged: Vec<(usize, u64)>,
    pub(super) graves: BTreeMap<u64, super::bury::Grave>,
    pub(super) queries: BTreeMap<(ConnId, u64), super::query::Gathering>,
    pub(super) drain: super::drain::Drain,
    pub(super) serial: u64,
    pub(super) stats: Stats,
    pub(super) latency: Box<super::latency::Latency>,
    /// Operators' reads of a log under way, by the number they were asked for with.
    pub(super) browses: BTreeMap<u64, super::admin_read::Browse>,
    pub(super) replays: super::admin_replay::Replays,
    pub(super) orders: super::admin::Orders,
    pub(super) offenders: Offenders,
    pub(super) denial_log: Seldom,
    pub(super) backup: super::backup::Backup,
}

impl Core {
    /// `logs`: this shard's logs, recovered; none with `wal = off`. `patterns`: what the logs of all shards know of them.
    pub fn new(options: CoreOptions, now: Instant, logs: Vec<(LogId, Log)>, patterns: &Patterns) -> Core {
        assert!(options.shard.0 < options.shards, "a shard is one of its shards");
        let peers = (0..options.shards).map(|_| Peer::default()).collect();
        let mut core = Core {
            dice: fastrand::Rng::with_seed(options.seed),
            now,
            actions: VecDeque::new(),
            conns: Vec::new(),
            links: Slab::new(),
            guests: BTreeMap::new(),
            topics: BTreeMap::new(),
            partitions: Slab::new(),
            subscriptions: Slab::new(),
            logs: Vec::new(),
            peers,
            ready: VecDeque::new(),
            dirty: Vec::new(),
            touched: Vec::new(),
            patterns: Vec::new(),
            known_patterns: BTreeMap::new(),
            tail_order: VecDeque::new(),
            tail_detached: 0,
            memory: Default::default(),
            holding: Default::default(),
            moving: Vec::new(),
            timers: Timers::new(now),
            builder: BatchBuilder::new(),
            run: None,
            reads: BTreeMap::new(),
            unlogged: Vec::new(),
            graves: BTreeMap::new(),
            queries: BTreeMap::new(),
            drain: Default::default(),
            serial: 0,
            stats: Stats { shard: options.shard.0, ..Stats::default() },
            latency: Default::default(),
            browses: BTreeMap::new(),
            replays: Default::default(),
            orders: Default::default(),
            offenders: Offenders::default(),
            denial_log: Seldom::default(),
            backup: Default::default(),
            options,
        };
        for (id, log) in logs {
            core.restore(id, log);
        }
        core.learn_patterns(patterns);
        core.trim_restored();
        core.finish_step();
        core
    }

    /// Tells the core that something happened. `now` never goes back.
    pub fn handle(&mut self, now: Instant, event: Event) {
        debug_assert!(self.now <= now, "time never goes back");
        self.now = now;
        match event {
            Event::Received { conn, bytes } => self.received(conn, bytes),
            Event::Sent { conn, bytes } => self.sent(conn, bytes),
            Event::Log { log, event } => self.log_answered(log, event),
            Event::Mesh { from, letters } => self.letters(from, letters),
            Event::Timeout => {}
            Event::Connected { conn, peer, arrival } => self.connected(conn, peer, arrival),
            Event::Disconnected { conn, why } => self.disconnected(conn, why),
            Event::Ask { token, question } => self.asked(token, question),
        }
        self.fire_timers();
        self.finish_step();
    }

    /// What to do next; call until `None` after every `handle`.
    #[inline]
    pub fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When to tell `Event::Timeout` if nothing happens first.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let logs = self.logs.iter().filter_map(|log| log.log.poll_timeout());
        logs.chain(self.timers.next()).min()
    }

    /// All ready work of a step, in one order: what was published, what can be delivered, what the logs want, and
    /// then the output, each connection's and each shard's in one piece.
    pub(super) fn finish_step(&mut self) {
        self.release_holds();
        self.deliver_ready();
        self.trim_volatile();
        self.poll_backup();
        self.log_last_cursors();
        self.shed_volatile();
        self.poll_logs();
        self.flush_links();
        self.move_idle();
        self.flush_letters();
        self.poll_drain();
    }

    /// A number that this core never gives again.
    pub(super) fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    pub(super) fn roll(&mut self) -> u64 {
        self.dice.u64(..)
    }

    pub(super) fn has_logs(&self) -> bool {
        !self.logs.is_empty()
    }
}
