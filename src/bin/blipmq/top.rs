//! `blipmq top`: what a broker does, as it does it.

mod figures;
mod view;

use std::io::{IsTerminal, stdout};
use std::time::{Duration, Instant};

use clap::Args;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};

use super::duration;
use super::failure::Failure;
use super::http::{Call, Listener};
use super::output::Output;
use figures::{Answers, Sample, View};

/// Watch a broker: shards, topics, rates and latencies; q ends it
#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    listener: Listener,
    /// Between two looks; rates are over this time
    #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "1s")]
    interval: Duration,
    /// Print one frame as text and end; so it does when its output is no terminal
    #[arg(long)]
    once: bool,
}

/// Of a frame that is printed.
const WIDTH: u16 = 110;
const HEIGHT: u16 = 48;
/// Topics that are looked at; those with the most traffic are shown.
const TOPICS_MAX: u32 = 1000;

pub fn run(arguments: &Arguments, output: &mut Output) -> Result<(), Failure> {
    let first = look(&arguments.listener)?;
    if output.is_json() || arguments.once || !stdout().is_terminal() {
        std::thread::sleep(arguments.interval);
        let view = View::between(&first, &look(&arguments.listener)?);
        return match output.is_json() {
            true => output.object(&view.json()),
            false => output.raw(printed(&view)?.as_bytes()),
        };
    }
    let mut terminal = ratatui::try_init()?;
    let watched = watch(arguments, first, &mut terminal);
    ratatui::try_restore()?;
    watched
}

/// Until somebody has seen enough. A broker that does not answer is told once it is a failure.
fn watch(arguments: &Arguments, mut last: Sample, terminal: &mut ratatui::DefaultTerminal) -> Result<(), Failure> {
    let mut view = View::between(&last, &last);
    loop {
        terminal.draw(|frame| view::draw(frame, &view))?;
        if wait(arguments.interval)? {
            return Ok(());
        }
        let next = look(&arguments.listener)?;
        view = View::between(&last, &next);
        last = next;
    }
}

/// True when it is to end.
fn wait(interval: Duration) -> Result<bool, Failure> {
    let until = Instant::now() + interval;
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        if !event::poll(left)? {
            continue;
        }
        if let Event::Key(key) = event::read()? {
            let interrupted = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
            let enough = matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) || interrupted;
            if key.kind == KeyEventKind::Press && enough {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn look(listener: &Listener) -> Result<Sample, Failure> {
    let ask = |path: &str| listener.ask(&Call::get(path));
    let answers = Answers {
        metrics: ask("/metrics")?,
        shards: ask("/debug/shards")?,
        topics: ask(&format!("/api/v1/topics?limit={TOPICS_MAX}"))?,
        latency: ask("/debug/latency")?,
    };
    Sample::read(&answers, Instant::now()).map_err(Failure::Local)
}

/// The frame as text, without blank lines at its end.
fn printed(view: &View) -> Result<String, Failure> {
    let mut terminal = Terminal::new(TestBackend::new(WIDTH, HEIGHT))?;
    terminal.draw(|frame| view::draw(frame, view))?;
    let buffer = terminal.backend().buffer();
    let line = |y| {
        let cells = (0..WIDTH).map(|x| buffer[(x, y)].symbol());
        cells.collect::<String>().trim_end().to_owned()
    };
    let text = (0..HEIGHT).map(line).collect::<Vec<_>>().join("\n");
    Ok(text.trim_end().to_owned() + "\n")
}

#[cfg(test)]
mod tests {
    use super::figures::canned;
    use super::*;

    #[test]
    fn a_frame_shows_shards_topics_rates_and_latencies() {
        let (before, after) = canned();
        let text = printed(&View::between(&before, &after)).unwrap();
        for part in [
            "1.20 k/s published",
            "2.40 k/s delivered",
            "3 open of 500",
            "shard",
            "50 %",
            "orders.eu",
            "600 /s",
            "publish_ack",
            "1.5 ms",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert!(text.lines().all(|line| line.chars().count() <= usize::from(WIDTH)));
        let busy = text.find("orders.eu").unwrap();
        assert!(busy < text.find("orders.us").unwrap(), "the busiest topic comes first\n{text}");
    }

    #[test]
    fn a_terminal_of_any_size_will_do() {
        let (before, after) = canned();
        let view = View::between(&before, &after);
        for (width, height) in [(1, 1), (20, 5), (80, 24), (300, 100)] {
            let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
            terminal.draw(|frame| view::draw(frame, &view)).unwrap();
        }
    }
}
