//! What one run is like, rolled from its seed: the machine, its faults, the broker's settings, the clients.

use std::time::Duration;

use super::clients::publisher::PublisherPlan;
use super::clients::subscriber::SubscriberPlan;
use super::dice::Dice;
use super::disk::DiskFaults;
use super::messages::{LEN_MAX, TopicId};
use super::network::NetFaults;
use super::plant::Plant;
use crate::model::{FsyncPolicy, Limits, OverflowPolicy, Qos, RecoveryMode, StartAt, TopicName};
use crate::wal::THROUGH_MAX;

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// SIGKILL: what the device was given stays.
    Kill,
    /// What was not synced may be lost.
    PowerCut,
    /// It drains, closes its logs and ends by itself.
    Graceful,
}

/// Something that goes wrong at a time of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    End(Ending),
    /// The power is cut, and bytes that were written long ago have changed when it is back.
    Rot,
    /// Somebody else fills the disk, for so long.
    DiskFull(Duration),
    /// Something happens to a client's connection.
    Mischief,
}

#[derive(Clone, Debug)]
pub struct Shape {
    /// Cores of each life of the process; the last goes on for ever.
    pub cores: Vec<u16>,
    pub logs: u16,
    /// `None`: `wal = off`.
    pub fsync: Option<FsyncPolicy>,
    pub overflow: OverflowPolicy,
    pub segment_size: u64,
    /// Bytes of an index; the least still has room for every batch of a run, once it is coarse.
    pub index_max: usize,
    /// Bytes of a group that may become durable by its write alone.
    pub through_max: usize,
    pub recovery: RecoveryMode,
    pub limits: Limits,
    pub max_retries: u16,
    pub retry_backoff_ms: u64,
    pub disk: DiskFaults,
    pub net: NetFaults,
    pub mesh: (Duration, Duration),
    /// When, from the start, in order.
    pub troubles: Vec<(Duration, Trouble)>,
    /// When faults stop.
    pub calm_after: Duration,
    pub topics: Vec<TopicName>,
    pub publishers: Vec<PublisherPlan>,
    pub subscribers: Vec<SubscriberPlan>,
    pub vandals: usize,
    pub plant: Option<Plant>,
}

impl Shape {
    pub fn roll(dice: &mut Dice, plant: Option<Plant>) -> Shape {
        let topics = roll_topics(dice);
        let calm_after = Duration::from_millis(dice.between(200, 1500));
        let fsync = roll_fsync(dice, plant);
        let logged = fsync.is_some();
        let mut shape = Shape {
            cores: (0..12).map(|_| dice.between(1, 4) as u16).collect(),
            logs: dice.between(1, 4) as u16,
            fsync,
            overflow: *dice.pick(&[OverflowPolicy::Block, OverflowPolicy::DropOldest, OverflowPolicy::DropNew]),
            segment_size: *dice.pick(&[64, 128, 256, 1024]) * 1024,
            index_max: 0,
            through_max: 0,
            recovery: *dice.pick(&[
                RecoveryMode::Refuse,
                RecoveryMode::Refuse,
                RecoveryMode::Truncate,
                RecoveryMode::Skip,
            ]),
            limits: roll_limits(dice),
            max_retries: dice.between(0, 4) as u16,
            retry_backoff_ms: dice.between(5, 100),
            disk: roll_disk(dice),
            net: roll_net(dice),
            mesh: (Duration::from_micros(1), Duration::from_micros(*dice.pick(&[20, 500, 5000]))),
            troubles: Vec::new(),
            calm_after,
            publishers: (0..dice.between(1, 3))
                .map(|number| roll_publisher(dice, number as usize, &topics, logged))
                .collect(),
            subscribers: roll_subscribers(dice, &topics),
            topics,
            vandals: usize::from(dice.chance(200)),
            plant,
        };
        shape.troubles = roll_troubles(dice, &shape);
        // Rolled last: the other worlds are what they were before there were travellers.
        if dice.chance(250) {
            roll_travellers(dice, &mut shape);
        }
        // Last of all, for the same reason.
        shape.through_max = *dice.pick(&[0, 8 * 1024, THROUGH_MAX]);
        shape.index_max = *dice.pick(&[12 * 1024, 64 * 1024, 64 * 1024 * 1024]);
        shape
    }

    /// The longest that letters are under way between two shards, there and back again.
    pub fn grace(&self) -> Duration {
        self.mesh.1 * 3 + Duration::from_millis(1)
    }
}

fn roll_topics(dice: &mut Dice) -> Vec<TopicName> {
    let names = ["t0", "t1", "orders.eu", "orders.us", "orders.eu.north", "dead"];
    let count = dice.between(1, 5) as usize;
    let taken = names.iter().take(count).chain(names.last());
    taken.map(|name| TopicName::parse(name.as_bytes()).expect("a valid name")).collect()
}

fn roll_fsync(dice: &mut Dice, plant: Option<Plant>) -> Option<FsyncPolicy> {
    if matches!(plant, Some(Plant::AckAtWrite | Plant::SyncClaimedEarly)) {
        return Some(FsyncPolicy::Always);
    }
    if plant == Some(Plant::OverflowUnasked) {
        return None;
    }
    match dice.below(if plant.is_some() { 9 } else { 10 }) {
        0..=3 => Some(FsyncPolicy::Always),
        4 | 5 => Some(FsyncPolicy::EveryN(*dice.pick(&[1, 2, 8, 64]))),
        6 | 7 => Some(FsyncPolicy::Interval(Duration::from_millis(dice.between(1, 50)))),
        8 => Some(FsyncPolicy::None),
        _ => None,
    }
}

/// Small bounds, so that they are reached.
fn roll_limits(dice: &mut Dice) -> Limits {
    let roomy = dice.chance(300);
    let bytes = |dice: &mut Dice, low: u64, high: u64| if roomy { 1 << 20 } else { dice.between(low, high) as usize };
    Limits {
        frame_max: 48 * 1024,
        in_flight_max: *dice.pick(&[1, 2, 5, 20, 100, 1000]),
        outbox_max: bytes(dice, 16 * 1024, 64 * 1024),
        qos0_backlog_max: bytes(dice, 4 * 1024, 64 * 1024),
        tail_max: bytes(dice, 1024, 128 * 1024),
        log_backlog_max: bytes(dice, 16 * 1024, 128 * 1024),
        mesh_max: bytes(dice, 16 * 1024, 64 * 1024),
        memory_queue_max: bytes(dice, 32 * 1024, 128 * 1024),
        handshake_timeout: Duration::from_millis(2000),
        ..Limits::default()
    }
}

fn roll_disk(dice: &mut Dice) -> DiskFaults {
    let slowest = *dice.pick(&[100, 1000, 10_000]);
    let speed = (Duration::from_micros(10), Duration::from_micros(slowest));
    let failing = dice.chance(150);
    DiskFaults {
        write: speed,
        sync: speed,
        other: speed,
        stall_per_mille: *dice.pick(&[0, 2, 20]),
        stall: (Duration::from_millis(1), Duration::from_millis(100)),
        fail_write_per_million: if failing { 3000 } else { 0 },
        fail_sync_per_million: if failing { 3000 } else { 0 },
        fail_other_per_million: if failing { 1000 } else { 0 },
        flip_read_per_million: 0,
    }
}

fn roll_net(dice: &mut Dice) -> NetFaults {
    let bad = dice.chance(400);
    let slowest = *dice.pick(&[50, 500, 3000]);
    NetFaults {
        delay: (Duration::from_micros(5), Duration::from_micros(slowest)),
        stall_per_mille: if bad { 10 } else { 0 },
        stall: (Duration::from_millis(1), Duration::from_millis(60)),
        crumbs_per_mille: if bad { 150 } else { 20 },
        reset_per_million: if bad { 3000 } else { 0 },
        buffer: *dice.pick(&[(1, 200), (1000, 20_000), (65_536, 65_536)]),
    }
}

fn roll_troubles(dice: &mut Dice, shape: &Shape) -> Vec<(Duration, Trouble)> {
    let count = dice.below(8);
    let mut troubles: Vec<(Duration, Trouble)> = (0..count)
        .map(|_| {
            let when = shape.calm_after.mul_f64(dice.below(1000) as f64 / 1000.0);
            (when, roll_trouble(dice, shape))
        })
        .collect();
    troubles.sort_by_key(|(when, _)| *when);
    troubles
}

fn roll_trouble(dice: &mut Dice, shape: &Shape) -> Trouble {
    if shape.plant == Some(Plant::CrcSkipped) && dice.chance(500) {
        return Trouble::Rot;
    }
    match dice.below(10) {
        0 | 1 => Trouble::End(Ending::Kill),
        2 | 3 => Trouble::End(Ending::PowerCut),
        4 => Trouble::End(Ending::Graceful),
        5 if shape.fsync.is_some() => Trouble::DiskFull(Duration::from_millis(dice.between(1, 300))),
        6 if shape.fsync.is_some() && dice.chance(300) => Trouble::Rot,
        _ => Trouble::Mischief,
    }
}

fn roll_publisher(dice: &mut Dice, number: usize, topics: &[TopicName], logged: bool) -> PublisherPlan {
    let count = dice.between(1, topics.len() as u64 - 1);
    // Without a log nobody remembers sequence numbers.
    let idempotent = dice.chance(700) && logged;
    PublisherPlan {
        number,
        version: dice.between(1, 2) as u8,
        topics: (0..count).map(|_| TopicId(dice.index(topics.len() - 1) as u16)).collect(),
        messages: dice.between(5, 250) as u32,
        // A broker remembers five batches of a producer.
        window: dice.between(1, if idempotent { 5 } else { 10 }) as usize,
        batch_max: *dice.pick(&[1, 5, 20]),
        len_max: *dice.pick(&[30, 300, LEN_MAX]),
        qos1_per_mille: *dice.pick(&[1000, 1000, 500, 0]),
        ttl_per_mille: *dice.pick(&[0, 0, 300]),
        idempotent,
        pause_max_us: *dice.pick(&[100, 2000, 20_000]),
    }
}

/// Topics that come late, and durable subscribers to all of them by pattern, who are away half of the time.
fn roll_travellers(dice: &mut Dice, shape: &mut Shape) {
    let first = shape.topics.len();
    let late = (0..dice.between(2, 10)).map(|nth| format!("orders.late.{nth}"));
    shape.topics.extend(late.map(|name| TopicName::parse(name.as_bytes()).expect("a valid name")));
    let topics: Vec<TopicId> = (first..shape.topics.len()).map(|nth| TopicId(nth as u16)).collect();
    let pattern = dice.pick(&[">", "orders.>", "orders.late.*", "*.late.*"]);
    let seldom = roll_publisher(dice, shape.publishers.len(), &shape.topics, shape.fsync.is_some());
    shape.publishers.push(PublisherPlan {
        topics,
        // Version 1 names a topic when it publishes to it.
        version: if dice.chance(700) { 1 } else { seldom.version },
        qos1_per_mille: *dice.pick(&[1000, 500]),
        messages: dice.between(5, 60) as u32,
        pause_max_us: *dice.pick(&[20_000, 100_000]),
        ..seldom
    });
    let number = shape.subscribers.len() as u64;
    let traveller = SubscriberPlan {
        version: 2,
        pattern: pattern.as_bytes().to_vec(),
        name: format!("traveller-{number}"),
        qos: Qos::AtLeastOnce,
        dead_letter: Vec::new(),
        leaves_per_mille: *dice.pick(&[20, 100, 300]),
        ..roll_subscriber(dice, number, &shape.topics)
    };
    let members = if traveller.shared { dice.between(1, 2) } else { 1 };
    shape.subscribers.extend((0..members).map(|_| traveller.clone()));
}

fn roll_subscribers(dice: &mut Dice, topics: &[TopicName]) -> Vec<SubscriberPlan> {
    let mut subscribers = Vec::new();
    for number in 0..dice.between(1, 4) {
        let plan = roll_subscriber(dice, number, topics);
        for _ in 0..if plan.shared { dice.between(1, 3) } else { 1 } {
            subscribers.push(plan.clone());
        }
    }
    subscribers
}

fn roll_subscriber(dice: &mut Dice, number: u64, topics: &[TopicName]) -> SubscriberPlan {
    let version = if dice.chance(300) { 1 } else { 2 };
    let topic = TopicId(dice.index(topics.len()) as u16);
    let exact = topics[topic.0 as usize].as_bytes().to_vec();
    let wild = if dice.chance(150) { dice.pick(&[&b"orders.*"[..], b"orders.>", b">"]).to_vec() } else { exact };
    let durable = version == 2 && dice.chance(700);
    let buries = durable && dice.chance(200) && &wild[..] != b">" && topic.0 as usize != topics.len() - 1;
    SubscriberPlan {
        version,
        topic,
        pattern: wild,
        name: if durable { format!("durable-{number}") } else { String::new() },
        qos: if dice.chance(800) { Qos::AtLeastOnce } else { Qos::AtMostOnce },
        shared: durable && dice.chance(300),
        auto_acknowledge: version == 2 && dice.chance(100),
        start: *dice.pick(&[StartAt::Latest, StartAt::Earliest]),
        credit: (dice.between(1, 200) as u32, dice.between(1, 100_000) as u32),
        retry_delay_ms: *dice.pick(&[0, 0, 5, 50]),
        max_retries: if dice.chance(500) { None } else { Some(dice.between(0, 6) as u16) },
        dead_letter: if buries { b"dead".to_vec() } else { Vec::new() },
        refuses_per_mille: *dice.pick(&[0, 50, 300]),
        forgets_per_mille: *dice.pick(&[0, 50, 300]),
        unsubscribes_per_mille: *dice.pick(&[0, 0, 0, 5]),
        leaves_per_mille: 0,
        dawdles_max_us: *dice.pick(&[10, 1000, 50_000]),
    }
}
