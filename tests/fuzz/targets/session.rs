//! Anything that a client may send, through a whole core with a log.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use blipmq::auth::{Key, KeyRing, Secret};
use blipmq::config::TopicRules;
use blipmq::model::{Backoff, ConnId, Instant, Limits, LogId, OverflowPolicy, ShardId};
use blipmq::protocol::native::command;
use blipmq::shard::{Action, Arrival, Core, CoreOptions, Crowd, Disconnect, Event, Patterns};
use blipmq::wal::{Log, Recovered};
use bytes::BytesMut;

use super::device::{Device, log_options};

const KEY: &str = "fuzz";
const SEGMENT: u64 = 128 << 10;
const INDEX_MAX: usize = 64 << 10;
/// Between two things that happen, in nanoseconds: a whole input is over before anything times out.
const STEP: u64 = 1000;
/// Answers of the core to one read. Beyond: it never comes to rest.
const ACTIONS_MAX: usize = 100_000;
const ROOM: usize = 64 << 10;

struct World {
    core: Core,
    device: Device,
    now: Instant,
    open: bool,
}

/// After HELLO and AUTH of version 1.
pub fn version_1(data: &[u8]) {
    session(1, data);
}

/// After HELLO and AUTH of version 2; the first byte also decides whether these are said.
pub fn version_2(data: &[u8]) {
    session(2, data);
}

/// The first byte says in which pieces the rest arrives.
fn session(version: u16, data: &[u8]) {
    let Some((how, said)) = data.split_first() else { return };
    let mut world = World::new();
    let conn = ConnId { shard: ShardId(0), slot: 0, generation: 0 };
    let arrival = Arrival::Accepted(Crowd::default());
    world.tell(Event::Connected { conn, peer: IpAddr::V4(Ipv4Addr::LOCALHOST), arrival });
    let mut hands = BytesMut::new();
    if *how != 0 {
        command::hello(&mut hands, 1, version);
        command::auth(&mut hands, 2, KEY);
        command::alias(&mut hands, 3, 0, b"demo");
        world.tell(Event::Received { conn, bytes: hands });
    }
    let piece = if *how < 128 { ROOM } else { usize::from(*how) };
    for bytes in said.chunks(piece) {
        if !world.open {
            break;
        }
        world.tell(Event::Received { conn, bytes: bytes.into() });
    }
    if world.open {
        world.tell(Event::Disconnected { conn, why: Disconnect::Eof });
    }
}

impl World {
    fn new() -> World {
        let limits = Limits { frame_max: ROOM, log_backlog_max: 1 << 20, topics_max: 50, ..Limits::default() };
        let options = CoreOptions {
            shard: ShardId(0),
            shards: 1,
            logs: 1,
            overflow: OverflowPolicy::Block,
            limits,
            keys: KeyRing::new([Key::plain(&Secret::new(KEY.as_bytes()).expect("long enough"))]).expect("one key"),
            max_retries: 3,
            retry: Backoff { base: Duration::from_millis(100), cap: Duration::from_secs(30) },
            topics: TopicRules::default(),
            seed: 1,
        };
        let logs = vec![(LogId(0), Log::new(log_options(SEGMENT, INDEX_MAX), Recovered::nothing(SEGMENT)))];
        let now = Instant(1_700_000_000_000_000_000);
        let mut world =
            World { core: Core::new(options, now, logs, &Patterns::new()), device: Device::default(), now, open: true };
        world.drain();
        world
    }

    fn tell(&mut self, event: Event) {
        self.now = Instant(self.now.0 + STEP);
        self.core.handle(self.now, event);
        self.drain();
    }

    fn drain(&mut self) {
        for _ in 0..ACTIONS_MAX {
            match self.core.poll() {
                Some(action) => self.act(action),
                None => match self.core.poll_timeout() {
                    Some(at) if at <= self.now => self.core.handle(self.now, Event::Timeout),
                    _ => return,
                },
            }
        }
        panic!("the core never comes to rest");
    }

    fn act(&mut self, action: Action) {
        let event = match action {
            Action::Send { conn, chunks } => {
                assert!(self.open, "nothing is said to a connection that was closed");
                Event::Sent { conn, bytes: chunks.iter().map(|chunk| chunk.len()).sum() }
            }
            Action::Close { conn } => {
                self.open = false;
                Event::Disconnected { conn, why: Disconnect::Ours }
            }
            Action::Log { log, action } => Event::Log { log, event: self.device.perform(action) },
            Action::Halt { reason, .. } => panic!("a client ended the broker: {reason}"),
            _ => return,
        };
        self.core.handle(self.now, event);
    }
}
