//! Whole runs, against the bare relay and against a broker with faults.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::cpu::Sample;
use super::dialect::Dialect;
use super::dialect::mixed::Mixed;
use super::dialect::relay::Relay;
use super::dialect::v1::V1;
use super::dialect::v2::V2;
use super::fake_broker::{FakeBroker, Faults};
use super::floor::relay::BareRelay;
use super::load::{Outcome, Watcher, run};
use super::workload::{Pace, Stop, Workload, small};
use crate::model::{Qos, Timestamp};

struct Nobody;

impl Watcher for Nobody {
    fn broker(&self) -> Option<Sample> {
        None
    }

    fn progress(&mut self, _: f64, _: u64) {}
}

fn relayed(workload: &Workload) -> Outcome {
    let relay = BareRelay::start(None).unwrap();
    run(&Relay { addr: relay.addr.clone() }, workload, "bench", &mut Nobody).unwrap()
}

fn nothing_went_wrong(outcome: &Outcome) {
    assert_eq!((outcome.lost, outcome.duplicates, outcome.reordered, outcome.foreign), (0, 0, 0, 0));
}

#[test]
fn a_counted_run_through_the_relay_delivers_exactly_that() {
    let outcome = relayed(&small());
    nothing_went_wrong(&outcome);
    assert_eq!((outcome.sent, outcome.delivered, outcome.latencies.len()), (5000, 5000, 5000));
}

#[test]
fn topics_do_not_mix_and_every_subscriber_of_one_gets_all_of_it() {
    let outcome = relayed(&Workload { publishers: 3, subscribers: 7, topics: 3, stop: Stop::Count(3000), ..small() });
    nothing_went_wrong(&outcome);
    // Topic 0 has three subscribers, the others two.
    assert_eq!((outcome.sent, outcome.delivered), (3000, 7000));
}

#[test]
fn an_open_loop_keeps_its_rate() {
    let stop = Stop::After(Duration::from_millis(300));
    let pace = Pace::Open { rate: 20_000.0 };
    let outcome = relayed(&Workload { publishers: 2, topics: 2, subscribers: 2, batch: 1, pace, stop, ..small() });
    nothing_went_wrong(&outcome);
    let rate = outcome.delivered as f64 / outcome.seconds;
    assert!((15_000.0..25_000.0).contains(&rate), "{rate}");
}

#[test]
fn a_timed_run_is_cut_into_intervals_that_add_up() {
    let stop = Stop::After(Duration::from_millis(500));
    let outcome = relayed(&Workload { stop, warmup: Duration::from_millis(50), size: 4096, ..small() });
    nothing_went_wrong(&outcome);
    assert!(outcome.intervals.len() >= 3);
    assert_eq!(outcome.intervals.iter().map(|interval| interval.delivered).sum::<u64>(), outcome.delivered);
    assert!(outcome.sent >= outcome.delivered && outcome.delivered > 0);
}

fn through(broker: &FakeBroker, dialect: &dyn Dialect, workload: &Workload) -> Outcome {
    assert!(broker.addr.starts_with("127."));
    run(dialect, workload, "bench", &mut Nobody).unwrap()
}

fn v2(broker: &FakeBroker) -> V2 {
    V2 { addr: broker.addr.clone(), key: "right".into(), tls: None, wall: Timestamp(5) }
}

fn v1(broker: &FakeBroker) -> V1 {
    V1 { addr: broker.addr.clone(), key: "right".into(), tls: None }
}

fn acknowledged() -> Workload {
    Workload { qos: Qos::AtLeastOnce, durable: true, ..small() }
}

#[test]
fn version_2_is_delivered_acknowledged_and_settled() {
    let broker = FakeBroker::start(Faults::default());
    let outcome = through(&broker, &v2(&broker), &acknowledged());
    nothing_went_wrong(&outcome);
    assert_eq!((outcome.delivered, outcome.acknowledged), (5000, Some(5000)));
    assert_eq!(outcome.acknowledgements.unwrap().len(), 5000);
    while broker.settled.load(Ordering::Relaxed) < 5000 {
        std::thread::yield_now();
    }
}

#[test]
fn version_1_is_polled_and_acknowledged_one_by_one() {
    let broker = FakeBroker::start(Faults::default());
    let outcome = through(&broker, &v1(&broker), &Workload { batch: 7, ..acknowledged() });
    nothing_went_wrong(&outcome);
    assert_eq!((outcome.sent, outcome.delivered, outcome.acknowledged), (5005, 5005, None));
    while broker.settled.load(Ordering::Relaxed) < 5005 {
        std::thread::yield_now();
    }
}

#[test]
fn version_1_in_is_version_2_out() {
    let broker = FakeBroker::start(Faults::default());
    let mixed = Mixed { publishers: Box::new(v1(&broker)), subscribers: Box::new(v2(&broker)) };
    let outcome = through(&broker, &mixed, &small());
    nothing_went_wrong(&outcome);
    assert_eq!(outcome.delivered, 5000);
}

fn with(faults: Faults) -> (u64, u64, u64) {
    let broker = FakeBroker::start(faults);
    let outcome = through(&broker, &v2(&broker), &small());
    (outcome.lost, outcome.duplicates, outcome.reordered)
}

#[test]
fn lost_doubled_and_late_messages_are_counted_exactly() {
    let none = Faults::default();
    assert_eq!(with(Faults { lose_every: Some(700), ..none }), (7, 0, 0));
    // 500 batches of 10.
    assert_eq!(with(Faults { double_every: Some(50), ..none }), (0, 100, 0));
    assert_eq!(with(Faults { late_every: Some(70), ..none }), (0, 0, 70));
}

#[test]
fn a_wrong_key_is_told_as_that() {
    let broker = FakeBroker::start(Faults::default());
    let wrong = V2 { key: "wrong".into(), ..v2(&broker) };
    let failure = run(&wrong, &small(), "bench", &mut Nobody).unwrap_err();
    assert_eq!(failure.exit_code(), 4);
}

#[test]
fn a_backlog_is_published_first_and_then_caught_up_with() {
    let broker = FakeBroker::start(Faults::default());
    // The slower it publishes the longer it has, on a machine that is busy with other things, to catch up.
    let caught_up = [5_000.0, 1_000.0, 200.0].into_iter().any(|rate| {
        let stop = Stop::Count(4_000);
        let workload = Workload { backlog: 2000, pace: Pace::Open { rate }, stop, ..acknowledged() };
        let outcome = through(&broker, &v2(&broker), &workload);
        nothing_went_wrong(&outcome);
        outcome.catch_up.is_some()
    });
    assert!(caught_up);
}
