//! 4. What may be configured, and what happens when it is wrong.

use std::fs;
use std::process::Output;

use super::line::{Checked, Line, No, need, skipped};
use super::site::{Site, connect, publish, start};

pub const LINES: &[Line] = &[
    Line {
        section: 4,
        says: "All ten keys of the original are read from the file",
        repeat: "blipmqd --config FILE --validate-config",
        check: |site| everywhere(site, false),
    },
    Line {
        section: 4,
        says: "... and from the environment, which goes before the file",
        repeat: "PORT=7001 FSYNC_POLICY=always MAX_RETRIES=9 blipmqd --validate-config; every key as BLIPMQ_NAME too",
        check: |site| everywhere(site, true),
    },
    Line {
        section: 4,
        says: "What is wrong is named, exit code 2, and nothing is half started",
        repeat: "blipmqd --set port=high --set fsync_polcy=always --wal-path new; echo $?; ls new",
        check: malformed,
    },
    Line {
        section: 4,
        says: "A reload changes all or nothing, and names what needs a restart",
        repeat: "kill -HUP $(cat blipmq-data/lock); blipmq admin reload",
        check: reload,
    },
];

/// Name, another value than the default, and how the report has it.
const TEN: [(&str, &str, &str); 10] = [
    ("bind_addr", "\"127.0.0.2\"", "127.0.0.2"),
    ("port", "7001", "7001"),
    ("metrics_addr", "\"127.0.0.3\"", "127.0.0.3"),
    ("metrics_port", "7002", "7002"),
    ("wal_path", "\"/nowhere/checklist\"", "/nowhere/checklist"),
    ("fsync_policy", "\"interval_ms:7\"", "interval_ms:7"),
    ("max_retries", "9", "9"),
    ("retry_backoff_ms", "123", "123"),
    ("allowed_api_keys", "[\"a-secret-of-the-checklist\"]", "allowed_api_keys"),
    ("enable_tokio_console", "true", "true"),
];

fn everywhere(site: &Site, environment: bool) -> Checked {
    let workspace = site.workspace()?;
    let file = workspace.path().join("blipmq.toml");
    let mut command = site.bare();
    if environment {
        fs::write(&file, "port = 1234\n")?;
        let plain = |value: &str| value.trim_matches(['[', ']', '"']).to_owned();
        command.envs(TEN.map(|(name, value, _)| (name.to_uppercase(), plain(value))));
    } else {
        fs::write(&file, TEN.map(|(name, value, _)| format!("{name} = {value}\n")).concat())?;
    }
    let output = command.arg("--config").arg(&file).arg("--validate-config").output()?;
    need(output.status.success(), || text(&output))?;
    let report = String::from_utf8_lossy(&output.stdout).into_owned();
    for (name, _, shown) in TEN {
        let line = report.lines().find(|line| line.trim_start().starts_with(name)).unwrap_or_default();
        need(line.contains(shown), || format!("{name} is not in force: {line:?}"))?;
    }
    need(!text(&output).contains("a-secret-of-the-checklist"), || "the report shows an API key".into())?;
    Ok("all ten are in force, and the key is not shown".into())
}

fn malformed(site: &Site) -> Checked {
    let workspace = site.workspace()?;
    let data = workspace.data();
    let mut command = site.bare();
    command.args(["--set", "port=high", "--set", "fsync_polcy=always", "--set", "max_retries=-1", "--wal-path"]);
    let output = site.ends(command.arg(&data))?;
    need(output.status.code() == Some(2), || format!("{}: {}", output.status, text(&output)))?;
    let said = text(&output);
    for name in ["port", "fsync_polcy", "max_retries"] {
        need(said.contains(name), || format!("{name} is not named: {said}"))?;
    }
    need(!data.exists(), || "the data directory was made".into())?;
    Ok(format!("exit code 2, {} problems told, nothing made", said.lines().count()))
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stderr.clone(), output.stdout.clone()].concat()).trim().to_owned()
}

fn reload(site: &Site) -> Checked {
    let workspace = site.workspace()?;
    let daemon = start(&workspace, &[])?;
    let metrics = daemon.metrics.clone().unwrap_or_default();
    let admin = metrics.trim_start_matches("http://").split('/').next().unwrap_or_default().to_owned();
    let output = site.own(&["admin", "reload", "--admin-addr", &admin])?;
    // Either way it goes on.
    publish(&connect(&daemon)?, "demo", 1)?;
    match output.status.success() {
        true => Ok::<_, No>(text(&output)),
        false => skipped(&format!("this broker says: {}", text(&output))),
    }
}
