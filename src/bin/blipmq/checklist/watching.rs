//! 5. What it says of itself.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use blipmq::admin::registry::ORIGINAL;
use blipmq::torture::daemon::Workspace;

use super::line::{Checked, Line, No, need};
use super::site::{Site, connect, durable, get, keys, metric, next, publish, start};

pub const LINES: &[Line] = &[
    Line {
        section: 5,
        says: "At info, traffic writes no lines; RUST_LOG=debug says more",
        repeat: "RUST_LOG=info blipmqd & blipmq bench qos1 --addr 127.0.0.1:5555; then RUST_LOG=debug",
        check: quiet,
    },
    Line {
        section: 5,
        says: "The seven bare names are there, and move with the load",
        repeat: "curl -s localhost:9100/metrics | grep -E '^(topics|subscribers|messages_|wal_)'",
        check: moving,
    },
    Line {
        section: 5,
        says: "Prometheus reads what is exposed without a complaint",
        repeat: "curl -s localhost:9100/metrics | promtool check metrics; tuning/monitoring/check.sh",
        check: promtool,
    },
    Line {
        section: 5,
        says: "Health says whether to send clients here",
        repeat: "curl -s localhost:9100/health/ready; blipmq admin health",
        check: health,
    },
];

const MESSAGES: u64 = 100;

/// Something of everything.
fn traffic(workspace: &Workspace, level: &str) -> Result<usize, No> {
    let mut command = workspace.command(&keys(&[]));
    command.env("RUST_LOG", level);
    let before = lines(workspace);
    let daemon = workspace.spawn(command)?;
    let client = connect(&daemon)?;
    let mut subscription = durable(&client, "demo")?;
    publish(&client, "demo", MESSAGES)?;
    for _ in 0..MESSAGES {
        let message = next(&mut subscription)?;
        subscription.ack(&message)?;
    }
    get(&daemon, "/metrics")?;
    daemon.kill()?;
    Ok(lines(workspace) - before)
}

fn lines(workspace: &Workspace) -> usize {
    fs::read_to_string(workspace.log()).map_or(0, |log| log.lines().count())
}

fn quiet(site: &Site) -> Checked {
    let (first, second) = (site.workspace()?, site.workspace()?);
    let (info, debug) = (traffic(&first, "info")?, traffic(&second, "debug")?);
    need(info < 10, || format!("{info} lines for {MESSAGES} messages at info"))?;
    need(debug > info, || format!("{debug} lines at debug, {info} at info"))?;
    Ok(format!("{MESSAGES} messages: {info} lines at info, {debug} at debug"))
}

fn moving(site: &Site) -> Checked {
    let workspace = site.workspace()?;
    let daemon = start(&workspace, &[])?;
    let client = connect(&daemon)?;
    let before = ORIGINAL.map(|name| metric(&daemon, name));
    let mut subscription = durable(&client, "demo")?;
    publish(&client, "demo", MESSAGES)?;
    for _ in 0..MESSAGES {
        next(&mut subscription)?;
    }
    for (name, before) in ORIGINAL.into_iter().zip(before) {
        let (before, after) = (before?, metric(&daemon, name)?);
        need(after > before, || format!("{name} stays at {after}"))?;
    }
    Ok("all seven are there and move".into())
}

fn promtool(site: &Site) -> Checked {
    let workspace = site.workspace()?;
    let daemon = start(&workspace, &[])?;
    publish(&connect(&daemon)?, "demo", MESSAGES)?;
    let text = get(&daemon, "/metrics")?;
    let tool = Command::new("promtool").args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let Ok(mut tool) = tool else { return Err(No::Skipped("promtool is not installed".into())) };
    tool.stdin.take().ok_or("piped")?.write_all(text.as_bytes())?;
    let output = tool.wait_with_output()?;
    // Code 3 is for style: the bare names of the original have no unit at their end.
    need(matches!(output.status.code(), Some(0 | 3)), || String::from_utf8_lossy(&output.stderr).into_owned())?;
    Ok(format!("{} series", text.lines().filter(|line| !line.starts_with('#')).count()))
}

fn health(site: &Site) -> Checked {
    let workspace = site.workspace()?;
    let daemon = start(&workspace, &[])?;
    let said = get(&daemon, "/health")?;
    need(said.contains("\"status\":\"ok\"") || said.contains("\"problems\":[]"), || said.clone())?;
    Ok("nothing is wrong".into())
}
