//! 3. What a bad day takes; and 10. what is done about a log that is damaged.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::Path;

use blipmq::client::ProducerOptions;
use blipmq::torture::daemon::Workspace;

use super::line::{Checked, Line, No, need, skipped};
use super::site::{PATIENCE, Site, connect, durable, metric, next, publish, start, until};

pub const LINES: &[Line] = &[
    Line {
        section: 3,
        says: "kill -9: all that was acknowledged to publishers and not by subscribers is there again, nothing else",
        repeat: "blipmq sub work --name a --timeout 1s; seq 1000 | blipmq pub work --lines; kill -9 $(cat blipmq-data/lock); blipmqd & blipmq sub work --name a --count 1000 | sort -u | wc -l",
        check: killed,
    },
    Line {
        section: 3,
        says: "Connections that break at any moment give everything back",
        repeat: "blipmq bench connect --connections 1000; curl -s localhost:9100/metrics | grep -E 'connections|open_fds'",
        check: disconnects,
    },
    Line {
        section: 3,
        says: "A slow disk is back pressure, not memory",
        repeat: "blipmq torture slow-disk; or wal_path on a throttled device: systemd-run -p 'IOWriteBandwidthMax=/dev/sda 1M' blipmqd",
        check: |_| skipped("takes its time: blipmq torture slow-disk"),
    },
    Line {
        section: 3,
        says: "A damaged log is found at the start: told, with the place and the way out, and not started on",
        repeat: "blipmq wal check DATA; blipmqd --wal-path DATA; echo $?   # 4, on a copy with a byte turned",
        check: refused,
    },
];

pub const CORRUPTION: &[Line] = &[
    Line {
        section: 10,
        says: "wal check finds the damaged byte",
        repeat: "cp -r blipmq-data copy; printf X | dd of=copy/shard-0000/00000000000000000000.log bs=1 seek=41260 conv=notrunc; blipmq wal check copy",
        check: checked,
    },
    Line {
        section: 10,
        says: "recovery = \"truncate\" and \"skip\" do what they say, count it, and what is left is good",
        repeat: "blipmqd --wal-path copy --recovery skip; curl -s localhost:9100/metrics | grep corruptions",
        check: mended,
    },
    Line {
        section: 10,
        says: "A backup is made while the broker works, and comes back with every checksum checked",
        repeat: "blipmq backup --to DIR && blipmq restore --from DIR --to DATA",
        check: backed_up,
    },
];

const MESSAGES: u64 = 500;

fn killed(site: &Site) -> Checked {
    let workspace = site.workspace()?;
    let daemon = start(&workspace, &[])?;
    let client = connect(&daemon)?;
    let mut subscription = durable(&client, "work")?;
    publish(&client, "work", MESSAGES)?;
    const SETTLED: u64 = 100;
    for _ in 0..SETTLED {
        let message = next(&mut subscription)?;
        subscription.ack(&message)?;
    }
    until("the acknowledgements are counted", || {
        Ok(metric(&daemon, "blipmq_messages_settled_total")? == SETTLED as f64)
    })?;
    // A cursor is logged a moment after it moves; what is published behind it is acknowledged after it.
    std::thread::sleep(std::time::Duration::from_millis(100));
    publish(&client, "after", 1)?;
    daemon.kill()?;
    let daemon = start(&workspace, &[])?;
    let mut subscription = durable(&connect(&daemon)?, "work")?;
    let mut came = BTreeSet::new();
    for _ in SETTLED..MESSAGES {
        came.insert(next(&mut subscription)?.value.to_vec());
    }
    let wanted: BTreeSet<Vec<u8>> = (SETTLED..MESSAGES).map(|nth| nth.to_be_bytes().to_vec()).collect();
    need(came == wanted, || format!("{} of {} came again", came.intersection(&wanted).count(), wanted.len()))?;
    Ok(format!("{MESSAGES} acknowledged, {SETTLED} settled, killed: the other {} are there", wanted.len()))
}

fn disconnects(site: &Site) -> Checked {
    const TIMES: usize = 200;
    let workspace = site.workspace()?;
    let daemon = start(&workspace, &[])?;
    let client = connect(&daemon)?;
    publish(&client, "demo", 1)?;
    let before = daemon.usage()?;
    let open = metric(&daemon, "blipmq_connections{state=\"open\"}")?;
    for nth in 0..TIMES {
        match nth % 3 {
            0 => drop(TcpStream::connect(&daemon.addr)?.shutdown(Shutdown::Write)),
            1 => drop(durable(&connect(&daemon)?, &format!("demo.{nth}"))?),
            _ => {
                let client = connect(&daemon)?;
                let mut publisher = client.publisher("demo", ProducerOptions::at_least_once())?;
                publisher.publish(b"on its way")?;
            }
        }
    }
    until("all connections are gone", || Ok(metric(&daemon, "blipmq_connections{state=\"open\"}")? == open))?;
    let after = daemon.usage()?;
    need(after.descriptors <= before.descriptors + 8 && after.threads <= before.threads + 2, || {
        format!(
            "descriptors {} to {}, threads {} to {}",
            before.descriptors, after.descriptors, before.threads, after.threads
        )
    })?;
    Ok(format!("{TIMES} connections broken; descriptors {} before, {} after", before.descriptors, after.descriptors))
}

/// A log with a byte turned in its middle, and everything behind it known to be synced.
fn damage(workspace: &Workspace) -> Result<(), No> {
    let daemon = start(workspace, &[("fsync_policy", "always")])?;
    let client = connect(&daemon)?;
    drop(durable(&client, "work")?);
    for _ in 0..100 {
        client.publish("work", &[7; 1000], &super::site::QOS_1)?;
    }
    daemon.kill()?;
    let folder = workspace.data().join("shard-0000");
    let mut segments: Vec<_> = fs::read_dir(&folder)?.collect::<Result<Vec<_>, _>>()?;
    segments.retain(|entry| entry.path().extension().is_some_and(|extension| extension == "log"));
    segments.sort_by_key(fs::DirEntry::path);
    let first = segments.first().ok_or("there is no segment")?.path();
    // Groups begin on blocks: this is in a message, and not in what fills up a block.
    flip(&first, 10 * 4096 + 300)
}

fn flip(file: &Path, at: u64) -> Result<(), No> {
    let file = OpenOptions::new().read(true).write(true).open(file)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    file.write_all_at(&[!byte[0]], at)?;
    Ok(())
}

fn refused(site: &Site) -> Checked {
    let workspace = site.workspace()?;
    damage(&workspace)?;
    let mut command = site.bare();
    command.args(["--port", "0", "--metrics-port", "0", "--wal-path"]).arg(workspace.data()).env("RUST_LOG", "info");
    let output = site.ends(&mut command)?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    need(output.status.code() == Some(4), || format!("{}: {said}", output.status))?;
    need(said.contains("segment") && said.contains("recovery"), || {
        format!("it does not say where, or the way out: {said}")
    })?;
    Ok(said.lines().find(|line| line.contains("segment")).unwrap_or_default().trim().to_owned())
}

fn checked(site: &Site) -> Checked {
    let workspace = site.workspace()?;
    damage(&workspace)?;
    let output = site.own(&["wal", "check", &workspace.data().display().to_string()])?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).trim().to_owned();
    need(!output.status.success(), || format!("called good: {said}"))?;
    Ok(said.lines().last().unwrap_or_default().to_owned())
}

fn mended(site: &Site) -> Checked {
    let mut found = Vec::new();
    for mode in ["truncate", "skip"] {
        let workspace = site.workspace()?;
        damage(&workspace)?;
        let mut daemon = start(&workspace, &[("recovery", mode)])?;
        let told = metric(&daemon, "blipmq_wal_corruptions_total")?;
        need(told >= 1.0, || format!("{mode}: nothing is counted"))?;
        let mut subscription = durable(&connect(&daemon)?, "work")?;
        next(&mut subscription)?;
        drop(subscription);
        daemon.signal(nix::sys::signal::Signal::SIGTERM)?;
        daemon.wait(PATIENCE)?.ok_or("it does not end")?;
        let output = site.own(&["wal", "check", &workspace.data().display().to_string()])?;
        need(output.status.success(), || String::from_utf8_lossy(&output.stderr).into_owned())?;
        found.push(format!("{mode}: {told} told"));
    }
    Ok(format!("{}, then good", found.join(", ")))
}

fn backed_up(site: &Site) -> Checked {
    let workspace = site.workspace()?;
    let daemon = start(&workspace, &[])?;
    let client = connect(&daemon)?;
    drop(durable(&client, "work")?);
    publish(&client, "work", MESSAGES)?;
    let (copy, back) = (workspace.path().join("copy"), workspace.path().join("back"));
    let (copy, back) = (copy.display().to_string(), back.display().to_string());
    let metrics = daemon.metrics.clone().unwrap_or_default();
    let admin = metrics.trim_start_matches("http://").split('/').next().unwrap_or_default();
    for words in [["backup", "--to", &copy, "--admin-addr", admin], ["restore", "--from", &copy, "--to", &back]] {
        let output = site.own(&words)?;
        need(output.status.success(), || String::from_utf8_lossy(&output.stderr).into_owned())?;
    }
    daemon.kill()?;
    fs::remove_dir_all(workspace.data())?;
    fs::rename(&back, workspace.data())?;
    let daemon = start(&workspace, &[])?;
    let mut subscription = durable(&connect(&daemon)?, "work")?;
    for _ in 0..MESSAGES {
        next(&mut subscription)?;
    }
    Ok(format!("{MESSAGES} messages copied, restored, and delivered again"))
}
