//! A producer's retry is not a duplicate.

use super::Core;
use super::publish::Publisher;
use super::refusal::Refusal;
use super::shard_log::Waiting;
use super::stats::Reason;
use crate::model::record_batch::BatchHeader;
use crate::protocol::ErrorCode;
use crate::protocol::native::reply::Reached;
use crate::wal::ProducerCheck;

impl Core {
    /// Whether a batch with a producer's sequence is to be appended; if not, its sender has been told why.
    pub(super) fn is_fresh(&mut self, index: usize, header: &BatchHeader, from: &Publisher) -> bool {
        let partition = &self.partitions[index];
        let Some(id) = partition.id else { return true };
        let Some(log) = self.logs.get(partition.log) else { return true };
        match log.log.catalog().producer_check(id, header) {
            ProducerCheck::Fresh => true,
            ProducerCheck::Duplicate { base } => {
                self.stats.duplicates += u64::from(header.count);
                self.answer_duplicate(index, base, header.count, from);
                false
            }
            ProducerCheck::OutOfOrder => {
                let text = "producer sequence is out of order";
                self.refuse(from.link, from.correlation, &Refusal::new(ErrorCode::Conflict, Reason::OutOfOrder, text));
                false
            }
        }
    }

    /// A retry of what is committed is acknowledged at once, one of what is not yet with the first.
    fn answer_duplicate(&mut self, index: usize, base: crate::model::Offset, count: u32, from: &Publisher) {
        let partition = &self.partitions[index];
        let end = base.plus(u64::from(count));
        if end <= partition.committed {
            let reached = Reached::Written;
            if from.acknowledge {
                self.acknowledge(from, base, count, reached, true);
            }
            return;
        }
        let waiting = &mut self.logs[partition.log].waiting;
        let covers = |waiting: &Waiting| {
            waiting.partition == index && waiting.base <= base && end <= waiting.base.plus(waiting.count.into())
        };
        let Some(at) = waiting.iter().position(covers) else { return };
        // The first may have come over another connection whose last bytes are late: each connection is answered,
        // once. It may also be one of many that recovery found and that wait together.
        let same = |waiting: &&mut Waiting| {
            let ours = waiting.from.as_ref().is_none_or(|other| other.conn == from.conn);
            waiting.partition == index && waiting.base == base && waiting.count == count && ours
        };
        match waiting.iter_mut().find(same) {
            Some(first) => first.from = Some(*from),
            None => {
                let end = waiting[at].end;
                let again =
                    Waiting { end, partition: index, base, count, from: Some(*from), grave: None, at: self.now };
                waiting.insert(at + 1, again);
            }
        }
    }
}
