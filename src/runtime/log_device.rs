//! Carries out what a log asks of its device.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use glommio::timer::sleep;
use nix::sys::statvfs::statvfs;

use super::filesystem::WriteMode;
use super::log_folder;
use super::segment_file::{Block, SegmentFile, remove, rename, sync_directory};
use super::shard::Shard;
use crate::model::{Limits, LogId, Lsn};
use crate::shard::Event;
use crate::wal::{GROUP_MAX, GroupPiece, LogAction, LogEvent, LogFailure, Recovered};

/// How often the log is told how much room there is.
const SPACE_EVERY: Duration = Duration::from_secs(1);

/// The files of one log. Lives on the shard that runs the log; nobody else touches its folder.
#[derive(Debug)]
pub struct LogDevice {
    log: LogId,
    folder: PathBuf,
    mode: WriteMode,
    open: RefCell<HashMap<Lsn, Open>>,
    /// How often a segment was asked for.
    uses: Cell<u64>,
    /// The segment that small groups go to, opened so that a write is durable when it is answered.
    through: RefCell<Option<(Lsn, Rc<SegmentFile>)>>,
    /// A write or a sync has failed: what a later one would say is not to be believed, so there is none.
    failed: Cell<bool>,
}

#[derive(Debug)]
struct Open {
    file: Rc<SegmentFile>,
    /// The number of its last use.
    used: u64,
}

impl LogDevice {
    /// The device of `log` in `folder`, which is there.
    pub fn new(log: LogId, folder: PathBuf, mode: WriteMode) -> Rc<LogDevice> {
        Rc::new(LogDevice {
            log,
            folder,
            mode,
            open: RefCell::default(),
            uses: Cell::default(),
            through: RefCell::default(),
            failed: Cell::default(),
        })
    }

    /// Whose it is.
    pub fn id(&self) -> LogId {
        self.log
    }

    /// Where its files are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// How they are written.
    pub fn mode(&self) -> WriteMode {
        self.mode
    }

    /// Starts what the log asks for and answers when it is done. The bytes of a group's write are gathered before this returns.
    pub fn start(self: &Rc<Self>, shard: &Rc<Shard>, action: LogAction) {
        let (device, answered) = (self.clone(), shard.clone());
        match action {
            // One large entry: by and by, so that memory for it is asked for once, when it comes in, and not twice.
            LogAction::Write { ticket, segment, position, pieces, len, .. } if len > GROUP_MAX => {
                shard.spawn(async move {
                    let done = device.write_large(segment, position, &pieces, len).await;
                    device.answer(&answered, "write", Some(segment), done.map(|()| LogEvent::Written { ticket }));
                });
            }
            LogAction::Write { ticket, segment, position, pieces, len, through } => {
                let block = Block::of_group(&pieces, len, self.mode);
                shard.spawn(async move {
                    let done = match through {
                        true => device.write_through(segment, position, block).await,
                        false => device.write(segment, position, block).await,
                    };
                    device.answer(&answered, "write", Some(segment), done.map(|()| LogEvent::Written { ticket }));
                });
            }
            LogAction::Sync { ticket, segment } => shard.spawn(async move {
                let done = device.sync(segment).await;
                device.answer(&answered, "sync", Some(segment), done.map(|()| LogEvent::Synced { ticket }));
            }),
            LogAction::Read { ticket, segment, position, len, purpose } => shard.spawn(async move {
                // A file that was cut has less: the log tells it from what is missing.
                let done = device.read_up_to(segment, position, len).await;
                let done = done.map(|bytes| LogEvent::Read { ticket, purpose, bytes });
                device.answer(&answered, "read", Some(segment), done);
            }),
            LogAction::Prepare { segment, size, header, recycle } => shard.spawn_in_background(async move {
                let done = device.prepare(segment, size, &header, recycle).await;
                device.answer(&answered, "prepare", Some(segment), done.map(|()| LogEvent::Prepared { segment }));
            }),
            LogAction::Remove { segment } => shard.spawn_in_background(async move {
                let done = device.remove(segment).await;
                device.answer(&answered, "remove", Some(segment), done.map(|()| LogEvent::Removed { segment }));
            }),
            LogAction::SaveCheckpoint { ticket, bytes } => shard.spawn_in_background(async move {
                let done = device.save_checkpoint(&bytes).await;
                device.answer(&answered, "checkpoint", None, done.map(|()| LogEvent::CheckpointSaved { ticket }));
            }),
        }
    }

    fn answer(&self, shard: &Rc<Shard>, operation: &'static str, segment: Option<Lsn>, done: io::Result<LogEvent>) {
        let event = done.unwrap_or_else(|error| LogEvent::Failed(failure(operation, segment, &error)));
        shard.drive(Event::Log { log: self.log, event });
    }

    async fn write(&self, segment: Lsn, position: u64, block: Block) -> io::Result<()> {
        let file = self.file(segment).await?;
        self.trusted()?;
        self.distrust_after(file.write(block, position).await)
    }

    async fn write_large(&self, segment: Lsn, position: u64, pieces: &[GroupPiece], len: usize) -> io::Result<()> {
        for from in (0..len).step_by(GROUP_MAX) {
            let part = Block::of_group_part(pieces, from, GROUP_MAX.min(len - from), self.mode);
            self.write(segment, position + from as u64, part).await?;
        }
        Ok(())
    }

    /// As a write and then a sync; in one operation where the device can.
    async fn write_through(&self, segment: Lsn, position: u64, block: Block) -> io::Result<()> {
        match self.through_file(segment).await? {
            Some(file) => {
                self.trusted()?;
                self.distrust_after(file.write(block, position).await)
            }
            None => {
                self.write(segment, position, block).await?;
                self.sync(segment).await
            }
        }
    }

    async fn through_file(&self, segment: Lsn) -> io::Result<Option<Rc<SegmentFile>>> {
        if let Some((_, file)) = self.through.borrow().as_ref().filter(|(other, _)| *other == segment) {
            return Ok(Some(file.clone()));
        }
        let opened = SegmentFile::open_through(&log_folder::segment(&self.folder, segment), self.mode).await?;
        let Some(file) = opened.map(Rc::new) else { return Ok(None) };
        self.close_through().await;
        self.through.replace(Some((segment, file.clone())));
        Ok(Some(file))
    }

    async fn close_through(&self) {
        let before = self.through.take();
        // A write that is still on its way closes it by dropping the last reference.
        if let Some(Ok(file)) = before.map(|(_, file)| Rc::try_unwrap(file)) {
            file.close().await;
        }
    }

    async fn sync(&self, segment: Lsn) -> io::Result<()> {
        let file = self.file(segment).await?;
        self.trusted()?;
        self.distrust_after(file.sync().await)
    }

    fn trusted(&self) -> io::Result<()> {
        if self.failed.get() { Err(io::Error::other("the device has failed before")) } else { Ok(()) }
    }

    /// The kernel answers the sync after one that failed with success, though what was to be synced is gone.
    fn distrust_after(&self, done: io::Result<()>) -> io::Result<()> {
        if done.is_err() {
            self.failed.set(true);
        }
        done
    }

    /// Reads `len` bytes, or fewer at the end of the segment: recovery finds files that were cut.
    pub async fn read_up_to(&self, segment: Lsn, position: u64, len: usize) -> io::Result<Bytes> {
        self.file(segment).await?.read(position, len).await
    }

    /// Under its working name until it is ready: a segment that is there is whole, whenever the power goes.
    async fn prepare(&self, segment: Lsn, size: u64, header: &[u8], recycle: Option<Lsn>) -> io::Result<()> {
        let unfinished = log_folder::unfinished_segment(&self.folder, segment);
        let made = self.make_ready(&unfinished, segment, size, header, recycle).await;
        if made.is_err() {
            // Gives the room back; what matters is the first error.
            let _ = remove(&unfinished).await;
        }
        made
    }

    async fn make_ready(
        &self,
        unfinished: &Path,
        segment: Lsn,
        size: u64,
        header: &[u8],
        recycle: Option<Lsn>,
    ) -> io::Result<()> {
        if let Some(dead) = recycle {
            self.close(dead).await;
            rename(&log_folder::segment(&self.folder, dead), unfinished).await?;
        }
        let file = SegmentFile::create(unfinished, self.mode).await?;
        if recycle.is_none() {
            file.fill(size).await?;
        }
        file.write(Block::of(header, self.mode), 0).await?;
        file.sync().await?;
        rename(unfinished, &log_folder::segment(&self.folder, segment)).await?;
        sync_directory(&self.folder).await?;
        self.keep_open(segment, Rc::new(file)).await;
        Ok(())
    }

    async fn remove(&self, segment: Lsn) -> io::Result<()> {
        self.close(segment).await;
        remove(&log_folder::segment(&self.folder, segment)).await?;
        sync_directory(&self.folder).await
    }

    /// Makes what recovery decided last: all that its checkpoint vouches for is synced, then the checkpoint is saved.
    pub async fn remember(&self, recovered: &Recovered) -> io::Result<()> {
        for segment in recovered.segments() {
            self.sync(*segment).await?;
        }
        self.save_checkpoint(&recovered.checkpoint(self.log)).await
    }

    async fn save_checkpoint(&self, bytes: &[u8]) -> io::Result<()> {
        let unfinished = log_folder::unfinished_checkpoint(&self.folder);
        remove(&unfinished).await?;
        let file = SegmentFile::create(&unfinished, WriteMode::Buffered).await?;
        let written = async {
            file.write(Block::Buffered(bytes.to_vec()), 0).await?;
            file.sync().await
        };
        let written = written.await;
        file.close().await;
        written?;
        rename(&unfinished, &log_folder::checkpoint(&self.folder)).await?;
        sync_directory(&self.folder).await
    }

    async fn file(&self, segment: Lsn) -> io::Result<Rc<SegmentFile>> {
        if let Some(open) = self.open.borrow_mut().get_mut(&segment) {
            open.used = self.tick();
            return Ok(open.file.clone());
        }
        let path = log_folder::segment(&self.folder, segment);
        let file = Rc::new(SegmentFile::open(&path, self.mode).await?);
        self.keep_open(segment, file.clone()).await;
        Ok(file)
    }

    /// Who was not asked for the longest goes first.
    async fn keep_open(&self, segment: Lsn, file: Rc<SegmentFile>) {
        // Another reader may have opened it meanwhile; the later one stays, and both work.
        self.open.borrow_mut().insert(segment, Open { file, used: self.tick() });
        while self.open.borrow().len() > Limits::SEGMENTS_OPEN_MAX {
            let longest = self.open.borrow().iter().min_by_key(|(_, open)| open.used).map(|(segment, _)| *segment);
            match longest {
                Some(longest) => self.close(longest).await,
                None => return,
            }
        }
    }

    fn tick(&self) -> u64 {
        self.uses.set(self.uses.get() + 1);
        self.uses.get()
    }

    async fn close(&self, segment: Lsn) {
        let open = self.open.borrow_mut().remove(&segment);
        // Whoever still reads from it closes it by dropping the last reference.
        if let Some(Ok(file)) = open.map(|open| Rc::try_unwrap(open.file)) {
            file.close().await;
        }
    }

    /// Closes everything, when the shard ends.
    pub async fn close_all(&self) {
        let all: Vec<Lsn> = self.open.borrow().keys().copied().collect();
        for segment in all {
            self.close(segment).await;
        }
        self.close_through().await;
    }

    fn space(&self) -> io::Result<u64> {
        #[cfg(feature = "faults")]
        if let Some(free) = super::faults::device().and_then(|device| device.free(&self.folder)) {
            return Ok(free);
        }
        let stat = statvfs(&self.folder)?;
        Ok(stat.blocks_available().saturating_mul(stat.fragment_size()))
    }
}

/// Tells the log now and then how much room there is.
pub async fn watch_space(shard: Rc<Shard>, device: Rc<LogDevice>) {
    loop {
        match device.space() {
            Ok(free) => shard.drive(Event::Log { log: device.log, event: LogEvent::Space { free } }),
            Err(error) => log::warn!("log {}: cannot tell how much room there is: {error}", device.log),
        }
        sleep(SPACE_EVERY).await;
    }
}

fn failure(operation: &'static str, segment: Option<Lsn>, error: &io::Error) -> LogFailure {
    let full = matches!(error.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT));
    LogFailure { operation, segment, full, reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_from_a_broken_one() {
        assert!(failure("prepare", None, &io::Error::from_raw_os_error(libc::ENOSPC)).full);
        assert!(!failure("write", None, &io::Error::from_raw_os_error(libc::EIO)).full);
    }
}
