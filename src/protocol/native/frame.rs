//! The frame: what every message of both versions is wrapped in.
//!
//! | at | bytes | field                                                     |
//! |---:|------:|-----------------------------------------------------------|
//! |  0 |     4 | length of everything after this field: 9 ..= `frame_max`  |
//! |  4 |     1 | type, of [`super::kind`]                                  |
//! |  5 |     8 | correlation id                                            |
//! | 13 |       | payload, `length - 9` bytes                               |
//!
//! All numbers are big-endian.

use std::ops::Range;

use super::super::ErrorCode;

/// Bytes of a frame before its payload.
pub const FRAME_HEADER: usize = 13;
/// Bytes of the length field, which does not count itself.
pub const LENGTH_FIELD: usize = 4;
/// The smallest length a frame can state: type and correlation id, no payload.
pub const LENGTH_MIN: usize = FRAME_HEADER - LENGTH_FIELD;

/// One whole frame at the start of a buffer. Ranges are relative to that start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub correlation: u64,
    pub payload: Range<usize>,
    /// Where the next frame begins.
    pub end: usize,
}

/// What the start of a buffer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Split {
    /// A whole frame.
    Frame(Frame),
    /// Too little: this many bytes in all are needed before it is worth asking again, as far as is known yet.
    More(usize),
    /// The peer broke the framing: say so where a correlation id could be read, and close.
    Bad { code: ErrorCode, correlation: Option<u64>, text: &'static str },
}

/// Finds the frame at the start of `buf`. `frame_max` bounds the stated length; it must be at least [`LENGTH_MIN`].
#[inline]
#[must_use]
pub fn split(buf: &[u8], frame_max: usize) -> Split {
    let Some(head) = buf.first_chunk::<FRAME_HEADER>() else {
        return incomplete_head(buf, frame_max);
    };
    let length = length_of(head);
    // One comparison for both bounds: a length below the minimum wraps to a huge one.
    if length.wrapping_sub(LENGTH_MIN) > frame_max - LENGTH_MIN {
        return bad_length(length, Some(correlation_of(head)));
    }
    let end = LENGTH_FIELD + length;
    if buf.len() < end {
        return Split::More(end);
    }
    Split::Frame(Frame { kind: head[4], correlation: correlation_of(head), payload: FRAME_HEADER..end, end })
}

/// A length that is too small is bad at once; with one that is too large, the correlation id is waited for, so that
/// the refusal can name it.
#[cold]
fn incomplete_head(buf: &[u8], frame_max: usize) -> Split {
    debug_assert!(frame_max >= LENGTH_MIN);
    let length = buf.first_chunk().map_or(LENGTH_MIN, |length| u32::from_be_bytes(*length) as usize);
    if length < LENGTH_MIN { bad_length(length, None) } else { Split::More(FRAME_HEADER) }
}

#[cold]
fn bad_length(length: usize, correlation: Option<u64>) -> Split {
    if length < LENGTH_MIN {
        // What stands where the correlation id would be is not one.
        Split::Bad { code: ErrorCode::BadRequest, correlation: None, text: "frame length is below its minimum" }
    } else {
        Split::Bad { code: ErrorCode::TooLarge, correlation, text: "frame is too large" }
    }
}

#[inline]
fn length_of(head: &[u8; FRAME_HEADER]) -> usize {
    u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize
}

#[inline]
fn correlation_of(head: &[u8; FRAME_HEADER]) -> u64 {
    u64::from_be_bytes([head[5], head[6], head[7], head[8], head[9], head[10], head[11], head[12]])
}

/// The header of a frame with `payload` bytes after it.
#[inline]
#[must_use]
pub fn head(kind: u8, correlation: u64, payload: usize) -> [u8; FRAME_HEADER] {
    debug_assert!(payload <= u32::MAX as usize - LENGTH_MIN, "a frame's length fits in 32 bits");
    let mut head = [0; FRAME_HEADER];
    head[..4].copy_from_slice(&((payload + LENGTH_MIN) as u32).to_be_bytes());
    head[4] = kind;
    head[5..].copy_from_slice(&correlation.to_be_bytes());
    head
}
