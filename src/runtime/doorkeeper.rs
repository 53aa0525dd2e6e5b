//! How many are inside: of the whole broker, in all and from each address. Who is one too many, the core says.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::shard::Crowd;

/// Sockets beyond the bound on connections that may be open at the same time: those that are being told so. Beyond:
/// nobody is accepted until some are closed, since each takes one of the descriptors that the logs live by.
pub const REFUSED_MAX: usize = 24;

/// Counts open sockets. The one thing that shards share; only accepting and closing look at it, no message does.
#[derive(Debug)]
pub struct Doorkeeper {
    inside: Mutex<Inside>,
    most: AtomicUsize,
}

#[derive(Debug, Default)]
struct Inside {
    all: usize,
    from: HashMap<IpAddr, usize>,
}

/// A socket's place inside: travels with it, and is given back when dropped.
#[derive(Debug)]
pub struct Place {
    doorkeeper: Arc<Doorkeeper>,
    peer: IpAddr,
}

impl Doorkeeper {
    /// For so many connections.
    pub fn new(connections_max: usize) -> Doorkeeper {
        let doorkeeper = Doorkeeper { inside: Mutex::default(), most: AtomicUsize::new(0) };
        doorkeeper.allow(connections_max);
        doorkeeper
    }

    /// For so many connections from now on.
    pub fn allow(&self, connections_max: usize) {
        self.most.store(connections_max.saturating_add(REFUSED_MAX), Ordering::Relaxed);
    }

    /// Whether whoever comes now has to wait outside, in the kernel's queue.
    pub fn is_crowded(&self) -> bool {
        self.lock().all >= self.most.load(Ordering::Relaxed)
    }

    /// Lets a socket in; says how many are inside now.
    pub fn enter(self: &Arc<Self>, peer: IpAddr) -> (Place, Crowd) {
        let mut inside = self.lock();
        inside.all += 1;
        let all = inside.all;
        let from = inside.from.entry(peer).or_default();
        *from += 1;
        let crowd = Crowd { all, from_address: *from };
        drop(inside);
        (Place { doorkeeper: self.clone(), peer }, crowd)
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        // Nothing panics while it is held; and a count is a count.
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inside = self.doorkeeper.lock();
        inside.all -= 1;
        let left = inside.from.get_mut(&self.peer).map(|from| {
            *from -= 1;
            *from
        });
        if left == Some(0) {
            inside.from.remove(&self.peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_in_all_and_by_address_and_given_back() {
        let doorkeeper = Arc::new(Doorkeeper::new(10));
        let (here, there): (IpAddr, IpAddr) = ("127.0.0.1".parse().unwrap(), "::1".parse().unwrap());
        let (first, crowd) = doorkeeper.enter(here);
        assert_eq!(crowd, Crowd { all: 1, from_address: 1 });
        let (second, crowd) = doorkeeper.enter(there);
        assert_eq!(crowd, Crowd { all: 2, from_address: 1 });
        drop(first);
        assert_eq!(doorkeeper.enter(there).1, Crowd { all: 2, from_address: 2 });
        drop(second);
        let inside = doorkeeper.lock();
        assert_eq!((inside.all, inside.from.len()), (0, 0));
    }

    #[test]
    fn a_few_more_than_the_bound_come_in_to_be_told_so_and_the_rest_wait() {
        let doorkeeper = Arc::new(Doorkeeper::new(5));
        let here: IpAddr = "127.0.0.1".parse().unwrap();
        let mut places: Vec<Place> = (0..5 + REFUSED_MAX - 1).map(|_| doorkeeper.enter(here).0).collect();
        assert!(!doorkeeper.is_crowded());
        places.push(doorkeeper.enter(here).0);
        assert!(doorkeeper.is_crowded());
        places.pop();
        assert!(!doorkeeper.is_crowded());
    }
}
