//! A soak, written down: every sample, the verdict, the curves.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::Duration;

use super::sampler::{COLUMNS, Sample, column};
use super::{DESCRIPTORS_GROWTH_MAX, LOG_GROWTH_MAX, RSS_GROWTH_MAX, Soak};
use crate::bench::failure::Failure;
use crate::bench::machine;
use crate::bench::results::plot;
use crate::torture::verdict::Verdict;

/// The curves that are drawn, each against its own largest value.
const DRAWN: [&str; 7] = ["rss_bytes", "fds", "log_bytes", "connections", "topics", "message_bytes", "cpu_share"];

/// What there is to tell.
pub struct Report<'a> {
    pub soak: &'a Soak,
    pub samples: &'a [Sample],
    pub verdict: &'a Verdict,
    pub lived: Duration,
}

impl Report<'_> {
    /// Writes the files into a folder, which is made.
    pub fn write(&self, folder: &Path) -> Result<(), Failure> {
        fs::create_dir_all(folder)?;
        fs::write(folder.join("samples.csv"), self.csv())?;
        fs::write(folder.join("soak.svg"), self.picture())?;
        Ok(fs::write(folder.join("README.md"), self.page())?)
    }

    fn csv(&self) -> String {
        let mut csv = COLUMNS.join(",") + "\n";
        for sample in self.samples {
            let row: Vec<String> = sample.iter().map(|figure| short(*figure)).collect();
            csv += &(row.join(",") + "\n");
        }
        csv
    }

    fn picture(&self) -> String {
        let curves: Vec<_> = DRAWN.iter().map(|name| ((*name).to_owned(), column(self.samples, name))).collect();
        plot::curves("Soak: each curve against its own largest value", &curves)
    }

    fn page(&self) -> String {
        let machine = machine::describe(&self.soak.common.data_dir);
        let verdict = if self.verdict.holds() { "PASSED" } else { "FAILED" };
        let Soak { rate, lanes, cores, .. } = self.soak;
        let minutes = self.lived.as_secs_f64() / 60.0;
        let mut page = format!("# Soak: {verdict}\n\n{minutes:.1} minutes, {rate} messages a second over {lanes} ");
        let _ = writeln!(
            page,
            "topics at a time, {cores} cores; `samples.csv` has a row for each second.\n\n![The curves](soak.svg)\n\n\
             ```text\n{}\n```\n",
            self.verdict
        );
        let _ = writeln!(
            page,
            "Passed: nothing acknowledged is lost, nothing comes twice without a reason (a disconnect, a refusal, a \
             timeout), every body is as it was sent, no panic, nothing is left at the end; and over the second half \
             the middle slope of resident memory comes to at most {:.0} MiB, of descriptors to {DESCRIPTORS_GROWTH_MAX:.0}, \
             of the logs to {:.0} MiB.\n\n```json\n{machine:#}\n```",
            RSS_GROWTH_MAX / f64::from(1 << 20),
            LOG_GROWTH_MAX / f64::from(1 << 20),
        );
        page
    }
}

fn short(figure: f64) -> String {
    if figure.fract() == 0.0 { format!("{figure:.0}") } else { format!("{figure:.3}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_written_short() {
        assert_eq!((short(1e9), short(0.25), short(0.0)), ("1000000000".into(), "0.250".into(), "0".into()));
    }
}
