//! Groups, writes and syncs under each policy, and what is committed when.

use fastrand::Rng;
use proptest::prelude::*;

use super::*;
use crate::wal::entry::end_header;

const SIZE: u64 = 4 << 20;

fn log(policy: FsyncPolicy) -> GroupCommit {
    let (synced, end, next) = (Lsn::ZERO, Lsn::ZERO, Lsn(BLOCK as u64));
    GroupCommit::new(
        policy,
        THROUGH_MAX,
        Position { epoch: 1, segment_size: SIZE, synced, last: end, end, next },
        |_| true,
    )
}

fn push(log: &mut GroupCommit, now: u64, body: usize, records: u64) -> Lsn {
    log.push(Instant(now), end_header(), Bytes::from(vec![0; body]), records)
}

fn write(log: &mut GroupCommit, ticket: u64) -> Group {
    log.next_write().expect("there is something to write");
    log.take_group(Ticket(ticket))
}

fn written(log: &mut GroupCommit, ticket: u64) {
    log.written_one(Instant(0), Ticket(ticket), &mut Timings::default());
}

fn sync(log: &mut GroupCommit, ticket: u64) {
    let segment = log.next_sync(Instant(0)).expect("a sync is due");
    log.start_sync(Ticket(ticket), segment);
    log.synced_one(Instant(0), Ticket(ticket), &mut Timings::default());
}

#[test]
fn what_arrives_while_writes_are_in_flight_is_one_group() {
    let mut log = log(FsyncPolicy::None);
    for ticket in 0..2 {
        push(&mut log, 0, 100, 1);
        assert_eq!(write(&mut log, ticket).pieces.len(), 1);
    }
    for _ in 0..50 {
        push(&mut log, 0, 100, 1);
    }
    assert_eq!(log.next_write(), None, "two writes are in flight");
    written(&mut log, 0);
    let group = write(&mut log, 2);
    assert_eq!((group.pieces.len(), group.start), (50, Lsn(3 * BLOCK as u64)));
}

#[test]
fn groups_are_cut_at_their_bound_unless_one_entry_is_bigger() {
    let mut log = log(FsyncPolicy::None);
    push(&mut log, 0, GROUP_MAX - 1000, 1);
    push(&mut log, 0, 2000, 1);
    push(&mut log, 0, 2 * GROUP_MAX, 1);
    let groups: Vec<_> = (0..2).map(|ticket| write(&mut log, ticket)).collect();
    assert!(groups[0].used <= GROUP_MAX && groups[1].used <= GROUP_MAX);
    written(&mut log, 0);
    assert!(write(&mut log, 2).used > GROUP_MAX);
}

#[test]
fn written_moves_in_order_when_writes_are_answered_out_of_order() {
    let mut log = log(FsyncPolicy::None);
    let first = push(&mut log, 0, 10, 1);
    write(&mut log, 0);
    push(&mut log, 0, 10, 1);
    write(&mut log, 1);
    written(&mut log, 1);
    assert!(log.written() <= first);
    written(&mut log, 0);
    assert_eq!((log.written(), log.backlog()), (log.appended(), 0));
}

#[test]
fn a_full_segment_ends_with_an_entry_that_says_so() {
    let mut log = log(FsyncPolicy::None);
    push(&mut log, 0, body_max(SIZE), 1);
    let next = push(&mut log, 0, 10, 1);
    assert_eq!(next, Lsn(SIZE + BLOCK as u64));
    let group = write(&mut log, 0);
    assert_eq!((group.pieces.len(), group.used as u64 <= SIZE - BLOCK as u64), (2, true));
    assert_eq!(group.pieces[1].header[28], entry::Kind::End as u8);
}

#[test]
fn under_always_only_what_is_synced_is_committed() {
    let mut log = log(FsyncPolicy::Always);
    push(&mut log, 0, THROUGH_MAX, 1);
    write(&mut log, 0);
    written(&mut log, 0);
    assert_eq!(log.committed(), Lsn::ZERO);
    sync(&mut log, 1);
    assert_eq!(log.committed(), log.appended());
}

#[test]
fn a_small_group_with_nothing_unsynced_before_it_goes_through() {
    let mut log = log(FsyncPolicy::Always);
    for ticket in 0..2 {
        push(&mut log, 0, 10, 1);
        assert!(write(&mut log, ticket).through);
    }
    written(&mut log, 1);
    assert_eq!(log.committed(), Lsn::ZERO, "what is before it is not durable");
    written(&mut log, 0);
    assert_eq!((log.committed(), log.next_sync(Instant(0))), (log.appended(), None));
}

#[test]
fn a_group_that_is_large_or_follows_one_that_waits_for_a_sync_does_not_go_through() {
    let mut log = log(FsyncPolicy::Always);
    let largest = THROUGH_MAX - ENTRY_HEADER;
    for (ticket, (body, through)) in [(largest, true), (largest + 1, false), (10, false)].into_iter().enumerate() {
        push(&mut log, 0, body, 1);
        assert_eq!(write(&mut log, ticket as u64).through, through, "{body}");
        if ticket == 0 {
            written(&mut log, 0);
        }
    }
    written(&mut log, 1);
    push(&mut log, 0, 10, 1);
    assert!(!write(&mut log, 3).through, "one before it is written, and not synced");
    written(&mut log, 2);
    written(&mut log, 3);
    sync(&mut log, 4);
    push(&mut log, 0, 10, 1);
    assert!(write(&mut log, 5).through);
}

#[test]
fn no_group_goes_through_where_a_sync_is_not_waited_for() {
    for policy in [FsyncPolicy::EveryN(1), FsyncPolicy::Interval(Duration::from_millis(80)), FsyncPolicy::None] {
        let mut log = log(policy);
        push(&mut log, 0, 10, 1);
        assert!(!write(&mut log, 0).through, "{policy}");
    }
}

#[test]
fn an_interval_and_an_idle_tail_are_synced_in_time() {
    for (policy, ms) in [
        (FsyncPolicy::Interval(Duration::from_millis(80)), 40),
        (FsyncPolicy::EveryN(1000), FsyncPolicy::IDLE_TAIL.as_millis() as u64),
    ] {
        let mut log = log(policy);
        push(&mut log, 0, 10, 1);
        write(&mut log, 0);
        written(&mut log, 0);
        assert_eq!((log.committed(), log.next_sync(Instant(0))), (log.appended(), None));
        let due = Instant(0).plus_ms(ms);
        assert_eq!(log.poll_timeout(), Some(due));
        assert_eq!(log.next_sync(due), Some(Lsn::ZERO));
    }
}

/// A write each millisecond, and a full segment every 128.
#[test]
fn an_interval_holds_where_segments_end_as_long_as_a_sync_takes_less_than_half_of_it() {
    let (every_ms, body) = (100, Bytes::from(vec![0; 30_000]));
    for sync_ms in [1, 20, 30, 45, 49] {
        let mut log = log(FsyncPolicy::Interval(std::time::Duration::from_millis(every_ms)));
        let (mut acknowledged, mut syncing, mut next) = (VecDeque::new(), VecDeque::new(), 0..);
        for ms in 0..3000 {
            let now = Instant(0).plus_ms(ms);
            log.push(now, end_header(), body.clone(), 1);
            while log.next_write().is_some() {
                let ticket = next.next().unwrap();
                log.take_group(Ticket(ticket));
                written(&mut log, ticket);
                // The time of a write is that of its answer.
                log.unsynced.back_mut().unwrap().at = now;
            }
            acknowledged.push_back((ms, log.committed()));
            while syncing.front().is_some_and(|(done, _)| *done <= ms) {
                let (_, ticket) = syncing.pop_front().unwrap();
                log.synced_one(now, Ticket(ticket), &mut Timings::default());
            }
            while let Some(segment) = log.next_sync(now) {
                let ticket = next.next().unwrap();
                log.start_sync(Ticket(ticket), segment);
                syncing.push_back((ms + sync_ms, ticket));
            }
            acknowledged.retain(|(_, end)| *end > log.synced());
            let oldest = acknowledged.front().map_or(0, |(at, _)| ms - at);
            assert!(oldest <= every_ms, "a sync takes {sync_ms} ms, and the oldest is {oldest} ms old");
        }
    }
}

#[test]
fn without_a_policy_a_segment_is_synced_when_the_next_one_is_written() {
    let mut log = log(FsyncPolicy::None);
    push(&mut log, 0, body_max(SIZE), 1);
    push(&mut log, 0, 10, 1);
    write(&mut log, 0);
    written(&mut log, 0);
    assert_eq!(log.next_sync(Instant(u64::MAX - 1)), None);
    write(&mut log, 1);
    written(&mut log, 1);
    assert_eq!(log.next_sync(Instant(0)), Some(Lsn::ZERO));
}

#[test]
fn what_recovery_found_is_committed_when_it_is_synced_under_every_policy() {
    let interval = FsyncPolicy::Interval(Duration::from_millis(80));
    for policy in [FsyncPolicy::Always, FsyncPolicy::EveryN(2), interval, FsyncPolicy::None] {
        let (synced, end) = (Lsn(3 * BLOCK as u64), Lsn(SIZE + 5 * BLOCK as u64));
        let position = Position { epoch: 2, segment_size: SIZE, synced, last: synced, end, next: end };
        let mut log = GroupCommit::new(policy, THROUGH_MAX, position, |_| true);
        let ends = [0, 1].map(|ticket| {
            assert!(log.committed() == log.synced() && log.synced() < end, "{policy}: {:?}", log.committed());
            sync(&mut log, ticket);
            log.committed()
        });
        assert_eq!(ends, [Lsn(SIZE), end], "{policy}");
    }
}

proptest! {
    #[test]
    fn no_more_than_n_acknowledged_records_are_ever_unsynced(n in 1u32..60, seed: u64) {
        let mut log = log(FsyncPolicy::EveryN(n));
        let mut rng = Rng::with_seed(seed);
        let (mut ends, mut tickets, mut syncing, mut next) = (Vec::new(), Vec::new(), None, 0);
        for now in 0..600u64 {
            match rng.u8(0..6) {
                0 | 1 => {
                    let records = rng.u64(0..20);
                    let size = rng.usize(0..9000);
                    push(&mut log, now, size, records);
                    ends.push((log.appended(), records));
                }
                2 if log.next_write().is_some() => {
                    log.take_group(Ticket(next));
                    tickets.push(next);
                    next += 1;
                }
                3 if !tickets.is_empty() => {
                    let ticket = tickets.swap_remove(rng.usize(0..tickets.len()));
                    log.written_one(Instant(now), Ticket(ticket), &mut Timings::default());
                }
                4 => if let Some(segment) = log.next_sync(Instant(now)) {
                    log.start_sync(Ticket(next), segment);
                    syncing = Some(next);
                    next += 1;
                },
                _ => if let Some(ticket) = syncing.take() {
                    log.synced_one(Instant(now), Ticket(ticket), &mut Timings::default());
                },
            }
            let at_risk = ends.iter().filter(|(end, _)| *end <= log.committed() && *end > log.synced());
            prop_assert!(at_risk.map(|(_, records)| records).sum::<u64>() <= u64::from(n));
            prop_assert!(log.synced() <= log.committed() && log.committed() <= log.written());
            let stuck = log.committed() < log.written() && syncing.is_none();
            prop_assert!(!stuck || log.next_sync(Instant(now)).is_some(), "what waits for a sync gets one");
        }
    }
}
