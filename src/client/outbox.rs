//! Bytes to be sent: small frames written together, batches passed on uncopied.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};

/// What is to be sent, in order.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Whole pieces; the first may be partly taken.
    pieces: VecDeque<Bytes>,
    /// Frames after the last piece.
    small: BytesMut,
    len: usize,
}

impl Outbox {
    /// Writes small frames at the end.
    pub fn write<R>(&mut self, encode: impl FnOnce(&mut BytesMut) -> R) -> R {
        let before = self.small.len();
        let result = encode(&mut self.small);
        self.len += self.small.len() - before;
        result
    }

    /// A frame's head, copied, and its body, shared.
    pub fn push(&mut self, head: &[u8], body: Bytes) {
        self.write(|out| out.extend_from_slice(head));
        self.close_piece();
        self.len += body.len();
        self.pieces.push_back(body);
    }

    /// Bytes to be sent.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether everything has been taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The next piece, whole: for those who need not write it in parts.
    pub fn take(&mut self) -> Option<Bytes> {
        self.close_piece();
        let piece = self.pieces.pop_front()?;
        self.len -= piece.len();
        Some(piece)
    }

    /// The first pieces, as many as `slices` holds, for a vectored write.
    pub fn slices<'a, 'b>(&'a mut self, slices: &'b mut [IoSlice<'a>]) -> &'b [IoSlice<'a>] {
        self.close_piece();
        let count = self.pieces.len().min(slices.len());
        for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
            *slice = IoSlice::new(piece);
        }
        &slices[..count]
    }

    /// `count` bytes have been sent.
    pub fn sent(&mut self, mut count: usize) {
        assert!(count <= self.len, "no more is sent than there was");
        self.len -= count;
        while count > 0 {
            let first = self.pieces.front_mut().expect("the pieces hold what was sent");
            if first.len() > count {
                first.advance(count);
                return;
            }
            count -= first.len();
            self.pieces.pop_front();
        }
    }

    fn close_piece(&mut self) {
        if !self.small.is_empty() {
            self.pieces.push_back(self.small.split().freeze());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bytes_leave_in_order_however_much_is_taken(
            pieces in proptest::collection::vec((any::<bool>(), 1usize..50), 1..20),
            taken in proptest::collection::vec(1usize..70, 1..10),
        ) {
            let (mut outbox, mut expected) = (Outbox::default(), Vec::new());
            for (byte, (shared, len)) in (0u8..).zip(pieces) {
                let bytes = vec![byte; len];
                expected.extend_from_slice(&bytes);
                if shared {
                    outbox.push(&[], bytes.into());
                } else {
                    outbox.write(|out| out.extend_from_slice(&bytes));
                }
            }
            let mut sent = Vec::new();
            for most in taken.iter().cycle() {
                let mut slices = [IoSlice::new(&[]); 3];
                let all: Vec<u8> = outbox.slices(&mut slices).iter().flat_map(|slice| slice.to_vec()).collect();
                let count = all.len().min(*most);
                sent.extend_from_slice(&all[..count]);
                outbox.sent(count);
                prop_assert_eq!(outbox.len(), expected.len() - sent.len());
                if outbox.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(sent, expected);
        }
    }
}
