//! Histograms as files that the usual viewers open: `.hgrm` percentiles in milliseconds, `.hlog` intervals.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::IntervalLogWriterBuilder;

use super::latency::{Interval, Latencies};

/// Nanoseconds of a millisecond.
const MILLI: f64 = 1e6;
/// Steps between each halving of the distance to 100 %.
const STEPS: u32 = 5;

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

/// The percentile distribution, as HdrHistogram's own tools print it.
pub fn percentiles(out: &mut impl Write, latencies: &Latencies) -> io::Result<()> {
    write!(out, "{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)")?;
    for step in latencies.iter_quantiles(STEPS) {
        let (value, quantile) = (step.value_iterated_to() as f64 / MILLI, step.quantile_iterated_to());
        let count = latencies.count_between(0, step.value_iterated_to());
        if quantile < 1.0 {
            writeln!(out, "{value:>12.6} {quantile:>14.12} {count:>10} {:>14.2}", 1.0 / (1.0 - quantile))?;
        } else {
            writeln!(out, "{value:>12.6} {quantile:>14.12} {count:>10}")?;
        }
    }
    let (mean, deviation) = (latencies.mean() / MILLI, latencies.stdev() / MILLI);
    writeln!(out, "#[Mean    = {mean:>12.6}, StdDeviation   = {deviation:>12.6}]")?;
    writeln!(out, "#[Max     = {:>12.6}, Total count    = {:>12}]", latencies.max() as f64 / MILLI, latencies.len())?;
    writeln!(out, "#[Buckets = {:>12}, SubBuckets     = {:>12}]", latencies.buckets(), sub_buckets(latencies))
}

/// Of three digits: the power of two that tells apart 2 x 10^digits values.
fn sub_buckets(latencies: &Latencies) -> u64 {
    (2 * 10u64.pow(latencies.sigfig().into())).next_power_of_two()
}

/// One line for each interval, its maximum in milliseconds.
pub fn interval_log(out: &mut impl Write, intervals: &[Interval], began: SystemTime) -> io::Result<()> {
    let mut serializer = V2DeflateSerializer::new();
    let mut builder = IntervalLogWriterBuilder::new();
    builder.with_start_time(began).with_base_time(began).with_max_value_divisor(MILLI);
    builder.add_comment("[Latencies in nanoseconds, from sent or to be sent to delivered; maxima in milliseconds]");
    let mut log = builder.begin_log_with(out, &mut serializer)?;
    for interval in intervals {
        let (from, to) = (Duration::from_nanos(interval.from), Duration::from_nanos(interval.to));
        let written = log.write_histogram(&interval.latencies, from, to.saturating_sub(from), None);
        written.map_err(|error| io::Error::other(format!("{error:?}")))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    use super::super::latency;
    use super::*;

    fn some() -> Latencies {
        let mut latencies = latency::empty();
        (1..=1000u64).for_each(|step| latencies.record(step * 1000).unwrap());
        latencies
    }

    #[test]
    fn percentiles_have_the_usual_columns_and_end_with_everything() {
        let mut out = Vec::new();
        percentiles(&mut out, &some()).unwrap();
        let text = String::from_utf8(out).unwrap();
        let rows: Vec<Vec<&str>> = text.lines().skip(2).map(|line| line.split_whitespace().collect()).collect();
        let half = rows.iter().find(|row| row[1].starts_with("0.5")).unwrap();
        assert_eq!((half[2], half[3]), ("500", "2.00"));
        let last = rows.iter().rfind(|row| row[1] == "1.000000000000").unwrap();
        assert_eq!((last[2], last.len()), ("1000", 3));
        assert!(text.ends_with("SubBuckets     =         2048]\n"));
        assert!(text.contains("Total count    =         1000]"));
    }

    #[test]
    fn the_interval_log_reads_back() {
        let intervals = [0, 1].map(|at| Interval {
            from: at * 1_000_000,
            to: (at + 1) * 1_000_000,
            delivered: 1000,
            latencies: some(),
        });
        let mut out = Vec::new();
        interval_log(&mut out, &intervals, SystemTime::now()).unwrap();
        let mut read = 0;
        for entry in IntervalLogIterator::new(&out) {
            if let Ok(LogEntry::Interval(interval)) = entry {
                let bytes =
                    base64::Engine::decode(&base64::engine::general_purpose::STANDARD, interval.encoded_histogram());
                let latencies: Latencies = Deserializer::new().deserialize(&mut bytes.unwrap().as_slice()).unwrap();
                assert_eq!(latencies, some());
                read += 1;
            }
        }
        assert_eq!(read, 2);
    }

    #[test]
    fn names_get_their_extensions() {
        assert_eq!(named(Path::new("a/run.hgrm"), "hlog"), Path::new("a/run.hlog"));
        assert_eq!(named(Path::new("a/run-1.5k"), "hgrm"), Path::new("a/run-1.5k.hgrm"));
    }
}
