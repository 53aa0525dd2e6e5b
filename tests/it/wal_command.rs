//! `blipmq wal` on logs that a real broker left behind, damaged in each way that there is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use blipmq::client::{ProducerOptions, SubscribeOptions};
use blipmq::model::{LogId, RecoveryMode};
use blipmq::runtime::stopped_log::StoppedLog;
use blipmq::wal::entry::Kind;

use crate::support::load;
use crate::support::{Broker, PATIENCE, Workspace};

const SEGMENT: u64 = 1 << 20;
const BATCH: u64 = 4;
const SAFE: &str = "fsync_policy = \"always\"\n";

/// A log with batches of four messages in several segments, whose broker was killed.
struct Killed {
    workspace: Workspace,
    sent: u64,
}

/// Where a batch stands.
#[derive(Clone, Debug)]
struct Place {
    segment: u64,
    position: u64,
    len: u64,
    base: u64,
}

fn value(nth: u64) -> Vec<u8> {
    let mut dice = fastrand::Rng::with_seed(nth);
    let mut value = nth.to_be_bytes().to_vec();
    value.extend((0..4000).map(|_| dice.u8(..)));
    value
}

impl Killed {
    fn new() -> Killed {
        let workspace = Workspace::new();
        let broker = workspace.start(SAFE);
        let client = broker.client();
        client.subscribe(&load::durable("orders")).unwrap().unsubscribe(false).unwrap();
        let sent = 860;
        let options = ProducerOptions::at_least_once().batch(BATCH as u32, 1 << 17).window(2);
        let mut publisher = client.publisher("orders", options).unwrap();
        (0..sent).for_each(|nth| publisher.publish(&value(nth)).unwrap());
        publisher.flush().unwrap();
        broker.kill();
        Killed { workspace, sent }
    }

    fn data(&self) -> PathBuf {
        self.workspace.data()
    }

    fn folder(&self) -> PathBuf {
        self.data().join("shard-0000")
    }

    fn segment(&self, first: u64) -> PathBuf {
        self.folder().join(format!("{first:020}.log"))
    }

    /// The batches before the checkpoint, and those after it.
    fn places(&self) -> (Vec<Place>, Vec<Place>) {
        let log = StoppedLog { id: LogId(0), folder: self.folder() };
        let (recovered, report) = log.recover(RecoveryMode::Refuse).unwrap().unwrap();
        let mut all = Vec::new();
        for segment in recovered.segments() {
            let entries = recovered.entries(log.id, *segment, log.read(*segment).unwrap());
            for header in entries.map(|entry| entry.unwrap().header).filter(|header| header.kind == Kind::Batch) {
                let (position, len) = (header.lsn.since(*segment), header.size() as u64);
                all.push(Place { segment: segment.0, position, len, base: header.base.0 });
            }
        }
        assert!(report.batches > 8 && all.len() as u64 > report.batches + 60, "{report:?}");
        let after = all.split_off(all.len() - report.batches as usize);
        (all, after)
    }

    /// Changes the bytes of a segment.
    fn damage(&self, segment: u64, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = fs::read(self.segment(segment)).unwrap();
        change(&mut bytes);
        fs::write(self.segment(segment), bytes).unwrap();
    }

    fn flip(&self, place: &Place) {
        self.damage(place.segment, |bytes| bytes[(place.position + place.len / 2) as usize] ^= 1);
    }

    /// `blipmq wal` with these words: its exit code, and all it said.
    fn wal(&self, words: &[&str]) -> (i32, String) {
        wal(&self.data(), words)
    }

    fn check(&self) -> (i32, String) {
        self.wal(&["check"])
    }

    /// Every file and its bytes.
    fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        files(&self.folder())
    }

    /// A start that refuses, in a mode: what it says.
    #[track_caller]
    fn refused(&self, mode: &str) -> String {
        let started = self.workspace.try_start(&format!("{SAFE}recovery = \"{mode}\""));
        let Err(ended) = started else { panic!("it started") };
        assert_eq!(ended.code, Some(4), "{ended:?}");
        ended.stderr
    }

    #[track_caller]
    fn start(&self) -> Broker {
        self.workspace.start(SAFE)
    }
}

fn wal(directory: &Path, words: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_blipmq"));
    let done = command.env_clear().arg("wal").arg(words[0]).arg(directory).args(&words[1..]).output().unwrap();
    let said = [done.stdout, done.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    (done.status.code().expect("it ends by itself"), said.concat())
}

fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = paths.map(|path| (path.clone(), fs::read(path).unwrap())).collect();
    files.sort();
    files
}

/// Everything the durable subscription is given, each as it was sent, up to the one that ends with `last`.
fn came(broker: &Broker, last: u64) -> Vec<u64> {
    load::came(broker, "orders", last, |nth, came| {
        assert!(came == value(nth), "message {nth} is not the one that was sent")
    })
}

#[test]
fn a_good_log_is_good_and_stays_as_it_is() {
    let log = Killed::new();
    log.start().stop();
    let before = log.files();
    let (code, said) = log.check();
    assert!(code == 0 && said.contains("log 0: good") && !said.contains("unfinished"), "{said}");
    assert_eq!(log.wal(&["check", "--strict", "--shard", "0"]).0, 0);
    assert_eq!(log.wal(&["check", "--shard", "7"]).0, 2);
    let (code, said) = log.wal(&["dump"]);
    assert_eq!(code, 0);
    assert!(said.matches("kind: Batch").count() as u64 == log.sent / BATCH && said.contains("kind: Partition,"));
    for how in ["truncate", "skip"] {
        let (code, said) = log.wal(&[how, "--no-backup"]);
        assert!(code == 0 && said.contains("stays as it is"), "{said}");
    }
    assert!(log.files() == before);
}

#[test]
fn nothing_is_touched_while_a_broker_runs_or_without_a_word_about_the_backup() {
    let log = Killed::new();
    let broker = log.start();
    for words in [&["check"][..], &["dump"], &["truncate", "--no-backup"], &["skip", "--dry-run"]] {
        let (code, said) = log.wal(words);
        assert!(code == 1 && said.contains("in use by process"), "{words:?}: {said}");
    }
    broker.client().ping().unwrap();
    broker.kill();
    for words in [&["truncate"][..], &["skip"], &["skip", "--no-backup", "--dry-run"]] {
        assert_eq!(log.wal(words).0, 2, "{words:?}");
    }
}

#[test]
fn a_flipped_byte_in_the_middle_is_refused_by_name_and_truncated_after_a_backup() {
    let log = Killed::new();
    let (known, after) = log.places();
    let bad = after[3].clone();
    log.flip(&bad);
    let before = log.files();
    let place = format!("log 0, segment {}, byte {}", bad.segment, bad.position);
    let (code, said) = log.check();
    assert!(code == 8 && said.contains(&place) && said.contains("CORRUPT, 1 bad places"), "{said}");
    let said = log.refused("refuse");
    assert!(said.contains(&place) && said.contains("blipmq wal truncate"), "{said}");
    let (code, said) = log.wal(&["truncate", "--dry-run"]);
    assert!(code == 0 && said.contains("would be cut off"), "{said}");
    assert!(log.files() == before, "nothing was touched");
    let backup = log.workspace.path().join("backup");
    let to = backup.to_str().unwrap();
    let (code, said) = log.wal(&["truncate", "--backup", to, "--shard", "0"]);
    let cut = log.sent - bad.base;
    assert!(code == 0 && said.contains(&place) && said.contains(&format!(" {cut} records")), "{said}");
    for (copy, bytes) in files(&backup.join("shard-0000")) {
        let original = before.iter().find(|(path, _)| path.file_name() == copy.file_name());
        assert!(original.is_some_and(|(_, before)| *before == bytes), "{}", copy.display());
    }
    assert!(backup.join("shard-0000/checkpoint").exists());
    assert!(backup.join("shard-0000").join(log.segment(bad.segment).file_name().unwrap()).exists());
    assert_eq!(log.wal(&["check", "--strict"]).0, 0);
    let broker = log.start();
    assert_eq!(came(&broker, bad.base - 1), (0..bad.base).collect::<Vec<_>>());
    broker.stop();
    let (code, said) = log.wal(&["truncate", "--backup", to]);
    assert!(code == 0 && said.contains("stays as it is"), "{said}");
    log.flip(&known[0]);
    let before = files(&backup.join("shard-0000"));
    assert_eq!(log.wal(&["truncate", "--backup", to]).0, 1, "there is a backup already");
    assert!(files(&backup.join("shard-0000")) == before);
}

#[test]
fn skipping_leaves_out_only_what_is_damaged() {
    for zeroed in [false, true] {
        let log = Killed::new();
        let (_, after) = log.places();
        let bad = after[3].clone();
        let mut lost = bad.base..bad.base + BATCH;
        if zeroed {
            let block = (bad.position + bad.len / 2) / 4096 * 4096;
            log.damage(bad.segment, |bytes| bytes[block as usize..block as usize + 4096].fill(0));
            if let Some(next) =
                after.iter().find(|next| next.segment == bad.segment && (block..block + 4096).contains(&next.position))
            {
                lost.end = next.base + BATCH;
            }
        } else {
            log.flip(&bad);
        }
        assert_eq!(log.check().0, 8);
        let (code, said) = log.wal(&["skip", "--no-backup"]);
        assert!(code == 0 && said.contains("left out"), "{said}");
        assert_eq!(log.wal(&["check", "--strict"]).0, 0);
        let expected: Vec<u64> = (0..log.sent).filter(|nth| !lost.contains(nth)).collect();
        assert_eq!(came(&log.start(), log.sent - 1), expected);
    }
}

#[test]
fn damage_before_the_checkpoint_is_met_by_readers_told_and_left_out_when_mended() {
    let log = Killed::new();
    let (before, _) = log.places();
    let bad = before[before.len() / 2].clone();
    log.flip(&bad);
    assert_eq!(log.check().0, 8);
    let expected: Vec<u64> = (0..log.sent).filter(|nth| !(bad.base..bad.base + BATCH).contains(nth)).collect();
    let broker = log.start();
    let client = broker.client();
    let mut reader = client.subscribe(&SubscribeOptions::new("orders").at_least_once().earliest()).unwrap();
    for nth in &expected {
        let message = reader.next_message(Some(PATIENCE)).unwrap().expect("what is around it comes");
        assert_eq!(message.offset.0, *nth);
    }
    drop((reader, client));
    let told = format!("corrupt: log 0, segment {}, byte {}", bad.segment, bad.position);
    assert_eq!(broker.log().matches(&told).count(), 1, "{}", broker.log());
    broker.kill();
    let (code, said) = log.wal(&["truncate", "--no-backup"]);
    assert!(code == 0 && said.contains(&format!("byte {}: left out", bad.position)), "{said}");
    assert!(said.contains(&format!("{BATCH} records")), "{said}");
    assert_eq!(log.check().0, 0);
    let broker = log.start();
    assert_eq!(came(&broker, log.sent - 1), expected);
    assert!(!broker.log().contains("corrupt"), "{}", broker.log());
}

#[test]
fn a_torn_tail_is_no_corruption_but_said_and_can_be_made_a_failure() {
    let log = Killed::new();
    let (_, after) = log.places();
    let last = after.last().unwrap().clone();
    log.damage(last.segment, |bytes| bytes[(last.position + last.len / 2) as usize..].fill(0));
    let (code, said) = log.check();
    assert!(code == 0 && said.contains("log 0: good"), "{said}");
    let unfinished = format!("unfinished after segment {}, byte {}", last.segment, last.position);
    assert!(said.contains(&unfinished) && said.contains("may be among them"), "{said}");
    assert_eq!(log.wal(&["check", "--strict"]).0, 9);
    let (code, said) = log.wal(&["truncate", "--no-backup"]);
    assert!(code == 0 && said.contains("cut off") && said.contains(&format!("{BATCH} records")), "{said}");
    assert_eq!(log.wal(&["check", "--strict"]).0, 0);
    assert_eq!(came(&log.start(), last.base - 1), (0..last.base).collect::<Vec<_>>());
}

#[test]
fn a_missing_segment_is_told_and_what_it_held_is_left_out() {
    let log = Killed::new();
    let (before, _) = log.places();
    let gone: Vec<u64> = before.iter().filter(|place| place.segment == SEGMENT).map(|place| place.base).collect();
    fs::remove_file(log.segment(SEGMENT)).unwrap();
    let (code, said) = log.check();
    assert!(code == 8 && said.contains(&format!("segment {SEGMENT}, byte 0: the segment is missing")), "{said}");
    assert!(log.refused("refuse").contains("the segment is missing"));
    let (code, said) = log.wal(&["truncate", "--no-backup"]);
    assert!(code == 0 && said.contains(&format!("{} records", gone.len() as u64 * BATCH)), "{said}");
    assert_eq!(log.check().0, 0);
    let expected: Vec<u64> = (0..log.sent).filter(|nth| !gone.contains(&(nth / BATCH * BATCH))).collect();
    assert_eq!(came(&log.start(), log.sent - 1), expected);
}

#[test]
fn swapped_segments_are_told_and_good_again_when_they_are_swapped_back() {
    let log = Killed::new();
    let (one, other, aside) = (log.segment(0), log.segment(SEGMENT), log.folder().join("aside"));
    let swap = || {
        fs::rename(&one, &aside).unwrap();
        fs::rename(&other, &one).unwrap();
        fs::rename(&aside, &other).unwrap();
    };
    swap();
    let (code, said) = log.check();
    assert!(code == 8 && said.matches("renamed").count() == 2, "{said}");
    assert!(log.refused("refuse").contains("renamed"));
    swap();
    assert_eq!(log.check().0, 0);
    let (before, _) = log.places();
    let lost = before.iter().filter(|place| place.segment <= SEGMENT).count() as u64 * BATCH;
    swap();
    assert_eq!(log.wal(&["skip", "--no-backup"]).0, 0);
    assert_eq!(log.check().0, 0);
    assert_eq!(came(&log.start(), log.sent - 1), (lost..log.sent).collect::<Vec<_>>());
}

#[test]
fn another_format_version_is_never_guessed_at() {
    let log = Killed::new();
    log.damage(SEGMENT, |bytes| bytes[8] = 0);
    let before = log.files();
    for words in [&["check"][..], &["truncate", "--no-backup"], &["skip", "--no-backup"]] {
        let (code, said) = log.wal(words);
        assert!(code == 8 && said.contains("format version 0"), "{words:?}: {said}");
    }
    for mode in ["refuse", "truncate", "skip"] {
        assert!(log.refused(mode).contains("format version 0"));
    }
    assert!(log.files() == before);
}

#[test]
fn garbage_files_are_told_where_they_pretend_and_left_alone_where_not() {
    let log = Killed::new();
    fs::write(log.folder().join("notes.txt"), [7; 5000]).unwrap();
    fs::write(log.segment(64 * SEGMENT), [7; 5000]).unwrap();
    assert_eq!(log.check().0, 0);
    fs::write(log.segment(SEGMENT + 4096), [7; 5000]).unwrap();
    let (code, said) = log.check();
    assert!(code == 8 && said.contains("no segment of this log begins where this file's name says"), "{said}");
    let (code, said) = log.wal(&["truncate", "--no-backup"]);
    assert!(code == 0, "{said}");
    assert_eq!(log.check().0, 0);
    assert!(log.folder().join("notes.txt").exists());
    assert_eq!(came(&log.start(), log.sent - 1).len() as u64, log.sent);
}

#[test]
fn a_damaged_segment_header_costs_nothing_that_stands_behind_it() {
    let log = Killed::new();
    log.damage(SEGMENT, |bytes| bytes[20] ^= 1);
    assert!(log.refused("refuse").contains("segment header's checksum"));
    assert_eq!(log.check().0, 8);
    assert_eq!(log.wal(&["truncate", "--no-backup"]).0, 0);
    assert_eq!(log.check().0, 0);
    assert_eq!(came(&log.start(), log.sent - 1).len() as u64, log.sent);
}

#[test]
fn a_damaged_directory_is_told_apart_from_a_damaged_log() {
    let log = Killed::new();
    fs::write(log.data().join("version"), "format 9\nlogs 1\nplacement 1\n").unwrap();
    let (code, said) = log.check();
    assert!(code == 1 && said.contains("format 9"), "{said}");
    fs::remove_file(log.data().join("version")).unwrap();
    let (code, said) = log.check();
    assert!(code == 1 && said.contains("its version file is missing"), "{said}");
    assert!(log.refused("refuse").contains("its version file is missing"));
    let (code, said) = wal(log.workspace.path(), &["check"]);
    assert!(code == 1 && said.contains("no logs in it"), "{said}");
}
