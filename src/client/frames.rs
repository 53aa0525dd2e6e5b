//! Received bytes, and the frames in them.

use super::ClientError;
use crate::model::Limits;
use crate::protocol::native::{Split, frame};

/// A buffer that is read into and lends out whole frames. Grows with what has come, never with what was announced.
#[derive(Debug)]
pub struct FrameBuffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    frame_max: usize,
}

/// One whole frame, borrowed from its buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawFrame<'a> {
    pub kind: u8,
    pub correlation: u64,
    pub payload: &'a [u8],
}

impl FrameBuffer {
    /// Bytes at the start, and to come back to: small enough for a core's second-level cache.
    const CAPACITY: usize = 4 * Limits::READ;

    /// Empty; frames beyond `frame_max` are refused.
    #[must_use]
    pub fn new(frame_max: usize) -> FrameBuffer {
        FrameBuffer { bytes: vec![0; FrameBuffer::CAPACITY], start: 0, end: 0, frame_max }
    }

    /// [`Limits::READ`] bytes to read into; say with [`FrameBuffer::filled`] how many were.
    pub fn room(&mut self) -> &mut [u8] {
        if self.start == self.end {
            self.rewind();
        } else if self.bytes.len() - self.end < Limits::READ {
            self.compact();
        }
        &mut self.bytes[self.end..self.end + Limits::READ]
    }

    /// `count` bytes of [`FrameBuffer::room`] have been filled.
    pub fn filled(&mut self, count: usize) {
        self.end += count;
        assert!(self.end <= self.bytes.len(), "no more than there was room for");
    }

    /// Takes bytes that were read elsewhere.
    pub fn receive(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = self.room();
            let count = bytes.len().min(room.len());
            room[..count].copy_from_slice(&bytes[..count]);
            self.filled(count);
            bytes = &bytes[count..];
        }
    }

    /// The next whole frame, if it is there. An error is final: the framing is lost.
    #[inline]
    pub fn next_frame(&mut self) -> Result<Option<RawFrame<'_>>, ClientError> {
        let unread = &self.bytes[self.start..self.end];
        match frame::split(unread, self.frame_max) {
            Split::Frame(frame) => {
                self.start += frame.end;
                let payload = &unread[frame.payload];
                Ok(Some(RawFrame { kind: frame.kind, correlation: frame.correlation, payload }))
            }
            Split::More(_) => Ok(None),
            Split::Bad { text, .. } => Err(ClientError::Protocol(text)),
        }
    }

    /// Received and not yet lent out.
    #[must_use]
    pub fn unread(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    fn rewind(&mut self) {
        (self.start, self.end) = (0, 0);
        if self.bytes.len() > 4 * FrameBuffer::CAPACITY {
            // One huge frame is no reason to keep a huge buffer.
            self.bytes.truncate(FrameBuffer::CAPACITY);
            self.bytes.shrink_to_fit();
        }
    }

    fn compact(&mut self) {
        self.bytes.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        if self.bytes.len() - self.end < Limits::READ {
            self.bytes.resize(2 * self.bytes.len(), 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::native::{command, kind, reply};
    use bytes::BytesMut;
    use proptest::prelude::*;

    fn stream(sizes: &[usize]) -> BytesMut {
        let mut out = BytesMut::new();
        for (correlation, size) in (0..).zip(sizes) {
            reply::answer(&mut out, correlation, &vec![correlation as u8; *size]);
        }
        out
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn frames_come_out_whole_however_the_bytes_come_in(
            sizes in proptest::collection::vec(prop_oneof![0usize..50, 0..400_000usize], 1..12),
            pieces in proptest::collection::vec(1usize..100_000, 1..20),
        ) {
            let stream = stream(&sizes);
            let (mut buffer, mut rest, mut seen) = (FrameBuffer::new(Limits::FRAME_MAX), &stream[..], 0);
            for piece in pieces.iter().cycle() {
                let (now, later) = rest.split_at(rest.len().min(*piece));
                buffer.receive(now);
                rest = later;
                while let Some(frame) = buffer.next_frame().unwrap() {
                    prop_assert_eq!(frame.correlation, seen as u64);
                    prop_assert_eq!(frame.payload.len(), sizes[seen]);
                    prop_assert!(frame.payload.iter().all(|byte| *byte == seen as u8));
                    seen += 1;
                }
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(seen, sizes.len());
            prop_assert!(buffer.unread().is_empty());
        }
    }

    #[test]
    fn a_frame_beyond_the_bound_is_the_end() {
        let mut buffer = FrameBuffer::new(100);
        let mut out = BytesMut::new();
        command::publish(&mut out, 1, crate::model::Qos::AtMostOnce, b"a", &[0; 200]);
        buffer.receive(&out);
        assert!(matches!(buffer.next_frame(), Err(ClientError::Protocol(_))));
    }

    #[test]
    fn a_huge_frame_leaves_no_huge_buffer() {
        let mut buffer = FrameBuffer::new(Limits::FRAME_MAX);
        buffer.receive(&stream(&[4_000_000]));
        assert_eq!(buffer.next_frame().unwrap().unwrap().kind, kind::ANSWER);
        buffer.room();
        assert_eq!(buffer.bytes.len(), FrameBuffer::CAPACITY);
    }
}
