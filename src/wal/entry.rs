//! What is written into a log: batches, and what must be remembered of partitions and subscriptions.
//!
//! An entry is a header of [`ENTRY_HEADER`] bytes, a body, and zeros up to the next multiple of eight. Numbers are
//! little-endian.
//!
//! | at | bytes | field                                                                                        |
//! |---:|------:|----------------------------------------------------------------------------------------------|
//! |  0 |     4 | length of header and body                                                                    |
//! |  4 |     4 | CRC-32C of the rest of the header; of a batch also of the body's first 21 bytes, which end with the batch's own CRC |
//! |  8 |     8 | LSN: the entry's own address. Found elsewhere, it is not an entry                              |
//! | 16 |     8 | synced: everything before this LSN was durable when the entry was written                     |
//! | 24 |     4 | epoch: one more at every start of the log. Smaller than an earlier entry's: not an entry      |
//! | 28 |     1 | kind: see [`Kind`]                                                                           |
//! | 29 |     1 | flags: 1 last of its group (the next group starts at the next block), 2 moved by cleaning     |
//! | 30 |     2 | zero                                                                                         |
//! | 32 |     4 | partition, or subscription; of a pattern subscription 0: its name and pattern tell it        |
//! | 36 |     4 | batch: count of records; otherwise CRC-32C of the body                                        |
//! | 40 |     8 | batch: base offset; partition start: start; cursor: floor                                     |
//! | 48 |     8 | batch: appended at, ms                                                                       |
//! | 56 |     8 | batch: expires at, ms, 0 for never                                                            |

use bytes::{Buf, Bytes, BytesMut};

use super::body;
use crate::model::{
    Lsn, Offset, PartitionId, Pattern, SubscriptionId, SubscriptionMode, Timestamp, TopicName, record_batch,
};

/// Bytes of an entry's header.
pub const ENTRY_HEADER: usize = 64;
/// What writes, positions and segments are aligned to.
pub const BLOCK: usize = 4096;

/// One thing to be remembered.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    /// A record batch whose base offset is already set in its bytes.
    Batch {
        partition: PartitionId,
        base: Offset,
        count: u32,
        appended_at: Timestamp,
        /// Zero: never expires by itself.
        expires_at: Timestamp,
        bytes: Bytes,
    },
    /// A partition was created, or its settings changed.
    Partition {
        id: PartitionId,
        meta: PartitionMeta,
    },
    PartitionDeleted {
        id: PartitionId,
    },
    /// Records before `start` are gone by retention, expiry or an operator's word.
    PartitionStart {
        id: PartitionId,
        start: Offset,
    },
    /// A durable subscription was created, or its settings changed.
    Subscription {
        id: SubscriptionId,
        meta: SubscriptionMeta,
    },
    SubscriptionDeleted {
        id: SubscriptionId,
    },
    /// Everything below `floor` is settled, and the half-open ranges in `above` (sorted, apart, above the floor).
    Cursor {
        id: SubscriptionId,
        floor: Offset,
        above: Vec<(Offset, Offset)>,
    },
    /// A durable subscription to a pattern was made, or its settings changed. Every log has it: a partition that is
    /// made later, and matches, begins with a cursor of it.
    Pattern {
        key: PatternKey,
        meta: PatternMeta,
    },
    PatternDeleted {
        key: PatternKey,
    },
}

/// What is remembered of a partition beside its records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionMeta {
    pub topic: TopicName,
    /// Its number within the topic.
    pub number: u32,
    /// Zero: records never expire by age of the topic.
    pub ttl_ms: u64,
}

/// What is remembered of a durable subscription beside its cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionMeta {
    pub partition: PartitionId,
    /// Unique in its partition.
    pub name: String,
    pub mode: SubscriptionMode,
    /// Where it began.
    pub start: Offset,
    /// Zero: the broker's default.
    pub retry_delay_ms: u32,
    /// `None`: the broker's default.
    pub max_retries: Option<u16>,
    pub dead_letter: Option<TopicName>,
    /// A version 1 session: goes away when detached for `session_expiry`.
    pub session: bool,
    pub created_at: Timestamp,
}

/// What makes two durable pattern subscriptions the same. In each partition their cursors are known by the name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PatternKey {
    pub name: String,
    pub pattern: Pattern,
}

/// What is remembered of a durable pattern subscription: the settings of cursors that are made for it. Where it began
/// is not among them: in a partition that comes later it begins at the first record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternMeta {
    pub mode: SubscriptionMode,
    /// Zero: the broker's default.
    pub retry_delay_ms: u32,
    /// `None`: the broker's default.
    pub max_retries: Option<u16>,
    pub dead_letter: Option<TopicName>,
    pub created_at: Timestamp,
}

/// What an entry is, as its header says. A program that does not know a kind does not read the log: a kind that is
/// added raises the checkpoint's version, and every run of a program begins with a checkpoint of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    Batch = 1,
    Partition = 2,
    PartitionDeleted = 3,
    PartitionStart = 4,
    Subscription = 5,
    SubscriptionDeleted = 6,
    Cursor = 7,
    /// The log goes on in the next segment.
    End = 8,
    /// Since checkpoints of version 2, as the next.
    Pattern = 9,
    PatternDeleted = 10,
}

/// The last entry of its group: the next group starts at the next block.
pub const FLAG_LAST: u8 = 1;
/// A batch that cleaning wrote again: it replaces the one at its old place.
pub const FLAG_MOVED: u8 = 2;

/// An entry's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Of header and body.
    pub length: u32,
    pub lsn: Lsn,
    pub synced: Lsn,
    pub epoch: u32,
    pub kind: Kind,
    pub flags: u8,
    /// Of the partition or the subscription.
    pub id: u32,
    /// Records of a batch; of any other kind the body's checksum.
    pub count: u32,
    pub base: Offset,
    pub appended_at: Timestamp,
    pub expires_at: Timestamp,
}

/// Why bytes are not an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAnEntry {
    /// So many bytes, counted from the entry's start, are needed to say.
    Short(usize),
    Bad(&'static str),
}

/// Bytes of an entry with a body of `body` bytes, with the zeros after it.
pub fn entry_size(body: usize) -> usize {
    (ENTRY_HEADER + body).next_multiple_of(8)
}

const AT_CRC: usize = 4;
const AT_LSN: usize = 8;
const AT_SYNCED: usize = 16;
const AT_EPOCH: usize = 24;
const AT_KIND: usize = 28;
const AT_FLAGS: usize = 29;
/// What of a batch the entry's header vouches for: all that the batch's own checksum leaves out, and that checksum.
const BATCH_HEAD: usize = 21;

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn header_crc(header: &[u8], body: &[u8]) -> u32 {
    let crc = crc32c::crc32c_append(crc32c::crc32c(&header[..AT_CRC]), &header[AT_LSN..ENTRY_HEADER]);
    let head = if header[AT_KIND] == Kind::Batch as u8 { &body[..BATCH_HEAD] } else { &[] };
    crc32c::crc32c_append(crc, head)
}

/// Completes a header when its group is cut: what is synced by now, whether it is the group's last, the checksum.
pub fn seal(header: &mut [u8; ENTRY_HEADER], body: &[u8], synced: Lsn, last: bool) {
    header[AT_SYNCED..AT_SYNCED + 8].copy_from_slice(&synced.0.to_le_bytes());
    header[AT_FLAGS] |= if last { FLAG_LAST } else { 0 };
    let crc = header_crc(header, body);
    header[AT_CRC..AT_CRC + 4].copy_from_slice(&crc.to_le_bytes());
}

/// Whether the bytes claim to be an entry that stands at `lsn`: a quick look before [`Header::decode`].
pub fn claims(bytes: &[u8], lsn: Lsn) -> bool {
    bytes.len() >= ENTRY_HEADER && u64_at(bytes, AT_LSN) == lsn.0
}

/// The epoch that bytes with a [`claims`] say, whether or not they are whole.
pub fn claimed_epoch(bytes: &[u8]) -> u32 {
    u32_at(bytes, AT_EPOCH)
}

impl Header {
    /// The header's bytes, to be completed by [`seal`].
    pub fn encode(&self) -> [u8; ENTRY_HEADER] {
        let mut bytes = [0; ENTRY_HEADER];
        bytes[..4].copy_from_slice(&self.length.to_le_bytes());
        bytes[AT_LSN..16].copy_from_slice(&self.lsn.0.to_le_bytes());
        bytes[AT_SYNCED..24].copy_from_slice(&self.synced.0.to_le_bytes());
        bytes[AT_EPOCH..AT_KIND].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[AT_KIND] = self.kind as u8;
        bytes[AT_FLAGS] = self.flags;
        bytes[32..36].copy_from_slice(&self.id.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.count.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.base.0.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.appended_at.0.to_le_bytes());
        bytes[56..64].copy_from_slice(&self.expires_at.0.to_le_bytes());
        bytes
    }

    /// The header of the entry at `lsn`, of which `bytes` is the beginning; its checksum is checked, its body not.
    pub fn decode(bytes: &[u8], lsn: Lsn) -> Result<Header, NotAnEntry> {
        if bytes.len() < ENTRY_HEADER {
            return Err(NotAnEntry::Short(ENTRY_HEADER));
        }
        if u64_at(bytes, AT_LSN) != lsn.0 {
            return Err(NotAnEntry::Bad("no entry is here"));
        }
        let kind = Kind::from_byte(bytes[AT_KIND]).ok_or(NotAnEntry::Bad("the entry's kind is not known"))?;
        let head = if kind == Kind::Batch { BATCH_HEAD } else { 0 };
        let length = u32_at(bytes, 0);
        if (length as usize) < ENTRY_HEADER + head {
            return Err(NotAnEntry::Bad("the entry's length is wrong"));
        }
        if bytes.len() < ENTRY_HEADER + head {
            return Err(NotAnEntry::Short(ENTRY_HEADER + head));
        }
        if header_crc(bytes, &bytes[ENTRY_HEADER..]) != u32_at(bytes, AT_CRC) {
            return Err(NotAnEntry::Bad("the entry's header checksum does not match"));
        }
        Ok(Header {
            length,
            lsn,
            synced: Lsn(u64_at(bytes, AT_SYNCED)),
            epoch: u32_at(bytes, AT_EPOCH),
            kind,
            flags: bytes[AT_FLAGS],
            id: u32_at(bytes, 32),
            count: u32_at(bytes, 36),
            base: Offset(u64_at(bytes, 40)),
            appended_at: Timestamp(u64_at(bytes, 48) as i64),
            expires_at: Timestamp(u64_at(bytes, 56) as i64),
        })
    }

    /// Bytes of the entry with the zeros after it.
    pub fn size(&self) -> usize {
        entry_size(self.body_len())
    }

    /// Bytes of the body.
    pub fn body_len(&self) -> usize {
        self.length as usize - ENTRY_HEADER
    }

    /// Where the entry ends.
    pub fn end(&self) -> Lsn {
        self.lsn.plus(self.size() as u64)
    }

    pub fn is_last(&self) -> bool {
        self.flags & FLAG_LAST != 0
    }

    /// How many records it brings; what is no batch has its checksum in that place.
    pub fn records(&self) -> u32 {
        if self.kind == Kind::Batch { self.count } else { 0 }
    }

    pub fn is_moved(&self) -> bool {
        self.flags & FLAG_MOVED != 0
    }

    /// Whether the body is the one that was written.
    pub fn check_body(&self, body: &[u8]) -> Result<(), &'static str> {
        if body.len() != self.body_len() {
            return Err("the entry is cut short");
        }
        if self.kind != Kind::Batch {
            return if crc32c::crc32c(body) == self.count {
                Ok(())
            } else {
                Err("the entry's checksum does not match")
            };
        }
        let batch = record_batch::check_envelope(body).map_err(|_| "the batch's checksum does not match")?;
        let same = batch.base_offset == self.base && batch.count == self.count;
        if same { Ok(()) } else { Err("the batch is not the one its entry names") }
    }
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Kind> {
        Some(match byte {
            1 => Kind::Batch,
            2 => Kind::Partition,
            3 => Kind::PartitionDeleted,
            4 => Kind::PartitionStart,
            5 => Kind::Subscription,
            6 => Kind::SubscriptionDeleted,
            7 => Kind::Cursor,
            8 => Kind::End,
            9 => Kind::Pattern,
            10 => Kind::PatternDeleted,
            _ => return None,
        })
    }
}

impl Entry {
    /// The header, which does not know its place yet, and the body. `scratch` is where small bodies are made.
    pub fn into_parts(self, scratch: &mut BytesMut) -> (Header, Bytes) {
        match self {
            Entry::Batch { partition, base, count, appended_at, expires_at, bytes } => {
                let header = Header { count, base, appended_at, expires_at, ..blank(Kind::Batch, partition.0) };
                (Header { length: length_of(&bytes), ..header }, bytes)
            }
            Entry::Partition { id, meta } => with_body(blank(Kind::Partition, id.0), body::partition(scratch, &meta)),
            Entry::PartitionDeleted { id } => with_body(blank(Kind::PartitionDeleted, id.0), Bytes::new()),
            Entry::PartitionStart { id, start } => {
                with_body(Header { base: start, ..blank(Kind::PartitionStart, id.0) }, Bytes::new())
            }
            Entry::Subscription { id, meta } => {
                with_body(blank(Kind::Subscription, id.0), body::subscription(scratch, &meta))
            }
            Entry::SubscriptionDeleted { id } => with_body(blank(Kind::SubscriptionDeleted, id.0), Bytes::new()),
            Entry::Cursor { id, floor, above } => {
                with_body(Header { base: floor, ..blank(Kind::Cursor, id.0) }, body::ranges(scratch, &above))
            }
            Entry::Pattern { key, meta } => with_body(blank(Kind::Pattern, 0), body::pattern(scratch, &key, &meta)),
            Entry::PatternDeleted { key } => {
                with_body(blank(Kind::PatternDeleted, 0), body::pattern_key(scratch, &key))
            }
        }
    }

    /// The entry of a header and its body, which [`Header::check_body`] has passed; `None` for [`Kind::End`].
    pub fn from_parts(header: &Header, body: Bytes) -> Result<Option<Entry>, &'static str> {
        const MALFORMED: &str = "the entry's checksum matches and its body makes no sense";
        let (partition, subscription) = (PartitionId(header.id), SubscriptionId(header.id));
        Ok(Some(match header.kind {
            Kind::Batch => Entry::Batch {
                partition,
                base: header.base,
                count: header.count,
                appended_at: header.appended_at,
                expires_at: header.expires_at,
                bytes: body,
            },
            Kind::Partition => {
                Entry::Partition { id: partition, meta: body::take_partition(body.chunk()).ok_or(MALFORMED)? }
            }
            Kind::PartitionDeleted => Entry::PartitionDeleted { id: partition },
            Kind::PartitionStart => Entry::PartitionStart { id: partition, start: header.base },
            Kind::Subscription => {
                Entry::Subscription { id: subscription, meta: body::take_subscription(body.chunk()).ok_or(MALFORMED)? }
            }
            Kind::SubscriptionDeleted => Entry::SubscriptionDeleted { id: subscription },
            Kind::Cursor => Entry::Cursor {
                id: subscription,
                floor: header.base,
                above: body::take_ranges(body.chunk(), header.base).ok_or(MALFORMED)?,
            },
            Kind::Pattern => {
                let (key, meta) = body::take_pattern(body.chunk()).ok_or(MALFORMED)?;
                Entry::Pattern { key, meta }
            }
            Kind::PatternDeleted => {
                Entry::PatternDeleted { key: body::take_pattern_key(body.chunk()).ok_or(MALFORMED)? }
            }
            Kind::End => return Ok(None),
        }))
    }
}

/// The entry that says that the log goes on in the next segment.
pub fn end_header() -> Header {
    with_body(blank(Kind::End, 0), Bytes::new()).0
}

fn blank(kind: Kind, id: u32) -> Header {
    Header {
        length: ENTRY_HEADER as u32,
        lsn: Lsn::ZERO,
        synced: Lsn::ZERO,
        epoch: 0,
        kind,
        flags: 0,
        id,
        count: 0,
        base: Offset::ZERO,
        appended_at: Timestamp(0),
        expires_at: Timestamp(0),
    }
}

fn with_body(header: Header, body: Bytes) -> (Header, Bytes) {
    (Header { length: length_of(&body), count: crc32c::crc32c(&body), ..header }, body)
}

fn length_of(body: &[u8]) -> u32 {
    u32::try_from(ENTRY_HEADER + body.len()).expect("a frame bounds every entry")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::record_batch::BatchBuilder;

    fn batch(values: &[Vec<u8>]) -> Entry {
        let mut builder = BatchBuilder::new();
        values.iter().for_each(|value| builder.push(Timestamp(1_700_000_000_000), value));
        let (base, count) = (Offset(77), builder.count());
        let bytes = builder.finish(base, None);
        let (appended_at, expires_at) = (Timestamp(1_700_000_000_001), Timestamp(1_700_000_900_000));
        Entry::Batch { partition: PartitionId(5), base, count, appended_at, expires_at, bytes }
    }

    fn subscription(dead_letter: Option<&str>, max_retries: Option<u16>) -> Entry {
        let meta = SubscriptionMeta {
            partition: PartitionId(5),
            name: "billing".into(),
            mode: SubscriptionMode::Shared,
            start: Offset(12),
            retry_delay_ms: 250,
            max_retries,
            dead_letter: dead_letter.map(|topic| TopicName::parse(topic.as_bytes()).unwrap()),
            session: max_retries.is_none(),
            created_at: Timestamp(1_700_000_000_000),
        };
        Entry::Subscription { id: SubscriptionId(9), meta }
    }

    fn pattern(name: &str, dead_letter: Option<&str>, max_retries: Option<u16>) -> Entry {
        let meta = PatternMeta {
            mode: SubscriptionMode::Shared,
            retry_delay_ms: 250,
            max_retries,
            dead_letter: dead_letter.map(|topic| TopicName::parse(topic.as_bytes()).unwrap()),
            created_at: Timestamp(1_700_000_000_000),
        };
        Entry::Pattern { key: key(name), meta }
    }

    fn key(name: &str) -> PatternKey {
        PatternKey { name: name.into(), pattern: Pattern::parse(b"orders.*.>").unwrap() }
    }

    fn all() -> Vec<Entry> {
        let meta = PartitionMeta { topic: TopicName::parse(b"orders.eu").unwrap(), number: 3, ttl_ms: 60_000 };
        let (id, subscriber) = (PartitionId(5), SubscriptionId(9));
        let above = vec![(Offset(12), Offset(14)), (Offset(20), Offset(21))];
        vec![
            batch(&[vec![1; 300], vec![], vec![2; 40]]),
            Entry::Partition { id, meta },
            Entry::PartitionDeleted { id },
            Entry::PartitionStart { id, start: Offset(1 << 40) },
            subscription(None, None),
            subscription(Some("orders.dead"), Some(7)),
            Entry::SubscriptionDeleted { id: subscriber },
            Entry::Cursor { id: subscriber, floor: Offset(10), above },
            Entry::Cursor { id: subscriber, floor: Offset(10), above: Vec::new() },
            pattern("billing", None, None),
            pattern("billing", Some("orders.dead"), Some(0)),
            Entry::PatternDeleted { key: key("billing") },
        ]
    }

    fn encode(entry: Entry, lsn: Lsn) -> Vec<u8> {
        let (header, body) = entry.into_parts(&mut BytesMut::new());
        let mut head = Header { lsn, epoch: 4, ..header }.encode();
        seal(&mut head, &body, Lsn(64), true);
        [&head[..], &body[..]].concat()
    }

    fn decode(bytes: &[u8], lsn: Lsn) -> Result<Entry, NotAnEntry> {
        let header = Header::decode(bytes, lsn)?;
        let body = bytes.get(ENTRY_HEADER..header.length as usize).ok_or(NotAnEntry::Short(header.size()))?;
        header.check_body(body).map_err(NotAnEntry::Bad)?;
        let entry = Entry::from_parts(&header, Bytes::copy_from_slice(body)).map_err(NotAnEntry::Bad)?;
        entry.ok_or(NotAnEntry::Bad("the end"))
    }

    const AT: Lsn = Lsn(4096 + 128);

    #[test]
    fn every_kind_comes_back_as_it_was() {
        for entry in all() {
            let bytes = encode(entry.clone(), AT);
            assert_eq!(decode(&bytes, AT), Ok(entry));
            let header = Header::decode(&bytes, AT).unwrap();
            assert!(header.is_last() && !header.is_moved() && header.synced == Lsn(64) && header.epoch == 4);
            assert_eq!(header.size(), bytes.len().next_multiple_of(8));
        }
    }

    #[test]
    fn an_entry_cut_anywhere_is_short() {
        for entry in all() {
            let bytes = encode(entry, AT);
            for cut in 0..bytes.len() {
                assert!(matches!(decode(&bytes[..cut], AT), Err(NotAnEntry::Short(needed)) if needed > cut));
            }
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        for entry in all() {
            let bytes = encode(entry, AT);
            for bit in 0..bytes.len() * 8 {
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(decode(&flipped, AT).is_err(), "bit {bit}");
            }
        }
    }

    #[test]
    fn an_entry_found_elsewhere_is_not_one() {
        let bytes = encode(batch(&[vec![1; 10]]), AT);
        assert!(!claims(&bytes, Lsn(AT.0 + 8)) && claims(&bytes, AT));
        assert_eq!(decode(&bytes, AT.plus(8)), Err(NotAnEntry::Bad("no entry is here")));
    }

    #[test]
    fn ranges_of_a_cursor_are_sorted_and_apart_from_its_floor() {
        let above = vec![(Offset(5), Offset(9))];
        let bytes = encode(Entry::Cursor { id: SubscriptionId(1), floor: Offset(7), above }, AT);
        assert!(matches!(decode(&bytes, AT), Err(NotAnEntry::Bad(_))));
    }

    proptest! {
        #[test]
        fn random_bytes_are_never_an_entry(bytes in prop::collection::vec(any::<u8>(), 0..400), lsn: u64) {
            prop_assert!(decode(&bytes, Lsn(lsn)).is_err());
        }

        #[test]
        fn random_bytes_that_claim_their_place_are_never_an_entry(
            mut bytes in prop::collection::vec(any::<u8>(), 64..400), kind in 0u8..12,
        ) {
            bytes[AT_LSN..16].copy_from_slice(&AT.0.to_le_bytes());
            bytes[AT_KIND] = kind;
            prop_assert!(decode(&bytes, AT).is_err());
        }

        #[test]
        fn bodies_of_random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = body::take_partition(&bytes);
            let _ = body::take_subscription(&bytes);
            let _ = body::take_pattern(&bytes);
            let _ = body::take_pattern_key(&bytes);
            let _ = body::take_ranges(&bytes, Offset(3));
        }
    }
}
