//! The border of the cores: telling them, and doing what they ask.

use crate::model::{ConnId, LogId, ShardId};
use crate::shard::{Action, Answer, Event};
use crate::sim::disk::Moment;
use crate::sim::network::LinkId;
use crate::sim::shape::Ending;
use crate::sim::trace::digest;
use crate::sim::violation::{Checked, must};
use crate::wal::LogAction;

use super::{Happening, World};

/// Actions that one event may lead to; more, and the core never comes to an end.
const ACTIONS_MAX: usize = 100_000;

impl World {
    /// Something happened to a socket.
    pub(super) fn socket_event(&mut self, link: LinkId, shard: ShardId, event: Event) -> Checked {
        let now = self.now();
        let number = u64::from(link.0);
        match &event {
            Event::Connected { conn, .. } => self.trace.note(now, "connected", &[number, conn.slot.into()]),
            Event::Received { bytes, .. } => {
                self.trace.note(now, "received", &[number, digest(bytes)]);
                for fact in self.witness.up(&mut self.book, now, link, bytes) {
                    self.trace.say(now, || format!("<- {fact:?}"));
                    self.checkers.fact(&mut self.book, now, fact)?;
                }
            }
            Event::Sent { bytes, .. } => self.trace.note(now, "sent", &[number, *bytes as u64]),
            Event::Disconnected { why, .. } => {
                self.trace.note(now, "disconnected", &[number, *why as u64]);
                self.witness.closed(&mut self.book, link);
            }
            _ => {}
        }
        self.tell(shard, event)
    }

    /// Tells a core something, does what it asks for, and sees when it wants to be told of the time.
    pub(super) fn tell(&mut self, shard: ShardId, event: Event) -> Checked {
        let now = self.now();
        let Some(process) = &mut self.process else { return Ok(()) };
        process.cores[shard.index()].handle(now, event);
        self.drive(shard)
    }

    pub(super) fn drive(&mut self, shard: ShardId) -> Checked {
        for count in 0.. {
            let Some(process) = &mut self.process else { return Ok(()) };
            let Some(action) = process.cores[shard.index()].poll() else { break };
            must(count < ACTIONS_MAX, "every event leads to an end", || format!("shard {shard}: {action:?}"))?;
            self.act(shard, action)?;
        }
        self.book.subs.handled(|link| self.network.reads(link));
        self.book.messages.handled(self.scheduler.now(), |link| self.network.reads(link));
        self.replan_network();
        self.set_timer(shard);
        Ok(())
    }

    fn set_timer(&mut self, shard: ShardId) {
        let now = self.now();
        let Some(process) = &mut self.process else { return };
        let next = process.cores[shard.index()].poll_timeout().unwrap_or(crate::model::Instant::NEVER);
        // Time passes between two timeouts, as it does on a machine.
        let next = if next <= now { now + std::time::Duration::from_nanos(100) } else { next };
        if next != process.timers[shard.index()] {
            process.timers[shard.index()] = next;
            let life = process.life;
            if next != crate::model::Instant::NEVER {
                self.scheduler.at(next, Happening::Timer(life, shard));
            }
        }
    }

    fn act(&mut self, shard: ShardId, action: Action) -> Checked {
        let now = self.now();
        match action {
            Action::Send { conn, chunks } => {
                let link = self.network.link_of(conn);
                for chunk in &chunks {
                    self.said(conn, link, chunk.as_slice())?;
                }
                self.network.send(now, conn, &chunks)
            }
            Action::Close { conn } => {
                self.trace.note(now, "close", &[conn.slot.into()]);
                self.network.close(now, conn)
            }
            Action::Pause { conn } => {
                self.trace.note(now, "pause", &[conn.slot.into()]);
                self.network.pause(conn)
            }
            Action::Resume { conn } => {
                self.trace.note(now, "resume", &[conn.slot.into()]);
                self.network.resume(now, conn)
            }
            Action::Move { conn, to, carry } => {
                self.trace.note(now, "move", &[conn.slot.into(), conn.shard.0.into(), to.0.into()]);
                self.network.depart(now, conn, to, carry)
            }
            Action::Mesh { to, letters } => {
                let life = self.lives;
                let arrival = self.mesh.post(now, shard, to, letters);
                self.scheduler.at(arrival, Happening::Mesh(life, shard, to));
                Ok(())
            }
            Action::Log { log, action } => self.device(log, action),
            Action::Answer { answer: Answer::Stats(stats), .. } => self.stock(&stats),
            Action::Answer { .. } => Ok(()),
            Action::Halt { code, reason } => self.halted(code, &reason),
            Action::Drained => self.drained(shard),
        }
    }

    /// The core says bytes.
    fn said(&mut self, conn: ConnId, link: Option<LinkId>, bytes: &[u8]) -> Checked {
        let now = self.now();
        let Some(link) = link else { return Ok(()) };
        self.trace.note(now, "said", &[link.0.into(), conn.slot.into(), digest(bytes)]);
        for fact in self.witness.down(&mut self.book, link, bytes)? {
            self.trace.say(now, || format!("-> {fact:?}"));
            self.checkers.fact(&mut self.book, now, fact)?;
        }
        Ok(())
    }

    fn device(&mut self, log: LogId, action: LogAction) -> Checked {
        let now = self.now();
        self.trace.note(now, name(&action), &[log.0.into()]);
        self.trace.say(now, || describe(&action));
        let written = match &action {
            LogAction::Write { segment, position, pieces, len, .. } => {
                Some(((*segment, *position, *len), pieces.clone()))
            }
            _ => None,
        };
        let moments = self.disk.submit(now, log, action)?;
        if let (Some((place, pieces)), Some((_, moment))) = (written, moments.first()) {
            let write = (now, moment.operation, log);
            self.ledger.submitted(&mut self.book.messages, write, place, &pieces)?;
            self.remember_bodies(log, place, &pieces);
        }
        for (when, moment) in moments {
            self.scheduler.at(when, Happening::Disk(moment));
        }
        Ok(())
    }

    pub(super) fn disk_moment(&mut self, moment: Moment) -> Checked {
        let now = self.now();
        let outcome = self.disk.step(now, moment);
        let messages = &mut self.book.messages;
        if let Some(write) = outcome.landed {
            self.ledger.landed(messages, write);
        }
        self.ledger.synced(messages, &outcome.synced);
        if let Some((log, segment)) = outcome.gone {
            self.ledger.gone(messages, log, segment, self.shape.segment_size);
        }
        let Some((log, event)) = outcome.answer else { return Ok(()) };
        self.trace.note(now, "device", &[log.0.into(), moment.operation]);
        self.trace.say(now, || short(&format!("{event:?}")));
        self.tell_log(log, event)
    }

    pub(super) fn tell_log(&mut self, log: LogId, event: crate::wal::LogEvent) -> Checked {
        let Some(process) = &self.process else { return Ok(()) };
        let shard = crate::model::placement::shard_of(log, process.cores.len() as u16);
        self.tell(shard, Event::Log { log, event })
    }

    fn halted(&mut self, code: i32, reason: &str) -> Checked {
        let now = self.now();
        self.trace.note(now, "halt", &[code as u64]);
        self.trace.say(now, || reason.to_string());
        must(self.disk.has_failed, "a core gives up only when a device failed it", || reason.to_string())?;
        self.end_process(Ending::Kill)
    }
}

fn name(action: &LogAction) -> &'static str {
    match action {
        LogAction::Prepare { .. } => "prepare",
        LogAction::Write { .. } => "write",
        LogAction::Sync { .. } => "sync",
        LogAction::Read { .. } => "read",
        LogAction::Remove { .. } => "remove",
        LogAction::SaveCheckpoint { .. } => "checkpoint",
    }
}

fn describe(action: &LogAction) -> String {
    match action {
        LogAction::Write { ticket, segment, position, pieces, len, through } => {
            format!(
                "{ticket:?} segment {segment} at {position}: {} pieces, {len} bytes, through {through}",
                pieces.len()
            )
        }
        LogAction::SaveCheckpoint { ticket, bytes } => format!("{ticket:?} {} bytes", bytes.len()),
        LogAction::Prepare { segment, size, recycle, .. } => format!("{segment} of {size}, recycling {recycle:?}"),
        other => format!("{other:?}"),
    }
}

fn short(text: &str) -> String {
    text.chars().take(200).collect()
}
