//! What a core is told and what it asks for.
//!
//! ```text
//! core.handle(now, event);                        // something happened outside; `now` never goes back
//! while let Some(action) = core.poll() { .. }     // what to do next; until None after every handle
//! core.poll_timeout()                             // when to call handle(now, Event::Timeout) if nothing happens first
//! ```

use std::net::IpAddr;

use bytes::BytesMut;

use super::letter::Letter;
use super::session::Session;
use crate::model::{Chunk, ConnId, LogId, ShardId};
use crate::wal::{LogAction, LogEvent};

/// Something that happened outside.
#[derive(Debug)]
pub enum Event {
    /// A socket of this shard is open. Its id is new.
    Connected { conn: ConnId, peer: IpAddr, arrival: Arrival },
    /// Everything one read brought, at most [`crate::model::Limits::READ`] bytes.
    Received { conn: ConnId, bytes: BytesMut },
    /// The socket took `bytes` more of what `Action::Send` gave.
    Sent { conn: ConnId, bytes: usize },
    /// The socket is gone; nothing more will be said of `conn`.
    Disconnected { conn: ConnId, why: Disconnect },
    /// A device answered.
    Log { log: LogId, event: LogEvent },
    /// Letters from another shard, in the order it wrote them.
    Mesh { from: ShardId, letters: Vec<Letter> },
    /// `poll_timeout` has come.
    Timeout,
    /// Somebody outside the message path asks or orders something; answered by `Action::Answer` with the same token.
    Ask { token: u64, question: super::ask::Question },
}

/// How a connection came to this shard.
#[derive(Debug)]
pub enum Arrival {
    /// Accepted here, among so many.
    Accepted(Crowd),
    /// Moved here by `Action::Move` of another shard.
    Moved(Box<Carry>),
}

/// Open connections of the whole broker, the new one included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Crowd {
    pub all: usize,
    /// From the new one's address.
    pub from_address: usize,
}

/// What travels with a connection that moves.
#[derive(Debug)]
pub struct Carry {
    pub session: Session,
    /// Received and not yet handled.
    pub unread: BytesMut,
}

/// Why a socket ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disconnect {
    /// The peer closed, or closed its sending half.
    Eof,
    /// The peer reset, or the network failed.
    Reset,
    /// We closed it, by `Action::Close`.
    Ours,
}

/// Something to do, in this order.
#[derive(Debug)]
pub enum Action {
    /// Append to the connection's output and write what the socket takes at once; answer `Event::Sent` as it drains
    /// (also when all of it went at once).
    Send {
        conn: ConnId,
        chunks: Vec<Chunk>,
    },
    /// Write what is still to be sent (for at most a second), then close. Answer `Event::Disconnected`.
    Close {
        conn: ConnId,
    },
    /// Do not read this socket until `Resume`.
    Pause {
        conn: ConnId,
    },
    Resume {
        conn: ConnId,
    },
    /// Hand the file descriptor to shard `to`, which tells its core `Event::Connected` with `carry`. Everything sent
    /// has been taken by the socket. Nothing more is said here of `conn`.
    Move {
        conn: ConnId,
        to: ShardId,
        carry: Box<Carry>,
    },
    /// Carry letters to another shard's core as one `Event::Mesh`. In order, never lost; bounded by the cores.
    Mesh {
        to: ShardId,
        letters: Vec<Letter>,
    },
    /// Do this on the log's device; answer `Event::Log`.
    Log {
        log: LogId,
        action: LogAction,
    },
    /// Answers `Event::Ask`.
    Answer {
        token: u64,
        answer: super::ask::Answer,
    },
    /// The core cannot go on (a log failed): end the process with this exit code after writing the reason.
    Halt {
        code: i32,
        reason: String,
    },
    /// After `Question::Drain`: everything is finished; the process may end with exit code 0.
    Drained,
}
