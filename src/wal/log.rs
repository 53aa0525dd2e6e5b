//! TEMP stub.
use super::*;
use crate::model::record_batch::BatchHeader;
use crate::model::*;
use bytes::Bytes;
use std::collections::BTreeMap;
#[derive(Debug)]
pub struct Log {
    catalog: Catalog,
}
#[derive(Debug, Default)]
pub struct Catalog {
    pub partitions: BTreeMap<PartitionId, PartitionState>,
    pub subscriptions: BTreeMap<SubscriptionId, SubscriptionState>,
}
#[derive(Debug, Clone)]
pub struct PartitionState {
    pub meta: PartitionMeta,
    pub start: Offset,
    pub next: Offset,
}
#[derive(Debug, Clone)]
pub struct SubscriptionState {
    pub meta: SubscriptionMeta,
    pub floor: Offset,
    pub above: Vec<(Offset, Offset)>,
}
pub enum ProducerCheck {
    Fresh,
    Duplicate { base: Offset },
    OutOfOrder,
}
pub enum LogState {
    Ready,
    Full { reason: String },
    Stopped { failure: LogFailure },
}
impl Catalog {
    pub fn producer_check(&self, _p: PartitionId, _h: &BatchHeader) -> ProducerCheck {
        ProducerCheck::Fresh
    }
}
pub struct Place;
pub struct BatchPlace {
    pub base: Offset,
    pub count: u32,
    pub appended_at: Timestamp,
    pub expires_at: Timestamp,
}
impl Log {
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }
    pub fn new_partition_id(&mut self) -> PartitionId {
        PartitionId(0)
    }
    pub fn new_subscription_id(&mut self) -> SubscriptionId {
        SubscriptionId(0)
    }
    pub fn append(&mut self, _now: Instant, _e: Entry) -> Lsn {
        Lsn(0)
    }
    pub fn handle(&mut self, _now: Instant, _e: LogEvent) {}
    pub fn poll(&mut self, _now: Instant) -> Option<LogAction> {
        None
    }
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }
    pub fn appended(&self) -> Lsn {
        Lsn(0)
    }
    pub fn synced(&self) -> Lsn {
        Lsn(0)
    }
    pub fn committed(&self) -> Lsn {
        Lsn(0)
    }
    pub fn backlog(&self) -> usize {
        0
    }
    pub fn state(&self) -> LogState {
        LogState::Ready
    }
    pub fn find(&self, _p: PartitionId, _o: Offset) -> Option<Place> {
        None
    }
    pub fn place_read(&mut self, _p: Place, _w: u64) -> LogAction {
        LogAction::Remove { segment: Lsn(0) }
    }
    pub fn batches<'a>(
        &'a self,
        _p: PartitionId,
        _b: &'a Bytes,
    ) -> impl Iterator<Item = Result<(BatchPlace, Bytes), String>> + 'a {
        std::iter::empty()
    }
    pub fn offset_at(&self, _p: PartitionId, _t: Timestamp) -> Offset {
        Offset(0)
    }
    pub fn set_live_from(&mut self, _p: PartitionId, _o: Offset) {}
    pub fn retain(&mut self, _now: Instant) -> Vec<(PartitionId, Offset)> {
        vec![]
    }
    pub fn close(&mut self, _now: Instant) {}
    pub fn is_closed(&self) -> bool {
        true
    }
}
pub struct LogOptions {
    pub log: LogId,
    pub segment_size: u64,
    pub fsync: FsyncPolicy,
    pub retention_ms: u64,
    pub retention_bytes: u64,
    pub low_water: u64,
}
impl Log {
    pub fn new(_o: LogOptions, _r: Recovered) -> Log {
        Log { catalog: Catalog::default() }
    }
}
