//! Pictures of a results folder, as SVG: bars of throughput, curves of latency by percentile, throughput over time.

use std::fmt::Write;

use serde_json::Value;

use super::Scenario;
use crate::bench::latency::spoken;
use crate::bench::report::scaled;

const WIDTH: f64 = 900.0;
const LEFT: f64 = 230.0;
const RIGHT: f64 = 170.0;
const ROW: f64 = 22.0;
const TOP: f64 = 40.0;
/// Of a chart with axes.
const HEIGHT: f64 = 420.0;
/// Told apart by most eyes.
const COLORS: [&str; 8] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999"];

/// One bar a scenario, with a mark from the smallest pass to the largest.
pub fn throughput(scenarios: &[Scenario]) -> String {
    let rows: Vec<_> =
        scenarios.iter().filter_map(|one| Some((&one.name, one.spread("/messages_per_second")?))).collect();
    let most = rows.iter().map(|(_, spread)| spread.max).fold(1.0, f64::max);
    let x = |rate: f64| LEFT + (WIDTH - LEFT - RIGHT) * rate / most;
    let mut svg = Svg::new(TOP + ROW * rows.len() as f64 + 10.0, "Messages per second, median of the passes");
    for (index, (name, spread)) in rows.iter().enumerate() {
        let y = TOP + ROW * index as f64;
        svg.text(LEFT - 8.0, y + 14.0, "end", name);
        svg.rect(LEFT, y + 3.0, x(spread.median) - LEFT, ROW - 8.0, COLORS[0]);
        svg.line(&[(x(spread.min), y + ROW / 2.0 - 1.0), (x(spread.max), y + ROW / 2.0 - 1.0)], "#000000");
        svg.text(x(spread.max) + 6.0, y + 14.0, "start", &scaled(spread.median));
    }
    svg.end()
}

/// Percentile across, by how many nines; latency up, by powers of ten.
pub fn latency(scenarios: &[Scenario]) -> String {
    const STEPS: [&str; 7] = ["p50", "p90", "p95", "p99", "p99.9", "p99.99", "max"];
    let curves: Vec<(String, Vec<f64>)> = scenarios
        .iter()
        .filter_map(|one| {
            let pass = one.median_pass()?;
            let values: Option<Vec<f64>> = STEPS.iter().map(|step| pass["latency_ns"][*step].as_f64()).collect();
            Some((one.name.clone(), values.filter(|values| values.iter().all(|value| *value > 0.0))?))
        })
        .collect();
    let all = || curves.iter().flat_map(|(_, values)| values);
    let low = all().copied().fold(f64::MAX, f64::min).log10().floor();
    let high = all().copied().fold(0.0, f64::max).max(10.0).log10().ceil().max(low + 1.0);
    let x = |step: usize| 70.0 + (WIDTH - 70.0 - RIGHT - 60.0) * step as f64 / (STEPS.len() - 1) as f64;
    let y = |value: f64| HEIGHT - 40.0 - (HEIGHT - 40.0 - TOP) * (value.log10() - low) / (high - low);
    let mut svg = Svg::new(HEIGHT.max(TOP + 16.0 * curves.len() as f64 + 20.0), "Latency by percentile");
    if curves.is_empty() {
        return svg.end();
    }
    for power in low as i32..=high as i32 {
        let value = 10f64.powi(power);
        svg.line(&[(x(0), y(value)), (x(STEPS.len() - 1), y(value))], "#dddddd");
        svg.text(x(0) - 6.0, y(value) + 4.0, "end", &spoken(value as u64));
    }
    for (step, name) in STEPS.iter().enumerate() {
        svg.text(x(step), HEIGHT - 20.0, "middle", name);
    }
    for (index, (name, values)) in curves.iter().enumerate() {
        let points: Vec<_> = values.iter().enumerate().map(|(step, value)| (x(step), y(*value))).collect();
        svg.curve(index, &points, name);
    }
    svg.end()
}

/// The pass with the middle throughput of each scenario, each against its own mean: what varies shows.
pub fn over_time(scenarios: &[Scenario]) -> String {
    let curves: Vec<(String, Vec<(f64, f64)>)> =
        scenarios.iter().filter_map(|one| Some((one.name.clone(), relative(one.median_pass()?)?))).collect();
    let longest = curves.iter().flat_map(|(_, points)| points).map(|(at, _)| *at).fold(1.0, f64::max);
    let x = |at: f64| 70.0 + (WIDTH - 70.0 - RIGHT - 60.0) * at / longest;
    let y = |share: f64| HEIGHT - 40.0 - (HEIGHT - 40.0 - TOP) * (share / 2.0).min(1.0);
    let mut svg = Svg::new(
        HEIGHT.max(TOP + 16.0 * curves.len() as f64 + 20.0),
        "Throughput over time, each run against its mean",
    );
    for percent in [0, 50, 100, 150, 200] {
        let at = y(f64::from(percent) / 100.0);
        svg.line(&[(x(0.0), at), (x(longest), at)], "#dddddd");
        svg.text(x(0.0) - 6.0, at + 4.0, "end", &format!("{percent} %"));
    }
    svg.text(x(longest), HEIGHT - 20.0, "end", &format!("{longest:.1} s"));
    for (index, (name, points)) in curves.iter().enumerate() {
        let points: Vec<_> = points.iter().map(|(at, share)| (x(*at), y(*share))).collect();
        svg.curve(index, &points, name);
    }
    svg.end()
}

/// Figures over time, each curve against its own largest value: what grows shows.
pub fn curves(title: &str, curves: &[(String, Vec<(f64, f64)>)]) -> String {
    let longest = curves.iter().flat_map(|(_, points)| points).map(|(at, _)| *at).fold(1.0, f64::max);
    let x = |at: f64| 70.0 + (WIDTH - 70.0 - RIGHT - 60.0) * at / longest;
    let y = |share: f64| HEIGHT - 40.0 - (HEIGHT - 40.0 - TOP) * share;
    let mut svg = Svg::new(HEIGHT.max(TOP + 16.0 * curves.len() as f64 + 20.0), title);
    for percent in [0, 25, 50, 75, 100] {
        let at = y(f64::from(percent) / 100.0);
        svg.line(&[(x(0.0), at), (x(longest), at)], "#dddddd");
        svg.text(x(0.0) - 6.0, at + 4.0, "end", &format!("{percent} %"));
    }
    svg.text(x(longest), HEIGHT - 20.0, "end", &format!("{longest:.0} s"));
    for (index, (name, points)) in curves.iter().enumerate() {
        let most = points.iter().map(|(_, figure)| *figure).fold(0.0, f64::max);
        let share = |figure: f64| if most > 0.0 { figure / most } else { 0.0 };
        let points: Vec<_> = points.iter().map(|(at, figure)| (x(*at), y(share(*figure)))).collect();
        svg.curve(index, &points, &format!("{name}, {}", scaled(most)));
    }
    svg.end()
}

fn relative(pass: &Value) -> Option<Vec<(f64, f64)>> {
    let intervals = pass["intervals"].as_array()?;
    let first = intervals.first()?["from"].as_f64()?;
    let mean = pass["messages_per_second"].as_f64().filter(|mean| *mean > 0.0)?;
    let point =
        |interval: &Value| Some((interval["from"].as_f64()? - first, interval["messages_per_second"].as_f64()? / mean));
    intervals.iter().map(point).collect()
}

struct Svg(String);

impl Svg {
    fn new(height: f64, title: &str) -> Svg {
        let mut svg = Svg(format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height:.0}\" font-family=\"sans-serif\" \
             font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
        ));
        svg.text(WIDTH / 2.0, 22.0, "middle", title);
        svg
    }

    fn text(&mut self, x: f64, y: f64, anchor: &str, text: &str) {
        let text = text.replace('&', "&amp;").replace('<', "&lt;");
        let _ = writeln!(self.0, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>");
    }

    fn rect(&mut self, x: f64, y: f64, width: f64, height: f64, color: &str) {
        let _ = writeln!(
            self.0,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{color}\"/>"
        );
    }

    fn line(&mut self, points: &[(f64, f64)], color: &str) {
        let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(
            self.0,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"1.5\"/>",
            points.join(" ")
        );
    }

    /// A curve and its name in the legend.
    fn curve(&mut self, index: usize, points: &[(f64, f64)], name: &str) {
        let color = COLORS[index % COLORS.len()];
        self.line(points, color);
        let y = TOP + 16.0 * index as f64;
        self.rect(WIDTH - RIGHT - 45.0, y - 4.0, 12.0, 3.0, color);
        self.text(WIDTH - RIGHT - 28.0, y, "start", name);
    }

    fn end(mut self) -> String {
        self.0.push_str("</svg>\n");
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn pictures_have_every_scenario_and_end() {
        let scenarios = [sample("qos0 <1>", &[12e6, 10e6]), sample("durable", &[4e6])];
        for picture in [throughput(&scenarios), latency(&scenarios), over_time(&scenarios)] {
            assert!(picture.contains("qos0 &lt;1>") && picture.contains("durable") && picture.ends_with("</svg>\n"));
            assert!(!picture.contains("NaN") && !picture.contains("inf"), "{picture}");
        }
        assert!(latency(&[]).ends_with("</svg>\n"));
        let drawn = curves("fds <1>", &[("fds".to_owned(), vec![(0.0, 1.0), (1.0, 2.0)]), ("none".to_owned(), vec![])]);
        assert!(drawn.contains("fds &lt;1>") && !drawn.contains("NaN"), "{drawn}");
    }
}
