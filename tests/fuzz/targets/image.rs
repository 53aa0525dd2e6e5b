//! A whole log on its device, changed as the input says: what comes back was written.

use std::convert::Infallible;
use std::sync::OnceLock;

use blipmq::model::record_batch::BatchBuilder;
use blipmq::model::{
    Instant, LogId, Lsn, Offset, PartitionId, Pattern, RecoveryMode, SubscriptionId, SubscriptionMode, Timestamp,
    TopicName,
};
use blipmq::wal::check::{Outcome, recover};
use blipmq::wal::{Entry, Log, LogAction, PartitionMeta, PatternKey, PatternMeta, Recovered, SubscriptionMeta};
use bytes::Bytes;

use super::device::{Device, log_options};

const LOG: LogId = LogId(0);
const SEGMENT: u64 = 32 << 10;
const INDEX_MAX: usize = 4096;
const MODES: [RecoveryMode; 3] = [RecoveryMode::Refuse, RecoveryMode::Truncate, RecoveryMode::Skip];
const NOW: Instant = Instant(1_700_000_000_000_000_000);
/// Bytes of the input for one change: where, how, and with what.
const CHANGE: usize = 6;
/// Where a checkpoint has its checksum, and what it is of.
const AT_CRC: usize = 12;
const AT_BODY: usize = 16;

/// A log, and its batches in the order in which readers get them.
struct Base {
    device: Device,
    batches: Vec<(PartitionId, Offset, Bytes)>,
}

fn base() -> &'static Base {
    static BASE: OnceLock<Base> = OnceLock::new();
    BASE.get_or_init(write)
}

fn settle(log: &mut Log, device: &mut Device) {
    while let Some(action) = log.poll(NOW) {
        let event = device.perform(action);
        log.handle(NOW, event);
    }
}

/// Two partitions, a subscription with a cursor, one to a pattern, batches of all sizes in several segments.
fn write() -> Base {
    let mut device = Device::default();
    let mut log = Log::new(log_options(SEGMENT, INDEX_MAX), Recovered::nothing(SEGMENT));
    let topic = |name: &[u8]| TopicName::parse(name).expect("a plain name");
    let partitions = [b"one".as_slice(), b"two"].map(|name| {
        let id = log.new_partition_id();
        let meta = PartitionMeta { topic: topic(name), number: 0, ttl_ms: 0 };
        log.append(NOW, Entry::Partition { id, meta });
        id
    });
    let id = log.new_subscription_id();
    log.append(NOW, Entry::Subscription { id, meta: subscription(partitions[0]) });
    for pattern in ["one.>", "*"] {
        log.append(NOW, pattern_subscription(pattern));
    }
    for nth in 0..120 {
        append(&mut log, partitions[nth % 2], nth);
        if nth % 10 == 9 {
            cursor(&mut log, id, nth as u64 / 4);
        }
        if nth % 3 != 0 {
            settle(&mut log, &mut device);
        }
    }
    settle(&mut log, &mut device);
    let batches = read(&mut log, &device);
    assert_eq!(batches.len(), 120, "an undamaged log gives all there is");
    Base { device, batches }
}

fn subscription(partition: PartitionId) -> SubscriptionMeta {
    SubscriptionMeta {
        partition,
        name: "reader".into(),
        mode: SubscriptionMode::Exclusive,
        start: Offset::ZERO,
        retry_delay_ms: 0,
        max_retries: None,
        dead_letter: None,
        session: false,
        created_at: Timestamp(0),
    }
}

fn pattern_subscription(pattern: &str) -> Entry {
    let pattern = Pattern::parse(pattern.as_bytes()).expect("a plain pattern");
    let key = PatternKey { name: "reader".into(), pattern };
    let (mode, created_at) = (SubscriptionMode::Exclusive, Timestamp(0));
    let meta = PatternMeta { mode, retry_delay_ms: 0, max_retries: Some(3), dead_letter: None, created_at };
    Entry::Pattern { key, meta }
}

fn append(log: &mut Log, partition: PartitionId, nth: usize) {
    let base = log.catalog().partitions[&partition].next;
    let mut builder = BatchBuilder::new();
    (0..1 + nth % 4).for_each(|_| builder.push(Timestamp(1), &vec![nth as u8; nth * 37 % 900]));
    let (count, bytes) = (builder.count(), builder.finish(base, None));
    let (appended_at, expires_at) = (NOW.timestamp(), Timestamp(0));
    log.append(NOW, Entry::Batch { partition, base, count, appended_at, expires_at, bytes });
}

fn cursor(log: &mut Log, id: SubscriptionId, floor: u64) {
    let above = vec![(Offset(floor + 2), Offset(floor + 3))];
    log.append(NOW, Entry::Cursor { id, floor: Offset(floor), above });
}

fn read(log: &mut Log, device: &Device) -> Vec<(PartitionId, Offset, Bytes)> {
    let partitions: Vec<(PartitionId, Offset)> =
        log.catalog().partitions.iter().map(|(id, state)| (*id, state.start)).collect();
    let mut batches = Vec::new();
    for (partition, mut next) in partitions {
        loop {
            let before = next;
            if let Some(place) = log.find(partition, next) {
                let LogAction::Read { ticket, segment, position, len, .. } = log.place_read(place, 0) else {
                    unreachable!("a place is read")
                };
                let bytes = device.read(segment, position, len);
                for (place, bytes) in log.batches(ticket, partition, &bytes).flatten() {
                    if place.base >= next {
                        next = place.base.plus(place.count.into());
                        batches.push((partition, place.base, bytes));
                    }
                }
            }
            if next == before {
                let Some(after) = log.first_after(partition, next) else { break };
                next = after;
            }
        }
    }
    batches
}

fn bring_back(device: &Device, mode: RecoveryMode) -> Outcome {
    let segments = device.segments.iter().map(|(first, bytes)| (*first, bytes.len() as u64)).collect();
    let read = |segment, position, len| Ok::<Bytes, Infallible>(device.read(segment, position, len));
    let Ok(outcome) = recover(LOG, mode, device.checkpoint.clone(), segments, read);
    outcome
}

/// Changes to the bytes of a good log.
pub fn log_image(data: &[u8]) {
    let mut device = base().device.clone();
    for change in data.chunks_exact(CHANGE) {
        strike(&mut device, change);
    }
    for mode in MODES {
        let Ok((recovered, report)) = bring_back(&device, mode) else { continue };
        assert!(report.corruptions.is_empty() || mode != RecoveryMode::Refuse);
        let came = read(&mut Log::new(log_options(SEGMENT, INDEX_MAX), recovered), &device);
        assert!(came.is_sorted_by_key(|(partition, base, _)| (*partition, *base)));
        assert!(came.iter().all(|batch| base().batches.contains(batch)), "what comes back was written");
        if mode != RecoveryMode::Refuse {
            stays_decided(&device, mode, &came);
        }
    }
}

fn strike(device: &mut Device, change: &[u8]) {
    let at = usize::from(change[0]) << 16 | usize::from(change[1]) << 8 | usize::from(change[2]);
    let (nth, at) = (at / SEGMENT as usize % (device.segments.len() + 1), at % SEGMENT as usize);
    let mut checkpoint = device.checkpoint.as_ref().map(|bytes| bytes.to_vec()).unwrap_or_default();
    let is_checkpoint = nth == device.segments.len();
    let file = device.segments.values_mut().nth(nth).unwrap_or(&mut checkpoint);
    let at = at % file.len().max(1);
    let to = (at + usize::from(change[5]) * 16 + 1).min(file.len());
    match change[3] % 5 {
        0 => file[at..to].fill(change[4]),
        1 => file.truncate(at),
        2 => {
            let room = (file.len() - (to - at)).max(1);
            file.copy_within(at..to, usize::from(change[4]) * 8 % room);
        }
        _ if file.is_empty() => {}
        _ => file[at] ^= change[4],
    }
    if is_checkpoint {
        device.checkpoint = Some(checkpoint.into());
    }
}

fn stays_decided(device: &Device, mode: RecoveryMode, came: &[(PartitionId, Offset, Bytes)]) {
    let Ok((mut recovered, _)) = bring_back(device, mode) else { return };
    for segment in recovered.segments().to_vec() {
        let file = device.segments.get(&segment).cloned().unwrap_or_default();
        recovered.leave_out(LOG, segment, file.into());
    }
    let mut mended = device.clone();
    for leftover in recovered.leftovers() {
        mended.segments.remove(leftover);
    }
    mended.checkpoint = Some(recovered.checkpoint(LOG));
    let (recovered, _) = bring_back(&mended, RecoveryMode::Refuse).expect("what was mended is good");
    assert_eq!(
        read(&mut Log::new(log_options(SEGMENT, INDEX_MAX), recovered), &mended),
        came,
        "what was decided stays decided"
    );
}

/// A checkpoint file beside a good log: as it is, and with a checksum that fits. One that fits and was never written is
/// our own bug or somebody's malice: recovery believes its positions, and still does not panic.
pub fn checkpoint(data: &[u8]) {
    try_checkpoint(Bytes::copy_from_slice(data));
    let mut file = base().device.checkpoint.as_ref().expect("a log has one").to_vec();
    for change in data.chunks_exact(3) {
        let at = (usize::from(change[0]) << 8 | usize::from(change[1])) % (file.len() - AT_BODY);
        file[AT_BODY + at] ^= change[2];
    }
    let crc = crc32c::crc32c(&file[AT_BODY..]);
    file[AT_CRC..AT_BODY].copy_from_slice(&crc.to_le_bytes());
    try_checkpoint(file.into());
}

fn try_checkpoint(bytes: Bytes) {
    let device = Device { checkpoint: Some(bytes), ..base().device.clone() };
    for mode in MODES {
        if let Ok((recovered, _)) = bring_back(&device, mode) {
            drop(recovered.checkpoint(LOG));
        }
    }
}

/// The names of the segments of the log that is changed, for seeds.
#[allow(dead_code)] // for those who look at a crash
pub fn segments() -> Vec<Lsn> {
    base().device.segments.keys().copied().collect()
}
