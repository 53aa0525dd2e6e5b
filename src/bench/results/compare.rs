//! Two results folders side by side: what changed, and whether by more than the passes differ among themselves.

use std::fmt::Write;

use super::{Scenario, Spread};
use crate::bench::latency::spoken;
use crate::bench::report::scaled;

/// A figure that is compared.
struct Figure {
    title: &'static str,
    pointer: &'static str,
    more_is_better: bool,
    said: fn(f64) -> String,
}

const FIGURES: [Figure; 4] = [
    Figure { title: "msg/s", pointer: "/messages_per_second", more_is_better: true, said: scaled },
    Figure {
        title: "CPU ns/msg",
        pointer: "/broker_cpu_ns_per_message/total",
        more_is_better: false,
        said: |nanos| format!("{nanos:.0}"),
    },
    Figure { title: "p50", pointer: "/latency_ns/p50", more_is_better: false, said: |nanos| spoken(nanos as u64) },
    Figure { title: "p99", pointer: "/latency_ns/p99", more_is_better: false, said: |nanos| spoken(nanos as u64) },
];

/// Medians that move by less than this are the same, whatever the spread.
const NOISE: f64 = 0.02;

/// A Markdown table of all scenarios that both have, then what only one has.
pub fn page(before: &[Scenario], after: &[Scenario]) -> String {
    let mut out = String::from("| scenario | figure | before | after | change | |\n|---|---|--:|--:|--:|---|\n");
    for one in before {
        let Some(other) = after.iter().find(|other| other.name == one.name) else { continue };
        for figure in &FIGURES {
            if let Some((before, after)) = one.spread(figure.pointer).zip(other.spread(figure.pointer)) {
                row(&mut out, &one.name, figure, before, after);
            }
        }
    }
    let missing = |from: &[Scenario], of: &[Scenario]| -> Vec<String> {
        let has = |name: &str| from.iter().any(|scenario| scenario.name == name);
        of.iter().filter(|scenario| !has(&scenario.name)).map(|scenario| scenario.name.clone()).collect()
    };
    for (what, names) in [("before", missing(after, before)), ("after", missing(before, after))] {
        if !names.is_empty() {
            let _ = writeln!(out, "\nOnly {what}: {}.", names.join(", "));
        }
    }
    out
}

fn row(out: &mut String, name: &str, figure: &Figure, before: Spread, after: Spread) {
    let change = after.median / before.median - 1.0;
    let _ = writeln!(
        out,
        "| {name} | {} | {} | {} | {:+.1} % | {} |",
        figure.title,
        (figure.said)(before.median),
        (figure.said)(after.median),
        change * 100.0,
        verdict(figure.more_is_better, before, after)
    );
}

/// Only spreads that do not touch are a difference: this is what repeated passes can honestly tell.
fn verdict(more_is_better: bool, before: Spread, after: Spread) -> &'static str {
    let small = (after.median / before.median - 1.0).abs() < NOISE;
    let touch = before.min <= after.max && after.min <= before.max;
    match (small || touch, (after.median > before.median) == more_is_better) {
        (true, _) => "",
        (false, true) => "better",
        (false, false) => "WORSE",
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn only_spreads_that_do_not_touch_are_a_difference() {
        let before = [sample("same", &[10.0, 12.0]), sample("up", &[10.0, 11.0]), sample("gone", &[1.0])];
        let after = [sample("same", &[11.0, 14.0]), sample("up", &[20.0, 22.0]), sample("new", &[1.0])];
        let page = page(&before, &after);
        assert!(page.contains("| same | msg/s | 11 | 12 | +13.6 % |  |"), "{page}");
        assert!(page.contains("| up | msg/s | 10 | 21 | +100.0 % | better |"), "{page}");
        assert!(page.contains("Only before: gone.") && page.contains("Only after: new."), "{page}");
        assert_eq!(
            verdict(false, Spread { min: 1.0, median: 1.0, max: 1.0 }, Spread { min: 2.0, median: 2.0, max: 2.0 }),
            "WORSE"
        );
    }
}
