//! The process, as the kernel sees it.

use std::fs;
use std::path::Path;

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};
use nix::sys::statvfs::statvfs;

use crate::admin::figures::{Disk, Process};

/// Time, memory and descriptors; zero for what the kernel does not say.
pub fn look(start_ms: u64) -> Process {
    Process {
        start_ms,
        cpu_us: cpu_us(),
        resident_bytes: resident_bytes(),
        open_fds: fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64),
        max_fds: getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft),
    }
}

/// The filesystem that `folder` is on.
pub fn disk(folder: &Path) -> Option<Disk> {
    let stat = statvfs(folder).ok()?;
    let fragment = stat.fragment_size();
    Some(Disk { free_bytes: stat.blocks_available() * fragment, size_bytes: stat.blocks() * fragment })
}

fn cpu_us() -> u64 {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else { return 0 };
    let us = |time: nix::sys::time::TimeVal| time.tv_sec() as u64 * 1_000_000 + time.tv_usec() as u64;
    us(usage.user_time()) + us(usage.system_time())
}

fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_time_memory_and_descriptors() {
        let process = look(5);
        assert_eq!(process.start_ms, 5);
        assert!(process.resident_bytes > 100_000 && process.open_fds > 2 && process.max_fds >= process.open_fds);
        let disk = disk(Path::new(".")).unwrap();
        assert!(disk.free_bytes <= disk.size_bytes && disk.size_bytes > 0);
        assert!(super::disk(Path::new("/no such folder")).is_none());
    }
}
