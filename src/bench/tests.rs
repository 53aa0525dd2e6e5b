//! Whole runs, against the bare relay.

use std::time::Duration;

use super::cpu::Usage;
use super::dialect::relay::Relay;
use super::floor::relay::BareRelay;
use super::load::{Outcome, Watcher, run};
use super::workload::{Pace, Stop, Workload, small};

struct Nobody;

impl Watcher for Nobody {
    fn broker(&self) -> Option<Usage> {
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
