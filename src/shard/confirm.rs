//! Subscribers are answered when what they were promised stands in the logs.
//!
//! A durable subscription, and the end of one, is an entry of the log. Who made it is told when the entry is committed,
//! as a publisher is: what was answered before would be lost with a crash, and the subscriber would miss records
//! without ever hearing of it.

use super::Core;
use super::bind::Bound;
use super::letter::{Ending, Letter};
use super::session::{Conn, Leaving};
use crate::model::{ConnId, Lsn, ShardId};
use crate::protocol::native::reply;

/// Entries that must be committed before something is said: for each of this shard's logs that matters, its index and
/// where the last of them ends.
#[derive(Debug, Default)]
pub struct Entries(Vec<(usize, Lsn)>);

impl Entries {
    pub fn add(&mut self, log: usize, end: Lsn) {
        match self.0.iter_mut().find(|(other, _)| *other == log) {
            Some((_, last)) => *last = end.max(*last),
            None => self.0.push((log, end)),
        }
    }

    /// For each log its index and the end.
    pub fn ends(self) -> Vec<(usize, Lsn)> {
        self.0
    }
}

/// What this shard will say of a subscription, and to whom.
#[derive(Debug)]
pub struct Confirmation {
    /// The shard that holds the connection.
    pub holder: ShardId,
    pub conn: ConnId,
    pub subscription: u64,
    pub what: Confirmed,
    pub entries: Entries,
}

#[derive(Clone, Copy, Debug)]
pub enum Confirmed {
    Begun(Bound),
    /// It is deleted here, if it was to be.
    Ended,
}

impl Core {
    /// Says it if everything it waits for is committed; else once that is so.
    pub(super) fn tell_when_logged(&mut self, confirmation: Confirmation) {
        let Some(Confirmation { holder, conn, subscription, what, .. }) = self.unless_waiting(confirmation) else {
            return;
        };
        match what {
            Confirmed::Begun(bound) if holder == self.options.shard => {
                self.foreign_subscribed(conn, subscription, Ok(bound));
            }
            Confirmed::Ended if holder == self.options.shard => self.foreign_unsubscribed(conn, subscription),
            Confirmed::Begun(bound) => {
                self.write_letter(holder, Letter::Subscribed { conn, subscription, outcome: Ok(bound) });
            }
            Confirmed::Ended => self.write_letter(holder, Letter::Unsubscribed { conn, subscription }),
        }
    }

    /// Gives it back if everything it waits for is committed; else puts it where its log will find it.
    pub(super) fn unless_waiting(&mut self, mut confirmation: Confirmation) -> Option<Confirmation> {
        while let Some((index, end)) = confirmation.entries.0.pop() {
            let log = &mut self.logs[index];
            if log.log.committed() < end {
                let at = log.confirmations.partition_point(|(other, _)| *other <= end);
                log.confirmations.insert(at, (end, confirmation));
                return None;
            }
        }
        Some(confirmation)
    }

    /// A log has committed more.
    pub(super) fn confirm_committed(&mut self, index: usize) {
        let committed = self.logs[index].log.committed();
        while let Some((end, confirmation)) = self.logs[index].confirmations.pop_front() {
            if end > committed {
                self.logs[index].confirmations.push_front((end, confirmation));
                break;
            }
            self.tell_when_logged(confirmation);
        }
    }

    /// A connection is gone: it is told of nothing any more.
    pub(super) fn forget_confirmations(&mut self, conn: ConnId) {
        for log in &mut self.logs {
            log.confirmations.retain(|(_, confirmation)| confirmation.conn != conn);
        }
    }

    /// Ends a subscription on all its shards; the client is told when all have deleted what they had to.
    pub(super) fn delete_subscription(&mut self, conn: &mut Conn, correlation: u64, subscription: u64) {
        let shards = conn.session.subscription(subscription).map_or(0, |state| state.shards.len());
        conn.session.leaving.push(Leaving { subscription, correlation, pending: shards });
        let Some(entries) = self.end_subscription(conn, subscription, Ending::Deleted) else { return };
        let (holder, what) = (self.options.shard, Confirmed::Ended);
        let confirmation = Confirmation { holder, conn: conn.id, subscription, what, entries };
        if self.unless_waiting(confirmation).is_some() {
            self.ended(conn, subscription);
        }
    }

    pub(super) fn foreign_unsubscribed(&mut self, id: ConnId, subscription: u64) {
        let Some(mut conn) = self.take_conn(id) else { return };
        self.ended(&mut conn, subscription);
        self.put_conn(conn);
    }

    /// One shard's part of a subscription is deleted.
    fn ended(&mut self, conn: &mut Conn, subscription: u64) {
        let leaving = &mut conn.session.leaving;
        let Some(at) = leaving.iter().position(|leaving| leaving.subscription == subscription) else { return };
        leaving[at].pending -= 1;
        if leaving[at].pending == 0 {
            let correlation = leaving.swap_remove(at).correlation;
            self.reply(conn.link, |out| reply::ack(out, correlation, subscription));
        }
    }

    /// Ends this shard's part of a subscription for a connection of another one.
    pub(super) fn foreign_unsubscribe(&mut self, holder: ShardId, conn: ConnId, subscription: u64, ending: Ending) {
        let Some(link) = self.guest(conn) else { return };
        let entries = self.unbind(link, subscription, ending);
        if ending == Ending::Deleted {
            self.tell_when_logged(Confirmation { holder, conn, subscription, what: Confirmed::Ended, entries });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_each_log_only_the_last_entry_matters() {
        let mut entries = Entries::default();
        [(1, 5), (0, 7), (1, 3), (1, 9)].into_iter().for_each(|(log, end)| entries.add(log, Lsn(end)));
        assert_eq!(entries.0, [(1, Lsn(9)), (0, Lsn(7))]);
    }
}
