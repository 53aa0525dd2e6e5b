//! An acknowledged record is as safe as the policy says.

use std::time::Duration;

use crate::model::{FsyncPolicy, Instant, LogId, Qos};
use crate::protocol::native::reply::{self, Reached};
use crate::sim::book::Book;
use crate::sim::messages::{Message, MessageId, Stage};
use crate::sim::violation::{Checked, must};

#[derive(Debug)]
pub struct Promise {
    pub fsync: FsyncPolicy,
    pub logged: bool,
}

const SAFE: &str = "an acknowledged record is as safe as the policy says";
const WINDOW: &str = "at most as many acknowledged records are unsynced as every_n says";
const RECENT: &str = "power loss takes only what was acknowledged within the interval";
const TRUE: &str = "what an acknowledgement says of a batch is so";

impl Promise {
    /// The broker acknowledges a batch.
    pub fn published(&self, book: &mut Book, now: Instant, ids: &[MessageId], said: &reply::Published) -> Checked {
        must(ids.len() == said.count as usize, TRUE, || format!("{} records, {said:?}", ids.len()))?;
        let mut log = None;
        for (index, id) in ids.iter().enumerate() {
            let message = book.messages.of_mut(*id);
            if message.qos == Qos::AtMostOnce {
                continue;
            }
            let offset = said.base_offset.plus(index as u64);
            let at_home = !self.logged || message.offset.is_none_or(|at| at == offset);
            must(at_home, TRUE, || format!("message {} is at {:?}, {said:?}", id.0, message.offset))?;
            if self.logged {
                self.check_safe(*id, message, said)?;
            }
            if matches!(message.stage, Stage::Limbo) {
                message.stage = Stage::Claimed;
            }
            message.offset = Some(offset);
            message.acked.get_or_insert(now);
            // What was refused once may be taken when it is said again.
            message.refused = false;
            log = Some(message.log);
        }
        log.map_or(Ok(()), |log| self.window(book, log))
    }

    fn check_safe(&self, id: MessageId, message: &Message, said: &reply::Published) -> Checked {
        let needed = if self.fsync == FsyncPolicy::Always { Stage::Durable } else { Stage::Written };
        let safe = message.stage >= needed || matches!(message.stage, Stage::Limbo | Stage::Claimed);
        must(safe, SAFE, || format!("message {} of log {} is {:?}, {said:?}", id.0, message.log, message.stage))?;
        let synced = said.reached < Reached::Synced || message.stage != Stage::Written;
        must(synced, TRUE, || format!("message {} is not synced, {said:?}", id.0))
    }

    /// How much a power loss would take at this moment.
    fn window(&self, book: &Book, log: LogId) -> Checked {
        let FsyncPolicy::EveryN(most) = self.fsync else { return Ok(()) };
        let exposed = book.messages.iter().filter(|(_, message)| message.log == log && exposed(message));
        let exposed: Vec<u32> = exposed.map(|(id, _)| id.0).collect();
        must(exposed.len() <= most as usize, WINDOW, || format!("log {log}: messages {exposed:?}, every_n:{most}"))
    }

    /// Power is about to be lost.
    pub fn power_cut(&self, book: &Book, now: Instant, longest_sync: Duration) -> Checked {
        for (id, message) in book.messages.iter().filter(|(_, message)| exposed(message)) {
            // While there is no process, nobody syncs.
            let age = now.since(message.acked.unwrap_or(now)).saturating_sub(message.slept);
            let held = match self.fsync {
                FsyncPolicy::Always => false,
                FsyncPolicy::Interval(every) => age <= every + longest_sync * 2 + Duration::from_millis(10),
                FsyncPolicy::EveryN(_) | FsyncPolicy::None => true,
            };
            must(held, RECENT, || format!("message {} was acknowledged {age:?} ago, {}", id.0, self.fsync))?;
        }
        Ok(())
    }
}

/// Acknowledged, and not safe from power loss.
fn exposed(message: &Message) -> bool {
    message.acked.is_some() && message.stage == Stage::Written
}
