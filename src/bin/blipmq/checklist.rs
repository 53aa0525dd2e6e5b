//! `blipmq checklist`: whether this machine and these programs keep what the manual promises.

mod chaos;
mod configuration;
mod limits;
mod line;
mod performance;
mod reliability;
mod security;
mod shutdown;
mod site;
mod watching;

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::failure::Failure;
use super::output::Output;
use line::{Line, No};
use site::Site;

/// Go through the readiness checklist on this machine, with brokers of its own; takes a minute or two
///
/// Prints pass, fail or skipped for each line, why, and the command by which to repeat it. Exits with 1 if a line
/// fails. What takes an hour, a second machine or a disk of its own is skipped and says so: see the page `checklist` of
/// the manual.
#[derive(Args)]
pub struct Arguments {
    /// Only these sections, such as 1,7
    #[arg(long, value_name = "SECTIONS", value_delimiter = ',', value_parser = clap::value_parser!(u8).range(1..=10))]
    only: Vec<u8>,
    /// The daemon's program [default: blipmqd beside this program]
    #[arg(long, value_name = "FILE")]
    broker: Option<PathBuf>,
    /// Where data directories are made: the filesystem that the broker is to use
    #[arg(long, value_name = "DIR", default_value = "/var/tmp")]
    data_dir: PathBuf,
}

/// The sections, in their order.
const SECTIONS: [&str; 10] = [
    "Reliability",
    "Performance",
    "Chaos",
    "Configuration",
    "Logging and metrics",
    "Security",
    "Shutdown",
    "Resource limits",
    "Full disk",
    "Corruption",
];

/// Every line, in the order of its section.
fn lines() -> impl Iterator<Item = &'static Line> {
    let all = [
        reliability::LINES,
        performance::LINES,
        chaos::LINES,
        configuration::LINES,
        watching::LINES,
        security::LINES,
        shutdown::LINES,
        limits::LINES,
        chaos::CORRUPTION,
    ];
    all.into_iter().flatten()
}

#[derive(Default)]
struct Count {
    passed: usize,
    failed: usize,
    skipped: usize,
}

pub fn run(arguments: &Arguments, output: &mut Output) -> Result<(), Failure> {
    let site = Site::new(arguments.broker.clone(), arguments.data_dir.clone())?;
    let mut count = Count::default();
    let mut section = 0;
    for line in lines().filter(|line| arguments.only.is_empty() || arguments.only.contains(&line.section)) {
        if line.section != section && !output.is_json() {
            section = line.section;
            output.line(format!("\n{section}. {}", SECTIONS[usize::from(section) - 1]).as_bytes())?;
        }
        let (result, why) = match (line.check)(&site) {
            Ok(found) => ("pass", found),
            Err(No::Fails(why)) => ("fail", why),
            Err(No::Skipped(why)) => ("skipped", why),
        };
        count.add(result);
        tell(line, result, &why, output)?;
        // A line takes seconds: whoever watches wants it now.
        output.flush()?;
    }
    finish(&count, output)
}

impl Count {
    fn add(&mut self, result: &str) {
        *match result {
            "pass" => &mut self.passed,
            "fail" => &mut self.failed,
            _ => &mut self.skipped,
        } += 1;
    }
}

fn tell(line: &Line, result: &str, why: &str, output: &mut Output) -> Result<(), Failure> {
    let Line { section, says, repeat, .. } = line;
    let object = json!({ "section": section, "line": says, "result": result, "found": why, "repeat": repeat });
    output.say(&format!("{result:<8} {says}\n         {why}\n         $ {repeat}"), &object)
}

fn finish(count: &Count, output: &mut Output) -> Result<(), Failure> {
    let Count { passed, failed, skipped } = count;
    if !output.is_json() {
        output.line(format!("\n{passed} pass, {failed} fail, {skipped} skipped").as_bytes())?;
    }
    match failed {
        0 => Ok(()),
        failed => Err(Failure::Local(format!("{failed} lines of the checklist fail"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_section_has_lines_and_every_line_can_be_repeated() {
        for section in 1..=10 {
            assert!(lines().any(|line| line.section == section), "{section}");
        }
        assert!(lines().map(|line| line.section).is_sorted());
        assert!(lines().all(|line| !line.says.is_empty() && !line.repeat.is_empty()));
    }
}
