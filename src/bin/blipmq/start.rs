//! `--from`: where a subscription begins.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use blipmq::model::{Offset, StartAt, Timestamp};

use super::duration;

/// What `--help` says of it.
pub const HELP: &str = "earliest, latest, an offset (1200), a UTC time (2026-01-31T12:00:00Z) or how long ago (-15m)";

/// `now` decides what "15 minutes ago" is.
pub fn parse(text: &str, now: SystemTime) -> Result<StartAt, String> {
    if text == "earliest" {
        return Ok(StartAt::Earliest);
    }
    if text == "latest" {
        return Ok(StartAt::Latest);
    }
    if let Ok(offset) = text.parse() {
        return Ok(StartAt::Offset(Offset(offset)));
    }
    let ms = match text.strip_prefix('-') {
        Some(ago) => duration::parse(ago).ok().map(|ago| since_epoch(now).saturating_sub(ago).as_millis() as i64),
        None => utc_ms(text),
    };
    ms.map(|ms| StartAt::Time(Timestamp(ms))).ok_or_else(|| format!("expected {HELP}"))
}

fn since_epoch(now: SystemTime) -> Duration {
    now.duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// `2026-01-31T12:00:00Z` or `2026-01-31T12:00:00.250Z`, as milliseconds since the epoch.
fn utc_ms(text: &str) -> Option<i64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let [year, month, day] = numbers(date, '-')?;
    let (time, ms) =
        time.split_once('.').map_or(Some((time, 0)), |(time, fraction)| Some((time, millis(fraction)?)))?;
    let [hour, minute, second] = numbers(time, ':')?;
    let right = (1970..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !right || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    Some((((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second) * 1000 + ms)
}

fn numbers(text: &str, between: char) -> Option<[i64; 3]> {
    let parts: Option<Vec<i64>> = text.split(between).map(digits).collect();
    parts?.try_into().ok()
}

fn digits(text: &str) -> Option<i64> {
    let plain = !text.is_empty() && text.len() <= 4 && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok())?
}

fn millis(fraction: &str) -> Option<i64> {
    (fraction.len() == 3).then(|| digits(fraction))?
}

/// Days since 1970-01-01 in the Gregorian calendar, counting years from March so that the leap day comes last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leaps = year / 4 - year / 100 + year / 400;
    year * 365 + leaps + (month * 153 + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(text: &str) -> Option<StartAt> {
        parse(text, UNIX_EPOCH + Duration::from_secs(10_000)).ok()
    }

    #[test]
    fn a_start_is_a_word_an_offset_or_a_time() {
        assert_eq!(start("earliest"), Some(StartAt::Earliest));
        assert_eq!(start("latest"), Some(StartAt::Latest));
        assert_eq!(start("1200"), Some(StartAt::Offset(Offset(1200))));
        assert_eq!(start("-15m"), Some(StartAt::Time(Timestamp(9_100_000))));
        assert_eq!(start("-9000h"), Some(StartAt::Time(Timestamp(0))));
        for text in ["", "yesterday", "-1", "1.5", "2026-01-31", "2026-13-01T00:00:00Z", "2026-01-31T24:00:00Z"] {
            assert_eq!(start(text), None, "{text}");
        }
    }

    #[test]
    fn utc_times_are_what_date_says() {
        // date -u -d 2026-01-31T12:00:00Z +%s, and so on
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T00:00:00Z", 951_782_400),
            ("2026-01-31T12:00:00Z", 1_769_860_800),
            ("2024-12-31T23:59:59Z", 1_735_689_599),
        ] {
            assert_eq!(utc_ms(text), Some(seconds * 1000), "{text}");
        }
        assert_eq!(utc_ms("1970-01-01T00:00:00.250Z"), Some(250));
    }
}
