//! 7. The end that was asked for.

use blipmq::client::ProducerOptions;
use blipmq::client::blocking::Client;
use nix::sys::signal::Signal;

use super::line::{Checked, Line, need};
use super::site::{PATIENCE, Site, connect, durable, next, options, publish, start};

pub const LINES: &[Line] = &[
    Line {
        section: 7,
        says: "SIGTERM and SIGINT: exit code 0, nobody new is let in, nothing committed is lost, the next start scans nothing",
        repeat: "kill -TERM $(cat blipmq-data/lock); wait; echo $?; RUST_LOG=info blipmqd 2>&1 | grep 'closed properly'",
        check: clean,
    },
    Line {
        section: 7,
        says: "What nobody acknowledges is waited for only so long, and stays in the log",
        repeat: "blipmq sub work --name a --no-ack & kill -TERM $(cat blipmq-data/lock)   # with shutdown_timeout_ms = 1000",
        check: bounded,
    },
    Line {
        section: 7,
        says: "Under load, everything acknowledged before the end is there after it",
        repeat: "cargo test --test it drain",
        check: busy,
    },
];

const MESSAGES: u64 = 200;

fn clean(site: &Site) -> Checked {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let workspace = site.workspace()?;
        let mut daemon = start(&workspace, &[])?;
        let client = connect(&daemon)?;
        drop(durable(&client, "work")?);
        publish(&client, "work", MESSAGES)?;
        daemon.signal(signal)?;
        let ended = daemon.wait(PATIENCE)?.ok_or("it does not end")?;
        need(ended.code() == Some(0), || format!("{signal}: {ended}"))?;
        need(Client::connect(&options(&daemon)).is_err(), || "somebody was let in".into())?;
        let daemon = start(&workspace, &[])?;
        need(daemon.last_words().contains("closed properly"), || "the next start scanned".into())?;
        let mut subscription = durable(&connect(&daemon)?, "work")?;
        for _ in 0..MESSAGES {
            next(&mut subscription)?;
        }
    }
    Ok(format!("exit code 0, {MESSAGES} of {MESSAGES} messages there, nothing scanned"))
}

fn bounded(site: &Site) -> Checked {
    let workspace = site.workspace()?;
    let keys = [("shutdown_timeout_ms", "500")];
    let mut daemon = start(&workspace, &keys)?;
    let client = connect(&daemon)?;
    let mut subscription = durable(&client, "work")?;
    publish(&client, "work", 5)?;
    next(&mut subscription)?;
    daemon.signal(Signal::SIGTERM)?;
    let ended = daemon.wait(PATIENCE)?.ok_or("it waits for ever")?;
    need(ended.code() == Some(0), || ended.to_string())?;
    let daemon = start(&workspace, &keys)?;
    let mut subscription = durable(&connect(&daemon)?, "work")?;
    for _ in 0..5 {
        next(&mut subscription)?;
    }
    Ok("ended with exit code 0, and all 5 came again".into())
}

fn busy(site: &Site) -> Checked {
    let workspace = site.workspace()?;
    let mut daemon = start(&workspace, &[("shutdown_timeout_ms", "1000")])?;
    let client = connect(&daemon)?;
    drop(durable(&client, "work")?);
    let mut publisher = client.publisher("work", ProducerOptions::at_least_once().batch(20, 1 << 16).outcomes())?;
    let mut acknowledged = 0;
    for nth in 0u64.. {
        if nth == 2000 {
            daemon.signal(Signal::SIGTERM)?;
        }
        let published = publisher.publish(&nth.to_be_bytes());
        for outcome in publisher.take_outcomes() {
            acknowledged += outcome.result.map_or(0, |published| u64::from(published.count));
        }
        if published.is_err() {
            break;
        }
    }
    let ended = daemon.wait(PATIENCE)?.ok_or("it does not end")?;
    need(ended.code() == Some(0), || ended.to_string())?;
    let daemon = start(&workspace, &[])?;
    let mut subscription = durable(&connect(&daemon)?, "work")?;
    for nth in 0..acknowledged {
        let message = next(&mut subscription)?;
        need(message.value[..] == nth.to_be_bytes(), || format!("number {nth} is missing"))?;
        subscription.ack_later(&message);
    }
    Ok(format!("{acknowledged} acknowledged before the end, all there"))
}
