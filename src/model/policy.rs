//! What the operator may choose between.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// When an acknowledged QoS 1 record is safe from power loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FsyncPolicy {
    /// Acknowledged after it is synced: power loss takes nothing acknowledged.
    Always,
    /// Acknowledged after it is written; never more than this many acknowledged records unsynced in one log.
    EveryN(u32),
    /// Acknowledged after it is written; synced at least this often.
    Interval(Duration),
    /// Acknowledged after it is written; the kernel and the device decide when it is synced.
    None,
}

impl FsyncPolicy {
    /// Under [`FsyncPolicy::EveryN`], an idle tail is synced after this long.
    pub const IDLE_TAIL: Duration = Duration::from_millis(100);

    /// What power loss may take of what was acknowledged, in one sentence. `kill -9` takes nothing under any policy.
    pub fn loss_window(self) -> String {
        match self {
            FsyncPolicy::Always => "power loss takes nothing that was acknowledged".into(),
            FsyncPolicy::EveryN(n) => format!("power loss takes at most the last {n} acknowledged records of each log"),
            FsyncPolicy::Interval(every) => {
                format!("power loss takes at most what was acknowledged in the last {} ms", every.as_millis())
            }
            FsyncPolicy::None => "power loss takes whatever the device had not made durable by itself".into(),
        }
    }
}

impl FromStr for FsyncPolicy {
    type Err = String;

    fn from_str(text: &str) -> Result<FsyncPolicy, String> {
        let number = |digits: &str| digits.parse::<u32>().ok().filter(|n| *n > 0);
        match text.split_once(':') {
            None if text == "always" => Some(FsyncPolicy::Always),
            None if text == "none" => Some(FsyncPolicy::None),
            Some(("every_n", n)) => number(n).map(FsyncPolicy::EveryN),
            Some(("interval_ms", ms)) => number(ms).map(|ms| FsyncPolicy::Interval(Duration::from_millis(ms.into()))),
            _ => None,
        }
        .ok_or_else(|| "expected \"always\", \"none\", \"every_n:N\" or \"interval_ms:T\" with N, T > 0".into())
    }
}

impl fmt::Display for FsyncPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FsyncPolicy::Always => f.write_str("always"),
            FsyncPolicy::EveryN(n) => write!(f, "every_n:{n}"),
            FsyncPolicy::Interval(every) => write!(f, "interval_ms:{}", every.as_millis()),
            FsyncPolicy::None => f.write_str("none"),
        }
    }
}

/// What recovery does with a bad entry that has valid, once-synced entries after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum RecoveryMode {
    /// Do not start; name the segment, the position and the command that repairs it.
    #[default]
    Refuse,
    /// Cut the log at the first bad entry.
    Truncate,
    /// Leave the bad entries out and keep what follows.
    Skip,
}

/// With `wal = off`: what happens to a QoS 1 publish when a topic's memory is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OverflowPolicy {
    /// The publisher's socket is not read until there is room.
    #[default]
    Block,
    /// The oldest records go, counted.
    DropOldest,
    /// The publish is refused with NACK 429, counted.
    DropNew,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_reads_what_it_writes() {
        for text in ["always", "none", "every_n:64", "interval_ms:20"] {
            assert_eq!(text.parse::<FsyncPolicy>().unwrap().to_string(), text);
        }
        for text in
            ["", "Always", "every_n", "every_n:0", "every_n:-1", "interval_ms:x", "none:1", "interval_ms:99999999999"]
        {
            assert!(text.parse::<FsyncPolicy>().is_err(), "{text}");
        }
    }
}
