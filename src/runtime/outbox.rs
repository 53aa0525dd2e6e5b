//! What a connection is still to send, and how it leaves.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::RawFd;

use crate::model::Chunk;

/// Chunks one system call takes.
pub const CHUNKS_PER_CALL: usize = 64;

/// Chunks in order, the front one perhaps taken in part. Empty it holds no memory: most connections are idle.
#[derive(Debug, Default)]
pub struct Outbox {
    chunks: VecDeque<Chunk>,
    /// Bytes of the front chunk that the socket has.
    taken: usize,
}

/// What one attempt to send came to.
#[derive(Debug)]
pub struct Sent {
    /// Bytes the socket took.
    pub bytes: usize,
    /// How it ended.
    pub state: State,
}

/// How an attempt to send ended.
#[derive(Debug)]
pub enum State {
    /// Nothing is left.
    Empty,
    /// The socket is full.
    Full,
    /// The connection is broken.
    Broken(io::Error),
}

impl Outbox {
    /// Appends. Into an empty outbox it takes the vector as it is.
    pub fn push(&mut self, chunks: Vec<Chunk>) {
        if self.chunks.is_empty() {
            self.chunks = VecDeque::from(chunks);
        } else {
            self.chunks.extend(chunks);
        }
    }

    /// Whether nothing is left to send.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// What is left of the front chunk.
    pub fn front(&self) -> Option<&[u8]> {
        self.chunks.front().map(|chunk| &chunk.as_slice()[self.taken..])
    }

    /// What is left, from the front on: about `most` bytes of it, as far as `room` goes.
    pub fn slices<'a, 'b>(&'a self, most: usize, room: &'b mut [IoSlice<'a>]) -> &'b [IoSlice<'a>] {
        let (mut count, mut bytes, mut skip) = (0, 0, self.taken);
        for (slot, chunk) in room.iter_mut().zip(&self.chunks) {
            if bytes >= most {
                break;
            }
            let slice = &chunk.as_slice()[skip..];
            skip = 0;
            let slice = &slice[..slice.len().min(most - bytes)];
            bytes += slice.len();
            *slot = IoSlice::new(slice);
            count += 1;
        }
        &room[..count]
    }

    /// Forgets everything: the connection is gone.
    pub fn clear(&mut self) {
        *self = Outbox::default();
    }

    /// The socket has `bytes` more. Empty chunks at the front go too.
    pub fn advance(&mut self, bytes: usize) {
        self.taken += bytes;
        while let Some(front) = self.chunks.front() {
            if self.taken < front.len() {
                return;
            }
            self.taken -= front.len();
            self.chunks.pop_front();
        }
        debug_assert_eq!(self.taken, 0, "the socket took no more than it was given");
        self.clear();
    }

    /// Sends until the socket is full or nothing is left, many chunks a call, never waiting.
    pub fn send(&mut self, fd: RawFd) -> Sent {
        let mut bytes = 0;
        self.advance(0);
        while !self.chunks.is_empty() {
            let (given, result) = self.send_some(fd);
            match result {
                Ok(taken) => {
                    bytes += taken;
                    self.advance(taken);
                    if taken < given {
                        return Sent { bytes, state: State::Full };
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Sent { bytes, state: State::Full },
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Sent { bytes, state: State::Broken(error) },
            }
        }
        Sent { bytes, state: State::Empty }
    }

    fn send_some(&self, fd: RawFd) -> (usize, io::Result<usize>) {
        let mut vectors = [NONE; CHUNKS_PER_CALL];
        let (mut given, mut skip) = (0, self.taken);
        let mut count = 0;
        for (vector, chunk) in vectors.iter_mut().zip(&self.chunks) {
            let slice = &chunk.as_slice()[skip..];
            skip = 0;
            *vector = libc::iovec { iov_base: slice.as_ptr() as *mut libc::c_void, iov_len: slice.len() };
            given += slice.len();
            count += 1;
        }
        (given, sendmsg(fd, &mut vectors[..count]))
    }
}

/// Sends what the socket takes of these at once, never waiting.
pub fn send_slices(fd: RawFd, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    let mut vectors = [NONE; CHUNKS_PER_CALL];
    let count = slices.len().min(CHUNKS_PER_CALL);
    for (vector, slice) in vectors.iter_mut().zip(slices) {
        *vector = libc::iovec { iov_base: slice.as_ptr() as *mut libc::c_void, iov_len: slice.len() };
    }
    sendmsg(fd, &mut vectors[..count])
}

const NONE: libc::iovec = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };

fn sendmsg(fd: RawFd, vectors: &mut [libc::iovec]) -> io::Result<usize> {
    // SAFETY: all-zero is a valid `msghdr`: no name, no control data, no vectors.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = vectors.as_mut_ptr();
    message.msg_iovlen = vectors.len();
    // SAFETY: the vectors point into memory that the caller borrows for the whole call; the kernel only reads them
    // and keeps no pointer after it returns. A wrong descriptor is an error, not a fault.
    let taken = unsafe { libc::sendmsg(fd, &message, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) };
    usize::try_from(taken).map_err(|_| io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use std::io::Read;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    fn shared(text: &str) -> Chunk {
        Chunk::from(Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn many_chunks_leave_in_order_whatever_their_number() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut outbox = Outbox::default();
        let mut expected = String::new();
        for n in 0..300 {
            let text = format!("{n},");
            outbox.push(vec![Chunk::head(b"h"), shared(&text), shared("")]);
            expected += &format!("h{text}");
        }
        let sent = outbox.send(ours.as_raw_fd());
        assert!(matches!(sent.state, State::Empty));
        assert_eq!(sent.bytes, expected.len());
        drop(ours);
        let mut read = String::new();
        theirs.read_to_string(&mut read).unwrap();
        assert_eq!(read, expected);
    }

    #[test]
    fn a_full_socket_keeps_the_rest_and_goes_on_where_it_stopped() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let big = Bytes::from((0..3_000_000u32).map(|n| n as u8).collect::<Vec<_>>());
        let mut outbox = Outbox::default();
        outbox.push(vec![Chunk::head(b"head"), Chunk::from(big.clone())]);
        let (mut read, mut sent) = (Vec::new(), 0);
        loop {
            let step = outbox.send(ours.as_raw_fd());
            sent += step.bytes;
            if matches!(step.state, State::Empty) {
                break;
            }
            let mut some = vec![0; 100_000];
            let n = theirs.read(&mut some).unwrap();
            read.extend_from_slice(&some[..n]);
        }
        drop(ours);
        theirs.read_to_end(&mut read).unwrap();
        assert_eq!(sent, big.len() + 4);
        assert_eq!(&read[..4], b"head");
        assert_eq!(&read[4..], &big[..]);
        assert!(outbox.is_empty() && outbox.front().is_none());
    }

    #[test]
    fn a_broken_connection_is_told_and_raises_no_signal() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        let mut outbox = Outbox::default();
        outbox.push(vec![shared("x")]);
        assert!(matches!(outbox.send(ours.as_raw_fd()).state, State::Broken(_)));
    }
}
