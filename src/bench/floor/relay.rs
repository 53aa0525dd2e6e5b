//! A bare relay: reads 64 KiB, writes it on, knows nothing. What the kernel's loopback costs whoever stands between.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::thread::JoinHandle;

use crate::bench::cpu::Usage;
use crate::bench::dialect::relay::{LISTENS, SENDS};
use crate::bench::failure::Failure;
use crate::bench::pin;
use crate::bench::poller::{Poller, Ready};

/// Bytes of one read: what stays in a second-level cache until it is written on.
const READ: usize = 64 * 1024;
/// How often the order to stop is looked for, in milliseconds.
const TICK: u16 = 50;
/// The listener's number.
const DOOR: usize = 0;

/// A relay on a thread of its own. It ends when dropped.
#[derive(Debug)]
pub struct BareRelay {
    /// Where it listens.
    pub addr: String,
    thread: Option<JoinHandle<()>>,
    tid: Arc<AtomicI32>,
    stop: Arc<AtomicBool>,
}

impl BareRelay {
    /// Starts one, bound to `cpu`.
    pub fn start(cpu: Option<usize>) -> Result<BareRelay, Failure> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let addr = listener.local_addr()?.to_string();
        let (tid, stop) = (Arc::new(AtomicI32::new(0)), Arc::new(AtomicBool::new(false)));
        let (its_tid, its_stop) = (tid.clone(), stop.clone());
        let thread = std::thread::Builder::new().name("relay".into()).spawn(move || {
            its_tid.store(nix::unistd::gettid().as_raw(), Ordering::Release);
            // Not bound is slower, not wrong.
            let _ = cpu.map(pin::to);
            if let Err(failure) = serve(listener, &its_stop) {
                eprintln!("relay: {failure}");
            }
        })?;
        Ok(BareRelay { addr, thread: Some(thread), tid, stop })
    }

    /// CPU time so far.
    pub fn usage(&self) -> Option<Usage> {
        Usage::of_thread(self.tid.load(Ordering::Acquire))
    }
}

impl Drop for BareRelay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // It says itself why it ended.
            let _ = thread.join();
        }
    }
}

/// One connection: it sends to a topic or listens to it.
struct End {
    stream: TcpStream,
    sends: bool,
    topic: u16,
    /// Read and not yet written, in front of a socket without room.
    pending: Vec<u8>,
}

struct Relay {
    poller: Poller,
    ends: HashMap<usize, End>,
    next: usize,
    buffer: Vec<u8>,
}

fn serve(listener: TcpListener, stop: &AtomicBool) -> Result<(), Failure> {
    let mut relay = Relay { poller: Poller::new()?, ends: HashMap::new(), next: DOOR + 1, buffer: vec![0; READ] };
    relay.poller.add(&listener, DOOR)?;
    while !stop.load(Ordering::Acquire) {
        let ready: Vec<Ready> = relay.poller.wait(TICK)?.collect();
        for ready in ready {
            match ready.index {
                DOOR => relay.accept(&listener)?,
                index => relay.serve(index, ready)?,
            }
        }
    }
    Ok(())
}

impl Relay {
    fn accept(&mut self, listener: &TcpListener) -> Result<(), Failure> {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut said = [0; 3];
            stream.set_nonblocking(false)?;
            stream.read_exact(&mut said)?;
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            self.poller.add(&stream, self.next)?;
            let topic = u16::from_be_bytes([said[1], said[2]]);
            assert!(said[0] == SENDS || said[0] == LISTENS, "only our own load comes here");
            self.ends.insert(self.next, End { stream, sends: said[0] == SENDS, topic, pending: Vec::new() });
            self.next += 1;
        }
        Ok(())
    }

    fn serve(&mut self, index: usize, ready: Ready) -> Result<(), Failure> {
        let Some(end) = self.ends.get_mut(&index) else { return Ok(()) };
        if ready.writable {
            return self.resume(index);
        }
        if !end.sends {
            // A listener says nothing: this is its end.
            self.ends.remove(&index);
            return Ok(());
        }
        let (topic, count) = (end.topic, end.stream.read(&mut self.buffer));
        match count {
            Ok(0) => self.ends.remove(&index).map_or(Ok(()), |_| Ok(())),
            Ok(count) => self.pass_on(topic, count),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(_) => self.ends.remove(&index).map_or(Ok(()), |_| Ok(())),
        }
    }

    fn pass_on(&mut self, topic: u16, count: usize) -> Result<(), Failure> {
        let mut full = false;
        for (index, end) in self.ends.iter_mut().filter(|(_, end)| !end.sends && end.topic == topic) {
            let gone = write(&mut end.stream, &self.buffer[..count])?;
            if gone < count {
                end.pending.extend_from_slice(&self.buffer[gone..count]);
                self.poller.set(&end.stream, *index, true)?;
                full = true;
            }
        }
        if full { self.each_sender(topic, |poller, end, index| poller.pause(&end.stream, index)) } else { Ok(()) }
    }

    /// A listener has room again.
    fn resume(&mut self, index: usize) -> Result<(), Failure> {
        let Some(end) = self.ends.get_mut(&index) else { return Ok(()) };
        let gone = write(&mut end.stream, &end.pending)?;
        end.pending.drain(..gone);
        if !end.pending.is_empty() {
            return Ok(());
        }
        self.poller.set(&end.stream, index, false)?;
        let topic = end.topic;
        if self.ends.values().any(|end| end.topic == topic && !end.pending.is_empty()) {
            return Ok(());
        }
        self.each_sender(topic, |poller, end, index| poller.set(&end.stream, index, false))
    }

    fn each_sender(
        &self,
        topic: u16,
        what: impl Fn(&Poller, &End, usize) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut senders = self.ends.iter().filter(|(_, end)| end.sends && end.topic == topic);
        senders.try_for_each(|(index, end)| what(&self.poller, end, *index))
    }
}

/// A listener that is gone takes everything.
fn write(stream: &mut TcpStream, bytes: &[u8]) -> Result<usize, Failure> {
    match stream.write(bytes) {
        Ok(count) => Ok(count),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        Err(_) => Ok(bytes.len()),
    }
}
