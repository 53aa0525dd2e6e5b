//! 6. Who gets in, and what is told to whom.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use blipmq::client::blocking::Client;
use blipmq::model::Qos;
use blipmq::protocol::native::command;
use blipmq::torture::daemon::KEY;
use bytes::BytesMut;

use super::line::{Checked, Line, need, skipped};
use super::site::{PATIENCE, Site, connect, keys, metric, options, publish, start};

pub const LINES: &[Line] = &[
    Line {
        section: 6,
        says: "Before authentication nothing but HELLO and AUTH is taken",
        repeat: "cargo test --test it refusals; printf '\\0\\0\\0\\11\\3\\0\\0\\0\\0\\0\\0\\0\\1' | nc localhost 5555 | xxd",
        check: before_authentication,
    },
    Line {
        section: 6,
        says: "A wrong or missing key is refused, and counted",
        repeat: "BLIPMQ_API_KEY=wrong blipmq ping; echo $?; curl -s localhost:9100/metrics | grep handshake_failures",
        check: wrong_key,
    },
    Line {
        section: 6,
        says: "Keys are neither in the log, nor on the command line, nor in metrics",
        repeat: "RUST_LOG=trace blipmqd 2>log; grep -c \"$BLIPMQ_ALLOWED_API_KEYS\" log; tr '\\0' ' ' </proc/$(cat blipmq-data/lock)/cmdline",
        check: hidden,
    },
    Line {
        section: 6,
        says: "The key that a broker makes is readable by its user alone",
        repeat: "stat -c %a blipmq-data/api-key blipmq-data",
        check: private,
    },
    Line {
        section: 6,
        says: "It listens where it was told, by default on loopback only",
        repeat: "ss -ltnp | grep blipmqd",
        check: loopback,
    },
    Line {
        section: 6,
        says: "TLS is as the operator wants it",
        repeat: "openssl s_client -connect HOST:5555 -verify_return_error </dev/null; see the page security of the manual",
        check: |_| skipped("is about your certificates"),
    },
    Line {
        section: 6,
        says: "Dependencies have no known holes",
        repeat: "cargo audit; cargo deny check",
        check: |_| skipped("needs the source and its advisories"),
    },
];

fn before_authentication(site: &Site) -> Checked {
    let workspace = site.workspace()?;
    let daemon = start(&workspace, &[])?;
    let mut stream = TcpStream::connect(&daemon.addr)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut said = BytesMut::new();
    command::hello(&mut said, 1, 1);
    command::publish(&mut said, 2, Qos::AtLeastOnce, b"demo", b"no");
    stream.write_all(&said)?;
    let mut answer = Vec::new();
    // A reset is an end, too.
    match stream.read_to_end(&mut answer) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => return Err(error.into()),
        _ => {}
    }
    let published = metric(&daemon, "messages_published_total")?;
    need(published == 0.0, || "the message was taken".into())?;
    Ok("answered with a refusal and closed, nothing taken".into())
}

fn wrong_key(site: &Site) -> Checked {
    let workspace = site.workspace()?;
    let daemon = start(&workspace, &[])?;
    for version in [1, 2] {
        let refused = Client::connect(&options(&daemon).api_key("wrong").version(version));
        let code = refused.err().and_then(|error| error.code());
        need(code.is_some_and(|code| code as u16 == 401), || format!("version {version}: {code:?}, not 401"))?;
    }
    let counted = metric(&daemon, "blipmq_handshake_failures_total{reason=\"wrong_key\"}")?;
    need(counted >= 2.0, || format!("{counted} counted"))?;
    Ok("401 in both versions, counted".into())
}

fn hidden(site: &Site) -> Checked {
    let workspace = site.workspace()?;
    let mut command = workspace.command(&keys(&[]));
    command.env("RUST_LOG", "trace").env("BLIPMQ_ALLOWED_API_KEYS", format!("{KEY},{SECRET}"));
    let daemon = workspace.spawn(command)?;
    let client = Client::connect(&options(&daemon).api_key(SECRET))?;
    publish(&client, "demo", 3)?;
    // A key that does not fit is one that somebody mistyped.
    drop(Client::connect(&options(&daemon).api_key(MISTYPED)));
    publish(&connect(&daemon)?, "demo", 1)?;
    let log = fs::read_to_string(workspace.log())?;
    let line = fs::read_to_string(format!("/proc/{}/cmdline", daemon.pid()))?;
    let metrics = super::site::get(&daemon, "/metrics")?;
    for (place, text) in [("the log", &log), ("the command line", &line), ("the metrics", &metrics)] {
        need(!text.contains(SECRET) && !text.contains(MISTYPED), || format!("a key stands in {place}"))?;
    }
    Ok(format!("not in {} lines of the log at trace", log.lines().count()))
}

const SECRET: &str = "checklist-4e1f0c9a";
const MISTYPED: &str = "checklist-4e1f0c9b";

fn private(site: &Site) -> Checked {
    use std::os::unix::fs::PermissionsExt;
    let workspace = site.workspace()?;
    let mut command = workspace.command(&keys(&[]));
    command.env_remove("BLIPMQ_ALLOWED_API_KEYS");
    let daemon = workspace.spawn(command)?;
    let mode = |path: &std::path::Path| fs::metadata(path).map(|metadata| metadata.permissions().mode() & 0o777);
    let (key, directory) = (mode(&workspace.data().join("api-key"))?, mode(&workspace.data())?);
    drop(daemon);
    need(key == 0o600 && directory == 0o700, || format!("api-key {key:o}, directory {directory:o}"))?;
    Ok("api-key 600, directory 700".into())
}

fn loopback(site: &Site) -> Checked {
    let workspace = site.workspace()?;
    let daemon = start(&workspace, &[])?;
    let metrics = daemon.metrics.clone().unwrap_or_default();
    need(daemon.addr.starts_with("127.0.0.1:") && metrics.starts_with("http://127.0.0.1:"), || {
        format!("{}, {metrics}", daemon.addr)
    })?;
    Ok(format!("{} and {metrics}", daemon.addr))
}
