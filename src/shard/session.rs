//! What a shard knows of one connection whose socket it holds. Travels with the connection.

use std::net::IpAddr;

use bytes::BytesMut;

use super::link::LinkIndex;
use super::refusal::Refusal;
use crate::auth::Identity;
use crate::model::{ConnId, Instant, Pattern, ShardId, TopicName};

/// How far the handshake is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Hello,
    Auth,
    Open,
    /// Told to go; what still arrives is not read.
    Closing,
}

/// Protocol state that travels with a connection.
#[derive(Debug)]
pub struct Session {
    pub phase: Phase,
    /// 0 before HELLO, then 1 or 2.
    pub version: u8,
    pub identity: Option<Identity>,
    /// Version 2. Sorted by the client's number; a client that counts from zero finds each at its index.
    pub aliases: Vec<(u32, Alias)>,
    /// The topic of the last version 1 PUBLISH: the next one is most often to the same.
    pub last: Option<Alias>,
    /// By subscription id - 1: ids are given in order and never used again on one connection.
    pub subscriptions: Vec<Option<Subscribed>>,
    /// Deletions that are not answered.
    pub leaving: Vec<Leaving>,
    /// How often the connection has moved.
    pub moves: u8,
}

/// A topic the connection has named, and where it lives.
#[derive(Debug, Clone)]
pub struct Alias {
    pub topic: TopicName,
    pub route: Route,
}

/// Where a topic lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// Not asked yet, or the connection has moved since.
    Unknown,
    /// Here: the index of its partition. Checked against the topic's name at each use, because topics can be deleted.
    Here(usize),
    There(ShardId),
}

/// A subscription of this connection.
#[derive(Debug)]
pub struct Subscribed {
    /// What was asked for: a reload may forbid it.
    pub pattern: Pattern,
    /// The shards that hold a part of it: one for a topic, all for a pattern.
    pub shards: Vec<Share>,
    /// Shards that have not answered yet, and what to say when they have.
    pub pending: usize,
    pub correlation: u64,
    /// Messages and bytes to start with.
    pub credit: (u64, u64),
    pub sources: u32,
    pub next_offset: u64,
    pub refused: Option<Refusal>,
}

/// A subscription that is being deleted.
#[derive(Debug)]
pub struct Leaving {
    pub subscription: u64,
    pub correlation: u64,
    /// Shards that have not answered yet.
    pub pending: usize,
}

/// One shard's part of a subscription, and the credit it has used since the client last gave some.
#[derive(Debug)]
pub struct Share {
    pub shard: ShardId,
    pub spent_messages: u64,
    pub spent_bytes: u64,
}

/// A connection of this shard.
#[derive(Debug)]
pub struct Conn {
    pub id: ConnId,
    pub peer: IpAddr,
    pub link: LinkIndex,
    pub session: Session,
    /// The beginning of a frame whose rest has not arrived.
    pub partial: BytesMut,
    /// What its input counts for in the shard's memory: what is unread, or what is set aside for the frame that is
    /// coming in; and how much of that counts as a large frame.
    pub counted: (usize, usize),
    /// Received and not handled, because of `hold`.
    pub unread: BytesMut,
    pub hold: Option<Hold>,
    pub paused: bool,
    pub opened: Instant,
    pub heard: Instant,
    /// When its one timer fires.
    pub timer: Instant,
    /// A malformed frame was logged already.
    pub complained: bool,
}

/// Why a connection's input waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hold {
    /// The log is slower than the publishers.
    Log(usize),
    /// The other shard is slower than this connection.
    Mesh(ShardId),
    /// A topic without a log is full.
    Queue(usize),
    /// The shard is at its memory bound.
    Memory,
    /// A large frame has begun, and there is no memory yet for all of it.
    Frame,
    /// On its way to another shard, when its output is sent.
    Moving(ShardId),
    /// Its replies are not read.
    Output,
    /// Its key was wrong, and the answer to that, with this correlation id, waits.
    Denied(u64),
    /// It speaks of a subscription that is not answered yet.
    Subscribing,
}

impl Session {
    pub fn new() -> Session {
        Session {
            phase: Phase::Hello,
            version: 0,
            identity: None,
            aliases: Vec::new(),
            last: None,
            subscriptions: Vec::new(),
            leaving: Vec::new(),
            moves: 0,
        }
    }

    /// Routes name this shard's partitions: on another shard they mean nothing.
    pub fn forget_routes(&mut self) {
        let aliases = self.aliases.iter_mut().map(|(_, alias)| alias);
        for alias in aliases.chain(&mut self.last) {
            alias.route = Route::Unknown;
        }
    }

    /// Where the client's alias `number` is, or where it would be.
    #[inline]
    pub fn find_alias(&self, number: u32) -> Result<usize, usize> {
        match self.aliases.get(number as usize) {
            Some((at_its_index, _)) if *at_its_index == number => Ok(number as usize),
            _ => self.aliases.binary_search_by_key(&number, |(number, _)| *number),
        }
    }

    pub fn subscription(&mut self, id: u64) -> Option<&mut Subscribed> {
        let index = usize::try_from(id.checked_sub(1)?).ok()?;
        self.subscriptions.get_mut(index)?.as_mut()
    }

    /// Asked for, and not answered yet.
    pub fn is_pending(&mut self, id: u64) -> bool {
        self.subscription(id).is_some_and(|state| state.pending > 0)
    }

    pub fn has_subscriptions(&self) -> bool {
        self.subscriptions.iter().any(Option::is_some)
    }
}

impl Default for Session {
    fn default() -> Self {
        Session::new()
    }
}
