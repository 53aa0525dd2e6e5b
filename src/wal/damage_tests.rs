//! Stories of damage: each line of recovery's table, and every byte of the tail.

use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use proptest::prelude::*;

use super::crash_tests::{SEGMENT, Sent, Story, check_prefix, options};
use super::entry::{BLOCK, Header, Kind};
use super::scan::next_header;
use super::segment::SegmentHeader;
use super::test_device::{Bench, Device};
use crate::model::{FsyncPolicy, LogId, Lsn, Offset, PartitionId, RecoveryMode};

const P: PartitionId = PartitionId(0);
const MODES: [RecoveryMode; 3] = [RecoveryMode::Refuse, RecoveryMode::Truncate, RecoveryMode::Skip];

/// A log with `groups` groups of one batch each, every one synced, and how it ended: killed.
fn killed(groups: usize, size: usize) -> (Device, Vec<Sent>) {
    let mut story = Story::begin(options(FsyncPolicy::Always));
    story.partition("orders");
    story.bench.settle();
    for _ in 0..groups {
        story.publish(P, 1, size);
        story.bench.settle();
    }
    (story.bench.device, story.sent)
}

/// Synced groups, and then unsynced ones.
fn killed_unsynced(synced: usize, unsynced: usize, size: usize) -> (Device, Vec<Sent>) {
    let mut story = Story::begin(options(FsyncPolicy::Interval(Duration::from_secs(1))));
    story.partition("orders");
    for nth in 0..synced + unsynced {
        story.publish(P, 1, size);
        story.bench.settle();
        if nth + 1 == synced {
            story.bench.pass(1000);
            story.bench.settle();
            assert_eq!(story.bench.log.synced(), story.bench.log.appended());
        }
    }
    (story.bench.device, story.sent)
}

fn start_of(sent: &Sent) -> Lsn {
    Lsn(sent.end.0 - (64 + sent.bytes.len()).next_multiple_of(8) as u64)
}

fn byte(device: &mut Device, lsn: Lsn) -> &mut u8 {
    let segment = Lsn(lsn.0 / SEGMENT * SEGMENT);
    &mut device.segments.get_mut(&segment).unwrap()[(lsn.0 - segment.0) as usize]
}

fn back(device: Device, mode: RecoveryMode) -> Bench {
    Bench::start_with(options(FsyncPolicy::Always), device, mode).expect("it comes back").0
}

fn refused(device: &Device, mode: RecoveryMode) -> super::Corruption {
    device.recover(&options(FsyncPolicy::Always), mode).expect_err("it is refused")
}

fn offsets(bench: &mut Bench) -> Vec<u64> {
    bench.read(P, Offset::ZERO).into_iter().map(|(base, _, _)| base.0).collect()
}

#[test]
fn a_flipped_bit_before_synced_entries_is_corruption_and_the_mode_decides() {
    let (mut device, sent) = killed(6, 300);
    let at = start_of(&sent[2]);
    *byte(&mut device, at.plus(100)) ^= 1;
    let corruption = refused(&device, RecoveryMode::Refuse);
    assert_eq!((corruption.segment, corruption.position), (Lsn(0), at.0));
    assert!(corruption.to_string().contains(&format!("log 3, segment 0, byte {}: the batch's checksum", at.0)));
    let mut cut = back(device.clone(), RecoveryMode::Truncate);
    assert_eq!(offsets(&mut cut), [0, 1]);
    assert_eq!(cut.log.stats().corruptions, 1);
    let mut skipped = back(device, RecoveryMode::Skip);
    assert_eq!(offsets(&mut skipped), [0, 1, 3, 4, 5]);
    assert_eq!(skipped.log.catalog().partitions[&P].next, Offset(6));
}

#[test]
fn what_was_cut_or_left_out_stays_so() {
    for (mode, kept) in [(RecoveryMode::Truncate, vec![0, 1]), (RecoveryMode::Skip, vec![0, 1, 3, 4, 5])] {
        let (mut device, sent) = killed(6, 300);
        *byte(&mut device, start_of(&sent[2])) ^= 1;
        let mut bench = back(device, mode);
        bench.settle();
        let mut again = back(bench.device, RecoveryMode::Refuse);
        assert_eq!(offsets(&mut again), kept);
        let mut story = Story { bench: again, sent: Vec::new() };
        story.bench.settle();
        for _ in 0..20 {
            story.publish(P, 1, 900);
            story.bench.settle();
        }
        let mut last = back(story.bench.device, RecoveryMode::Refuse);
        assert_eq!(offsets(&mut last).len(), kept.len() + 20);
    }
}

#[test]
fn a_flipped_bit_in_the_last_entry_is_a_tail_and_counted() {
    for mode in MODES {
        let (mut device, sent) = killed_unsynced(3, 1, 300);
        *byte(&mut device, start_of(&sent[3]).plus(80)) ^= 4;
        let (mut bench, report) = Bench::start_with(options(FsyncPolicy::Always), device, mode).unwrap();
        assert_eq!(offsets(&mut bench), [0, 1, 2]);
        assert_eq!((report.cut_entries, report.corruptions.len()), (1, 0));
    }
}

#[test]
fn unsynced_groups_behind_a_lost_one_are_cut_and_counted() {
    for mode in MODES {
        let (mut device, sent) = killed_unsynced(2, 4, 300);
        let lost = start_of(&sent[3]).0 / BLOCK as u64 * BLOCK as u64;
        (0..BLOCK as u64).for_each(|at| *byte(&mut device, Lsn(lost + at)) = 0);
        let (mut bench, report) = Bench::start_with(options(FsyncPolicy::Always), device, mode).unwrap();
        assert_eq!(offsets(&mut bench), [0, 1, 2]);
        assert_eq!(report.cut_entries, 2);
    }
}

#[test]
fn entries_of_a_cut_tail_never_come_back() {
    let (mut device, sent) = killed_unsynced(2, 4, 300);
    let lost = start_of(&sent[2]).0 / BLOCK as u64 * BLOCK as u64;
    (0..BLOCK as u64).for_each(|at| *byte(&mut device, Lsn(lost + at)) = 0);
    let mut story = Story { bench: back(device, RecoveryMode::Refuse), sent: sent[..2].to_vec() };
    story.bench.settle();
    // Exactly as long as the group that was lost: the next old one follows it seamlessly.
    story.publish(P, 1, 301);
    story.bench.settle();
    let sent = story.sent;
    let mut bench = back(story.bench.device, RecoveryMode::Refuse);
    assert_eq!(check_prefix(&mut bench, &sent, &[P]), 3);
    assert_eq!(offsets(&mut bench), [0, 1, 2]);
}

#[test]
fn every_truncation_yields_a_prefix() {
    let (device, sent) = killed_unsynced(4, 3, 500);
    let end = sent.last().unwrap().end.0 as usize;
    for cut in start_of(&sent[4]).0 as usize..=end {
        for to_zeros in [true, false] {
            let mut device = device.clone();
            let file = device.segments.get_mut(&Lsn(0)).unwrap();
            file.truncate(cut);
            if to_zeros {
                file.resize(SEGMENT as usize, 0);
            }
            if !to_zeros {
                assert!(refused(&device, RecoveryMode::Refuse).what.contains("cut short"));
            }
            let mode = if to_zeros { RecoveryMode::Refuse } else { RecoveryMode::Truncate };
            let mut bench = back(device, mode);
            let kept = check_prefix(&mut bench, &sent, &[P]);
            let whole = sent.iter().filter(|sent| sent.end.0 as usize <= cut).count();
            // The last entry ends in zeros, which are the same cut or not; and a file is read in whole blocks.
            let least = if to_zeros { whole } else { 4 };
            assert!(least <= kept && kept <= whole + 1, "{kept} of {whole} at {cut}");
        }
    }
}

#[test]
fn a_log_goes_on_behind_a_segment_file_that_was_cut() {
    let (mut device, sent) = killed_unsynced(3, 2, 500);
    device.segments.get_mut(&Lsn(0)).unwrap().truncate(start_of(&sent[4]).0 as usize + 10);
    let mut story = Story { bench: back(device, RecoveryMode::Truncate), sent: sent[..4].to_vec() };
    story.bench.settle();
    for _ in 0..10 {
        story.publish(P, 1, 500);
        story.bench.settle();
    }
    let sent = story.sent;
    assert!(start_of(&sent[4]).0 > SEGMENT);
    let mut bench = back(story.bench.device, RecoveryMode::Refuse);
    assert_eq!(check_prefix(&mut bench, &sent, &[P]), 14);
}

#[test]
fn a_segment_cut_short_before_synced_entries_is_corruption() {
    let (mut device, sent) = killed(60, 3800);
    assert!(sent.last().unwrap().end.0 > 2 * SEGMENT);
    device.checkpoint = None;
    device.segments.get_mut(&Lsn(0)).unwrap().truncate(40_000);
    assert!(refused(&device, RecoveryMode::Refuse).to_string().contains("cut short"));
    let mut skipped = back(device, RecoveryMode::Skip);
    let kept = offsets(&mut skipped);
    assert!(kept.len() > 40 && kept.len() < 60 && kept.last() == Some(&59));
}

#[test]
fn a_missing_segment_is_told_and_what_it_held_is_left_out() {
    let (mut device, _) = killed(60, 3800);
    let segments: Vec<Lsn> = device.segments.keys().copied().collect();
    device.segments.remove(&segments[1]);
    let corruption = refused(&device, RecoveryMode::Refuse);
    assert_eq!((corruption.segment, corruption.what.as_str()), (segments[1], "the segment is missing"));
    for mode in [RecoveryMode::Truncate, RecoveryMode::Skip] {
        let mut bench = back(device.clone(), mode);
        let kept = offsets(&mut bench);
        assert!(kept.first() == Some(&0) && kept.last() == Some(&59) && kept.len() < 50, "{kept:?}");
        bench.settle();
        assert_eq!(offsets(&mut back(bench.device, RecoveryMode::Refuse)), kept);
    }
}

#[test]
fn without_a_checkpoint_a_missing_segment_is_seen_too() {
    let (mut device, _) = killed(60, 3800);
    let segments: Vec<Lsn> = device.segments.keys().copied().collect();
    device.segments.remove(&segments[1]);
    device.checkpoint = None;
    assert_eq!(refused(&device, RecoveryMode::Refuse).segment, segments[1]);
    assert_eq!(offsets(&mut back(device.clone(), RecoveryMode::Truncate)).last().map(|last| *last < 30), Some(true));
    assert_eq!(offsets(&mut back(device, RecoveryMode::Skip)).last(), Some(&59));
}

#[test]
fn swapped_segments_are_not_believed() {
    let (mut device, _) = killed(60, 3800);
    let segments: Vec<Lsn> = device.segments.keys().copied().collect();
    let first = device.segments[&segments[0]].clone();
    let second = device.segments.insert(segments[1], first).unwrap();
    device.segments.insert(segments[0], second);
    assert!(refused(&device, RecoveryMode::Refuse).what.contains("renamed"));
    device.checkpoint = None;
    assert!(refused(&device, RecoveryMode::Refuse).what.contains("renamed"));
}

#[test]
fn a_segment_of_another_log_or_another_version_is_not_believed() {
    let (device, _) = killed(3, 300);
    let header = SegmentHeader { first: Lsn(0), size: SEGMENT, log: LogId(9), epoch: 1 };
    let mut other = device.clone();
    other.segments.get_mut(&Lsn(0)).unwrap()[..BLOCK].copy_from_slice(&header.encode());
    assert!(refused(&other, RecoveryMode::Refuse).what.contains("another log"));
    let mut old = device;
    old.segments.get_mut(&Lsn(0)).unwrap()[8] = 0;
    for mode in MODES {
        assert!(refused(&old, mode).what.contains("format version 0; this program knows version 1"));
    }
}

#[test]
fn segments_of_zeros_hold_nothing() {
    let (mut device, _) = killed(3, 300);
    let last = *device.segments.keys().last().unwrap();
    device.segments.insert(last, vec![0; SEGMENT as usize]);
    assert_eq!(offsets(&mut back(device.clone(), RecoveryMode::Refuse)), [0, 1, 2]);
    device.segments.insert(Lsn(0), vec![0; SEGMENT as usize]);
    let (_, report) = device.recover(&options(FsyncPolicy::Always), RecoveryMode::Refuse).unwrap();
    assert_eq!(report.unusable[0], (Lsn(0), "there is no segment header"));
    let (mut long, _) = killed(60, 3800);
    long.segments.insert(Lsn(SEGMENT), vec![0; SEGMENT as usize]);
    assert!(refused(&long, RecoveryMode::Refuse).what.contains("no segment header"));
    long.checkpoint = None;
    assert!(refused(&long, RecoveryMode::Refuse).what.contains("no segment header"));
    let mut empty = Device::new();
    empty.segments.insert(Lsn(0), vec![0; SEGMENT as usize]);
    assert!(offsets(&mut back(empty, RecoveryMode::Refuse)).is_empty());
}

#[test]
fn a_lost_checkpoint_is_made_again_from_the_whole_log_and_not_from_a_part() {
    let (mut device, sent) = killed(60, 3800);
    device.checkpoint = None;
    let mut bench = back(device.clone(), RecoveryMode::Refuse);
    assert_eq!(check_prefix(&mut bench, &sent, &[P]), 60);
    device.segments.remove(&Lsn(0));
    assert!(refused(&device, RecoveryMode::Refuse).what.contains("the checkpoint is missing"));
    back(device, RecoveryMode::Skip);
}

#[test]
fn a_damaged_checkpoint_is_corruption_and_one_of_another_version_is_never_guessed_at() {
    let (mut device, sent) = killed(5, 300);
    let whole = device.checkpoint.clone().unwrap().to_vec();
    let mut damaged = whole.clone();
    *damaged.last_mut().unwrap() ^= 1;
    device.checkpoint = Some(damaged.into());
    assert!(refused(&device, RecoveryMode::Refuse).what.contains("checkpoint's checksum"));
    assert_eq!(check_prefix(&mut back(device.clone(), RecoveryMode::Skip), &sent, &[P]), 5);
    let mut newer = whole;
    newer[8] = 3;
    device.checkpoint = Some(newer.into());
    MODES.iter().for_each(|mode| assert!(refused(&device, *mode).what.contains("format version 3")));
}

#[test]
fn a_checkpoint_newer_than_the_log_is_corruption() {
    let (mut device, _) = killed(40, 3800);
    let older = device.clone();
    let mut story = Story { bench: back(device, RecoveryMode::Refuse), sent: Vec::new() };
    story.bench.settle();
    for _ in 0..40 {
        story.publish(P, 1, 3800);
        story.bench.settle();
    }
    device = older;
    device.checkpoint = story.bench.device.checkpoint;
    assert!(refused(&device, RecoveryMode::Refuse).what.contains("the last entry that the checkpoint knows"));
    device.segments.retain(|first, _| first.0 < 3 * SEGMENT);
    assert!(refused(&device, RecoveryMode::Refuse).what.contains("missing"));
}

#[test]
fn a_log_keeps_the_segment_size_it_was_made_with() {
    let (device, sent) = killed(40, 3800);
    let configured = super::LogOptions { segment_size: 4 * SEGMENT, ..options(FsyncPolicy::Always) };
    for checkpoint in [device.checkpoint.clone(), None] {
        let mut device = device.clone();
        device.checkpoint = checkpoint;
        let (mut bench, report) = Bench::start_with(configured.clone(), device, RecoveryMode::Refuse).unwrap();
        assert_eq!((report.segment_size, report.configured_size), (SEGMENT, 4 * SEGMENT));
        assert!(report.to_string().contains("keep their size"));
        assert_eq!(check_prefix(&mut bench, &sent, &[P]), 40);
    }
}

#[test]
fn a_closed_log_is_not_looked_through() {
    let (device, sent) = killed(4, 300);
    let mut bench = back(device, RecoveryMode::Refuse);
    bench.log.close(bench.now);
    bench.settle();
    assert!(bench.log.is_closed());
    let (mut bench, report) =
        Bench::start_with(options(FsyncPolicy::Always), bench.device, RecoveryMode::Refuse).unwrap();
    assert!(report.clean && report.entries == 0);
    assert_eq!(check_prefix(&mut bench, &sent, &[P]), 4);
    // The clean mark is gone before anything new is written.
    let mut story = Story { bench, sent };
    story.publish(P, 1, 10);
    story.bench.settle();
    let sent = story.sent;
    assert_eq!(check_prefix(&mut back(story.bench.device, RecoveryMode::Refuse), &sent, &[P]), 5);
}

#[test]
fn what_was_told_of_headers_and_of_the_last_entry_is_not_told_again() {
    let (mut device, sent) = killed(60, 3800);
    device.segments.get_mut(&Lsn(SEGMENT)).unwrap()[20] ^= 1;
    assert!(refused(&device, RecoveryMode::Refuse).what.contains("header's checksum"));
    for mode in [RecoveryMode::Truncate, RecoveryMode::Skip] {
        let mut bench = back(device.clone(), mode);
        assert_eq!(check_prefix(&mut bench, &sent, &[P]), 60, "what stands behind the header is still there");
        bench.settle();
        let (mut again, report) =
            Bench::start_with(options(FsyncPolicy::Always), bench.device, RecoveryMode::Refuse).unwrap();
        assert_eq!((check_prefix(&mut again, &sent, &[P]), report.corruptions.len()), (60, 0));
    }
    let mut bench = back(killed(6, 300).0, RecoveryMode::Refuse);
    bench.log.close(bench.now);
    bench.settle();
    let last = headers(&bench.device).last().unwrap().lsn;
    *byte(&mut bench.device, last.plus(4)) ^= 1;
    assert!(refused(&bench.device, RecoveryMode::Refuse).what.contains("the last entry that the checkpoint knows"));
    let mut bench = back(bench.device, RecoveryMode::Skip);
    bench.settle();
    back(bench.device, RecoveryMode::Refuse);
}

#[test]
fn a_file_that_ends_where_the_log_does_is_told_once() {
    let (device, sent) = killed(6, 300);
    let end = sent.last().unwrap().end.0 as usize;
    for blocks in 0..3 {
        let cut = end.next_multiple_of(BLOCK) + blocks * BLOCK + 10;
        let mut cut_short = device.clone();
        cut_short.segments.get_mut(&Lsn(0)).unwrap().truncate(cut);
        for mode in [RecoveryMode::Truncate, RecoveryMode::Skip] {
            let (recovered, report) = cut_short.recover(&options(FsyncPolicy::Always), mode).unwrap();
            assert_eq!(report.corruptions.len(), usize::from(blocks == 0));
            let mut mended = cut_short.clone();
            mended.checkpoint = Some(recovered.checkpoint(LogId(3)));
            assert_eq!(check_prefix(&mut back(mended, RecoveryMode::Refuse), &sent, &[P]), 6);
        }
    }
}

/// Mended as `blipmq wal` does; what comes back then, with `refuse`.
fn mended(device: &Device, mode: RecoveryMode) -> Vec<u64> {
    let (mut recovered, _) = device.recover(&options(FsyncPolicy::Always), mode).unwrap();
    for segment in recovered.segments().to_vec() {
        recovered.leave_out(LogId(3), segment, Bytes::from(device.segments[&segment].clone()));
    }
    let mut mended = device.clone();
    recovered.leftovers().iter().for_each(|leftover| drop(mended.segments.remove(leftover)));
    mended.checkpoint = Some(recovered.checkpoint(LogId(3)));
    let (recovered, report) =
        mended.recover(&options(FsyncPolicy::Always), RecoveryMode::Refuse).expect("it is mended");
    assert_eq!(report.cut_entries, 0);
    for segment in recovered.segments() {
        let bytes = Bytes::from(mended.segments[segment].clone());
        assert!(recovered.entries(LogId(3), *segment, bytes).all(|entry| entry.is_ok()));
    }
    offsets(&mut back(mended, RecoveryMode::Refuse))
}

#[test]
fn a_file_cut_anywhere_is_mended_for_good() {
    for groups in [37, 45] {
        let (device, sent) = killed(groups, 3800);
        let last = Lsn((sent.last().unwrap().end.0 - 1) / SEGMENT * SEGMENT);
        for (segment, from) in [(Lsn(0), SEGMENT / 2), (last, 4096)] {
            for cut in (from..SEGMENT).step_by(499) {
                let mut device = device.clone();
                device.segments.get_mut(&segment).unwrap().truncate(cut as usize);
                let blocks = segment.plus(cut / BLOCK as u64 * BLOCK as u64);
                let whole = |sent: &&Sent| sent.end <= blocks || start_of(sent) >= segment.plus(SEGMENT);
                let kept: Vec<u64> = sent.iter().filter(whole).map(|sent| sent.base.0).collect();
                assert_eq!(mended(&device, RecoveryMode::Skip), kept, "{segment} cut at {cut}");
                let truncated = mended(&device, RecoveryMode::Truncate);
                assert!(kept.starts_with(&truncated), "{segment} cut at {cut}");
            }
        }
    }
}

/// A segment's last batches may leave blocks behind its end entry that nothing is ever written to.
#[test]
fn a_file_cut_behind_its_last_entry_is_told_and_mended_for_good() {
    let (device, sent) = killed(12, 12_000);
    let all: Vec<u64> = (0..12).collect();
    let ends = headers(&device).into_iter().find(|header| header.kind == Kind::End).expect("a segment is full");
    let first = ends.end().0.next_multiple_of(BLOCK as u64);
    assert!(first < SEGMENT && sent.last().unwrap().end.0 > SEGMENT, "there is room behind {ends:?}");
    for cut in (first..SEGMENT).step_by(499) {
        for checkpoint in [device.checkpoint.clone(), None] {
            let mut device = device.clone();
            device.checkpoint = checkpoint;
            device.segments.get_mut(&Lsn(0)).unwrap().truncate(cut as usize);
            let corruption = refused(&device, RecoveryMode::Refuse);
            assert_eq!(
                (corruption.position, corruption.what.as_str()),
                (cut / 4096 * 4096, "the segment is cut short")
            );
            for mode in [RecoveryMode::Truncate, RecoveryMode::Skip] {
                assert_eq!(mended(&device, mode), all, "cut at {cut}");
            }
        }
    }
}

#[test]
fn a_file_without_a_place_in_the_log_is_told_once_and_removed() {
    let (mut device, sent) = killed(6, 300);
    device.segments.insert(Lsn(SEGMENT + 4096), vec![7; 5000]);
    assert!(refused(&device, RecoveryMode::Refuse).what.contains("no segment of this log begins"));
    let mut bench = back(device, RecoveryMode::Truncate);
    bench.settle();
    assert!(!bench.device.segments.contains_key(&Lsn(SEGMENT + 4096)));
    assert_eq!(check_prefix(&mut back(bench.device, RecoveryMode::Refuse), &sent, &[P]), 6);
}

#[test]
fn damage_before_the_checkpoint_that_was_left_out_is_not_met_again() {
    let (mut device, sent) = killed(60, 3800);
    *byte(&mut device, start_of(&sent[3]).plus(200)) ^= 1;
    *byte(&mut device, start_of(&sent[20])) ^= 1;
    let (mut recovered, _) = device.recover(&options(FsyncPolicy::Always), RecoveryMode::Refuse).unwrap();
    let mut losses = Vec::new();
    for segment in recovered.segments().to_vec() {
        losses.extend(recovered.leave_out(LogId(3), segment, Bytes::from(device.segments[&segment].clone())));
    }
    assert_eq!(losses.iter().map(|(_, loss)| loss.records).collect::<Vec<_>>(), [1, 1]);
    device.checkpoint = Some(recovered.checkpoint(LogId(3)));
    let (recovered, _) = device.recover(&options(FsyncPolicy::Always), RecoveryMode::Refuse).unwrap();
    for segment in recovered.segments() {
        let bytes = Bytes::from(device.segments[segment].clone());
        assert!(recovered.entries(LogId(3), *segment, bytes).all(|entry| entry.is_ok()));
    }
    let expected: Vec<u64> = (0..60).filter(|nth| ![3, 20].contains(nth)).collect();
    assert_eq!(offsets(&mut back(device, RecoveryMode::Refuse)), expected);
}

#[test]
fn a_check_finds_what_recovery_had_no_reason_to_look_at() {
    let (mut device, sent) = killed(60, 3800);
    *byte(&mut device, start_of(&sent[3]).plus(200)) ^= 1;
    let (recovered, report) = device.recover(&options(FsyncPolicy::Always), RecoveryMode::Refuse).unwrap();
    assert!(report.corruptions.is_empty(), "it is before the checkpoint");
    let (mut entries, mut bad) = (0, Vec::new());
    for segment in recovered.segments() {
        let bytes = Bytes::from(device.segments[segment].clone());
        for found in recovered.entries(LogId(3), *segment, bytes) {
            match found {
                Ok(_) => entries += 1,
                Err(corruption) => bad.push(corruption),
            }
        }
    }
    assert_eq!((entries, bad.len()), (1 + 59, 1));
    assert_eq!((bad[0].segment, bad[0].position), (Lsn(0), start_of(&sent[3]).0));
}

#[test]
fn a_cut_that_was_saved_as_a_checkpoint_lasts() {
    let (mut device, sent) = killed(6, 300);
    *byte(&mut device, start_of(&sent[2]).plus(100)) ^= 1;
    let (recovered, _) = device.recover(&options(FsyncPolicy::Always), RecoveryMode::Truncate).unwrap();
    device.checkpoint = Some(recovered.checkpoint(LogId(3)));
    let mut bench = back(device.clone(), RecoveryMode::Refuse);
    assert_eq!(offsets(&mut bench), [0, 1]);
    let (recovered, _) = device.recover(&options(FsyncPolicy::Always), RecoveryMode::Refuse).unwrap();
    let bytes = Bytes::from(device.segments[&Lsn(0)].clone());
    assert_eq!(recovered.entries(LogId(3), Lsn(0), bytes).filter(Result::is_ok).count(), 3);
}

/// The headers that stand in a device, wherever they are.
fn headers(device: &Device) -> Vec<Header> {
    let mut found = Vec::new();
    for (first, bytes) in &device.segments {
        let mut at = BLOCK;
        while let Some(header) = next_header(bytes, *first, at, 0) {
            at = header.lsn.since(*first) as usize + 8;
            found.push(header);
        }
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn damage_anywhere_is_refused_or_leaves_a_prefix(seed: u64, groups in 1usize..50, mode in 0usize..3) {
        let (mut device, sent) = killed(groups, 1 + seed as usize % 4000);
        let mut rng = Rng::with_seed(seed);
        if rng.bool() {
            device.checkpoint = None;
        }
        let known: Vec<Lsn> = headers(&device).iter().map(|header| header.lsn).collect();
        for _ in 0..rng.usize(1..4) {
            let lsn = known[rng.usize(0..known.len())].plus(rng.u64(0..200));
            if lsn.0 % SEGMENT >= BLOCK as u64 {
                *byte(&mut device, lsn) ^= 1 << rng.u8(0..8);
            }
        }
        if let Ok((recovered, report)) = device.recover(&options(FsyncPolicy::Always), MODES[mode]) {
            prop_assert!(report.corruptions.is_empty() || MODES[mode] != RecoveryMode::Refuse);
            let next = recovered.catalog().partitions.get(&P).map_or(Offset::ZERO, |state| state.next);
            prop_assert!(next.0 <= sent.len() as u64);
        }
    }

    #[test]
    fn files_of_random_bytes_never_panic(seed: u64, files in 0u64..4) {
        let mut rng = Rng::with_seed(seed);
        let mut device = Device::new();
        for nth in 0..files {
            let mut bytes: Vec<u8> = (0..rng.usize(0..20_000)).map(|_| rng.u8(..)).collect();
            if rng.bool() && bytes.len() >= BLOCK {
                let header = SegmentHeader { first: Lsn(nth * SEGMENT), size: SEGMENT, log: LogId(3), epoch: 1 };
                bytes[..BLOCK].copy_from_slice(&header.encode());
            }
            device.segments.insert(Lsn(nth * SEGMENT + rng.u64(0..2)), bytes);
        }
        if rng.u8(0..4) == 0 {
            device.checkpoint = Some(Bytes::from((0..200).map(|_| rng.u8(..)).collect::<Vec<u8>>()));
        }
        MODES.iter().for_each(|mode| drop(device.recover(&options(FsyncPolicy::Always), *mode)));
    }
}
