//! Numbers, sizes and times as people write them: `4096`, `4k`, `1m`, `500ms`.

use std::time::Duration;

/// A whole number; `k`, `m` and `g` are powers of 1024.
pub fn bytes(text: &str) -> Result<usize, String> {
    scaled(text, 1024).and_then(|value| usize::try_from(value).ok()).ok_or_else(|| "expected bytes, such as 4k".into())
}

/// A whole number; `k`, `m` and `g` are powers of 1000.
pub fn count(text: &str) -> Result<u64, String> {
    scaled(text, 1000).ok_or_else(|| "expected a number, such as 20000 or 20k".into())
}

fn scaled(text: &str, base: u64) -> Option<u64> {
    let (digits, power) = match text.char_indices().last()? {
        (at, 'k' | 'K') => (&text[..at], 1),
        (at, 'm' | 'M') => (&text[..at], 2),
        (at, 'g' | 'G') => (&text[..at], 3),
        _ => (text, 0),
    };
    digits.parse::<u64>().ok()?.checked_mul(base.pow(power))
}

/// A number, whole or not, and `ns`, `us`, `ms`, `s`, `m` or `h`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let units = [("ns", 1e-9), ("us", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let found = units.iter().find_map(|(unit, seconds)| {
        let number = text.strip_suffix(unit)?.parse::<f64>().ok()?;
        Duration::try_from_secs_f64(number * seconds).ok()
    });
    found.ok_or_else(|| "expected a time, such as 500us, 1.5ms, 5s or 2m".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_counts_and_times_are_read() {
        assert_eq!((bytes("4k"), bytes("128")), (Ok(4096), Ok(128)));
        assert_eq!(count("20k"), Ok(20_000));
        assert_eq!(duration("1.5ms"), Ok(Duration::from_micros(1500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("0.5h"), Ok(Duration::from_secs(1800)));
        for text in ["", "k", "-1", "x", "5 s", "1e400s", "99999999999999999999k"] {
            assert!(bytes(text).is_err() && count(text).is_err() && duration(text).is_err(), "{text}");
        }
    }
}
