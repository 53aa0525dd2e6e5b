//! The broker's own latencies as files for HdrHistogram's viewers.

use std::io;
use std::time::Duration;

use crate::model::Timestamp;
use crate::model::hdr::{self, Interval};
use crate::shard::Latency;
use crate::shard::latency::Path;

/// Histograms are in microseconds, files in milliseconds: what viewers expect.
const MILLI: f64 = 1e3;
/// Dumps that are kept. Beyond: the oldest go.
pub const DUMPS_MAX: usize = 32;

/// One file to be written.
#[derive(Debug)]
pub struct File {
    pub name: String,
    pub bytes: Vec<u8>,
}

/// What is known at one moment, or was at the moment of the dump before.
#[derive(Debug, Clone, Default)]
pub struct Moment {
    pub at: Timestamp,
    pub latency: Latency,
}

/// One dump: for each path the percentiles since the start, `<time>-<path>.hgrm`, and for all of them together what
/// came since the dump before, one tagged line a path, `<time>.hlog`.
pub fn files(now: &Moment, before: &Moment) -> io::Result<Vec<File>> {
    let stamp = now.at.compact_utc();
    let mut files = Vec::new();
    for path in Path::ALL {
        let mut bytes = Vec::new();
        hdr::percentiles(&mut bytes, now.latency.of(path), MILLI)?;
        files.push(File { name: format!("{stamp}-{}.hgrm", path.name()), bytes });
    }
    files.push(File { name: format!("{stamp}.hlog"), bytes: interval(now, before)? });
    Ok(files)
}

fn interval(now: &Moment, before: &Moment) -> io::Result<Vec<u8>> {
    let ms = |moment: &Moment| Duration::from_millis(moment.at.0.max(0) as u64);
    let lasted = ms(now).saturating_sub(ms(before));
    let since = now.latency.since(&before.latency);
    let lines =
        Path::ALL.map(|path| Interval { tag: path.name(), from: Duration::ZERO, lasted, histogram: since.of(path) });
    let mut bytes = Vec::new();
    hdr::intervals(&mut bytes, "[Latencies in microseconds; maxima in milliseconds]", ms(before), MILLI, lines)?;
    Ok(bytes)
}

/// Of the files of a folder, those of dumps that are too many. Files of other names are not ours.
pub fn outdated(names: &[String]) -> Vec<&String> {
    let mut stamps: Vec<&str> = names.iter().filter_map(|name| stamp(name)).collect();
    stamps.sort_unstable();
    stamps.dedup();
    let gone = stamps.len().saturating_sub(DUMPS_MAX);
    names.iter().filter(|name| stamp(name).is_some_and(|stamp| stamps[..gone].contains(&stamp))).collect()
}

fn stamp(name: &str) -> Option<&str> {
    let (stamp, rest) = name.split_at_checked(Timestamp(0).compact_utc().len())?;
    let ours = rest == ".hlog" || (rest.starts_with('-') && rest.ends_with(".hgrm"));
    let time = stamp.bytes().enumerate().all(|(at, byte)| match at {
        8 => byte == b'T',
        18 => byte == b'Z',
        _ => byte.is_ascii_digit(),
    });
    (ours && time).then_some(stamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(at: i64, samples: u64) -> Moment {
        let mut moment = Moment { at: Timestamp(at), ..Moment::default() };
        moment.latency.record(Path::GroupSynced, Duration::from_millis(2), samples);
        moment
    }

    #[test]
    fn percentiles_are_since_the_start_and_the_log_since_the_dump_before() {
        let files = files(&moment(5000, 10), &moment(2000, 7)).unwrap();
        assert_eq!(files.len(), Path::ALL.len() + 1);
        let text = |name: &str| {
            let file = files.iter().find(|file| file.name == name).unwrap();
            String::from_utf8(file.bytes.clone()).unwrap()
        };
        let synced = text("19700101T000005000Z-wal_sync.hgrm");
        assert!(
            synced.contains("Total count    =           10]") && synced.contains("#[Max     =     2.0"),
            "{synced}"
        );
        let log = text("19700101T000005000Z.hlog");
        assert!(log.contains("\nTag=wal_sync,0.000,3.000,2.0"), "{log}");
        assert!(log.contains("\nTag=publish_ack,0.000,3.000,0.0"), "{log}");
    }

    #[test]
    fn only_so_many_dumps_are_kept_and_only_ours_go() {
        let mut names: Vec<String> = vec!["notes.txt".into(), "19990101T000000000Z-mine.txt".into()];
        for second in 0..DUMPS_MAX as i64 + 2 {
            names.extend(files(&moment(second * 1000, 1), &moment(0, 0)).unwrap().into_iter().map(|file| file.name));
        }
        let outdated = outdated(&names);
        assert_eq!(outdated.len(), 2 * (Path::ALL.len() + 1));
        assert!(outdated.iter().all(|name| name.starts_with("19700101T00000000") || name.contains("T000001000Z")));
    }
}
