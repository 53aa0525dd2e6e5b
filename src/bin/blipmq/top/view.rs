//! How it looks. Draws what it is given, and knows nothing else.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style, Stylize};
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Row, Table};

use super::figures::{Latency, Shard, Topic, Totals, View};

/// Latencies are few; shards take what they need of the rest, and topics what is left.
pub fn draw(frame: &mut Frame<'_>, view: &View) {
    let shards = view.shards.len() as u16 + 2;
    let latencies = view.latencies.len() as u16 + 2;
    let areas = Layout::vertical([
        Constraint::Length(6),
        Constraint::Length(latencies),
        Constraint::Length(shards),
        Constraint::Min(0),
    ])
    .split(frame.area());
    frame.render_widget(Paragraph::new(head(view)), areas[0]);
    draw_latencies(frame, areas[1], &view.latencies);
    draw_shards(frame, areas[2], &view.shards);
    draw_topics(frame, areas[3], &view.topics);
}

fn head(view: &View) -> Vec<Line<'static>> {
    let Totals { published, delivered, settled, redelivered, dropped, refused, .. } = view.totals;
    let t = &view.totals;
    let state = match (view.draining, t.wal_full > 0.0) {
        (true, _) => "draining",
        (_, true) => "full: QoS 1 is refused",
        _ => "serving",
    };
    vec![
        Line::from(format!("BlipMQ {}   up {}   {state}", view.version, spoken_time(view.uptime_s))).bold(),
        Line::from(format!(
            "{} published   {} delivered   {} acknowledged",
            per_second(published),
            per_second(delivered),
            per_second(settled)
        )),
        Line::from(format!(
            "{} redelivered   {} dropped   {} refused   {} in flight   {} lag",
            per_second(redelivered),
            per_second(dropped),
            per_second(refused),
            count(t.in_flight),
            count(t.lag)
        )),
        Line::from(format!(
            "network {}/s in, {}/s out   log {}/s, {}   {} open of {} connections",
            bytes(t.bytes_in),
            bytes(t.bytes_out),
            bytes(t.wal_bytes),
            per_second(t.syncs) + " syncs",
            count(t.connections),
            count(t.connections_max)
        )),
        Line::from(format!(
            "messages in memory {} of {}   process {}   log on disk {}   disk free {}",
            bytes(t.memory),
            bytes(t.memory_max),
            bytes(t.resident),
            bytes(t.wal_disk),
            bytes(t.disk_free)
        )),
    ]
}

fn draw_latencies(frame: &mut Frame<'_>, area: Rect, latencies: &[Latency]) {
    let row = |l: &Latency| {
        let [p50, p99, p99_9, max] = [l.p50, l.p99, l.p99_9, l.max].map(time);
        Row::new([l.path.clone(), per_second(l.per_second), p50, p99, p99_9, max])
    };
    let head = ["latency since the start", "samples", "p50", "p99", "p99.9", "max"];
    table(frame, area, head, [26, 14, 12, 12, 12, 12], latencies.iter().map(row));
}

fn draw_shards(frame: &mut Frame<'_>, area: Rect, shards: &[Shard]) {
    let row = |s: &Shard| {
        let state = if s.answered { format!("{:.0} %", s.busy) } else { "silent".into() };
        let row = Row::new([
            s.shard.to_string(),
            state,
            per_second(s.published),
            per_second(s.delivered),
            count(s.in_flight),
            count(s.lag),
            bytes(s.backlog),
            format!("{:.0} ms", s.stalled_ms),
        ]);
        if s.answered { row } else { row.red() }
    };
    let head = ["shard", "busy", "published", "delivered", "in flight", "lag", "to write", "last sign of life"];
    table(frame, area, head, [8, 9, 14, 14, 12, 12, 12, 18], shards.iter().map(row));
}

fn draw_topics(frame: &mut Frame<'_>, area: Rect, topics: &[Topic]) {
    let row = |t: &Topic| {
        Row::new([
            t.topic.clone(),
            t.shard.to_string(),
            per_second(t.published),
            count(t.messages),
            count(t.subscriptions),
            bytes(t.memory),
        ])
    };
    let head = ["topic", "shard", "published", "messages kept", "subscriptions", "memory"];
    table(frame, area, head, [40, 7, 14, 15, 15, 12], topics.iter().map(row));
}

fn table<'a, const N: usize>(
    frame: &mut Frame<'_>,
    area: Rect,
    head: [&'static str; N],
    widths: [u16; N],
    rows: impl Iterator<Item = Row<'a>>,
) {
    let head = Row::new(head).style(Style::new().add_modifier(Modifier::REVERSED));
    let table = Table::new(rows, widths.map(Constraint::Length)).header(head).column_spacing(1);
    frame.render_widget(table, area);
}

fn per_second(rate: f64) -> String {
    match rate {
        rate if rate >= 1e6 => format!("{:.2} M/s", rate / 1e6),
        rate if rate >= 1e3 => format!("{:.2} k/s", rate / 1e3),
        rate => format!("{rate:.0} /s"),
    }
}

fn count(number: f64) -> String {
    match number {
        number if number >= 1e7 => format!("{:.1} M", number / 1e6),
        number if number >= 1e5 => format!("{:.1} k", number / 1e3),
        number => format!("{number:.0}"),
    }
}

fn bytes(number: f64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut number, mut unit) = (number, 0);
    while number >= 1024.0 && unit + 1 < UNITS.len() {
        number /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{number:.0} B") } else { format!("{number:.1} {}", UNITS[unit]) }
}

/// Microseconds.
fn time(us: f64) -> String {
    match us {
        us if us >= 1e6 => format!("{:.2} s", us / 1e6),
        us if us >= 1e3 => format!("{:.1} ms", us / 1e3),
        us => format!("{us:.0} us"),
    }
}

fn spoken_time(seconds: f64) -> String {
    let seconds = seconds as u64;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_long_as_they_need_to_be() {
        assert_eq!([5.0, 1200.0, 3e6].map(per_second), ["5 /s", "1.20 k/s", "3.00 M/s"]);
        assert_eq!([5.0, 250_000.0].map(count), ["5", "250.0 k"]);
        assert_eq!([512.0, 2048.0, 5e9].map(bytes), ["512 B", "2.0 KiB", "4.7 GiB"]);
        assert_eq!([5.0, 1500.0, 2e6].map(time), ["5 us", "1.5 ms", "2.00 s"]);
        assert_eq!([5.0, 90_000.0].map(spoken_time), ["5 s", "1 d 1 h"]);
    }
}
