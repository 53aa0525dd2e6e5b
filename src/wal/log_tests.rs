//! Stories of a log in use: space, failures, retention, cleaning, subscriptions.

use super::action::{LogAction, LogEvent, LogFailure, ReadFor};
use super::crash_tests::{SEGMENT, Story, check_prefix, options};
use super::entry::{Entry, PatternKey, PatternMeta, SubscriptionMeta};
use super::log::{LogOptions, LogState};
use super::test_device::{Bench, Device, failed};
use crate::model::record_batch::{self, BatchBuilder, Producer};
use crate::model::{
    FsyncPolicy, Instant, Lsn, Offset, PartitionId, Pattern, SubscriptionId, SubscriptionMode, Timestamp, TopicName,
};
use crate::wal::{ProducerCheck, Timing};

const P: PartitionId = PartitionId(0);

fn story(options: LogOptions) -> Story {
    let mut story = Story::begin(options);
    story.partition("orders");
    story.bench.settle();
    story
}

fn filled(story: &mut Story, batches: usize, size: usize) {
    for _ in 0..batches {
        story.publish(P, 1, size);
        story.bench.settle();
    }
}

fn restarted(story: Story) -> Story {
    let bench = Bench::start(options(FsyncPolicy::Always), story.bench.device);
    Story { bench, sent: story.sent }
}

#[test]
fn nothing_is_written_before_the_first_segment_is_ready_and_the_first_checkpoint_saved() {
    let mut story = Story::begin(options(FsyncPolicy::Always));
    story.partition("orders");
    story.publish(P, 1, 100);
    story.bench.poll();
    assert!(!story.bench.asked.iter().any(|action| matches!(action, LogAction::Write { .. })));
    assert!(story.bench.log.backlog() > 100 && story.bench.log.committed() == Lsn::ZERO);
    story.bench.settle();
    assert_eq!((story.bench.log.backlog(), story.bench.log.committed()), (0, story.sent[0].end));
}

#[test]
fn a_segment_is_always_ready_ahead() {
    let mut story = story(options(FsyncPolicy::Always));
    assert_eq!(story.bench.device.segments.len(), 2);
    filled(&mut story, 60, 3000);
    let used = story.bench.log.segments.used().count();
    assert_eq!(story.bench.device.segments.len(), used + 2, "two ahead under load");
    assert_eq!(story.bench.log.stats().segments as usize, used + 2);
}

#[test]
fn a_due_sync_goes_ahead_of_the_next_write() {
    let mut story = story(LogOptions { through_max: 0, ..options(FsyncPolicy::Always) });
    story.publish(P, 1, 100);
    story.bench.poll();
    story.publish(P, 1, 100);
    story.bench.answer(0);
    let kinds: Vec<bool> = story.bench.asked.iter().map(|action| matches!(action, LogAction::Sync { .. })).collect();
    assert_eq!(kinds, [true, false]);
}

#[test]
fn a_failed_write_or_sync_stops_the_log_for_good() {
    for operation in ["write", "sync", "read", "prepare", "remove", "checkpoint"] {
        let mut story = story(options(FsyncPolicy::Always));
        let end = story.publish(P, 1, 100);
        story.bench.poll();
        story.bench.log.handle(story.bench.now, failed(operation, false));
        let LogState::Stopped { failure } = story.bench.log.state() else { panic!("it goes on after {operation}") };
        assert_eq!(failure.operation, operation);
        let asked = story.bench.asked.len();
        story.bench.settle();
        story.bench.pass(10_000);
        assert_eq!(story.bench.asked.len(), 0, "{asked} were asked before");
        story.bench.log.handle(story.bench.now, LogEvent::Space { free: u64::MAX });
        let lsn = story.publish(P, 1, 100);
        assert!(matches!(story.bench.log.state(), LogState::Stopped { .. }));
        assert!(end > story.bench.log.committed() && lsn > story.bench.log.committed());
        assert_eq!((story.bench.log.poll(Instant::NEVER).is_none(), story.bench.log.poll_timeout()), (true, None));
    }
}

#[test]
fn a_full_disk_refuses_and_is_ready_again_by_itself() {
    let mut story = story(options(FsyncPolicy::Always));
    story.bench.device.room = 3;
    for _ in 0..100 {
        story.publish(P, 1, 3000);
        story.bench.settle();
    }
    assert!(matches!(story.bench.log.state(), LogState::Full { .. }));
    let waiting = story.bench.log.backlog();
    assert!(waiting > 0 && story.bench.log.committed() < story.bench.log.appended());
    story.bench.device.room = usize::MAX;
    story.bench.log.handle(story.bench.now, LogEvent::Space { free: SEGMENT - 1 });
    story.bench.settle();
    assert_eq!(story.bench.log.backlog(), waiting, "a segment does not fit yet");
    story.bench.log.handle(story.bench.now, LogEvent::Space { free: SEGMENT });
    story.bench.settle();
    assert_eq!((story.bench.log.state(), story.bench.log.backlog()), (LogState::Ready, 0));
    assert_eq!(check_prefix(&mut story.bench, &story.sent, &[P]), 100);
}

#[test]
fn dead_segments_make_room_on_a_full_disk() {
    let mut story = story(options(FsyncPolicy::Always));
    story.bench.device.room = 4;
    while story.bench.log.state() == LogState::Ready {
        story.publish(P, 1, 3000);
        story.bench.settle();
    }
    let next = story.bench.log.catalog().partitions[&P].next;
    story.bench.log.set_live_from(P, next);
    story.bench.settle();
    assert_eq!((story.bench.log.state(), story.bench.log.backlog()), (LogState::Ready, 0));
    assert!(story.bench.log.stats().segments_recycled > 0);
}

#[test]
fn below_the_low_water_mark_a_log_is_full_and_above_it_ready() {
    let mut story = story(LogOptions { low_water: 1000, ..options(FsyncPolicy::Always) });
    let mut state = |free| {
        story.bench.log.handle(Instant(0), LogEvent::Space { free });
        story.bench.log.state()
    };
    assert_eq!(state(1000), LogState::Ready);
    let LogState::Full { reason } = state(999) else { panic!("999 bytes are too few") };
    assert!(reason.contains("999 bytes are free"));
    assert_eq!(state(1_000_000), LogState::Ready);
}

#[test]
fn a_checkpoint_that_finds_no_room_is_saved_when_there_is_some() {
    let mut bench = Bench::start(options(FsyncPolicy::Always), Device::new());
    bench.asked.clear();
    bench.log.handle(bench.now, failed("checkpoint", true));
    assert!(matches!(bench.log.state(), LogState::Full { .. }));
    bench.poll();
    assert!(bench.asked.is_empty(), "{:?}", bench.asked);
    bench.log.handle(bench.now, LogEvent::Space { free: u64::MAX });
    bench.poll();
    assert!(matches!(bench.asked[..], [LogAction::SaveCheckpoint { .. }]));
}

#[test]
fn what_is_acknowledged_by_all_frees_its_segments_and_they_are_used_again() {
    let mut story = story(options(FsyncPolicy::Always));
    for round in 1..20u64 {
        filled(&mut story, 20, 3000);
        story.bench.log.set_live_from(P, Offset(round * 20));
        story.bench.settle();
        assert!(story.bench.device.segments.len() <= 6, "{:?}", story.bench.log.stats());
    }
    let stats = story.bench.log.stats();
    assert!(stats.segments_recycled > 10 && stats.live_bytes == 0);
    story.sent.clear();
    let mut story = restarted(story);
    assert_eq!(story.bench.log.catalog().partitions[&P].next, Offset(380));
    filled(&mut story, 5, 100);
    assert_eq!(story.bench.read(P, Offset::ZERO).iter().map(|read| read.0).max(), Some(Offset(384)));
}

#[test]
fn a_segment_stays_while_somebody_reads_it() {
    let mut story = story(options(FsyncPolicy::Always));
    filled(&mut story, 60, 3000);
    let place = story.bench.log.find(P, Offset::ZERO).unwrap();
    let LogAction::Read { ticket, segment, .. } = story.bench.log.place_read(place, 7) else { panic!("a read") };
    story.bench.log.set_live_from(P, Offset(60));
    story.bench.settle();
    filled(&mut story, 40, 3000);
    story.bench.log.set_live_from(P, Offset(100));
    story.bench.settle();
    assert!(story.bench.device.segments.contains_key(&segment));
    assert!(story.bench.log.read_answered(ticket).is_some());
    filled(&mut story, 60, 3000);
    assert!(!story.bench.device.segments.contains_key(&segment));
}

#[test]
fn mostly_dead_segments_are_cleaned_so_that_disk_use_stays_bounded() {
    let mut story = Story::begin(options(FsyncPolicy::Always));
    let (short, long) = (story.partition("short"), story.partition("long"));
    for round in 0..400 {
        story.publish(short, 1, 2000);
        if round % 8 == 0 {
            story.publish(long, 1, 500);
        }
        story.bench.settle();
        let next = story.bench.log.catalog().partitions[&short].next;
        story.bench.log.set_live_from(short, next);
    }
    story.bench.settle();
    let stats = story.bench.log.stats().clone();
    assert!(stats.cleaned_batches > 0);
    let bound = stats.live_bytes * 13 / 10 + 4 * SEGMENT;
    assert!(stats.disk_bytes <= bound, "{stats:?}");
    let long_sent: Vec<_> = story.sent.iter().filter(|sent| sent.partition == long).cloned().collect();
    assert_eq!(check_prefix(&mut story.bench, &long_sent, &[long]), 50);
    let mut again = restarted(story);
    assert_eq!(check_prefix(&mut again.bench, &long_sent, &[long]), 50);
}

#[test]
fn a_log_that_closes_cleans_no_further() {
    let mut story = Story::begin(options(FsyncPolicy::Always));
    let (short, long) = (story.partition("short"), story.partition("long"));
    for _ in 0..30 {
        story.publish(short, 1, 3000);
        story.publish(long, 1, 100);
        story.bench.settle();
    }
    let cleaning = |action: &LogAction| matches!(action, LogAction::Read { purpose: ReadFor::Cleaning, .. });
    let next = story.bench.log.catalog().partitions[&short].next;
    story.bench.log.set_live_from(short, next);
    story.bench.poll();
    while !story.bench.asked.iter().any(cleaning) {
        story.bench.answer(0);
    }
    story.bench.log.close(story.bench.now);
    story.bench.poll();
    let saving = |action: &LogAction| matches!(action, LogAction::SaveCheckpoint { .. });
    while let Some(other) = story.bench.asked.iter().position(|action| !cleaning(action) && !saving(action)) {
        story.bench.answer(other);
    }
    let kinds = [story.bench.asked.iter().filter(|action| cleaning(action)).count(), story.bench.asked.len()];
    assert_eq!(kinds, [1, 2], "the last checkpoint is made and the victim not read: {:?}", story.bench.asked);
    let end = story.bench.log.appended();
    let read = story.bench.asked.iter().position(cleaning).expect("just counted");
    story.bench.answer(read);
    assert_eq!(story.bench.log.appended(), end, "nothing is written that the checkpoint does not cover");
    story.bench.settle();
    assert!(story.bench.log.is_closed());
    let mut again = restarted(story);
    again.publish(long, 1, 2000);
    again.bench.settle();
    let sent: Vec<_> = again.sent.iter().filter(|sent| sent.partition == long).cloned().collect();
    assert_eq!(check_prefix(&mut again.bench, &sent, &[long]), 31);
}

#[test]
fn records_go_by_age() {
    let mut story = story(LogOptions { retention_ms: 1000, ..options(FsyncPolicy::Always) });
    filled(&mut story, 30, 3000);
    story.bench.pass(900);
    filled(&mut story, 30, 3000);
    assert_eq!(story.bench.log.retain(story.bench.now), []);
    story.bench.pass(200);
    let now = story.bench.now;
    let [(partition, start)] = story.bench.log.retain(now)[..] else { panic!("one start moves") };
    assert!(partition == P && start.0 > 10 && start.0 <= 30, "{start}");
    assert_eq!(story.bench.log.catalog().partitions[&P].start, start);
    assert_eq!(story.bench.read(P, Offset::ZERO)[0].0, start);
}

#[test]
fn records_go_by_bytes_oldest_first() {
    let mut story = story(LogOptions { retention_bytes: 100_000, ..options(FsyncPolicy::Always) });
    let other = story.partition("other");
    filled(&mut story, 40, 3000);
    story.bench.pass(5);
    story.publish(other, 1, 3000);
    story.bench.settle();
    let starts = story.bench.log.retain(story.bench.now);
    assert_eq!(starts.iter().map(|(partition, _)| *partition).collect::<Vec<_>>(), [P]);
    let live = story.bench.log.stats().live_bytes.max(story.bench.log.index.live_total());
    assert!(story.bench.log.index.live_total() <= 100_000 && live > 0);
}

#[test]
fn time_is_found_sparsely_and_never_too_late() {
    let mut story = story(options(FsyncPolicy::Always));
    let mut times = Vec::new();
    for _ in 0..60 {
        story.bench.pass(10);
        times.push(story.bench.now.timestamp());
        filled(&mut story, 1, 3000);
    }
    for (offset, time) in times.iter().enumerate() {
        assert!(story.bench.log.offset_at(P, *time).0 <= offset as u64);
    }
    let late = Timestamp(story.bench.now.timestamp().0 + 1);
    assert_eq!(story.bench.log.offset_at(P, late), Offset(60));
}

fn pattern(name: &str, pattern: &str) -> (PatternKey, PatternMeta) {
    let key = PatternKey { name: name.into(), pattern: Pattern::parse(pattern.as_bytes()).unwrap() };
    let dead_letter = Some(TopicName::parse(b"dead").unwrap());
    let (mode, created_at) = (SubscriptionMode::Exclusive, Timestamp(5));
    (key, PatternMeta { mode, retry_delay_ms: 7, max_retries: Some(0), dead_letter, created_at })
}

#[test]
fn patterns_come_back_from_entries_and_from_a_checkpoint_until_they_are_deleted() {
    let mut story = story(options(FsyncPolicy::Always));
    let now = story.bench.now;
    let (all, some) = (pattern("billing", "orders.>"), pattern("billing", "orders.*"));
    for (key, meta) in [all.clone(), some.clone()] {
        story.bench.log.append(now, Entry::Pattern { key, meta });
    }
    let changed = PatternMeta { retry_delay_ms: 8, ..all.1.clone() };
    story.bench.log.append(now, Entry::Pattern { key: all.0.clone(), meta: changed.clone() });
    story.bench.settle();
    let known = [(all.0.clone(), changed), some.clone()].into();
    for restart in ["the entries", "the checkpoint of the start before"] {
        story = restarted(story);
        story.bench.settle();
        assert_eq!(story.bench.log.catalog().patterns, known, "{restart}");
    }
    // The segments that had the entries go: what they said is in the checkpoints that follow.
    filled(&mut story, 120, 3000);
    story.bench.log.set_live_from(P, Offset(120));
    filled(&mut story, 30, 3000);
    assert!(!story.bench.device.segments.contains_key(&Lsn(0)));
    story = restarted(story);
    story.bench.settle();
    assert_eq!(story.bench.log.catalog().patterns, known);

    story.bench.log.append(now, Entry::PatternDeleted { key: all.0 });
    story.bench.settle();
    for _ in 0..2 {
        story = restarted(story);
        story.bench.settle();
        assert_eq!(story.bench.log.catalog().patterns, [some.clone()].into());
    }
}

#[test]
fn subscriptions_cursors_and_producers_come_back() {
    let mut story = story(options(FsyncPolicy::Always));
    let id = story.bench.log.new_subscription_id();
    let meta = SubscriptionMeta {
        partition: P,
        name: "billing".into(),
        mode: SubscriptionMode::Shared,
        start: Offset(0),
        retry_delay_ms: 7,
        max_retries: Some(3),
        dead_letter: Some(TopicName::parse(b"dead").unwrap()),
        session: false,
        created_at: Timestamp(5),
    };
    let now = story.bench.now;
    story.bench.log.append(now, Entry::Subscription { id, meta: meta.clone() });
    let mut builder = BatchBuilder::new();
    builder.push(Timestamp(1), b"value");
    let bytes = builder.finish(Offset(0), Some(Producer { id: 4, epoch: 0, base_sequence: 0 }));
    let header = record_batch::header(&bytes).unwrap();
    let (appended_at, expires_at) = (Timestamp(1), Timestamp(0));
    story
        .bench
        .log
        .append(now, Entry::Batch { partition: P, base: Offset(0), count: 1, appended_at, expires_at, bytes });
    story.bench.log.append(now, Entry::Cursor { id, floor: Offset(0), above: vec![(Offset(1), Offset(2))] });
    story.bench.settle();
    for _ in 0..2 {
        story = restarted(story);
        story.bench.settle();
        let catalog = story.bench.log.catalog();
        let state = &catalog.subscriptions[&id];
        assert_eq!((&state.meta, state.floor, &state.above[..]), (&meta, Offset(0), &[(Offset(1), Offset(2))][..]));
        assert_eq!(catalog.producer_check(P, &header), ProducerCheck::Duplicate { base: Offset(0) });
    }
    assert_eq!(story.bench.log.new_subscription_id(), SubscriptionId(id.0 + 1));
    assert_eq!(story.bench.log.new_partition_id(), PartitionId(1));
    story.bench.log.append(now, Entry::PartitionDeleted { id: P });
    story.bench.settle();
    let story = restarted(story);
    assert!(story.bench.log.catalog().partitions.is_empty() && story.bench.log.catalog().subscriptions.is_empty());
}

#[test]
fn timings_are_told_once() {
    let mut story = story(options(FsyncPolicy::Always));
    story.bench.log.drain_timings(|_| {});
    story.publish(P, 3, 100);
    story.bench.poll();
    story.bench.now = story.bench.now.plus_ms(2);
    story.bench.settle();
    let mut timings = Vec::new();
    story.bench.log.drain_timings(|timing| timings.push(timing));
    assert!(
        matches!(timings[..], [Timing::Written { records: 3, after }, Timing::Synced { records: 3, .. }] if after.as_millis() == 2)
    );
    story.bench.log.drain_timings(|_| panic!("they were told"));
}

#[test]
fn cleaning_leaves_a_segment_alone_that_it_cannot_read() {
    let mut story = Story::begin(options(FsyncPolicy::Always));
    let (short, long) = (story.partition("short"), story.partition("long"));
    for _ in 0..30 {
        story.publish(short, 1, 3000);
        story.publish(long, 1, 100);
        story.bench.settle();
    }
    let damaged = story.sent[3].end.0 as usize - 20;
    story.bench.device.segments.get_mut(&Lsn(0)).unwrap()[damaged] ^= 1;
    let next = story.bench.log.catalog().partitions[&short].next;
    story.bench.log.set_live_from(short, next);
    story.bench.settle();
    let corruptions = story.bench.log.take_corruptions();
    assert_eq!((corruptions.len(), corruptions[0].segment), (1, Lsn(0)));
    assert!(story.bench.device.segments.contains_key(&Lsn(0)), "what is live in it is still there");
}

#[test]
fn a_failure_says_what_it_was() {
    let failure = LogFailure { operation: "sync", segment: Some(Lsn(0)), full: false, reason: "EIO".into() };
    let mut story = story(options(FsyncPolicy::Always));
    story.bench.log.handle(Instant(0), LogEvent::Failed(failure.clone()));
    assert_eq!(story.bench.log.state(), LogState::Stopped { failure });
}
