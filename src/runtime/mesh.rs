//! Channels between shards: letters in batches, and connections that move.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::IpAddr;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;

use glommio::GlommioError;
use glommio::channels::shared_channel::{
    ConnectedReceiver, ConnectedSender, SharedReceiver, SharedSender, new_bounded,
};
use glommio::net::TcpStream;

use super::bell::Bell;
use super::doorkeeper::Place;
use super::gauges::{Gauges, add};
use super::shard::Shard;
use super::tls_session::TlsSession;
use crate::model::ShardId;
use crate::shard::{Arrival, Carry, Event, Letter};

/// Parcels one channel holds; what the receiver has not yet taken waits at the sender, bounded by the cores' own
/// account of bytes in flight ([`crate::model::Limits::mesh_max`]).
const CHANNEL: usize = 256;

/// What one shard hands to another, in order.
#[derive(Debug)]
pub enum Parcel {
    /// Letters to its core.
    Letters(Vec<Letter>),
    /// A connection, whole. `socket` is missing when no descriptor could be had for it: the session ends there.
    Connection { socket: Option<OwnedFd>, tls: Option<Box<TlsSession>>, peer: IpAddr, carry: Box<Carry>, place: Place },
}

/// One shard's ends of all its channels, before its executor has started.
#[derive(Debug)]
pub struct Ends {
    senders: Vec<Option<SharedSender<Parcel>>>,
    receivers: Vec<Option<SharedReceiver<Parcel>>>,
}

/// A channel for every ordered pair of `shards`.
pub fn ends(shards: usize) -> Vec<Ends> {
    let none = || Ends { senders: (0..shards).map(|_| None).collect(), receivers: (0..shards).map(|_| None).collect() };
    let mut all: Vec<Ends> = (0..shards).map(|_| none()).collect();
    for from in 0..shards {
        for to in (0..shards).filter(|to| *to != from) {
            let (sender, receiver) = new_bounded(CHANNEL);
            all[from].senders[to] = Some(sender);
            all[to].receivers[from] = Some(receiver);
        }
    }
    all
}

/// What this shard sends to the others.
pub struct Mesh {
    lanes: Vec<Option<Rc<Lane>>>,
    /// Letters were written in this step.
    written: Cell<bool>,
    gauges: Arc<Gauges>,
}

/// What this shard receives, with the shard each comes from.
pub type Receivers = Vec<(ShardId, ConnectedReceiver<Parcel>)>;

/// The way to one other shard.
struct Lane {
    sender: ConnectedSender<Parcel>,
    /// Letters of the step that is being carried out: one parcel, and one wake-up, for all of them.
    letters: RefCell<Vec<Letter>>,
    /// What the channel had no room for, in order. While it is not empty nothing overtakes it.
    waiting: RefCell<VecDeque<Parcel>>,
    held_up: Cell<bool>,
    bell: Bell,
}

impl Mesh {
    /// Connects all ends. Every shard must do this at the same time: each end waits for its other half.
    pub async fn connect(ends: Ends, gauges: Arc<Gauges>) -> (Mesh, Receivers) {
        let senders: Vec<_> = ends.senders.into_iter().map(|end| end.map(|end| spawn(end.connect()))).collect();
        let receivers: Vec<_> = ends.receivers.into_iter().map(|end| end.map(|end| spawn(end.connect()))).collect();
        let mut lanes = Vec::new();
        for sender in senders {
            lanes.push(match sender {
                Some(sender) => Some(Lane::start(sender.await)),
                None => None,
            });
        }
        let mut connected = Vec::new();
        for (from, receiver) in receivers.into_iter().enumerate() {
            if let Some(receiver) = receiver {
                connected.push((ShardId(from as u16), receiver.await));
            }
        }
        (Mesh { lanes, written: Cell::new(false), gauges }, connected)
    }

    /// Letters for another shard. They leave when the step is done.
    pub fn write(&self, to: ShardId, mut letters: Vec<Letter>) {
        self.written.set(true);
        let mut gathered = self.lane(to).letters.borrow_mut();
        if gathered.is_empty() {
            *gathered = letters;
        } else {
            gathered.append(&mut letters);
        }
    }

    /// Sends the letters of this step.
    #[inline]
    pub fn post(&self) {
        if self.written.replace(false) {
            self.lanes.iter().flatten().for_each(|lane| lane.post(&self.gauges));
        }
    }

    /// A parcel after everything written so far.
    pub fn send(&self, to: ShardId, parcel: Parcel) {
        let lane = self.lane(to);
        lane.post(&self.gauges);
        lane.send(parcel, &self.gauges);
    }

    fn lane(&self, to: ShardId) -> &Lane {
        self.lanes[to.index()].as_ref().expect("a shard does not write to itself")
    }
}

impl Lane {
    fn start(sender: ConnectedSender<Parcel>) -> Rc<Lane> {
        let lane = Rc::new(Lane {
            sender,
            letters: RefCell::default(),
            waiting: RefCell::default(),
            held_up: Cell::new(false),
            bell: Bell::default(),
        });
        spawn(send_waiting(lane.clone())).detach();
        lane
    }

    fn post(&self, gauges: &Gauges) {
        let letters = self.letters.take();
        if !letters.is_empty() {
            self.send(Parcel::Letters(letters), gauges);
        }
    }

    fn send(&self, parcel: Parcel, gauges: &Gauges) {
        if self.held_up.get() {
            return self.wait(parcel, gauges);
        }
        if let Err(GlommioError::WouldBlock(glommio::ResourceType::Channel(parcel))) = self.sender.try_send(parcel) {
            self.wait(parcel, gauges);
            self.held_up.set(true);
            self.bell.ring();
        }
        // A closed channel is a shard that has ended: the process is on its way out.
    }

    fn wait(&self, parcel: Parcel, gauges: &Gauges) {
        add(&gauges.mesh_waits, 1);
        self.waiting.borrow_mut().push_back(parcel);
    }

    fn next(&self) -> Option<Parcel> {
        let next = self.waiting.borrow_mut().pop_front();
        self.held_up.set(next.is_some());
        next
    }
}

/// Sends what the channel had no room for, as room comes.
async fn send_waiting(lane: Rc<Lane>) {
    loop {
        lane.bell.rung().await;
        while let Some(parcel) = lane.next() {
            if lane.sender.send(parcel).await.is_err() {
                return;
            }
        }
    }
}

/// Takes what one other shard sends, until that shard ends.
pub async fn receive(shard: Rc<Shard>, from: ShardId, parcels: ConnectedReceiver<Parcel>) {
    while let Some(parcel) = parcels.recv().await {
        match parcel {
            Parcel::Letters(letters) => shard.drive(Event::Mesh { from, letters }),
            Parcel::Connection { socket, tls, peer, carry, place } => {
                if let Some(stream) = take_in(&shard, socket, peer) {
                    shard.connected(peer, stream, tls, Arrival::Moved(carry), place);
                }
            }
        }
        shard.turns.next().await;
    }
}

fn take_in(shard: &Rc<Shard>, socket: Option<OwnedFd>, peer: IpAddr) -> Option<TcpStream> {
    add(&shard.gauges.moved_in, 1);
    // A closed socket in place of the missing one: the core is told of the session, and then that it is over.
    let Some(socket) = socket.or_else(closed_socket) else {
        log::error!("a connection from {peer} was lost: no descriptor for it");
        return None;
    };
    // SAFETY: the descriptor is owned and given up here, to exactly one stream.
    Some(unsafe { TcpStream::from_raw_fd(socket.into_raw_fd()) })
}

/// The reading end of a socket pair whose other end is gone: reads as the end of a stream.
fn closed_socket() -> Option<OwnedFd> {
    std::os::unix::net::UnixStream::pair().ok().map(|(ours, _)| ours.into())
}

fn spawn<T: 'static>(task: impl Future<Output = T> + 'static) -> glommio::Task<T> {
    glommio::spawn_local(task)
}
