//! Which sockets have something to read, or room again.

use std::os::fd::AsFd;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::failure::Failure;

/// Sockets told of at once.
const EVENTS: usize = 256;

/// Watches sockets by number.
#[derive(Debug)]
pub struct Poller {
    epoll: Epoll,
    events: Vec<EpollEvent>,
}

/// One socket that is ready.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    /// Its number.
    pub index: usize,
    /// There is something to read, or it ended.
    pub readable: bool,
    /// There is room.
    pub writable: bool,
}

impl Poller {
    /// Watches nothing yet.
    pub fn new() -> Result<Poller, Failure> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        Ok(Poller { epoll, events: vec![EpollEvent::empty(); EVENTS] })
    }

    /// Watches `socket` for reading.
    pub fn add(&self, socket: &impl AsFd, index: usize) -> Result<(), Failure> {
        Ok(self.epoll.add(socket, event(index, false))?)
    }

    /// Watches it for room too, or no more.
    pub fn set(&self, socket: &impl AsFd, index: usize, writable: bool) -> Result<(), Failure> {
        Ok(self.epoll.modify(socket, &mut event(index, writable))?)
    }

    /// Watches it for nothing but its end.
    pub fn pause(&self, socket: &impl AsFd, index: usize) -> Result<(), Failure> {
        Ok(self.epoll.modify(socket, &mut EpollEvent::new(EpollFlags::empty(), index as u64))?)
    }

    /// Waits so long at most; zero does not wait.
    pub fn wait(&mut self, milliseconds: u16) -> Result<impl Iterator<Item = Ready> + use<'_>, Failure> {
        let count = match self.epoll.wait(&mut self.events, EpollTimeout::from(milliseconds)) {
            Err(nix::Error::EINTR) => 0,
            count => count?,
        };
        Ok(self.events[..count].iter().map(ready))
    }
}

fn event(index: usize, writable: bool) -> EpollEvent {
    let room = if writable { EpollFlags::EPOLLOUT } else { EpollFlags::empty() };
    EpollEvent::new(EpollFlags::EPOLLIN | room, index as u64)
}

fn ready(event: &EpollEvent) -> Ready {
    let flags = event.events();
    Ready {
        index: event.data() as usize,
        readable: flags.intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP),
        writable: flags.contains(EpollFlags::EPOLLOUT),
    }
}
