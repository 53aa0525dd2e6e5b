//! What a shard delivers to: one connection, held here or elsewhere, seen from its output.

use bytes::{Bytes, BytesMut};

use crate::model::{Chunk, ConnId, Pattern, ShardId};

/// Index of a link on this shard.
pub type LinkIndex = usize;

/// The output of one connection, and what it subscribes to on this shard.
#[derive(Debug)]
pub struct Link {
    pub conn: ConnId,
    /// The connection's protocol version.
    pub version: u8,
    /// Written in this step, not handed on yet.
    out: Vec<Chunk>,
    /// Small frames of this step, joined.
    small: BytesMut,
    out_bytes: usize,
    /// Handed on, not yet taken by the socket.
    pub unsent: usize,
    /// In the shard's list of links to flush.
    pub dirty: bool,
    /// A subscription has something for it and waits for room.
    pub wanted: bool,
    /// Sorted by id.
    pub bindings: Vec<Binding>,
    /// Bytes that another shard wrote for this connection and its socket has not taken, in order of writing: so that
    /// shard learns when they are gone.
    pub owed: std::collections::VecDeque<(Option<ShardId>, usize)>,
}

/// One subscription of a connection, as far as this shard serves it.
#[derive(Debug)]
pub struct Binding {
    pub id: u64,
    pub auto_settle: bool,
    /// Version 1: delivered on POLL, not against credit.
    pub polled: bool,
    pub credit_messages: u64,
    /// May go below zero once: a batch is not cut by bytes.
    pub credit_bytes: i64,
    /// For a pattern: new topics join.
    pub pattern: Option<Pattern>,
    pub options: super::subscribe::SubscribeOptions,
    /// The shard's subscriptions it delivers from; the client knows them by their place here.
    pub sources: Vec<SourceSlot>,
    /// Several shards serve the subscription: its holder wants to know what credit is used where.
    pub spread: bool,
}

/// One topic partition that a binding delivers from.
#[derive(Clone, Copy, Debug)]
pub struct SourceSlot {
    /// The shard's subscription; `None` when it ended.
    pub subscription: Option<usize>,
    /// The client has been told its name.
    pub announced: bool,
    /// The binding made it.
    pub fresh: bool,
}

impl Binding {
    pub fn has_credit(&self) -> bool {
        self.credit_messages > 0 && self.credit_bytes > 0
    }
}

impl Link {
    /// With more than this handed on and not taken, nothing more is delivered: the rest waits where it is stored.
    pub const BUSY: usize = 64 * 1024;

    pub fn new(conn: ConnId, version: u8) -> Link {
        Link {
            conn,
            version,
            out: Vec::new(),
            small: BytesMut::new(),
            out_bytes: 0,
            unsent: 0,
            dirty: false,
            wanted: false,
            bindings: Vec::new(),
            owed: Default::default(),
        }
    }

    /// A frame that fits in the joined buffer: replies, and version 1 deliveries.
    pub fn write(&mut self, encode: impl FnOnce(&mut BytesMut)) {
        let before = self.small.len();
        encode(&mut self.small);
        self.out_bytes += self.small.len() - before;
    }

    /// A header, and shared bytes after it.
    pub fn push(&mut self, head: &[u8], body: Bytes) {
        self.close_small();
        self.out_bytes += head.len() + body.len();
        self.out.push(Chunk::head(head));
        self.out.push(Chunk::Shared(body));
    }

    /// Frames that another shard wrote.
    pub fn append(&mut self, chunks: Vec<Chunk>) -> usize {
        self.close_small();
        let bytes = chunks.iter().map(Chunk::len).sum();
        self.out_bytes += bytes;
        self.out.extend(chunks);
        bytes
    }

    fn close_small(&mut self) {
        if !self.small.is_empty() {
            self.out.push(Chunk::Shared(self.small.split().freeze()));
        }
    }

    /// Takes this step's output out; it counts as unsent from now on.
    pub fn take_output(&mut self) -> Vec<Chunk> {
        self.close_small();
        self.dirty = false;
        self.unsent += self.out_bytes;
        self.out_bytes = 0;
        if self.small.capacity() > 0 && self.unsent == 0 {
            self.small = BytesMut::new();
        }
        std::mem::take(&mut self.out)
    }

    /// Everything written and not taken by the socket.
    pub fn backlog(&self) -> usize {
        self.unsent + self.out_bytes
    }

    pub fn written(&self) -> usize {
        self.out_bytes
    }

    /// Whether a delivery may be written now. `most`: bytes that one step may write.
    pub fn has_room(&self, most: usize) -> bool {
        self.unsent < Link::BUSY && self.out_bytes < most
    }

    pub fn binding(&mut self, id: u64) -> Option<&mut Binding> {
        let at = self.bindings.binary_search_by_key(&id, |binding| binding.id).ok()?;
        Some(&mut self.bindings[at])
    }
}
