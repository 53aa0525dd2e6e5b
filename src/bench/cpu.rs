//! CPU time and memory of processes and threads, from `/proc`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

/// CPU time so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Nanoseconds in the program.
    pub user: u64,
    /// Nanoseconds in the kernel on its behalf.
    pub system: u64,
}

impl Usage {
    /// Both.
    pub fn total(self) -> u64 {
        self.user + self.system
    }

    /// Between two looks.
    pub fn since(self, earlier: Usage) -> Usage {
        Usage { user: self.user.saturating_sub(earlier.user), system: self.system.saturating_sub(earlier.system) }
    }

    /// Of the calling thread.
    pub fn of_this_thread() -> Usage {
        let nanos = |time: TimeVal| time.tv_sec() as u64 * 1_000_000_000 + time.tv_usec() as u64 * 1000;
        getrusage(UsageWho::RUSAGE_THREAD).map_or(Usage::default(), |usage| Usage {
            user: nanos(usage.user_time()),
            system: nanos(usage.system_time()),
        })
    }

    /// Of a process, its threads that have ended included as far as the kernel's clock ticks tell.
    pub fn of_process(pid: u32) -> Option<Usage> {
        usage(&PathBuf::from(format!("/proc/{pid}")))
    }

    /// Of one thread of this process.
    pub fn of_thread(tid: i32) -> Option<Usage> {
        let task = PathBuf::from(format!("/proc/self/task/{tid}"));
        Some(split(exact(&task)?, ticks(&task)?))
    }
}

fn usage(process: &Path) -> Option<Usage> {
    let ticks = ticks(process)?;
    let tasks = std::fs::read_dir(process.join("task")).ok()?;
    let exact: Option<u64> = tasks.map(|task| exact(&task.ok()?.path())).sum();
    // Without the scheduler's own count, ticks have to do.
    Some(exact.filter(|exact| *exact > 0).map_or(ticks, |exact| split(exact, ticks)))
}

/// The exact sum in the proportion of the ticks.
fn split(exact: u64, ticks: Usage) -> Usage {
    if ticks.total() == 0 {
        return Usage { user: exact, system: 0 };
    }
    let system = (exact as f64 * ticks.system as f64 / ticks.total() as f64) as u64;
    Usage { user: exact - system, system }
}

/// Nanoseconds on a CPU: first field of `schedstat`.
fn exact(task: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(task.join("schedstat")).ok()?;
    text.split_whitespace().next()?.parse().ok()
}

/// `utime` and `stime` of `stat`: hundredths of a second on every Linux.
fn ticks(of: &Path) -> Option<Usage> {
    let text = std::fs::read_to_string(of.join("stat")).ok()?;
    // The name, in parentheses, may have anything in it.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let nanos = |field: &str| field.parse::<u64>().ok().map(|ticks| ticks * 10_000_000);
    Some(Usage { user: nanos(fields.get(11)?)?, system: nanos(fields.get(12)?)? })
}

/// What a process has used, and holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// CPU time so far.
    pub usage: Usage,
    /// Resident bytes now.
    pub resident: Option<u64>,
}

impl Sample {
    /// Of a process; `None` if there is none.
    pub fn of_process(pid: u32) -> Option<Sample> {
        Some(Sample { usage: Usage::of_process(pid)?, resident: resident(pid) })
    }
}

/// CPU time of each shard of a process: its threads are named after it (`shard-0`, and what its executor adds to that).
pub fn shards(pid: u32) -> BTreeMap<u32, u64> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let mut shards = BTreeMap::new();
    for task in tasks {
        if let Some((shard, nanos)) = shard(&task.path()) {
            *shards.entry(shard).or_default() += nanos;
        }
    }
    shards
}

fn shard(task: &Path) -> Option<(u32, u64)> {
    let name = std::fs::read_to_string(task.join("comm")).ok()?;
    let number = name.trim().strip_prefix("shard-")?.split('-').next()?;
    Some((number.parse().ok()?, exact(task)?))
}

/// Resident bytes of a process.
pub fn resident(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_the_cpu_and_memory() {
        let before = Usage::of_process(std::process::id()).unwrap();
        let thread = Usage::of_this_thread();
        let mut sum = 0u64;
        for number in 0..40_000_000u64 {
            sum = std::hint::black_box(sum ^ number);
        }
        let after = Usage::of_process(std::process::id()).unwrap();
        assert!(after.since(before).total() > 1_000_000, "{sum}");
        assert!(Usage::of_this_thread().since(thread).total() > 1_000_000);
        let tid = nix::unistd::gettid().as_raw();
        assert!(Usage::of_thread(tid).unwrap().total() > 1_000_000);
        assert!(resident(std::process::id()).unwrap() > 1 << 20);
        assert_eq!(resident(u32::MAX), None);
    }
}
