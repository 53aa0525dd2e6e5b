//! Where a figure was measured: host, kernel, CPU, memory, filesystem, commit.

use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

/// Everything that a figure needs beside it. What cannot be found out is `null`.
pub fn describe(data: &Path) -> Value {
    json!({
        "host": host(),
        "kernel": word("/proc/sys/kernel/osrelease"),
        "cpu": field("/proc/cpuinfo", "model name"),
        "cpus": std::thread::available_parallelism().map(usize::from).ok(),
        "memory": field("/proc/meminfo", "MemTotal"),
        "hypervisor": field("/proc/cpuinfo", "flags").map(|flags| flags.split(' ').any(|flag| flag == "hypervisor")),
        "clock": word("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        "governor": word("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "mitigations": word("/sys/devices/system/cpu/vulnerabilities/spectre_v2"),
        "filesystem": filesystem(data),
        "version": env!("CARGO_PKG_VERSION"),
        "commit": commit(),
        "time": SystemTime::now().duration_since(UNIX_EPOCH).map(|since| since.as_secs()).ok(),
    })
}

fn host() -> Option<String> {
    word("/proc/sys/kernel/hostname")
}

fn word(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn field(path: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// The mount that `path` is on: device, type and options.
fn filesystem(path: &Path) -> Option<String> {
    let path = path.canonicalize().ok()?;
    let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>()).filter(|fields| fields.len() > 3);
    let deepest = fields.filter(|fields| path.starts_with(fields[1])).max_by_key(|fields| fields[1].len())?;
    Some(format!("{} {} {}", deepest[0], deepest[2], deepest[3]))
}

/// Of the working directory, when it is a clone.
pub fn commit() -> Option<String> {
    let output = Command::new("git").args(["rev-parse", "--short=10", "HEAD"]).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_can_be_described() {
        let described = describe(Path::new("."));
        assert!(described["kernel"].is_string() && described["filesystem"].is_string(), "{described}");
    }
}
