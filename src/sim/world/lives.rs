//! How processes begin and end, and what else goes wrong.

use std::time::Duration;

use crate::model::{FsyncPolicy, Instant, LogId, Lsn, ShardId};
use crate::shard::{Event, Question};
use crate::sim::plant::Plant;
use crate::sim::process::Process;
use crate::sim::shape::{Ending, Trouble};
use crate::sim::violation::{Checked, must};
use crate::wal::entry::seal;
use crate::wal::{ENTRY_HEADER, GroupPiece, LogEvent};

use super::{End, Happening, World};

const COMES_BACK: &str = "recovery comes back from every crash";
const SOUND: &str = "recovery finds corruption only where bytes have changed";
const CLEAN: &str = "after a graceful end nothing is left to be synced";

impl World {
    /// A process starts on what the last one left.
    pub(super) fn start(&mut self) -> Checked {
        if self.process.is_some() {
            return Ok(());
        }
        let now = self.now();
        self.lives += 1;
        self.wake_from(now);
        let seed = self.dice.roll();
        let started = Process::start(&self.shape, &self.keys, &self.disk, now, (self.lives, seed));
        let (process, reports) = match started {
            Ok(process) => process,
            Err(reason) => {
                self.trace.note(now, "refused", &[]);
                self.trace.say(now, || reason.clone());
                self.ended = Some(End::Refused);
                return must(self.rotten, COMES_BACK, || reason);
            }
        };
        let shards = process.cores.len();
        self.book.shards = shards as u16;
        self.trace.note(now, "start", &[self.lives.into(), shards as u64]);
        for report in &reports {
            self.trace.say(now, || format!("{report:?}"));
            let sound = report.corruptions.is_empty() || self.rotten;
            must(sound, SOUND, || format!("{report:?}"))?;
        }
        self.network.process_started(shards);
        self.process = Some(process);
        for shard in 0..shards as u16 {
            self.drive(ShardId(shard))?;
        }
        self.tell_space_now()
    }

    pub(super) fn trouble(&mut self, trouble: Trouble) -> Checked {
        if self.calm {
            return Ok(());
        }
        self.trace.say(self.scheduler.now(), || format!("{trouble:?}"));
        match trouble {
            Trouble::End(Ending::Graceful) => self.drain(),
            Trouble::End(ending) => self.end_process(ending),
            Trouble::Rot => self.rot(),
            Trouble::DiskFull(long) => {
                self.disk.taken += self.disk.free();
                self.scheduler.after(long, Happening::SpaceBack);
                Ok(())
            }
            Trouble::Mischief => {
                let index = self.dice.index(self.clients.len());
                let mut client = std::mem::replace(&mut self.clients[index], crate::sim::clients::Client::nobody());
                client.mischief(&mut self.hands());
                self.clients[index] = client;
                self.replan_network();
                Ok(())
            }
        }
    }

    fn drain(&mut self) -> Checked {
        let Some(process) = &self.process else { return Ok(()) };
        if self.draining.is_some() {
            return Ok(());
        }
        self.draining = Some(self.scheduler.now());
        self.trace.note(self.scheduler.now(), "drain", &[]);
        for shard in 0..process.cores.len() as u16 {
            self.tell(ShardId(shard), Event::Ask { token: 1, question: Question::Drain { wait_ms: 200 } })?;
        }
        Ok(())
    }

    /// A core says that it is finished.
    pub(super) fn drained(&mut self, shard: ShardId) -> Checked {
        self.trace.note(self.scheduler.now(), "drained", &[shard.0.into()]);
        let Some(process) = &mut self.process else { return Ok(()) };
        process.drained += 1;
        if process.drained < process.cores.len() {
            return Ok(());
        }
        if self.shape.fsync.is_some() && self.shape.plant.is_none() {
            let unsafe_yet = self.ledger.first_open();
            must(unsafe_yet.is_none(), CLEAN, || format!("{unsafe_yet:?}"))?;
        }
        self.end_process(Ending::Graceful)
    }

    /// The process ends, and another will start.
    pub(super) fn end_process(&mut self, ending: Ending) -> Checked {
        // What this life has missed is forgotten with it.
        self.take_stock()?;
        if self.process.take().is_none() {
            return Ok(());
        }
        let now = self.now();
        self.trace.note(now, "process ends", &[ending as u64]);
        let drained_from = self.draining.take();
        let power_lost = ending == Ending::PowerCut;
        let exposed = self.ledger.oldest_open();
        let lossy = if power_lost {
            self.lose_power()?;
            true
        } else {
            let (fates, broken) = self.disk.kill();
            self.ledger.killed(&mut self.book.messages, &fates);
            broken.iter().for_each(|log| self.ledger.power_cut(&mut self.book.messages, *log));
            !broken.is_empty()
        };
        let remembers = drained_from.filter(|_| ending == Ending::Graceful);
        self.witness.process_ended(&mut self.book);
        self.book.subs.process_ended(remembers);
        self.doubt_subscriptions(exposed.filter(|_| lossy));
        self.network.process_ended(now, power_lost);
        self.mesh.process_ended();
        self.replan_network();
        self.ended_at = Some(now);
        self.scheduler.after(Duration::from_millis(self.dice.between(1, 50)), Happening::Start);
        Ok(())
    }

    /// While there was no process, nobody synced what was acknowledged.
    fn wake_from(&mut self, now: Instant) {
        let Some(since) = self.ended_at.take() else { return };
        for (_, message) in self.book.messages.iter_mut().filter(|(_, message)| message.acked.is_some()) {
            message.slept += now.since(since);
        }
    }

    fn lose_power(&mut self) -> Checked {
        let now = self.now();
        if self.shape.fsync.is_some() {
            self.checkers.power_cut(&self.book, now, self.disk.longest_sync(now))?;
        }
        self.disk.cut_power();
        self.ledger.power_cut_everywhere(&mut self.book.messages);
        Ok(())
    }

    /// Under a policy that may lose something, it may be a subscription: one that was told of when, or after, the
    /// oldest group was given to a device that had not become durable.
    fn doubt_subscriptions(&mut self, exposed: Option<Instant>) {
        let volatile = self.shape.fsync.is_none();
        let exposed = exposed.filter(|_| self.shape.fsync != Some(FsyncPolicy::Always));
        self.book.subs.doubt_deletions(exposed);
        for sub in self.book.subs.iter_mut() {
            let recent = |since| sub.since.is_none_or(|told| told >= since);
            sub.uncertain |= exposed.is_some_and(recent) || self.rotten;
            sub.alive &= !volatile;
        }
        if volatile {
            self.book.forget_volatile();
        }
    }

    pub(super) fn tell_space(&mut self) -> Checked {
        self.scheduler.after(Duration::from_millis(100), Happening::Space);
        self.tell_space_now()
    }

    fn tell_space_now(&mut self) -> Checked {
        if self.shape.fsync.is_none() {
            return Ok(());
        }
        let free = self.disk.free();
        for log in (0..self.shape.logs).map(LogId) {
            self.tell_log(log, LogEvent::Space { free })?;
        }
        Ok(())
    }
}

/// Bytes that change by themselves.
impl World {
    /// Where record batches stand, for the one plant that needs to know.
    pub(super) fn remember_bodies(&mut self, log: LogId, place: (Lsn, u64, usize), pieces: &[GroupPiece]) {
        if self.shape.plant != Some(Plant::CrcSkipped) {
            return;
        }
        let mut at = place.1;
        for piece in pieces {
            let body = at + piece.header.len() as u64;
            if crate::model::record_batch::header(&piece.body).is_ok() {
                self.bodies.push((log, place.0, body, piece.body.len()));
            }
            at += super::super::disk::piece_len(piece) as u64;
        }
    }

    /// The power is cut, and when it is back some bytes are others.
    fn rot(&mut self) -> Checked {
        self.end_process(Ending::PowerCut)?;
        if self.shape.plant == Some(Plant::CrcSkipped) {
            return self.rot_unseen();
        }
        let segments: Vec<(LogId, Lsn, u64)> = (0..self.shape.logs)
            .map(LogId)
            .flat_map(|log| self.disk.segments(log).into_iter().map(move |(first, len)| (log, first, len)))
            .collect();
        let Some((log, segment, len)) = segments.get(self.dice.below(segments.len().max(1) as u64) as usize) else {
            return Ok(());
        };
        let used = (1..=*len / 4096)
            .rev()
            .find(|blocks| self.disk.read(*log, *segment, (blocks - 1) * 4096, 4096).iter().any(|byte| *byte != 0));
        if let Some(blocks) = used {
            let at = self.dice.below(blocks * 4096);
            let byte = self.disk.read(*log, *segment, at, 1)[0] ^ (1 << self.dice.below(8));
            self.disk.overwrite(*log, *segment, at, &[byte]);
            self.become_rotten();
        }
        Ok(())
    }

    /// A value changes, and its batch's checksum with it: what a broker that does not check would see.
    fn rot_unseen(&mut self) -> Checked {
        if self.bodies.is_empty() {
            return Ok(());
        }
        let (log, segment, at, len) = *self.dice.pick(&self.bodies);
        let mut body = self.disk.read(log, segment, at, len).to_vec();
        if crate::model::record_batch::check(&body).is_err() {
            return Ok(());
        }
        // The last value's last byte stands before the count of headers, which is one byte.
        body[len - 2] ^= 0x10;
        let crc = crc32c::crc32c(&body[21..]);
        body[17..21].copy_from_slice(&crc.to_be_bytes());
        let before = at - ENTRY_HEADER as u64;
        let mut header: [u8; ENTRY_HEADER] =
            self.disk.read(log, segment, before, ENTRY_HEADER)[..].try_into().expect("a header stands before a body");
        let synced = Lsn(u64::from_le_bytes(header[16..24].try_into().expect("eight bytes")));
        seal(&mut header, &body, synced, false);
        self.disk.overwrite(log, segment, before, &header);
        self.disk.overwrite(log, segment, at, &body);
        self.become_rotten();
        Ok(())
    }

    fn become_rotten(&mut self) {
        self.trace.note(self.scheduler.now(), "rot", &[]);
        self.rotten = true;
        self.ledger.distrust(&mut self.book.messages);
        self.doubt_subscriptions(None);
    }
}
