//! Which connection has which name.

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;

use glommio::net::TcpStream;

use super::connection::Connection;
use super::tls_session::TlsSession;
use crate::model::{ConnId, ShardId};

/// The connections that the core of one shard knows. Slots are used again, generations are not.
#[derive(Debug)]
pub struct Connections {
    shard: ShardId,
    inside: RefCell<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    connection: Option<Rc<Connection>>,
}

impl Connections {
    /// None yet.
    pub fn new(shard: ShardId) -> Connections {
        Connections { shard, inside: RefCell::default() }
    }

    /// Names a new connection.
    pub fn add(&self, peer: IpAddr, stream: TcpStream, tls: Option<Box<TlsSession>>) -> Rc<Connection> {
        let mut inside = self.inside.borrow_mut();
        let slot = inside.free.pop().unwrap_or_else(|| {
            inside.slots.push(Slot::default());
            (inside.slots.len() - 1) as u32
        });
        let place = &mut inside.slots[slot as usize];
        place.generation = place.generation.wrapping_add(1);
        let id = ConnId { shard: self.shard, slot, generation: place.generation };
        let connection = Connection::new(id, peer, stream, tls);
        place.connection = Some(connection.clone());
        connection
    }

    /// `None` for a name that is no longer in use.
    #[inline]
    pub fn find(&self, id: ConnId) -> Option<Rc<Connection>> {
        let inside = self.inside.borrow();
        let slot = inside.slots.get(id.slot as usize)?;
        slot.connection.as_ref().filter(|_| slot.generation == id.generation).cloned()
    }

    /// Forgets a name. False if it was forgotten before.
    pub fn forget(&self, id: ConnId) -> bool {
        let mut inside = self.inside.borrow_mut();
        let Some(slot) = inside.slots.get_mut(id.slot as usize) else { return false };
        if slot.generation != id.generation || slot.connection.take().is_none() {
            return false;
        }
        inside.free.push(id.slot);
        true
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        let inside = self.inside.borrow();
        inside.slots.len() - inside.free.len()
    }

    /// All of them, in no order.
    pub fn all(&self) -> Vec<Rc<Connection>> {
        self.inside.borrow().slots.iter().filter_map(|slot| slot.connection.clone()).collect()
    }
}
