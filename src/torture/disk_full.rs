//! `blipmq torture disk-full`: somebody else fills the filesystem of the logs.
//!
//! Below `disk_low_water_bytes`, publishes of QoS 1 are refused with code and reason, before a log is hurt; QoS 0,
//! acknowledgements and reads go on; metrics, health and the log of the process say so, and say it once; a daemon that is
//! killed then starts then. With no room at all nothing is lost either. When there is room again, it goes on by itself.
//!
//! The filesystem is a small ext4 of its own where this process may mount one ([`super::small_disk`]).

use std::fs;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use clap::Args;

use super::cli::Common;
use super::crowd::book::Promises;
use super::crowd::publisher::Style;
use super::crowd::{Cast, Crowd};
use super::daemon::{Daemon, KEY, Outcome, Workspace};
use super::http::Http;
use super::killing::{Killing, Plan, configuration};
use super::small_disk::SmallDisk;
use super::verdict::Verdict;
use crate::bench::cpu::Usage;
use crate::bench::failure::Failure;
use crate::client::blocking::{Client, ConnectOptions};
use crate::client::{ClientError, PublishOptions, SubscribeOptions};
use crate::model::FsyncPolicy;
use crate::protocol::native::request::What;

/// The filesystem, and where publishes are refused: some segments of 1 MiB.
const DISK: u64 = 192 << 20;
const LOW_WATER: u64 = 16 << 20;
/// Cores of the daemon, and logs of its directory.
const CORES: u16 = 2;
/// Publishers of each topic.
const STYLES: &[Style] = &[Style::Idempotent, Style::Careless, Style::Volatile, Style::Old];
/// Messages that are taken and acknowledged while the disk is full.
const KEPT: u64 = 50;
/// How long the crowd goes on in each state.
const GOES_ON: Duration = Duration::from_millis(700);
/// For what must happen some time.
const PATIENCE: Duration = Duration::from_secs(30);
/// For what must not happen at all.
const SILENCE: Duration = Duration::from_millis(300);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);
/// Lines in the log of the process while the disk is full and publishers go on trying.
const LINES_MAX: usize = 10;
/// Of a core, while the disk is full and nobody asks for anything.
const CPU_MAX: f64 = 0.3;
/// `blipmqd`'s exit code when its directory cannot be written to.
const NOT_WRITABLE: i32 = 4;

/// Fill the disk up; publishers are refused, nothing is lost, and it goes on when there is room
#[derive(Args, Clone, Debug)]
pub struct Arguments {
    #[command(flatten)]
    pub common: Common,
    /// When the daemon syncs: always, every_n:N, interval_ms:T or none
    #[arg(long, value_name = "POLICY", default_value = "every_n:64")]
    pub fsync: FsyncPolicy,
    /// Do not mount anything: the device of a daemon with the feature `faults` is told its size
    #[arg(long)]
    pub no_mount: bool,
}

struct Full {
    disk: SmallDisk,
}

impl Plan for Full {
    fn prepare(&mut self, command: &mut Command) {
        self.disk.prepare(command);
    }
}

/// What was looked at, and what was not as it should be.
#[derive(Default)]
struct Checks {
    made: u64,
    broken: Vec<String>,
    figures: Vec<(&'static str, String)>,
}

impl Checks {
    fn must(&mut self, holds: bool, sentence: &str, what: impl FnOnce() -> String) {
        self.made += 1;
        if !holds {
            self.broken.push(format!("{sentence}: {}", what()));
        }
    }
}

/// Runs it; answers with the seed.
pub fn run(arguments: &Arguments) -> Result<(u64, Verdict), Failure> {
    let seed = arguments.common.seed();
    let workspace = Workspace::make(&arguments.common)?;
    let disk = match arguments.no_mount {
        true => SmallDisk::tell(&workspace, DISK)?,
        false => SmallDisk::make(&workspace, DISK)?,
    };
    let crowd = Crowd::gather(&Cast {
        seed,
        topics: 1,
        logs: CORES,
        promises: Promises { cursors: true },
        may_lose: false,
        may_refuse: true,
        styles: STYLES,
    })?;
    let mut set = configuration(arguments.fsync, CORES);
    set.push(("disk_low_water_bytes", LOW_WATER.to_string()));
    let mut killing = Killing::new(Full { disk }, workspace, crowd, set);
    let mut checks = Checks::default();
    killing.open()?;
    let daemon = below_low_water(&mut killing, &mut checks)?;
    let daemon = without_any_room(&mut killing, daemon, &mut checks)?;
    with_room_again(&killing, &daemon, &mut checks)?;
    killing.kill_serving(daemon)?;
    let disk = killing.plan.disk.describe();
    let (mut verdict, _) = killing.close()?;
    verdict.figure("disk", disk);
    verdict.figure("checks", checks.made);
    checks.figures.into_iter().for_each(|(name, text)| verdict.figure(name, text));
    checks.broken.into_iter().for_each(|what| verdict.broken(what));
    Ok((seed, verdict))
}

fn below_low_water(killing: &mut Killing<Full>, checks: &mut Checks) -> Result<Daemon, Failure> {
    let daemon = killing.start()?;
    sleep(GOES_ON);
    let kept = keep(&daemon)?;
    killing.plan.disk.leave(LOW_WATER / 2)?;
    let refusal = until(|| publish(&daemon, 2).err());
    let refused = matches!(&refusal, Some(ClientError::Refused { code: 507, text }) if text.contains("low-water"));
    checks
        .must(refused, "QoS 1 is refused with 507 and the reason below the low-water mark", || format!("{refusal:?}"));
    let refusal = publish(&daemon, 1).err();
    let refused = matches!(&refusal, Some(ClientError::Refused { code: 500, text }) if text.contains("low-water"));
    checks.must(refused, "version 1 is told with its own code", || format!("{refusal:?}"));
    let lines = log_lines(killing)?;
    sleep(GOES_ON);
    others_go_on(&daemon, checks)?;
    let came = take(&daemon, Some(KEPT))?;
    checks.must(came == KEPT, "what was there can be read and acknowledged", || format!("{came} of {KEPT}"));
    let settled = until(|| (settled(&daemon).ok()? == kept).then_some(()));
    checks.must(settled.is_some(), "acknowledgements count", || {
        format!("{:?} settled, not {kept}", self::settled(&daemon))
    });
    it_says_so(killing, &daemon, checks)?;
    let more = log_lines(killing)?.saturating_sub(lines);
    checks.must(more <= LINES_MAX, "the log does not grow while the disk is full", || format!("{more} lines"));
    nobody_spins(killing, &daemon, checks);
    // The cursor's place in the log.
    sleep(SILENCE);
    killing.kill_serving(daemon)?;
    let daemon = killing.start()?;
    let came = take(&daemon, None)?;
    checks.must(came == 0, "what was acknowledged on a full disk outlives a kill", || format!("{came} came again"));
    Ok(daemon)
}

/// Not a byte is left; the daemon lives, and one that is killed starts or says what it lacks.
fn without_any_room(killing: &mut Killing<Full>, mut daemon: Daemon, checks: &mut Checks) -> Result<Daemon, Failure> {
    killing.plan.disk.leave(0)?;
    sleep(GOES_ON);
    let ended = daemon.wait(Duration::ZERO)?;
    checks.must(ended.is_none(), "a disk without any room ends no daemon", || {
        format!("{ended:?}\n{}", daemon.last_words())
    });
    if ended.is_none() {
        others_go_on(&daemon, checks)?;
    }
    killing.kill_serving(daemon)?;
    match killing.attempt()? {
        Outcome::Serves(daemon) => {
            checks.figures.push(("start without any room", "serves".into()));
            Ok(*daemon)
        }
        Outcome::Ended(status, log) => {
            let said = status.code() == Some(NOT_WRITABLE) && log.contains("room");
            checks.must(said, "a start without any room says what it lacks", || format!("{status}\n{log}"));
            checks.figures.push(("start without any room", format!("{status}, and why")));
            killing.plan.disk.leave(LOW_WATER / 2)?;
            killing.start()
        }
    }
}

fn with_room_again(killing: &Killing<Full>, daemon: &Daemon, checks: &mut Checks) -> Result<(), Failure> {
    let refusal = until(|| publish(daemon, 2).err());
    checks.must(refusal.is_some(), "a daemon that starts on a full disk refuses, too", String::new);
    killing.plan.disk.empty()?;
    let taken = until(|| publish(daemon, 2).ok());
    checks.must(taken.is_some(), "it goes on by itself when there is room", || format!("{:?}", publish(daemon, 2)));
    sleep(GOES_ON);
    let (status, body) = Http::of(daemon)?.ask("GET", "/health/ready")?;
    checks.must(status == 200 && !body.contains("full"), "health says that it is over", || body.clone());
    let log = fs::read_to_string(killing.workspace.log())?;
    let said = until(|| log.contains(" is full: ").then_some(()));
    checks.must(said.is_some(), "the log says that the disk was full", || daemon.last_words());
    Ok(())
}

/// QoS 0 and PING.
fn others_go_on(daemon: &Daemon, checks: &mut Checks) -> Result<(), Failure> {
    let came = || -> Result<bool, ClientError> {
        let client = connect(daemon, 2)?;
        let mut subscription = client.subscribe(&SubscribeOptions::new("volatile"))?;
        client.send("volatile", b"hi", &PublishOptions::at_most_once())?;
        client.flush()?;
        client.ping()?;
        Ok(subscription.next_message(Some(PATIENCE))?.is_some())
    };
    let came = came();
    checks.must(matches!(came, Ok(true)), "QoS 0 and PING go on", || format!("{came:?}"));
    Ok(())
}

fn it_says_so(killing: &Killing<Full>, daemon: &Daemon, checks: &mut Checks) -> Result<(), Failure> {
    let http = Http::of(daemon)?;
    let (status, body) = http.ask("GET", "/health/ready")?;
    let said = status == 200 && body.contains("is full");
    checks.must(said, "/health/ready stays ready and names the problem", || format!("{status} {body}"));
    let refused = http.figures()?.labelled("blipmq_refused_total", "reason", "disk_full");
    checks.must(refused > 0.0, "the refusals are counted", || refused.to_string());
    let log = fs::read_to_string(killing.workspace.log())?;
    checks.must(log.contains(" is full: "), "the log says so", || daemon.last_words());
    Ok(())
}

/// Nobody asks for anything meanwhile.
fn nobody_spins(killing: &Killing<Full>, daemon: &Daemon, checks: &mut Checks) {
    killing.crowd.leave();
    sleep(SILENCE);
    let (before, began) = (Usage::of_process(daemon.pid()), Instant::now());
    sleep(GOES_ON);
    if let (Some(before), Some(after)) = (before, Usage::of_process(daemon.pid())) {
        let share = after.since(before).total() as f64 / began.elapsed().as_nanos() as f64;
        checks.must(share < CPU_MAX, "a full disk is not busy work", || format!("{share:.2} of a core"));
        checks.figures.push(("full and idle, of a core", format!("{share:.3}")));
    }
    killing.let_back(daemon);
}

/// Messages for a durable subscription that nobody holds; how far it is settled when they all are.
fn keep(daemon: &Daemon) -> Result<u64, Failure> {
    let keep = || -> Result<u64, ClientError> {
        let client = connect(daemon, 2)?;
        client.subscribe(&kept_by())?.unsubscribe(false)?;
        let mut end = 0;
        for nth in 0..KEPT {
            let published = client.publish("kept", &nth.to_be_bytes(), &PublishOptions::at_least_once())?;
            end = published.map_or(end, |published| published.base_offset.0 + 1);
        }
        Ok(end)
    };
    keep().map_err(|error| Failure::Broker(format!("before the disk is full: {error}")))
}

fn kept_by() -> SubscribeOptions {
    SubscribeOptions::new("kept").at_least_once().durable("keeper")
}

/// Takes and acknowledges what is there: so many, or what comes in a while.
fn take(daemon: &Daemon, wanted: Option<u64>) -> Result<u64, Failure> {
    let patience = if wanted.is_some() { PATIENCE } else { SILENCE };
    let take = || -> Result<u64, ClientError> {
        let client = connect(daemon, 2)?;
        let mut subscription = client.subscribe(&kept_by())?;
        let mut came = 0;
        while wanted != Some(came) {
            let Some(message) = subscription.next_message(Some(patience))? else { break };
            subscription.ack(&message)?;
            came += 1;
        }
        client.ping()?;
        Ok(came)
    };
    take().map_err(|error| Failure::Broker(format!("taking what is there: {error}")))
}

/// How far the subscription to what was kept is settled.
fn settled(daemon: &Daemon) -> Result<u64, ClientError> {
    let text = connect(daemon, 2)?.query(What::Subscriptions, 10_000)?;
    let rows: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap_or_default();
    let row = rows.iter().find(|row| row["topic"] == "kept");
    Ok(row.and_then(|row| row["settled_to"].as_u64()).unwrap_or(0))
}

/// Nobody subscribes to it, so nothing of it is kept.
fn publish(daemon: &Daemon, version: u8) -> Result<(), ClientError> {
    connect(daemon, version)?.publish("tried", b"hi", &PublishOptions::at_least_once()).map(|_| ())
}

fn connect(daemon: &Daemon, version: u8) -> Result<Client, ClientError> {
    Client::connect(&ConnectOptions::new(&daemon.addr).api_key(KEY).version(version).answer_timeout(PATIENCE))
}

fn until<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = look();
        if found.is_some() || Instant::now() > deadline {
            return found;
        }
        sleep(LOOK);
    }
}

fn log_lines(killing: &Killing<Full>) -> Result<usize, Failure> {
    Ok(fs::read_to_string(killing.workspace.log())?.lines().count())
}
