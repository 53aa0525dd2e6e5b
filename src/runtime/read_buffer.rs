//! One buffer for all reads of a shard.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use futures_lite::io::AsyncRead;

use crate::model::Limits;

/// Less room than this and a read gets a new buffer: small reads would cost more calls than the memory is worth.
const ROOM_MIN: usize = Limits::READ / 4;

/// Read into by every connection in turn, so that an idle connection holds none and the bytes of a busy one are still
/// in the core's cache when they leave. When the core keeps pieces, the rest of the buffer is used up before another
/// is taken; when it keeps none, the same memory serves the next read.
#[derive(Debug)]
pub struct ReadBuffer {
    room: BytesMut,
}

impl Default for ReadBuffer {
    fn default() -> ReadBuffer {
        ReadBuffer { room: BytesMut::with_capacity(Limits::READ) }
    }
}

impl ReadBuffer {
    /// One read of at most [`Limits::READ`] bytes; empty at the end of the stream. The flag says whether the read
    /// filled all the room it had, so that more is probably waiting.
    pub fn poll_read<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(BytesMut, bool)>> {
        self.make_room();
        let room = self.room.spare_capacity_mut();
        let len = room.len().min(Limits::READ);
        // SAFETY: the stream hands the slice to recv(2), which only writes into it; nothing reads it before that. The
        // bytes themselves are plain memory of ours, so no value of another type is ever made of them.
        let slice = unsafe { std::slice::from_raw_parts_mut(room.as_mut_ptr().cast::<u8>(), len) };
        let read = ready!(Pin::new(stream).poll_read(cx, slice))?;
        assert!(read <= len, "a read brings no more than it was asked for");
        // SAFETY: recv(2) has just written these bytes, and they are within the capacity.
        unsafe { self.room.set_len(read) };
        Poll::Ready(Ok((self.room.split(), read == len)))
    }

    fn make_room(&mut self) {
        if !self.room.try_reclaim(Limits::READ) && self.room.capacity() < ROOM_MIN {
            self.room = BytesMut::with_capacity(Limits::READ);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    fn read(buffer: &mut ReadBuffer, from: &mut &[u8]) -> BytesMut {
        let mut cx = Context::from_waker(Waker::noop());
        match buffer.poll_read(from, &mut cx) {
            Poll::Ready(Ok((bytes, _))) => bytes,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn bytes_that_nobody_keeps_leave_the_same_memory_to_the_next_read() {
        let mut buffer = ReadBuffer::default();
        let data = vec![7; 10 * Limits::READ];
        let mut from = &data[..];
        let first = read(&mut buffer, &mut from);
        assert_eq!(first.len(), Limits::READ);
        let at = first.as_ptr();
        drop(first);
        for _ in 0..5 {
            let next = read(&mut buffer, &mut from);
            assert_eq!((next.as_ptr(), next.len()), (at, Limits::READ));
        }
    }

    #[test]
    fn bytes_that_are_kept_are_never_written_over() {
        let mut buffer = ReadBuffer::default();
        let mut kept = Vec::new();
        for n in 0..2000u32 {
            let text = format!("message {n}").repeat(n as usize % 50 + 1);
            kept.push((read(&mut buffer, &mut text.as_bytes()).freeze(), text));
        }
        assert!(kept.iter().all(|(bytes, text)| bytes == text.as_bytes()));
    }

    #[test]
    fn small_reads_share_one_allocation_while_pieces_are_kept() {
        let mut buffer = ReadBuffer::default();
        let first = read(&mut buffer, &mut &b"one"[..]);
        let second = read(&mut buffer, &mut &b"two"[..]);
        assert_eq!(second.as_ptr() as usize - first.as_ptr() as usize, 3);
    }
}
