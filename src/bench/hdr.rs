//! A run's latencies as files: `.hgrm` percentiles in milliseconds, `.hlog` intervals.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::latency::{Interval, Latencies};
use crate::model::hdr;

/// Nanoseconds of a millisecond.
const MILLI: f64 = 1e6;

/// Writes `<file>.hgrm` and `<file>.hlog`, whatever extension `file` has.
pub fn write(file: &Path, latencies: &Latencies, intervals: &[Interval], began: SystemTime) -> io::Result<()> {
    write_percentiles(file, latencies)?;
    let mut out = BufWriter::new(File::create(named(file, "hlog"))?);
    interval_log(&mut out, intervals, began)?;
    out.flush()
}

/// Writes `<file>.hgrm` alone.
pub fn write_percentiles(file: &Path, latencies: &Latencies) -> io::Result<()> {
    let mut out = BufWriter::new(File::create(named(file, "hgrm"))?);
    percentiles(&mut out, latencies)?;
    out.flush()
}

/// `file` with another extension; dots in its name that are none are kept.
pub fn named(file: &Path, extension: &str) -> PathBuf {
    let known = file.extension().is_some_and(|extension| extension == "hgrm" || extension == "hlog");
    let stem = if known { file.with_extension("") } else { file.to_owned() };
    PathBuf::from(format!("{}.{extension}", stem.display()))
}

/// In milliseconds.
fn percentiles(out: &mut impl Write, latencies: &Latencies) -> io::Result<()> {
    hdr::percentiles(out, latencies, MILLI)
}

/// One line for each interval, its maximum in milliseconds.
fn interval_log(out: &mut impl Write, intervals: &[Interval], began: SystemTime) -> io::Result<()> {
    let lines = intervals.iter().map(|Interval { from, to, latencies, .. }| hdr::Interval {
        tag: "",
        from: Duration::from_nanos(*from),
        lasted: Duration::from_nanos(to.saturating_sub(*from)),
        histogram: latencies,
    });
    let comment = "[Latencies in nanoseconds, from sent or to be sent to delivered; maxima in milliseconds]";
    hdr::intervals(out, comment, began.duration_since(UNIX_EPOCH).unwrap_or_default(), MILLI, lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_get_their_extensions() {
        assert_eq!(named(Path::new("a/run.hgrm"), "hlog"), Path::new("a/run.hlog"));
        assert_eq!(named(Path::new("a/run-1.5k"), "hgrm"), Path::new("a/run-1.5k.hgrm"));
    }
}
