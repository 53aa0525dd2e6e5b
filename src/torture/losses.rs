//! What each log lost when its daemon ended badly, held against what the policy promises.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::crowd::{Crowd, lock};
use super::daemon::{Daemon, KEY, Workspace};
use super::killing::Ended;
use super::lateness::Lateness;
use super::verdict::Verdict;
use crate::bench::failure::Failure;
use crate::client::blocking::{Client, ConnectOptions};
use crate::model::FsyncPolicy;
use crate::protocol::native::request::What;

/// More rows than there are topics.
const ROWS: u32 = 10_000;

const SAFE: &str = "power loss takes no more than the policy says";

/// Counted over all ends.
#[derive(Debug)]
pub struct Losses {
    fsync: FsyncPolicy,
    /// Where the device tells its slowest sync.
    pub report: PathBuf,
    late: Lateness,
    /// The longest that a shard waited for a processor after the oldest that was lost.
    waited: Duration,
    lost: u64,
    most: u64,
    oldest: Duration,
    ends_with_loss: u64,
}

impl Losses {
    pub fn new(fsync: FsyncPolicy, workspace: &Workspace) -> Losses {
        Losses {
            fsync,
            report: workspace.path().join("slowest-sync"),
            late: Lateness::measure(),
            waited: Duration::ZERO,
            lost: 0,
            most: 0,
            oldest: Duration::ZERO,
            ends_with_loss: 0,
        }
    }

    /// Looks at a daemon that is there again.
    pub fn examine(&mut self, daemon: &Daemon, crowd: &Crowd, ended: Ended) -> Result<(), Failure> {
        let ends = ends(daemon)?;
        let mut lost: BTreeMap<usize, Vec<Instant>> = BTreeMap::new();
        let mut book = lock(&crowd.room.book);
        for (topic, name) in crowd.topics.iter().enumerate() {
            let gone = book.forget_from(topic, ends.get(name).copied().unwrap_or(0));
            lost.entry(crowd.log_of(topic)).or_default().extend(gone.iter().map(|gone| gone.at));
        }
        let all: usize = lost.values().map(Vec::len).sum();
        self.lost += all as u64;
        self.ends_with_loss += u64::from(all > 0);
        for (log, gone) in lost {
            self.most = self.most.max(gone.len() as u64);
            let age = |at: &Instant| ended.at.saturating_duration_since(*at);
            let oldest = gone.iter().map(age).max().unwrap_or_default();
            self.oldest = self.oldest.max(oldest);
            let waited = gone.iter().min().map(|at| self.late.waited(*at, ended.at)).unwrap_or_default();
            self.waited = self.waited.max(waited);
            if let Some(most) = self.broken(&gone, oldest, waited, ended.clean) {
                let count = gone.len();
                book.accuse(SAFE, format!("log {log} lost {count} acknowledged, the oldest {oldest:?} old; {most}"));
            }
        }
        self.late.watch(daemon.pid());
        Ok(())
    }

    /// What the policy says, if that was broken.
    fn broken(&self, gone: &[Instant], oldest: Duration, waited: Duration, clean: bool) -> Option<String> {
        let (held, most) = match self.fsync {
            _ if clean => (gone.is_empty(), "it had closed its logs".to_owned()),
            FsyncPolicy::Always => (gone.is_empty(), "nothing is to be lost".to_owned()),
            FsyncPolicy::EveryN(most) => (gone.len() <= most as usize, format!("{most} at most")),
            FsyncPolicy::Interval(every) => {
                let most = self.window(every) + waited;
                (oldest <= most, format!("{most:?} at most"))
            }
            FsyncPolicy::None => (true, String::new()),
        };
        (!held).then_some(most)
    }

    fn window(&self, every: Duration) -> Duration {
        let slowest = fs::read_to_string(&self.report).ok().and_then(|text| text.trim().parse().ok());
        let slowest = Duration::from_micros(slowest.unwrap_or(0));
        let sync = if slowest * 2 > every { slowest * 2 } else { Duration::ZERO };
        every + sync + self.late.overslept()
    }

    pub fn tell(&self, verdict: &mut Verdict) {
        verdict.figure("policy", self.fsync.to_string());
        verdict.figure("cuts that lost something", self.ends_with_loss);
        verdict.figure("acknowledged, lost by cuts", self.lost);
        verdict.figure("most lost of a log by one", self.most);
        verdict.figure("oldest lost, ms before", self.oldest.as_millis() as u64);
        if let FsyncPolicy::Interval(every) = self.fsync {
            verdict.figure("window, ms", self.window(every).as_millis() as u64);
            verdict.figure("of it machine late, ms", self.late.overslept().as_millis() as u64);
            verdict.figure("shards waited beside, ms", self.waited.as_millis() as u64);
        }
    }
}

/// The next offset of each topic.
pub fn ends(daemon: &Daemon) -> Result<BTreeMap<String, u64>, Failure> {
    let unsaid = |error: &dyn Display| Failure::Broker(format!("topics cannot be asked for: {error}"));
    let client = Client::connect(&ConnectOptions::new(&daemon.addr).api_key(KEY)).map_err(|error| unsaid(&error))?;
    let text = client.query(What::Topics, ROWS).map_err(|error| unsaid(&error))?;
    let rows: Vec<Value> = serde_json::from_str(&text).map_err(|error| unsaid(&error))?;
    let row = |row: &Value| Some((row["topic"].as_str()?.to_owned(), row["next"].as_u64()?));
    Ok(rows.iter().filter_map(row).collect())
}
