//! Choices that only the configuration has words for.

use std::fmt;

use crate::model::ShardId;

/// Which cores to run on.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Cores {
    /// Every core this process may use.
    #[default]
    All,
    /// The first so many of those it may use, at least 1.
    Count(usize),
    /// These, by number: at least one, none twice.
    These(Vec<usize>),
}

impl Cores {
    /// Shards there will be when `available` cores may be used.
    pub fn count(&self, available: usize) -> usize {
        match self {
            Cores::All => available.clamp(1, ShardId::MAX),
            Cores::Count(n) => *n,
            Cores::These(cores) => cores.len(),
        }
    }

    /// Numbers and ranges with commas between: `0,2-5`.
    pub(super) fn these(list: &str) -> Option<Cores> {
        let mut cores = Vec::new();
        for part in list.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return None;
            }
            cores.extend(first..=last);
        }
        Cores::distinct(cores)
    }

    pub(super) fn distinct(cores: Vec<usize>) -> Option<Cores> {
        let mut sorted = cores.clone();
        sorted.sort_unstable();
        sorted.dedup();
        (sorted.len() == cores.len() && (1..=ShardId::MAX).contains(&cores.len())).then_some(Cores::These(cores))
    }
}

/// Core numbers are bounded so that a range cannot fill the memory.
fn number(digits: &str) -> Option<usize> {
    digits.trim().parse().ok().filter(|core| *core < 8 * ShardId::MAX)
}

/// As `cores` takes it.
impl fmt::Display for Cores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cores::All => f.write_str("0"),
            Cores::Count(n) => write!(f, "{n}"),
            // A lone number would be a count.
            Cores::These(cores) if cores.len() == 1 => write!(f, "{0}-{0}", cores[0]),
            Cores::These(cores) => {
                let cores: Vec<String> = cores.iter().map(usize::to_string).collect();
                f.write_str(&cores.join(","))
            }
        }
    }
}

/// The oldest version of TLS that is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum TlsVersion {
    #[default]
    V1_2,
    V1_3,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum LogFormat {
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}
