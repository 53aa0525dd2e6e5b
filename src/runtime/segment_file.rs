//! One file of a log on its device: written at positions, past the page cache where that works.

use std::io::{self, Write};
use std::path::Path;
use std::rc::Rc;

use bytes::Bytes;
use glommio::io::{BufferedFile, Directory, DmaBuffer, DmaFile, OpenOptions};
use glommio::{GlommioError, allocate_dma_buffer};

use super::filesystem::WriteMode;
use super::log_folder;
use crate::wal::{BLOCK, ENTRY_HEADER, GroupPiece};

/// Zeros written at once when a segment is made ready: long enough for the device, short enough not to hold up a
/// commit that comes between.
const ZEROS: usize = 1024 * 1024;
/// Times a write that the device took only in part is given again, whole.
const WRITE_ATTEMPTS: usize = 3;
/// Entries start at multiples of this.
const ENTRY_ALIGN: usize = 8;

/// An open segment. Positions and lengths are multiples of [`BLOCK`].
#[derive(Debug)]
pub enum SegmentFile {
    /// Past the page cache.
    Direct(DmaFile),
    /// Through it, where the filesystem has no direct I/O.
    Buffered(BufferedFile),
    /// On a device that has a bad day.
    #[cfg(feature = "faults")]
    Faulty(super::faults::FaultyFile),
}

/// Bytes to be written, in memory that fits the file.
#[derive(Debug)]
pub enum Block {
    /// Aligned memory.
    Direct(Rc<DmaBuffer>),
    /// Any memory.
    Buffered(Vec<u8>),
}

impl SegmentFile {
    /// Opens a file that is there.
    pub async fn open(path: &Path, mode: WriteMode) -> io::Result<SegmentFile> {
        #[cfg(feature = "faults")]
        if let Some(device) = super::faults::device() {
            return super::faults::FaultyFile::open(device, path, false).map(SegmentFile::Faulty);
        }
        SegmentFile::open_with(OpenOptions::new().read(true).write(true), path, mode).await
    }

    /// Opens a file that is there so that a write to it returns when it is durable: one trip through the ring instead
    /// of two, and no helper thread of the kernel that waits for the core that waits for it. `None` where a write and a
    /// sync are as good: through the page cache.
    pub async fn open_through(path: &Path, mode: WriteMode) -> io::Result<Option<SegmentFile>> {
        #[cfg(feature = "faults")]
        if super::faults::device().is_some() {
            return Ok(None);
        }
        if mode == WriteMode::Buffered {
            return Ok(None);
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(libc::O_DSYNC);
        SegmentFile::open_with(&options, path, mode).await.map(Some)
    }

    /// Opens a file, made if it is not there.
    pub async fn create(path: &Path, mode: WriteMode) -> io::Result<SegmentFile> {
        #[cfg(feature = "faults")]
        if let Some(device) = super::faults::device() {
            return super::faults::FaultyFile::open(device, path, true).map(SegmentFile::Faulty);
        }
        SegmentFile::open_with(OpenOptions::new().read(true).write(true).create(true).mode(0o600), path, mode).await
    }

    async fn open_with(options: &OpenOptions, path: &Path, mode: WriteMode) -> io::Result<SegmentFile> {
        match mode {
            WriteMode::Direct => options.dma_open(path).await.map(SegmentFile::Direct),
            WriteMode::Buffered => options.buffered_open(path).await.map(SegmentFile::Buffered),
        }
        .map_err(io_error)
    }

    /// Gives the file its full size in blocks that have been written before, and syncs it. A block that is written
    /// for the first time costs the filesystem a journal entry, and every sync after it twice the time.
    pub async fn fill(&self, size: u64) -> io::Result<()> {
        match self {
            SegmentFile::Direct(file) => file.pre_allocate(size, false).await.map_err(io_error)?,
            SegmentFile::Buffered(file) => file.pre_allocate(size, false).await.map_err(io_error)?,
            #[cfg(feature = "faults")]
            SegmentFile::Faulty(file) => file.allocate(size)?,
        }
        let zeros = Block::zeros(ZEROS.min(size as usize), self.mode());
        let mut position = 0;
        while position < size {
            let rest = (size - position) as usize;
            if rest >= zeros.size() {
                self.write(zeros.again(), position).await?;
            } else {
                self.write(Block::zeros(rest, self.mode()), position).await?;
            }
            position += rest.min(zeros.size()) as u64;
        }
        self.sync().await
    }

    /// Writes the whole block.
    pub async fn write(&self, block: Block, position: u64) -> io::Result<()> {
        let len = block.size();
        #[cfg(feature = "faults")]
        if let SegmentFile::Faulty(file) = self {
            return file.write(block.bytes(), position).await;
        }
        for _ in 0..WRITE_ATTEMPTS {
            let written = match (self, &block) {
                (SegmentFile::Direct(file), Block::Direct(buffer)) => file.write_rc_at(buffer.clone(), position).await,
                (SegmentFile::Buffered(file), Block::Buffered(bytes)) => file.write_at(bytes.clone(), position).await,
                _ => unreachable!("a block is made for its file's mode"),
            };
            // What was taken in part is written again from its start: it is not committed, so nobody has read it.
            if written.map_err(io_error)? == len {
                return Ok(());
            }
        }
        Err(io::Error::new(io::ErrorKind::WriteZero, "the device takes a write only in part"))
    }

    /// Makes what was written durable.
    pub async fn sync(&self) -> io::Result<()> {
        match self {
            SegmentFile::Direct(file) => file.fdatasync().await,
            SegmentFile::Buffered(file) => file.fdatasync().await,
            #[cfg(feature = "faults")]
            SegmentFile::Faulty(file) => return file.sync().await,
        }
        .map_err(io_error)
    }

    /// Reads `len` bytes, or fewer at the end of the file.
    pub async fn read(&self, position: u64, len: usize) -> io::Result<Bytes> {
        let read = match self {
            SegmentFile::Direct(file) => file.read_at_aligned(position, len).await,
            SegmentFile::Buffered(file) => file.read_at(position, len).await,
            #[cfg(feature = "faults")]
            SegmentFile::Faulty(file) => return file.read(position, len),
        };
        // glommio's buffer belongs to this executor; the bytes may go to another shard.
        Ok(Bytes::copy_from_slice(&read.map_err(io_error)?))
    }

    /// Closes it; a file that is only dropped stays open until the executor finds the time.
    pub async fn close(self) {
        let closed = match self {
            SegmentFile::Direct(file) => file.close().await,
            SegmentFile::Buffered(file) => file.close().await,
            #[cfg(feature = "faults")]
            SegmentFile::Faulty(_) => return,
        };
        if let Err(error) = closed {
            log::warn!("closing a segment: {error}");
        }
    }

    /// How it is written.
    pub fn mode(&self) -> WriteMode {
        match self {
            SegmentFile::Direct(_) => WriteMode::Direct,
            SegmentFile::Buffered(_) => WriteMode::Buffered,
            #[cfg(feature = "faults")]
            SegmentFile::Faulty(_) => WriteMode::Buffered,
        }
    }
}

impl Block {
    /// `len` zeros.
    pub fn zeros(len: usize, mode: WriteMode) -> Block {
        Block::filled(len, mode, |bytes| bytes.fill(0))
    }

    /// `bytes`, then zeros up to a whole number of blocks.
    pub fn of(bytes: &[u8], mode: WriteMode) -> Block {
        Block::filled(bytes.len().next_multiple_of(BLOCK), mode, |block| {
            let (head, rest) = block.split_at_mut(bytes.len());
            head.copy_from_slice(bytes);
            rest.fill(0);
        })
    }

    /// A group as it stands in the log: header, body, zeros to the next entry; zeros up to `len` at the end.
    pub fn of_group(pieces: &[GroupPiece], len: usize, mode: WriteMode) -> Block {
        Block::filled(len, mode, |block| {
            let mut at = 0;
            for piece in pieces {
                let body = at + ENTRY_HEADER;
                let end = body + piece.body.len();
                block[at..body].copy_from_slice(&piece.header);
                block[body..end].copy_from_slice(&piece.body);
                at = end.next_multiple_of(ENTRY_ALIGN);
                block[end..at].fill(0);
            }
            block[at..].fill(0);
        })
    }

    /// `len` bytes of the same, from `from` on.
    pub fn of_group_part(pieces: &[GroupPiece], from: usize, len: usize, mode: WriteMode) -> Block {
        Block::filled(len, mode, |block| {
            block.fill(0);
            let mut at = 0usize;
            for piece in pieces {
                for part in [&piece.header[..], &piece.body[..]] {
                    let (start, end) = (at.max(from), (at + part.len()).min(from + len));
                    if start < end {
                        block[start - from..end - from].copy_from_slice(&part[start - at..end - at]);
                    }
                    at += part.len();
                }
                at = at.next_multiple_of(ENTRY_ALIGN);
            }
        })
    }

    fn filled(len: usize, mode: WriteMode, fill: impl FnOnce(&mut [u8])) -> Block {
        match mode {
            WriteMode::Direct => {
                let mut buffer = allocate_dma_buffer(len);
                fill(buffer.as_bytes_mut());
                Block::Direct(Rc::new(buffer))
            }
            WriteMode::Buffered => {
                let mut bytes = vec![0; len];
                fill(&mut bytes);
                Block::Buffered(bytes)
            }
        }
    }

    fn again(&self) -> Block {
        match self {
            Block::Direct(buffer) => Block::Direct(buffer.clone()),
            Block::Buffered(bytes) => Block::Buffered(bytes.clone()),
        }
    }

    #[cfg(feature = "faults")]
    fn bytes(&self) -> &[u8] {
        match self {
            Block::Direct(buffer) => buffer.as_bytes(),
            Block::Buffered(bytes) => bytes,
        }
    }

    /// How many bytes it has.
    pub fn size(&self) -> usize {
        match self {
            Block::Direct(buffer) => buffer.len(),
            Block::Buffered(bytes) => bytes.len(),
        }
    }
}

/// Lets glommio find out, once for each executor, whether the device of `folder` can be polled. It tries by reading the
/// first file it opens, and an empty one, as new segments are, would teach it wrong: the read succeeds without
/// reaching the device, and every later one fails.
pub async fn learn_device(folder: &Path, mode: WriteMode) -> io::Result<()> {
    if mode == WriteMode::Buffered {
        return Ok(());
    }
    let path = log_folder::probe(folder);
    let written = std::fs::File::create(&path).and_then(|mut file| {
        file.write_all(&[1; BLOCK])?;
        file.sync_all()
    });
    let opened = match written {
        Ok(()) => SegmentFile::open(&path, mode).await,
        Err(error) => Err(error),
    };
    if let Ok(file) = &opened {
        file.read(0, BLOCK).await?;
    }
    remove(&path).await?;
    opened?.close().await;
    Ok(())
}

/// Makes names in a directory durable: created, renamed, removed.
pub async fn sync_directory(path: &Path) -> io::Result<()> {
    #[cfg(feature = "faults")]
    if let Some(device) = super::faults::device() {
        return device.sync_directory(path);
    }
    let directory = Directory::open(path).await.map_err(io_error)?;
    let synced = directory.sync().await.map_err(io_error);
    directory.close().await.map_err(io_error)?;
    synced
}

/// Renames a file.
pub async fn rename(from: &Path, to: &Path) -> io::Result<()> {
    #[cfg(feature = "faults")]
    if let Some(device) = super::faults::device() {
        return device.rename(from, to);
    }
    glommio::io::rename(from, to).await.map_err(io_error)
}

/// Removes a file; one that is not there is as good as removed.
pub async fn remove(path: &Path) -> io::Result<()> {
    match remove_one(path).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

async fn remove_one(path: &Path) -> io::Result<()> {
    #[cfg(feature = "faults")]
    if let Some(device) = super::faults::device() {
        return device.remove(path);
    }
    glommio::io::remove(path).await.map_err(io_error)
}

/// The system's own error, which glommio wraps and its own conversion hides.
pub fn io_error<T>(error: GlommioError<T>) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => error.into(),
    }
}
