//! Where the checklist is gone through: brokers of its own, and what they say.

use std::env;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use blipmq::client::blocking::{Client, ConnectOptions, Subscription};
use blipmq::client::{Message, PublishOptions, SubscribeOptions};
use blipmq::model::Qos;
use blipmq::torture::cli::Common;
use blipmq::torture::daemon::{Daemon, KEY, Workspace};

use super::super::failure::Failure;
use super::line::No;

/// For anything that is to come.
pub const PATIENCE: Duration = Duration::from_secs(15);
const STEP: Duration = Duration::from_millis(20);
/// A log of this size is made in no time.
const SEGMENT: &str = "1 MiB";
const FRAME: &str = "256 KiB";
/// Milliseconds: after the checklist.
const LATER: &str = "600000";

/// QoS 1, acknowledged.
pub const QOS_1: PublishOptions<'static> =
    PublishOptions { qos: Qos::AtLeastOnce, key: None, headers: &[], ttl_ms: 0, must_route: false };
/// QoS 0.
pub const QOS_0: PublishOptions<'static> =
    PublishOptions { qos: Qos::AtMostOnce, key: None, headers: &[], ttl_ms: 0, must_route: false };

/// The programs, and where they may write.
pub struct Site {
    pub broker: PathBuf,
    pub data_dir: PathBuf,
}

impl Site {
    pub fn new(broker: Option<PathBuf>, data_dir: PathBuf) -> Result<Site, Failure> {
        let broker = match broker {
            Some(broker) => broker,
            None => env::current_exe()?.with_file_name("blipmqd"),
        };
        if !broker.is_file() {
            return Err(Failure::Local(format!("{}: no such program; see --broker", broker.display())));
        }
        Ok(Site { broker, data_dir })
    }

    /// A directory that goes when it is dropped.
    pub fn workspace(&self) -> Result<Workspace, No> {
        let (broker, data_dir) = (Some(self.broker.clone()), self.data_dir.clone());
        Ok(Workspace::make(&Common { seed: None, broker, data_dir, keep: false })?)
    }

    /// The daemon with nothing said of its configuration.
    pub fn bare(&self) -> Command {
        let mut command = Command::new(&self.broker);
        command.env_clear().stdin(Stdio::null());
        command
    }

    /// Runs a daemon that is to end by itself; one that does not is ended, and that is a failure.
    pub fn ends(&self, command: &mut Command) -> Result<Output, No> {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let deadline = Instant::now() + PATIENCE;
        while child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                child.kill()?;
                child.wait()?;
                return Err(No::Fails("the daemon started, and should not have".into()));
            }
            sleep(STEP);
        }
        Ok(child.wait_with_output()?)
    }

    /// This program with other words.
    pub fn own(&self, words: &[&str]) -> Result<Output, No> {
        let mut command = Command::new(env::current_exe()?);
        Ok(command.args(words).stdin(Stdio::null()).output()?)
    }
}

/// Keys of the configuration for a small broker that delivers nothing again by itself, and others of them.
pub fn keys<'a>(others: &[(&'a str, &'a str)]) -> Vec<(&'a str, String)> {
    let small = [
        ("segment_bytes", SEGMENT),
        ("max_frame_bytes", FRAME),
        ("cores", "1"),
        ("retry_backoff_ms", LATER),
        ("retry_backoff_cap_ms", LATER),
    ];
    let said = |name: &str| others.iter().any(|(other, _)| *other == name);
    let small = small.into_iter().filter(|(name, _)| !said(name));
    small.chain(others.iter().copied()).map(|(name, value)| (name, value.to_owned())).collect()
}

/// A small broker.
pub fn start(workspace: &Workspace, more: &[(&str, &str)]) -> Result<Daemon, No> {
    Ok(workspace.spawn(workspace.command(&keys(more)))?)
}

pub fn options(daemon: &Daemon) -> ConnectOptions {
    ConnectOptions::new(&daemon.addr).api_key(KEY).answer_timeout(PATIENCE).connect_timeout(PATIENCE)
}

pub fn connect(daemon: &Daemon) -> Result<Client, No> {
    Ok(Client::connect(&options(daemon))?)
}

/// A durable subscription of QoS 1.
pub fn durable(client: &Client, topic: &str) -> Result<Subscription, No> {
    Ok(client.subscribe(&SubscribeOptions::new(topic).at_least_once().durable("checklist"))?)
}

/// Publishes numbered messages, each acknowledged.
pub fn publish(client: &Client, topic: &str, count: u64) -> Result<(), No> {
    for nth in 0..count {
        client.publish(topic, &nth.to_be_bytes(), &QOS_1)?;
    }
    Ok(())
}

/// The next message, which has to come.
pub fn next(subscription: &mut Subscription) -> Result<Message, No> {
    subscription.next_message(Some(PATIENCE))?.ok_or_else(|| No::Fails("a message did not come".into()))
}

/// One page of the broker's listener for metrics and administration.
pub fn get(daemon: &Daemon, path: &str) -> Result<String, No> {
    let url = daemon.metrics.as_deref().ok_or("the daemon does not say where its metrics are")?;
    let address = url.trim_start_matches("http://").split('/').next().unwrap_or_default();
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}

/// A series, labels and all.
pub fn metric(daemon: &Daemon, name: &str) -> Result<f64, No> {
    let text = get(daemon, "/metrics")?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let value = line.ok_or_else(|| format!("there is no metric {name}"))?;
    Ok(value.parse()?)
}

/// Waits until `look` is so.
pub fn until(what: &str, mut look: impl FnMut() -> Result<bool, No>) -> Result<(), No> {
    let deadline = Instant::now() + PATIENCE;
    while !look()? {
        if Instant::now() > deadline {
            return Err(No::Fails(format!("it never happened that {what}")));
        }
        sleep(STEP);
    }
    Ok(())
}
