//! The checkpoint: what recovery starts from instead of the beginning of the log.
//!
//! Little-endian. `n x` is a count in four bytes and then so many of what follows.
//!
//! | bytes | field                                                                                        |
//! |------:|----------------------------------------------------------------------------------------------|
//! |     8 | `BLIPCHK` and a zero byte                                                                     |
//! |     4 | format version, 2; 1 is read too, and ends before the patterns                               |
//! |     4 | CRC-32C of everything after this field                                                       |
//! |     2 | log                                                                                          |
//! |     1 | flags: 1 the clean mark: the log was closed, nothing comes after                             |
//! |     1 | zero                                                                                         |
//! |     4 | epoch: entries after this checkpoint have it, or a larger one                                |
//! |     8 | bytes of a segment                                                                           |
//! |     8 | end: of the last entry that this checkpoint knows; it was durable before the checkpoint was   |
//! |     8 | last: where that entry starts; recovery looks whether it is there                             |
//! |     8 | next: where the first group after it starts                                                  |
//! |     4 | next partition id                                                                            |
//! |     4 | next subscription id                                                                         |
//! |       | n x segment in use: `u64` first LSN                                                          |
//! |       | n x hole: `u64` from, `u64` to: bytes that are not part of the log                           |
//! |       | n x partition: `u32` id, `u64` start, `u64` next, body of a partition entry                  |
//! |       | n x subscription: `u32` id, `u64` floor, body of a subscription entry, body of a cursor entry |
//! |       | n x producer: `u32` partition, `i64` id, `i16` epoch, n x (`i32` sequence, `u32` count, `u64` base) |
//! |       | n x partition's runs: `u32` id, n x (`u64` base, `u64` next, `u64` lsn, `u32` span, `u64` bytes, `i64` last appended at) |
//! |       | n x pattern subscription: body of a pattern entry                                            |

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, BytesMut};

use super::body;
use super::catalog::{Catalog, PartitionState, ProducerBatch, ProducerState, SubscriptionState};
use super::entry::BLOCK;
use super::index::{Index, Run};
use super::take::Take;
use crate::model::{LogId, Lsn, Offset, PartitionId, SubscriptionId, Timestamp};

const MAGIC: &[u8; 8] = b"BLIPCHK\0";
/// The version of the checkpoints that this code writes. A log goes on behind a checkpoint of it, so it also says which
/// kinds of entries there may be.
pub(super) const CHECKPOINT_VERSION: u32 = 2;
/// Without patterns, and behind it no entries of them.
const WITHOUT_PATTERNS: u32 = 1;
const CLEAN: u8 = 1;
const AT_BODY: usize = 16;

/// Everything a checkpoint remembers.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Checkpoint {
    pub(super) log: LogId,
    pub(super) clean: bool,
    pub(super) epoch: u32,
    pub(super) segment_size: u64,
    pub(super) end: Lsn,
    pub(super) last: Lsn,
    pub(super) next: Lsn,
    pub(super) segments: Vec<Lsn>,
    pub(super) holes: BTreeMap<Lsn, Lsn>,
    pub(super) catalog: Catalog,
    pub(super) index: Index,
}

/// The same, borrowed, to be written.
#[derive(Debug)]
pub(super) struct Snapshot<'a> {
    pub(super) log: LogId,
    pub(super) clean: bool,
    pub(super) epoch: u32,
    pub(super) segment_size: u64,
    pub(super) end: Lsn,
    pub(super) last: Lsn,
    pub(super) next: Lsn,
    pub(super) segments: &'a [Lsn],
    pub(super) holes: &'a BTreeMap<Lsn, Lsn>,
    pub(super) catalog: &'a Catalog,
    pub(super) index: &'a Index,
}

/// Why bytes are not a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotACheckpoint {
    Bad(&'static str),
    /// A format that is not known.
    Version(u32),
}

impl Snapshot<'_> {
    pub(super) fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(4096);
        out.put_slice(MAGIC);
        out.put_u32_le(CHECKPOINT_VERSION);
        out.put_u32_le(0);
        self.put_position(&mut out);
        put_lsns(&mut out, self.segments, self.holes);
        put_catalog(&mut out, self.catalog);
        put_index(&mut out, self.index);
        put_patterns(&mut out, self.catalog);
        let crc = crc32c::crc32c(&out[AT_BODY..]);
        out[12..AT_BODY].copy_from_slice(&crc.to_le_bytes());
        out.freeze()
    }

    fn put_position(&self, out: &mut BytesMut) {
        out.put_u16_le(self.log.0);
        out.put_u8(if self.clean { CLEAN } else { 0 });
        out.put_u8(0);
        out.put_u32_le(self.epoch);
        out.put_u64_le(self.segment_size);
        out.put_u64_le(self.end.0);
        out.put_u64_le(self.last.0);
        out.put_u64_le(self.next.0);
        out.put_u32_le(self.catalog.next_partition);
        out.put_u32_le(self.catalog.next_subscription);
    }
}

fn put_count(out: &mut BytesMut, count: usize) {
    out.put_u32_le(u32::try_from(count).expect("what a log holds is counted in 32 bits"));
}

fn put_lsns(out: &mut BytesMut, segments: &[Lsn], holes: &BTreeMap<Lsn, Lsn>) {
    put_count(out, segments.len());
    segments.iter().for_each(|segment| out.put_u64_le(segment.0));
    put_count(out, holes.len());
    for (from, to) in holes {
        out.put_u64_le(from.0);
        out.put_u64_le(to.0);
    }
}

fn put_catalog(out: &mut BytesMut, catalog: &Catalog) {
    put_count(out, catalog.partitions.len());
    for (id, state) in &catalog.partitions {
        out.put_u32_le(id.0);
        out.put_u64_le(state.start.0);
        out.put_u64_le(state.next.0);
        body::put_partition(out, &state.meta);
    }
    put_count(out, catalog.subscriptions.len());
    for (id, state) in &catalog.subscriptions {
        out.put_u32_le(id.0);
        out.put_u64_le(state.floor.0);
        body::put_subscription(out, &state.meta);
        body::put_ranges(out, &state.above);
    }
    put_count(out, catalog.producers.len());
    for ((partition, id), state) in &catalog.producers {
        out.put_u32_le(partition.0);
        out.put_i64_le(*id);
        out.put_i16_le(state.epoch);
        put_count(out, state.batches.len());
        for batch in &state.batches {
            out.put_i32_le(batch.base_sequence);
            out.put_u32_le(batch.count);
            out.put_u64_le(batch.base.0);
        }
    }
}

fn put_index(out: &mut BytesMut, index: &Index) {
    put_count(out, index.partitions().count());
    for (id, runs) in index.partitions() {
        out.put_u32_le(id.0);
        put_count(out, runs.len());
        for run in runs {
            out.put_u64_le(run.base.0);
            out.put_u64_le(run.next.0);
            out.put_u64_le(run.lsn.0);
            out.put_u32_le(run.end.since(run.lsn) as u32);
            out.put_u64_le(run.bytes);
            out.put_i64_le(run.last_at.0);
        }
    }
}

fn put_patterns(out: &mut BytesMut, catalog: &Catalog) {
    put_count(out, catalog.patterns.len());
    catalog.patterns.iter().for_each(|(key, meta)| body::put_pattern(out, key, meta));
}

impl Checkpoint {
    pub(super) fn decode(bytes: &[u8]) -> Result<Checkpoint, NotACheckpoint> {
        const BAD: NotACheckpoint = NotACheckpoint::Bad("the checkpoint is cut short");
        let mut take = Take::new(bytes);
        if take.bytes(MAGIC.len()).ok_or(BAD)? != MAGIC {
            return Err(NotACheckpoint::Bad("the checkpoint file is not one"));
        }
        let version = take.u32().ok_or(BAD)?;
        if version != CHECKPOINT_VERSION && version != WITHOUT_PATTERNS {
            return Err(NotACheckpoint::Version(version));
        }
        if take.u32().ok_or(BAD)? != crc32c::crc32c(&bytes[AT_BODY..]) {
            return Err(NotACheckpoint::Bad("the checkpoint's checksum does not match"));
        }
        let checkpoint = take_checkpoint(&mut take, version).filter(|_| take.is_empty());
        checkpoint.ok_or(NotACheckpoint::Bad("the checkpoint's checksum matches and its contents make no sense"))
    }
}

fn take_checkpoint(take: &mut Take<'_>, version: u32) -> Option<Checkpoint> {
    let log = LogId(take.u16()?);
    let clean = take.u8()? & CLEAN != 0;
    take.u8()?;
    let epoch = take.u32()?;
    let segment_size = take.u64()?;
    let (end, last, next) = (Lsn(take.u64()?), Lsn(take.u64()?), Lsn(take.u64()?));
    let (next_partition, next_subscription) = (take.u32()?, take.u32()?);
    let block = BLOCK as u64;
    let sound =
        segment_size >= 2 * block && segment_size % block == 0 && next.0 % block == 0 && last <= end && end <= next;
    if !sound || next.0 % segment_size == 0 {
        return None;
    }
    let segments = take_many(take, 8, |take| take.u64().map(Lsn))?;
    let holes = take_many(take, 16, |take| Some((Lsn(take.u64()?), Lsn(take.u64()?))))?.into_iter().collect();
    let mut catalog = take_catalog(take)?;
    catalog.next_partition = next_partition;
    catalog.next_subscription = next_subscription;
    let index = take_index(take, segment_size, end)?;
    if version != WITHOUT_PATTERNS {
        catalog.patterns = take_many(take, 22, body::pattern_from)?.into_iter().collect();
    }
    Some(Checkpoint { log, clean, epoch, segment_size, end, last, next, segments, holes, catalog, index })
}

fn take_many<'a, T>(
    take: &mut Take<'a>,
    size: usize,
    mut one: impl FnMut(&mut Take<'a>) -> Option<T>,
) -> Option<Vec<T>> {
    let count = take.count(size)?;
    (0..count).map(|_| one(take)).collect()
}

fn take_catalog(take: &mut Take<'_>) -> Option<Catalog> {
    let partitions = take_many(take, 20, |take| {
        let (id, start, next) = (PartitionId(take.u32()?), Offset(take.u64()?), Offset(take.u64()?));
        Some((id, PartitionState { start, next, meta: body::partition_from(take)? }))
    })?;
    let subscriptions = take_many(take, 12, |take| {
        let (id, floor) = (SubscriptionId(take.u32()?), Offset(take.u64()?));
        let meta = body::subscription_from(take)?;
        Some((id, SubscriptionState { meta, floor, above: body::ranges_from(take, floor)? }))
    })?;
    let producers = take_many(take, 18, |take| {
        let (partition, id, epoch) = (PartitionId(take.u32()?), take.i64()?, take.u16()? as i16);
        let batches = take_many(take, 16, |take| {
            let (base_sequence, count) = (take.u32()? as i32, take.u32()?);
            Some(ProducerBatch { base_sequence, count, base: Offset(take.u64()?) })
        })?;
        Some(((partition, id), ProducerState { epoch, batches: batches.into() }))
    })?;
    Some(Catalog {
        partitions: partitions.into_iter().collect(),
        subscriptions: subscriptions.into_iter().collect(),
        producers: producers.into_iter().collect(),
        ..Catalog::default()
    })
}

fn take_index(take: &mut Take<'_>, segment_size: u64, end: Lsn) -> Option<Index> {
    let mut index = Index::new(segment_size, usize::MAX);
    let mut bytes = 0u64;
    for _ in 0..take.count(8)? {
        let id = PartitionId(take.u32()?);
        for _ in 0..take.count(44)? {
            let run = take_run(take).filter(|run| run.base < run.next && run.end <= end)?;
            // Each byte of the log is of one run at most.
            bytes = bytes.checked_add(run.bytes).filter(|bytes| *bytes <= end.0)?;
            index.restore(id, run);
        }
    }
    Some(index)
}

fn take_run(take: &mut Take<'_>) -> Option<Run> {
    let (base, next, lsn) = (Offset(take.u64()?), Offset(take.u64()?), Lsn(take.u64()?));
    let span = u64::from(take.u32()?);
    let (bytes, last_at) = (take.u64()?, Timestamp(take.i64()?));
    Some(Run { base, next, lsn, end: Lsn(lsn.0.checked_add(span)?), bytes, last_at })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::record_batch::{BatchBuilder, Producer};
    use crate::model::{Pattern, SubscriptionMode, TopicName};
    use crate::wal::entry::{Entry, PartitionMeta, PatternKey, PatternMeta, SubscriptionMeta};
    use crate::wal::index::Indexed;

    fn catalog() -> Catalog {
        let mut catalog = Catalog::default();
        let partition = PartitionId(4);
        let meta = PartitionMeta { topic: TopicName::parse(b"orders").unwrap(), number: 0, ttl_ms: 5 };
        catalog.fold(&Entry::Partition { id: partition, meta });
        let mut builder = BatchBuilder::new();
        builder.push(Timestamp(1), b"value");
        let bytes = builder.finish(Offset(0), Some(Producer { id: 77, epoch: 1, base_sequence: 0 }));
        let (appended_at, expires_at) = (Timestamp(1), Timestamp(0));
        catalog.fold(&Entry::Batch { partition, base: Offset(0), count: 1, appended_at, expires_at, bytes });
        let meta = SubscriptionMeta {
            partition,
            name: "billing".into(),
            mode: SubscriptionMode::Exclusive,
            start: Offset(0),
            retry_delay_ms: 1,
            max_retries: Some(3),
            dead_letter: None,
            session: true,
            created_at: Timestamp(9),
        };
        let id = SubscriptionId(2);
        catalog.fold(&Entry::Subscription { id, meta });
        catalog.fold(&Entry::Cursor { id, floor: Offset(0), above: vec![(Offset(1), Offset(3))] });
        for pattern in ["orders.>", "a.*"] {
            let key = PatternKey { name: "billing".into(), pattern: Pattern::parse(pattern.as_bytes()).unwrap() };
            let (mode, created_at) = (SubscriptionMode::Shared, Timestamp(9));
            let meta = PatternMeta { mode, retry_delay_ms: 1, max_retries: None, dead_letter: None, created_at };
            catalog.fold(&Entry::Pattern { key, meta });
        }
        catalog
    }

    fn checkpoint() -> Checkpoint {
        let mut index = Index::new(1 << 20, usize::MAX);
        let batch = |base, lsn| Indexed {
            partition: PartitionId(4),
            base: Offset(base),
            count: 1,
            lsn: Lsn(lsn),
            size: 136,
            appended_at: Timestamp(1),
        };
        index.append(&batch(0, 4096));
        index.append(&batch(1, 200_000));
        Checkpoint {
            log: LogId(3),
            clean: true,
            epoch: 8,
            segment_size: 1 << 20,
            end: Lsn(200_136),
            last: Lsn(200_000),
            next: Lsn(204_800),
            segments: vec![Lsn(0)],
            holes: [(Lsn(8192), Lsn(12_288))].into(),
            catalog: catalog(),
            index,
        }
    }

    fn encode(checkpoint: &Checkpoint) -> Bytes {
        let Checkpoint { log, clean, epoch, segment_size, .. } = *checkpoint;
        let Checkpoint { end, last, next, .. } = *checkpoint;
        let Checkpoint { segments, holes, catalog, index, .. } = checkpoint;
        Snapshot { log, clean, epoch, segment_size, end, last, next, segments, holes, catalog, index }.encode()
    }

    #[test]
    fn a_checkpoint_comes_back_as_it_was() {
        assert_eq!(Checkpoint::decode(&encode(&checkpoint())), Ok(checkpoint()));
    }

    #[test]
    fn a_checkpoint_of_version_1_has_no_patterns_and_all_the_rest() {
        let mut before = checkpoint();
        before.catalog.patterns.clear();
        let mut bytes = encode(&before).to_vec();
        bytes.truncate(bytes.len() - 4);
        bytes[8..12].copy_from_slice(&WITHOUT_PATTERNS.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[AT_BODY..]);
        bytes[12..AT_BODY].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(Checkpoint::decode(&bytes), Ok(before));
    }

    #[test]
    fn a_checkpoint_cut_anywhere_is_refused() {
        let bytes = encode(&checkpoint());
        assert!((0..bytes.len()).all(|cut| Checkpoint::decode(&bytes[..cut]).is_err()));
    }

    #[test]
    fn every_flipped_bit_of_a_checkpoint_is_noticed() {
        let bytes = encode(&checkpoint());
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Checkpoint::decode(&flipped).is_err(), "bit {bit}");
        }
    }

    proptest! {
        #[test]
        fn contents_of_random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), cut in 0usize..400) {
            let _ = take_checkpoint(&mut Take::new(&bytes), CHECKPOINT_VERSION);
            let mut whole = encode(&checkpoint()).to_vec();
            let at = AT_BODY + cut % (whole.len() - AT_BODY);
            for (byte, noise) in whole[at..].iter_mut().zip(&bytes) {
                *byte ^= noise;
            }
            let _ = take_checkpoint(&mut Take::new(&whole[AT_BODY..]), CHECKPOINT_VERSION);
        }
    }
}
