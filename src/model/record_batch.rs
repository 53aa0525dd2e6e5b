//! The record batch: the unit of append, checksum, replication and delivery.
//!
//! The layout is Kafka's RecordBatch version 2 (magic 2), big-endian:
//!
//! | at | bytes | field                                                                        |
//! |---:|------:|------------------------------------------------------------------------------|
//! |  0 |     8 | base offset (outside the checksum: the broker sets it)                       |
//! |  8 |     4 | length of everything after this field                                        |
//! | 12 |     4 | partition leader epoch (outside the checksum)                                |
//! | 16 |     1 | magic, 2                                                                     |
//! | 17 |     4 | CRC-32C of everything after this field                                       |
//! | 21 |     2 | attributes: bits 0-2 compression (0: none, all that is accepted today)        |
//! | 23 |     4 | last offset delta: count - 1                                                 |
//! | 27 |     8 | base timestamp, ms since the epoch                                           |
//! | 35 |     8 | largest timestamp                                                            |
//! | 43 |     8 | producer id, -1 for none                                                     |
//! | 51 |     2 | producer epoch                                                               |
//! | 53 |     4 | base sequence, -1 for none                                                   |
//! | 57 |     4 | count of records                                                             |
//! | 61 |       | records                                                                      |
//!
//! A record: `length` of the rest, `attributes` (1 byte, 0), `timestamp delta`, `offset delta`, `key length` (-1: no
//! key), key, `value length` (-1: no value), value, `header count`, then for each header `key length`, key, `value
//! length`, value. Numbers are zigzag varints.

use bytes::{BufMut, Bytes, BytesMut};
use thiserror::Error;

use super::{Offset, Timestamp};

/// Bytes of a batch before its first record.
pub const BATCH_HEADER: usize = 61;
const MAGIC: u8 = 2;
const AT_LENGTH: usize = 8;
const AT_MAGIC: usize = 16;
const AT_CRC: usize = 17;
const AT_ATTRIBUTES: usize = 21;
const AT_LAST_DELTA: usize = 23;
const AT_BASE_TIMESTAMP: usize = 27;
const AT_MAX_TIMESTAMP: usize = 35;
const AT_PRODUCER_ID: usize = 43;
const AT_PRODUCER_EPOCH: usize = 51;
const AT_BASE_SEQUENCE: usize = 53;
const AT_COUNT: usize = 57;
/// Longer than all fields of a plain record before its value.
const PLAIN_HEAD: usize = 16;
/// A length of -1, zigzag.
const NONE: u8 = 1;

/// The fixed fields of a batch that the broker reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    pub base_offset: Offset,
    pub crc: u32,
    pub base_timestamp: Timestamp,
    pub max_timestamp: Timestamp,
    /// `None`: no idempotence asked for.
    pub producer: Option<Producer>,
    /// At least 1.
    pub count: u32,
}

/// Who sent a batch and its place in what they sent, so that a retry is not a duplicate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Producer {
    pub id: i64,
    pub epoch: i16,
    pub base_sequence: i32,
}

/// One record, borrowed from its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    pub offset_delta: u32,
    pub timestamp_delta: i64,
    pub key: Option<&'a [u8]>,
    /// Empty where the sender gave none.
    pub value: &'a [u8],
    /// The headers' bytes, for [`headers`]; their number is `header_count`.
    pub headers: &'a [u8],
    pub header_count: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BatchError {
    #[error("record batch is cut short")]
    Short,
    #[error("record batch length is wrong")]
    Length,
    #[error("record batch magic is not 2")]
    Magic,
    #[error("record batch checksum does not match")]
    Checksum,
    #[error("compressed record batches are not accepted")]
    Compressed,
    #[error("record batch has no records")]
    Empty,
    #[error("record count does not match the records")]
    Count,
    #[error("record is malformed")]
    Record,
}

fn u32_at(batch: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(batch[at..at + 4].try_into().expect("four bytes"))
}

fn i64_at(batch: &[u8], at: usize) -> i64 {
    i64::from_be_bytes(batch[at..at + 8].try_into().expect("eight bytes"))
}

/// Reads the fixed fields of a batch that fills `batch`; checks lengths and magic, not the checksum and not the records.
pub fn header(batch: &[u8]) -> Result<BatchHeader, BatchError> {
    if batch.len() < BATCH_HEADER {
        return Err(BatchError::Short);
    }
    if batch[AT_MAGIC] != MAGIC {
        return Err(BatchError::Magic);
    }
    if u32_at(batch, AT_LENGTH) as usize != batch.len() - AT_LENGTH - 4 {
        return Err(BatchError::Length);
    }
    let count = u32_at(batch, AT_COUNT);
    if count == 0 {
        return Err(BatchError::Empty);
    }
    let id = i64_at(batch, AT_PRODUCER_ID);
    let epoch = i16::from_be_bytes([batch[AT_PRODUCER_EPOCH], batch[AT_PRODUCER_EPOCH + 1]]);
    let base_sequence = u32_at(batch, AT_BASE_SEQUENCE) as i32;
    Ok(BatchHeader {
        base_offset: Offset(i64_at(batch, 0) as u64),
        crc: u32_at(batch, AT_CRC),
        base_timestamp: Timestamp(i64_at(batch, AT_BASE_TIMESTAMP)),
        max_timestamp: Timestamp(i64_at(batch, AT_MAX_TIMESTAMP)),
        producer: (id >= 0).then_some(Producer { id, epoch, base_sequence }),
        count,
    })
}

/// Checks everything a batch claims: lengths, magic, checksum, count, and the shape of every record. After this,
/// walking the batch cannot fail.
pub fn check(batch: &[u8]) -> Result<BatchHeader, BatchError> {
    let header = check_envelope(batch)?;
    let mut at = BATCH_HEADER;
    for expected in 0..header.count {
        at = match plain_record(batch, at, expected) {
            Some(next) => next,
            None => any_record(batch, at, expected)?,
        };
    }
    if at != batch.len() {
        return Err(BatchError::Count);
    }
    Ok(header)
}

/// Checks the record at `at`; where the next one starts.
fn any_record(batch: &[u8], at: usize, expected: u32) -> Result<usize, BatchError> {
    let (record, next) = record_at(batch, at)?;
    match record.offset_delta == expected {
        true => Ok(next),
        false => Err(BatchError::Count),
    }
}

/// The same for what nearly all records are: no key, no headers, and numbers of one or two bytes. `None` says that it
/// is not one of these, nothing else. A fifth of what the broker itself does for a QoS 0 message is this check; here
/// its fields are read out of one array.
#[inline]
fn plain_record(batch: &[u8], at: usize, expected: u32) -> Option<usize> {
    let head: &[u8; PLAIN_HEAD] = batch.get(at..)?.first_chunk()?;
    let (length, attributes) = short_varint(head, 0)?;
    if head[attributes + 1] >= 0x80 {
        return None;
    }
    let (offset_delta, key) = short_varint(head, attributes + 2)?;
    let (size, value) = short_varint(head, key + 1)?;
    let (end, headers) = (attributes + length as usize / 2, value + size as usize / 2);
    // Zigzag: even numbers are the ones that are not negative, doubled.
    let plain = head[key] == NONE && (length | size) & 1 == 0;
    let fits = plain && offset_delta == 2 * expected && headers + 1 == end;
    (fits && batch.get(at + headers) == Some(&0)).then_some(at + end)
}

/// A number of one or two bytes, still zigzag, and where the next field starts.
#[inline]
fn short_varint(head: &[u8; PLAIN_HEAD], at: usize) -> Option<(u32, usize)> {
    let (first, second) = (head[at], head[at + 1]);
    match (first < 0x80, second < 0x80) {
        (true, _) => Some((u32::from(first), at + 1)),
        (false, true) => Some((u32::from(first & 0x7f) | u32::from(second) << 7, at + 2)),
        (false, false) => None,
    }
}

/// Like [`check`] without the walk over the records: for bytes that [`check`] has passed before, read back.
pub fn check_envelope(batch: &[u8]) -> Result<BatchHeader, BatchError> {
    let header = header(batch)?;
    if crc32c::crc32c(&batch[AT_ATTRIBUTES..]) != header.crc {
        return Err(BatchError::Checksum);
    }
    if batch[AT_ATTRIBUTES + 1] & 0x07 != 0 {
        return Err(BatchError::Compressed);
    }
    if u32_at(batch, AT_LAST_DELTA) != header.count - 1 {
        return Err(BatchError::Count);
    }
    Ok(header)
}

/// Gives a batch its place. The checksum does not cover it.
pub fn set_base_offset(batch: &mut [u8], base: Offset) {
    batch[..8].copy_from_slice(&base.0.to_be_bytes());
}

/// The record that starts at byte `at`, and where the next one starts. Start with [`BATCH_HEADER`].
#[inline]
pub fn record_at(batch: &[u8], at: usize) -> Result<(Record<'_>, usize), BatchError> {
    let (length, body) = varint(batch, at).ok_or(BatchError::Record)?;
    let end = usize::try_from(length).ok().and_then(|length| body.checked_add(length)).ok_or(BatchError::Record)?;
    if end > batch.len() || body == end {
        return Err(BatchError::Record);
    }
    let record = parse_record(&batch[body..end]).ok_or(BatchError::Record)?;
    Ok((record, end))
}

#[inline]
fn parse_record(body: &[u8]) -> Option<Record<'_>> {
    let (timestamp_delta, at) = varint(body, 1)?;
    let (offset_delta, at) = varint(body, at)?;
    let (key, at) = field(body, at)?;
    let (value, at) = field(body, at)?;
    let (header_count, at) = varint(body, at)?;
    let header_count = u32::try_from(header_count).ok()?;
    let headers = &body[at..];
    if header_count == 0 {
        if !headers.is_empty() {
            return None;
        }
    } else {
        check_headers(headers, header_count)?;
    }
    Some(Record {
        offset_delta: u32::try_from(offset_delta).ok()?,
        timestamp_delta,
        key,
        value: value.unwrap_or_default(),
        headers,
        header_count,
    })
}

fn check_headers(bytes: &[u8], count: u32) -> Option<()> {
    let mut at = 0;
    for _ in 0..count {
        let (key, next) = field(bytes, at)?;
        key?;
        (_, at) = field(bytes, next)?;
    }
    (at == bytes.len()).then_some(())
}

/// A length-prefixed field; length -1 is none.
#[inline]
fn field(bytes: &[u8], at: usize) -> Option<(Option<&[u8]>, usize)> {
    let (length, at) = varint(bytes, at)?;
    if length == -1 {
        return Some((None, at));
    }
    let end = at.checked_add(usize::try_from(length).ok()?)?;
    Some((Some(bytes.get(at..end)?), end))
}

/// A zigzag varint of at most ten bytes, and where the next field starts.
#[inline]
fn varint(bytes: &[u8], at: usize) -> Option<(i64, usize)> {
    let first = *bytes.get(at)?;
    if first < 0x80 {
        return Some((unzigzag(u64::from(first)), at + 1));
    }
    let second = *bytes.get(at + 1)?;
    if second < 0x80 {
        return Some((unzigzag(u64::from(first & 0x7f) | u64::from(second) << 7), at + 2));
    }
    long_varint(bytes, at)
}

#[cold]
fn long_varint(bytes: &[u8], at: usize) -> Option<(i64, usize)> {
    let mut value = 0u64;
    for (index, byte) in bytes.get(at..)?.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f).checked_shl(7 * index as u32)?;
        if byte & 0x80 == 0 {
            return Some((unzigzag(value), at + index + 1));
        }
    }
    None
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Headers of one record: name and value.
pub fn headers<'a>(record: &Record<'a>) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
    let (bytes, mut at) = (record.headers, 0);
    (0..record.header_count).map_while(move |_| {
        let (key, next) = field(bytes, at)?;
        let (value, next) = field(bytes, next)?;
        at = next;
        Some((key?, value.unwrap_or_default()))
    })
}

/// The records of a batch, in order; ends early at a malformed one (which [`check`] would have refused).
pub fn records(batch: &[u8]) -> impl Iterator<Item = Record<'_>> {
    let mut at = BATCH_HEADER;
    std::iter::from_fn(move || {
        if at >= batch.len() {
            return None;
        }
        let (record, next) = record_at(batch, at).ok()?;
        at = next;
        Some(record)
    })
}

/// Builds batches one after another in one growing buffer: no allocation per message, one per chunk of batches.
#[derive(Debug)]
pub struct BatchBuilder {
    buffer: BytesMut,
    count: u32,
    base_timestamp: i64,
    max_timestamp: i64,
}

/// What the sender may say of one record beside its value.
#[derive(Clone, Copy, Debug, Default)]
pub struct RecordExtras<'a> {
    pub key: Option<&'a [u8]>,
    pub headers: &'a [(&'a [u8], &'a [u8])],
}

impl Default for BatchBuilder {
    fn default() -> Self {
        BatchBuilder::new()
    }
}

impl BatchBuilder {
    const CHUNK: usize = 64 * 1024;

    pub fn new() -> BatchBuilder {
        BatchBuilder { buffer: BytesMut::new(), count: 0, base_timestamp: 0, max_timestamp: 0 }
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub fn count(&self) -> u32 {
        self.count
    }

    /// Bytes of the batch so far.
    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Adds a record without key and headers: what a version 1 PUBLISH carries.
    #[inline]
    pub fn push(&mut self, timestamp: Timestamp, value: &[u8]) {
        self.push_with(timestamp, value, RecordExtras::default());
    }

    pub fn push_with(&mut self, timestamp: Timestamp, value: &[u8], extras: RecordExtras<'_>) {
        if self.count == 0 {
            self.start(timestamp);
        }
        self.max_timestamp = self.max_timestamp.max(timestamp.0);
        let timestamp_delta = zigzag(timestamp.0 - self.base_timestamp);
        let offset_delta = zigzag(i64::from(self.count));
        let key_length = zigzag(extras.key.map_or(-1, |key| key.len() as i64));
        let value_length = zigzag(value.len() as i64);
        let body = 1
            + varint_len(timestamp_delta)
            + varint_len(offset_delta)
            + varint_len(key_length)
            + extras.key.map_or(0, <[u8]>::len)
            + varint_len(value_length)
            + value.len()
            + headers_len(extras.headers);
        let length = zigzag(body as i64);
        self.room(body + varint_len(length));
        let mut head = Head::default();
        head.varint(length);
        head.byte(0);
        head.varint(timestamp_delta);
        head.varint(offset_delta);
        head.varint(key_length);
        if let Some(key) = extras.key {
            self.buffer.extend_from_slice(head.take());
            self.buffer.extend_from_slice(key);
            head = Head::default();
        }
        head.varint(value_length);
        self.buffer.extend_from_slice(head.take());
        self.buffer.extend_from_slice(value);
        if extras.headers.is_empty() {
            self.buffer.put_u8(0);
        } else {
            put_headers(&mut self.buffer, extras.headers);
        }
        self.count += 1;
    }

    /// Ends the batch; its base offset is `base`. The builder is empty again.
    ///
    /// # Panics
    /// If no record was pushed: an empty batch cannot be spelled.
    pub fn finish(&mut self, base: Offset, producer: Option<Producer>) -> Bytes {
        assert!(self.count > 0, "a batch has at least one record");
        let producer = producer.unwrap_or(Producer { id: -1, epoch: -1, base_sequence: -1 });
        let length = (self.buffer.len() - AT_LENGTH - 4) as u32;
        let head = &mut self.buffer[..BATCH_HEADER];
        head.fill(0);
        head[..8].copy_from_slice(&base.0.to_be_bytes());
        head[AT_LENGTH..AT_LENGTH + 4].copy_from_slice(&length.to_be_bytes());
        head[AT_MAGIC] = MAGIC;
        head[AT_LAST_DELTA..AT_LAST_DELTA + 4].copy_from_slice(&(self.count - 1).to_be_bytes());
        head[AT_BASE_TIMESTAMP..AT_BASE_TIMESTAMP + 8].copy_from_slice(&self.base_timestamp.to_be_bytes());
        head[AT_MAX_TIMESTAMP..AT_MAX_TIMESTAMP + 8].copy_from_slice(&self.max_timestamp.to_be_bytes());
        head[AT_PRODUCER_ID..AT_PRODUCER_ID + 8].copy_from_slice(&producer.id.to_be_bytes());
        head[AT_PRODUCER_EPOCH..AT_PRODUCER_EPOCH + 2].copy_from_slice(&producer.epoch.to_be_bytes());
        head[AT_BASE_SEQUENCE..AT_BASE_SEQUENCE + 4].copy_from_slice(&producer.base_sequence.to_be_bytes());
        head[AT_COUNT..AT_COUNT + 4].copy_from_slice(&self.count.to_be_bytes());
        let crc = crc32c::crc32c(&self.buffer[AT_ATTRIBUTES..]);
        self.buffer[AT_CRC..AT_CRC + 4].copy_from_slice(&crc.to_be_bytes());
        self.count = 0;
        self.buffer.split().freeze()
    }

    fn start(&mut self, timestamp: Timestamp) {
        self.base_timestamp = timestamp.0;
        self.max_timestamp = timestamp.0;
        self.room(BATCH_HEADER);
        self.buffer.put_bytes(0, BATCH_HEADER);
    }

    fn room(&mut self, bytes: usize) {
        if self.buffer.capacity() - self.buffer.len() < bytes {
            self.buffer.reserve(bytes.max(BatchBuilder::CHUNK));
        }
    }
}

/// The fields of a record before its key or value, gathered so that they are copied at once: at most four varints of
/// ten bytes, and a byte.
struct Head {
    bytes: [u8; 48],
    len: usize,
}

impl Default for Head {
    fn default() -> Head {
        Head { bytes: [0; 48], len: 0 }
    }
}

impl Head {
    #[inline]
    fn byte(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }

    #[inline]
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.byte(value as u8 | 0x80);
            value >>= 7;
        }
        self.byte(value as u8);
    }

    #[inline]
    fn take(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

fn headers_len(headers: &[(&[u8], &[u8])]) -> usize {
    let sized = |field: &[u8]| varint_len(zigzag(field.len() as i64)) + field.len();
    varint_len(zigzag(headers.len() as i64))
        + headers.iter().map(|(key, value)| sized(key) + sized(value)).sum::<usize>()
}

fn put_headers(out: &mut BytesMut, headers: &[(&[u8], &[u8])]) {
    put_varint(out, zigzag(headers.len() as i64));
    for (key, value) in headers {
        put_varint(out, zigzag(key.len() as i64));
        out.put_slice(key);
        put_varint(out, zigzag(value.len() as i64));
        out.put_slice(value);
    }
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn varint_len(value: u64) -> usize {
    (70 - (value | 1).leading_zeros() as usize) / 7
}

#[inline]
fn put_varint(out: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Said = (Option<Vec<u8>>, Vec<u8>, Vec<(Vec<u8>, Vec<u8>)>, i64);

    fn build(records: &[Said]) -> Bytes {
        let mut builder = BatchBuilder::new();
        for (key, value, headers, time) in records {
            let headers: Vec<(&[u8], &[u8])> = headers.iter().map(|(k, v)| (k.as_slice(), v.as_slice())).collect();
            let extras = RecordExtras { key: key.as_deref(), headers: &headers };
            builder.push_with(Timestamp(*time), value, extras);
        }
        builder.finish(Offset(7), None)
    }

    fn said() -> impl Strategy<Value = Vec<Said>> {
        let bytes = || proptest::collection::vec(any::<u8>(), 0..40);
        let headers = proptest::collection::vec((bytes(), bytes()), 0..3);
        proptest::collection::vec((proptest::option::of(bytes()), bytes(), headers, 0i64..1 << 45), 1..20)
    }

    proptest! {
        #[test]
        fn what_was_said_is_read(said in said()) {
            let batch = build(&said);
            let header = check(&batch).unwrap();
            prop_assert_eq!(header.base_offset, Offset(7));
            prop_assert_eq!(header.count as usize, said.len());
            for (record, (key, value, said_headers, time)) in records(&batch).zip(&said) {
                prop_assert_eq!(record.key, key.as_deref());
                prop_assert_eq!(record.value, value.as_slice());
                prop_assert_eq!(record.timestamp_delta + header.base_timestamp.0, *time);
                let read: Vec<_> = headers(&record).map(|(k, v)| (k.to_vec(), v.to_vec())).collect();
                prop_assert_eq!(&read, said_headers);
            }
        }

        #[test]
        fn every_cut_and_every_flipped_bit_under_the_checksum_is_refused(said in said(), dice in any::<u64>()) {
            let batch = build(&said);
            let cut = (dice % batch.len() as u64) as usize;
            prop_assert!(check(&batch[..cut]).is_err());
            let mut flipped = batch.to_vec();
            let at = AT_CRC + cut % (batch.len() - AT_CRC);
            flipped[at] ^= 1 << (dice % 8);
            prop_assert!(check(&flipped).is_err());
        }

        #[test]
        fn records_that_lie_under_a_right_checksum_are_refused_or_walk_to_the_end(said in said(), dice in any::<u64>()) {
            let mut batch = build(&said).to_vec();
            let at = BATCH_HEADER + (dice % (batch.len() - BATCH_HEADER) as u64) as usize;
            batch[at] ^= 1 << (dice % 7);
            let crc = crc32c::crc32c(&batch[AT_ATTRIBUTES..]);
            batch[AT_CRC..AT_CRC + 4].copy_from_slice(&crc.to_be_bytes());
            if let Ok(header) = check(&batch) {
                prop_assert_eq!(records(&batch).count(), header.count as usize);
            }
        }

        #[test]
        fn a_plain_record_is_judged_as_any_other(
            values in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 1..4),
            flips in proptest::collection::vec((0usize..24, 0u8..8), 0..3),
        ) {
            let said: Vec<Said> = values.into_iter().map(|value| (None, value, vec![], 5)).collect();
            let mut batch = build(&said).to_vec();
            prop_assert!(batch.len() < BATCH_HEADER + PLAIN_HEAD || plain_record(&batch, BATCH_HEADER, 0).is_some());
            for (at, bit) in flips {
                let at = BATCH_HEADER + at % (batch.len() - BATCH_HEADER);
                batch[at] ^= 1 << bit;
            }
            for (at, expected) in (BATCH_HEADER..batch.len()).zip((0..3).cycle()) {
                if let Some(next) = plain_record(&batch, at, expected) {
                    prop_assert_eq!(any_record(&batch, at, expected), Ok(next));
                }
            }
        }

        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = check(&bytes);
        }
    }

    #[test]
    fn the_base_offset_is_outside_the_checksum() {
        let mut batch = build(&[(None, b"hi".to_vec(), vec![], 5)]).to_vec();
        set_base_offset(&mut batch, Offset(u64::MAX >> 2));
        assert_eq!(check(&batch).unwrap().base_offset, Offset(u64::MAX >> 2));
    }

    #[test]
    fn one_record_has_the_bytes_that_kafka_writes() {
        let batch = build(&[(None, b"hi".to_vec(), vec![], 5)]);
        assert_eq!(&batch[BATCH_HEADER..], [16, 0, 0, 0, 1, 4, b'h', b'i', 0]);
        assert_eq!(batch.len(), 70);
        assert_eq!(u32_at(&batch, AT_LENGTH), 58);
    }

    #[test]
    fn compressed_batches_are_named_as_such() {
        let mut batch = build(&[(None, b"hi".to_vec(), vec![], 5)]).to_vec();
        batch[AT_ATTRIBUTES + 1] = 1;
        let crc = crc32c::crc32c(&batch[AT_ATTRIBUTES..]);
        batch[AT_CRC..AT_CRC + 4].copy_from_slice(&crc.to_be_bytes());
        assert_eq!(check(&batch), Err(BatchError::Compressed));
    }
}
