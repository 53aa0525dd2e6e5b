//! Histograms as the files that the usual viewers open: `.hgrm` percentiles, `.hlog` intervals.

use std::io::{self, Write};
use std::time::{Duration, UNIX_EPOCH};

use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

/// Steps between each halving of the distance to 100 %.
const STEPS: u32 = 5;

/// One line of an interval log.
#[derive(Debug)]
pub struct Interval<'a> {
    /// Which of several histograms it is of: no blanks, no commas. Empty for the only one.
    pub tag: &'a str,
    /// Since the log began.
    pub from: Duration,
    pub lasted: Duration,
    pub histogram: &'a Histogram<u64>,
}

/// The percentile distribution, as HdrHistogram's own tools print it. `per_unit`: values of the histogram for each
/// unit that is printed; viewers take the printed ones for milliseconds.
pub fn percentiles(out: &mut impl Write, histogram: &Histogram<u64>, per_unit: f64) -> io::Result<()> {
    write!(out, "{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)")?;
    let mut count = 0;
    for step in histogram.iter_quantiles(STEPS) {
        count += step.count_since_last_iteration();
        let (value, quantile) = (step.value_iterated_to() as f64 / per_unit, step.quantile_iterated_to());
        if quantile < 1.0 {
            writeln!(out, "{value:>12.6} {quantile:>14.12} {count:>10} {:>14.2}", 1.0 / (1.0 - quantile))?;
        } else {
            writeln!(out, "{value:>12.6} {quantile:>14.12} {count:>10}")?;
        }
    }
    let (mean, deviation) = (histogram.mean() / per_unit, histogram.stdev() / per_unit);
    writeln!(out, "#[Mean    = {mean:>12.6}, StdDeviation   = {deviation:>12.6}]")?;
    writeln!(
        out,
        "#[Max     = {:>12.6}, Total count    = {:>12}]",
        histogram.max() as f64 / per_unit,
        histogram.len()
    )?;
    writeln!(out, "#[Buckets = {:>12}, SubBuckets     = {:>12}]", histogram.buckets(), sub_buckets(histogram))
}

/// The power of two that tells apart 2 x 10^digits values.
fn sub_buckets(histogram: &Histogram<u64>) -> u64 {
    (2 * 10u64.pow(histogram.sigfig().into())).next_power_of_two()
}

/// One line for each interval. `began` is since 1970.
pub fn intervals<'a>(
    out: &mut impl Write,
    comment: &str,
    began: Duration,
    per_unit: f64,
    intervals: impl IntoIterator<Item = Interval<'a>>,
) -> io::Result<()> {
    let mut serializer = V2DeflateSerializer::new();
    let mut builder = IntervalLogWriterBuilder::new();
    let began = UNIX_EPOCH + began;
    builder.with_start_time(began).with_base_time(began).with_max_value_divisor(per_unit);
    builder.add_comment(comment);
    let mut log = builder.begin_log_with(out, &mut serializer)?;
    for Interval { tag, from, lasted, histogram } in intervals {
        let written = log.write_histogram(histogram, from, lasted, Tag::new(tag).filter(|_| !tag.is_empty()));
        written.map_err(|error| io::Error::other(format!("{error:?}")))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    use super::*;

    fn some() -> Histogram<u64> {
        let mut histogram = Histogram::new_with_bounds(1, 3_600_000_000_000, 3).unwrap();
        (1..=1000u64).for_each(|step| histogram.record(step * 1000).unwrap());
        histogram
    }

    #[test]
    fn percentiles_have_the_usual_columns_and_end_with_everything() {
        let mut out = Vec::new();
        percentiles(&mut out, &some(), 1e6).unwrap();
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
    fn a_histogram_of_nothing_is_written_too() {
        let mut out = Vec::new();
        percentiles(&mut out, &Histogram::new_with_bounds(1, 100, 2).unwrap(), 1e3).unwrap();
        assert!(String::from_utf8(out).unwrap().contains("Total count    =            0]"));
    }

    #[test]
    fn the_interval_log_reads_back_with_its_tags() {
        let histogram = some();
        let second = |at| Duration::from_secs(at);
        let line = |(at, tag)| Interval { tag, from: second(at), lasted: second(1), histogram: &histogram };
        let mut out = Vec::new();
        intervals(&mut out, "[said]", second(1_700_000_000), 1e6, [(0, ""), (1, "wal_sync")].map(line)).unwrap();
        let mut tags = Vec::new();
        for entry in IntervalLogIterator::new(&out) {
            if let Ok(LogEntry::Interval(interval)) = entry {
                let bytes =
                    base64::Engine::decode(&base64::engine::general_purpose::STANDARD, interval.encoded_histogram());
                let read: Histogram<u64> = Deserializer::new().deserialize(&mut bytes.unwrap().as_slice()).unwrap();
                assert_eq!(read, histogram);
                tags.push(interval.tag().map(|tag| tag.as_str().to_owned()));
            }
        }
        assert_eq!(tags, [None, Some("wal_sync".into())]);
    }
}
