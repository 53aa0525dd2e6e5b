//! What the device is to do, as the environment says it.

use std::path::PathBuf;
use std::time::Duration;

/// The variable that is read.
pub const VARIABLE: &str = "BLIPMQ_FAULTS";

/// Without any: a device that does what it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    pub seed: u64,
    pub hold: bool,
    /// Of a thousand.
    pub early: u32,
    pub delay: Duration,
    pub fail_write_after: Option<u64>,
    pub fail_sync_after: Option<u64>,
    pub capacity: Option<PathBuf>,
    pub report: Option<PathBuf>,
}

impl Options {
    pub fn parse(text: &str) -> Result<Options, String> {
        let mut options = Options {
            seed: 0,
            hold: false,
            early: 100,
            delay: Duration::ZERO,
            fail_write_after: None,
            fail_sync_after: None,
            capacity: None,
            report: None,
        };
        for pair in text.split(',').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').ok_or_else(|| format!("{pair} is no key=value"))?;
            let number = || value.parse::<u64>().map_err(|_| format!("{key}: {value} is no number"));
            match key {
                "seed" => options.seed = number()?,
                "hold" => options.hold = number()? != 0,
                "early" => options.early = number()?.min(1000) as u32,
                "delay_ms" => options.delay = Duration::from_millis(number()?),
                "fail_write_after" => options.fail_write_after = Some(number()?),
                "fail_sync_after" => options.fail_sync_after = Some(number()?),
                "capacity" => options.capacity = Some(value.into()),
                "report" => options.report = Some(value.into()),
                _ => return Err(format!("nothing is called {key}")),
            }
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_understood_is_refused() {
        let options = Options::parse("seed=7,hold=1,delay_ms=20,fail_sync_after=3,capacity=/tmp/x").unwrap();
        assert_eq!((options.seed, options.hold, options.early), (7, true, 100));
        assert_eq!((options.delay, options.fail_sync_after), (Duration::from_millis(20), Some(3)));
        assert_eq!((options.fail_write_after, options.capacity), (None, Some("/tmp/x".into())));
        for text in ["hold", "hold=yes", "colour=1"] {
            assert!(Options::parse(text).is_err(), "{text}");
        }
    }
}
