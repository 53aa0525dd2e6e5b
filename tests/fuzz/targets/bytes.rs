//! Bytes to things: record batches, log entries, configurations.

use std::fs;
use std::sync::OnceLock;

use blipmq::config::{Sources, load, report};
use blipmq::model::{Lsn, record_batch};
use blipmq::wal::entry::{self, Header};
use blipmq::wal::{ENTRY_HEADER, Entry};
use bytes::{Bytes, BytesMut};
use tempfile::TempDir;

/// Where a record batch has its length, its magic and its checksum, and what the checksum is of.
const AT_LENGTH: usize = 8;
const AT_MAGIC: usize = 16;
const AT_CRC: usize = 17;
const AFTER_CRC: usize = 21;
const AT_KIND: usize = 28;
/// The address of the entry that is tried.
const HERE: Lsn = Lsn(1 << 20);

/// As it is, and with what stands before its records made right.
pub fn record_batch(data: &[u8]) {
    walk(data);
    if data.len() > AFTER_CRC {
        let mut batch = data.to_vec();
        let length = (batch.len() - AT_LENGTH - 4) as u32;
        batch[AT_LENGTH..AT_LENGTH + 4].copy_from_slice(&length.to_be_bytes());
        batch[AT_MAGIC] = 2;
        let crc = crc32c::crc32c(&batch[AFTER_CRC..]);
        batch[AT_CRC..AFTER_CRC].copy_from_slice(&crc.to_be_bytes());
        walk(&batch);
    }
}

/// What passes the check can be walked over, and holds as many records as it says.
fn walk(batch: &[u8]) {
    let _ = (record_batch::header(batch), record_batch::check_envelope(batch), record_batch::record_at(batch, 61));
    let Ok(header) = record_batch::check(batch) else { return };
    let mut count = 0;
    for record in record_batch::records(batch) {
        assert_eq!(record.offset_delta, count);
        count += 1;
        let _ = record_batch::headers(&record).map(|(name, value)| name.len() + value.len()).sum::<usize>();
    }
    assert_eq!(count, header.count);
}

/// As it is, and sealed as if it had been written: then it is an entry, or its body makes no sense; never a panic.
pub fn log_entry(data: &[u8]) {
    let _ = Header::decode(data, HERE);
    let Some((head, body)) = data.split_first_chunk::<ENTRY_HEADER>() else { return };
    let mut head = *head;
    head[..4].copy_from_slice(&(data.len() as u32).to_le_bytes());
    head[8..16].copy_from_slice(&HERE.0.to_le_bytes());
    let is_batch = head[AT_KIND] == entry::Kind::Batch as u8;
    if is_batch && body.len() < AFTER_CRC {
        return;
    }
    if !is_batch {
        head[36..40].copy_from_slice(&crc32c::crc32c(body).to_le_bytes());
    }
    let synced = Lsn(u64::from(head[16]));
    entry::seal(&mut head, body, synced, false);
    let whole = [&head[..], body].concat();
    let Ok(header) = Header::decode(&whole, HERE) else { return };
    if header.check_body(body).is_err() {
        return;
    }
    if let Ok(Some(entry)) = Entry::from_parts(&header, Bytes::copy_from_slice(body)) {
        let (again, body) = entry.clone().into_parts(&mut BytesMut::new());
        assert_eq!(Entry::from_parts(&again, body), Ok(Some(entry)), "an entry is written as it was read");
    }
}

/// A configuration file: problems with their place, or a configuration that can be reported.
pub fn config(data: &[u8]) {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| TempDir::new().expect("a directory for temporary files"));
    let file = folder.path().join(format!("{:?}.toml", std::thread::current().id()));
    fs::write(&file, data).expect("it takes files");
    let sources = Sources { file: Some(file), cores: 2, ..Sources::default() };
    match load(&sources) {
        Ok(loaded) => drop(report(&loaded.config)),
        Err(problems) => assert!(!problems.to_string().is_empty(), "a refusal has a reason"),
    }
}
