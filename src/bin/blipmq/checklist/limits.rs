//! 8. What the machine gives, and 9. what happens when the disk gives nothing more.

use std::fs;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use blipmq::client::SubscribeOptions;
use blipmq::protocol::ErrorCode;

use super::line::{Checked, Line, need, skipped};
use super::site::{QOS_0, QOS_1, Site, connect, durable, metric, next, publish, start};

pub const LINES: &[Line] = &[
    Line {
        section: 8,
        says: "io_uring, locked memory and descriptors are enough for this broker to start",
        repeat: "tuning/check.sh --data-dir DIR; ulimit -n; ulimit -l; sysctl kernel.io_uring_disabled",
        check: machine,
    },
    Line {
        section: 8,
        says: "Too few descriptors for the connections that are configured: not started, and said how to get them",
        repeat: "(ulimit -n 64; blipmqd; echo $?)   # 3",
        check: descriptors,
    },
    Line {
        section: 8,
        says: "A broker with nothing to do takes no processor",
        repeat: "pidstat -p $(cat blipmq-data/lock) 1 5",
        check: idle,
    },
    Line {
        section: 8,
        says: "Memory is bounded by what is configured, whatever is published",
        repeat: "blipmq bench durable --backlog 1m; curl -s localhost:9100/metrics | grep -E 'memory_bytes|resident'",
        check: memory,
    },
    Line {
        section: 8,
        says: "One connection too many is refused, and counted",
        repeat: "blipmq bench connect --connections 200 --set max_connections=100",
        check: connections,
    },
    Line {
        section: 9,
        says: "Too little space: QoS 1 is refused with 507, subscribers and QoS 0 go on, and it is seen from outside",
        repeat: "blipmqd --set disk_low_water_bytes=1000000000000000 & blipmq pub demo x; echo $?; blipmq admin health",
        check: full,
    },
    Line {
        section: 9,
        says: "A disk that is really full: the same, and ready again by itself",
        repeat: "mount -o loop a file of 64 MiB with ext4 at /mnt, blipmqd --wal-path /mnt/data --set disk_low_water_bytes=0, publish until 507, delete a file",
        check: |_| skipped("needs a small filesystem of its own: blipmq torture disk-full"),
    },
];

fn machine(site: &Site) -> Checked {
    let workspace = site.workspace()?;
    let daemon = start(&workspace, &[])?;
    let limits = fs::read_to_string(format!("/proc/{}/limits", daemon.pid()))?;
    let limit = |name: &str| {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line[name.len().min(line.len())..].split_whitespace().next().unwrap_or("?").to_owned()
    };
    publish(&connect(&daemon)?, "demo", 1)?;
    Ok(format!("started; open files {}, locked memory {}", limit("Max open files"), limit("Max locked memory")))
}

fn descriptors(site: &Site) -> Checked {
    let workspace = site.workspace()?;
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "ulimit -n 64; exec \"$0\" \"$@\""]).arg(&site.broker);
    command.args(["--port", "0", "--metrics-port", "0", "--wal-path"]).arg(workspace.data());
    let output = site.ends(command.stdin(Stdio::null()))?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    need(output.status.code() == Some(3), || format!("{}: {said}", output.status))?;
    need(said.contains("ulimit") || said.contains("LimitNOFILE"), || format!("no way out is said: {said}"))?;
    Ok(said.lines().next().unwrap_or_default().to_owned())
}

fn idle(site: &Site) -> Checked {
    const LOOK: Duration = Duration::from_secs(2);
    let workspace = site.workspace()?;
    let daemon = start(&workspace, &[("cores", "1")])?;
    publish(&connect(&daemon)?, "demo", 10)?;
    sleep(Duration::from_millis(500));
    let before = metric(&daemon, "process_cpu_seconds_total")?;
    sleep(LOOK);
    let share = (metric(&daemon, "process_cpu_seconds_total")? - before) / LOOK.as_secs_f64() * 100.0;
    need(share < 10.0, || format!("{share:.1} % of a processor"))?;
    Ok(format!("{share:.1} % of a processor"))
}

fn memory(site: &Site) -> Checked {
    const SENT: usize = 2000;
    let value = vec![7; 64 * 1024];
    let sent_mib = (SENT * value.len()) >> 20;
    let workspace = site.workspace()?;
    let keys = [("max_tail_bytes", "8 MiB"), ("max_log_backlog_bytes", "4 MiB"), ("segment_bytes", "16 MiB")];
    let daemon = start(&workspace, &[keys[0], keys[1]])?;
    let client = connect(&daemon)?;
    drop(durable(&client, "work")?);
    publish(&client, "work", 10)?;
    let before = daemon.usage()?.rss_bytes;
    for _ in 0..SENT {
        client.publish("work", &value, &QOS_1)?;
    }
    let grown = daemon.usage()?.rss_bytes.saturating_sub(before) >> 20;
    need(grown < 100, || format!("{grown} MiB more for {sent_mib} MiB kept"))?;
    Ok(format!("{sent_mib} MiB kept in the log, {grown} MiB more memory with a tail of 8 MiB"))
}

fn connections(site: &Site) -> Checked {
    let workspace = site.workspace()?;
    let daemon = start(&workspace, &[("max_connections", "5")])?;
    let mut clients = Vec::new();
    let refused = loop {
        match connect(&daemon) {
            Ok(client) if clients.len() < 50 => clients.push(client),
            Ok(_) => return Err("the bound is not kept".into()),
            Err(_) => break metric(&daemon, "blipmq_refused_total{reason=\"connection_limit\"}")?,
        }
    };
    need(clients.len() == 5 && refused >= 1.0, || format!("{} let in, {refused} refused", clients.len()))?;
    clients.iter().try_for_each(|client| client.ping().map(drop))?;
    Ok("5 of 5 let in, the sixth refused and counted".into())
}

fn full(site: &Site) -> Checked {
    let workspace = site.workspace()?;
    let daemon = start(&workspace, &[])?;
    let client = connect(&daemon)?;
    drop(durable(&client, "work")?);
    publish(&client, "work", 5)?;
    daemon.kill()?;
    let daemon = start(&workspace, &[("disk_low_water_bytes", "1000000000000000")])?;
    let client = connect(&daemon)?;
    super::site::until("it sees how little there is", || Ok(metric(&daemon, "blipmq_wal_full")? == 1.0))?;
    let code = client.publish("work", b"no", &QOS_1).err().and_then(|error| error.code());
    need(code == Some(ErrorCode::DiskFull), || format!("{code:?}, not 507"))?;
    let mut kept = durable(&client, "work")?;
    for _ in 0..5 {
        next(&mut kept)?;
    }
    let mut passing = client.subscribe(&SubscribeOptions::new("demo"))?;
    client.publish("demo", b"yes", &QOS_0)?;
    next(&mut passing)?;
    Ok("507, blipmq_wal_full 1, what is kept is delivered, QoS 0 flows".into())
}
