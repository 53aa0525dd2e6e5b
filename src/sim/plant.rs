//! Bugs planted on purpose, to prove that the checkers find them.
//!
//! Each stands at the border of the core, where the world answers it or tells it what it is made with; the product has
//! no code for them.

use std::str::FromStr;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// A record is acknowledged as soon as it is appended: the device answers a write before it lands.
    AckAtAppend,
    /// Under `always`, a record is acknowledged when it is written: the core is told `none`.
    AckAtWrite,
    /// A batch that has changed on the device is taken for good: its checksum is made to match.
    CrcSkipped,
    /// A sync is answered before it is done.
    SyncClaimedEarly,
    /// One more record is in flight than the bound says: the core is told a larger bound.
    InFlightOffByOne,
    /// What was dropped of QoS 0 is not counted: the world does not hear of it.
    DropsUncounted,
    /// Records go by bytes although the configuration says that none do: the log is told another bound.
    RetentionUnasked,
    /// Without a log, the oldest records are dropped although the configuration says to wait: the core is told so.
    OverflowUnasked,
}

impl Plant {
    pub const ALL: [Plant; 8] = [
        Plant::AckAtAppend,
        Plant::AckAtWrite,
        Plant::CrcSkipped,
        Plant::SyncClaimedEarly,
        Plant::InFlightOffByOne,
        Plant::DropsUncounted,
        Plant::RetentionUnasked,
        Plant::OverflowUnasked,
    ];
}

impl FromStr for Plant {
    type Err = String;

    fn from_str(text: &str) -> Result<Plant, String> {
        let known = Plant::ALL.into_iter().find(|plant| format!("{plant:?}") == text);
        known.ok_or_else(|| format!("no such plant; there are {:?}", Plant::ALL))
    }
}
