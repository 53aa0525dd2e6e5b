//! A piece of output: a small header held in place, or shared bytes.

use bytes::Bytes;

/// What goes to a socket, in order. A header is copied into the chunk itself, so a stalled connection pins only the
/// bytes it is owed.
#[derive(Clone, Debug)]
pub enum Chunk {
    Head { len: u8, bytes: [u8; Chunk::HEAD_MAX] },
    Shared(Bytes),
}

impl Chunk {
    /// The longest header held in place: keeps a chunk at 64 bytes.
    pub const HEAD_MAX: usize = 54;

    /// # Panics
    /// If `header` is longer than [`Chunk::HEAD_MAX`]: headers are fixed-size structures of ours.
    pub fn head(header: &[u8]) -> Chunk {
        let mut bytes = [0; Chunk::HEAD_MAX];
        bytes[..header.len()].copy_from_slice(header);
        Chunk::Head { len: header.len() as u8, bytes }
    }

    pub fn as_slice(&self) -> &[u8] {
        match self {
            Chunk::Head { len, bytes } => &bytes[..*len as usize],
            Chunk::Shared(bytes) => bytes,
        }
    }

    pub fn len(&self) -> usize {
        self.as_slice().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<Bytes> for Chunk {
    fn from(bytes: Bytes) -> Chunk {
        Chunk::Shared(bytes)
    }
}
