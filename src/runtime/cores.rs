//! Which cores this process may use: affinity, control-group quota, the operator's word.

use std::fs;
use std::path::Path;

use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;

use super::failure::{Exit, Failure};

/// One executor for each of `cpus`, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorePlan {
    /// CPU numbers; their count is the number of shards.
    pub cpus: Vec<usize>,
    /// Whether each executor is bound to its CPU.
    pub pinned: bool,
}

/// What the machine allows.
#[derive(Clone, Debug, PartialEq)]
pub struct Allowed {
    /// CPUs this process may run on: one thread of each physical core first, then their siblings.
    pub cpus: Vec<usize>,
    /// CPU time a second that the control groups grant, in cores.
    pub quota: Option<f64>,
}

/// Reads affinity and quota.
pub fn allowed() -> Allowed {
    let root = Path::new("/");
    Allowed { cpus: siblings_last(affinity(), root), quota: quota(root) }
}

/// Decides. `cores`: what the operator asked for, zero for all; `pin`: `None` binds executors to their CPUs unless a
/// quota says that the machine is shared, where everybody's core 0 would be the same.
pub fn plan(allowed: &Allowed, cores: usize, pin: Option<bool>) -> Result<CorePlan, Failure> {
    let available = allowed.cpus.len();
    if cores > available {
        return Err(Failure::new(
            Exit::Environment,
            format!("cores = {cores}, but this process may run on {available}"),
            "lower `cores`, or widen the affinity (taskset, cpuset) of the process",
        ));
    }
    // Rounded down: an executor that is throttled in the middle of a step stalls everything on its core.
    let granted = allowed.quota.map_or(available, |quota| (quota as usize).clamp(1, available));
    let count = if cores == 0 { granted } else { cores };
    let pinned = pin.unwrap_or(granted == available);
    Ok(CorePlan { cpus: allowed.cpus[..count].to_vec(), pinned })
}

/// The cores that the operator named, in that order.
pub fn plan_these(allowed: &Allowed, cores: &[usize]) -> Result<CorePlan, Failure> {
    match cores.iter().find(|core| !allowed.cpus.contains(core)) {
        None => Ok(CorePlan { cpus: cores.to_vec(), pinned: true }),
        Some(core) => Err(Failure::new(
            Exit::Environment,
            format!("cores names core {core}, on which this process may not run"),
            format!("name some of {:?}, or widen the affinity (taskset, cpuset) of the process", allowed.cpus),
        )),
    }
}

fn affinity() -> Vec<usize> {
    let set = sched_getaffinity(Pid::from_raw(0)).unwrap_or_else(|_| CpuSet::new());
    let cpus: Vec<usize> = (0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).collect();
    if cpus.is_empty() { vec![0] } else { cpus }
}

/// Two threads of one physical core share its pipelines; fewer shards than threads should not land on such a pair.
fn siblings_last(cpus: Vec<usize>, root: &Path) -> Vec<usize> {
    let first_of_core = |cpu: &usize| {
        let file = format!("sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
        let list = fs::read_to_string(root.join(file)).unwrap_or_default();
        let first = list.trim().split([',', '-']).next().and_then(|first| first.parse::<usize>().ok());
        first.is_none_or(|first| first == *cpu || !cpus.contains(&first))
    };
    let (mut first, second): (Vec<usize>, Vec<usize>) = cpus.iter().copied().partition(first_of_core);
    first.extend(second);
    first
}

/// The tightest quota of this process's control group and all above it, version 2 or 1.
fn quota(root: &Path) -> Option<f64> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    groups.lines().filter_map(|line| quota_of_line(line, root)).min_by(f64::total_cmp)
}

fn quota_of_line(line: &str, root: &Path) -> Option<f64> {
    let mut fields = line.splitn(3, ':');
    let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
    let mounts = root.join("sys/fs/cgroup");
    if controllers.is_empty() {
        return up(&mounts, path, |group| quota_v2(&fs::read_to_string(group.join("cpu.max")).ok()?));
    }
    if !controllers.split(',').any(|controller| controller == "cpu") {
        return None;
    }
    let mount = [controllers, "cpu"].iter().map(|name| mounts.join(name)).find(|mount| mount.is_dir())?;
    up(&mount, path, |group| {
        let number = |file: &str| fs::read_to_string(group.join(file)).ok()?.trim().parse::<f64>().ok();
        let (quota, period) = (number("cpu.cfs_quota_us")?, number("cpu.cfs_period_us")?);
        (quota > 0.0 && period > 0.0).then_some(quota / period)
    })
}

/// The smallest of what `read` finds in the group and in every group above it. A path that does not exist here (a
/// container sees the host's path and its own mount) still ends at the mount itself.
fn up(mount: &Path, path: &str, read: impl Fn(&Path) -> Option<f64>) -> Option<f64> {
    let relative = Path::new(path.trim_start_matches('/'));
    relative.ancestors().filter_map(|part| read(&mount.join(part))).min_by(f64::total_cmp)
}

fn quota_v2(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    let (quota, period) = (quota.parse::<f64>().ok()?, period.parse::<f64>().ok()?);
    (period > 0.0).then_some(quota / period)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, file: &str, text: &str) {
        let path = root.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn four(quota: Option<f64>) -> Allowed {
        Allowed { cpus: vec![0, 1, 2, 3], quota }
    }

    #[test]
    fn all_allowed_cores_are_used_and_pinned_unless_a_quota_says_otherwise() {
        assert_eq!(plan(&four(None), 0, None).unwrap(), CorePlan { cpus: vec![0, 1, 2, 3], pinned: true });
        assert_eq!(plan(&four(Some(2.5)), 0, None).unwrap(), CorePlan { cpus: vec![0, 1], pinned: false });
        assert_eq!(plan(&four(Some(0.5)), 0, None).unwrap().cpus, vec![0]);
        assert_eq!(plan(&four(Some(9.0)), 3, None).unwrap(), CorePlan { cpus: vec![0, 1, 2], pinned: true });
        assert!(!plan(&four(None), 0, Some(false)).unwrap().pinned);
        assert_eq!(plan(&four(None), 5, None).unwrap_err().exit, Exit::Environment);
    }

    #[test]
    fn the_tightest_group_above_counts_in_version_2() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "proc/self/cgroup", "0::/a/b\n");
        write(dir.path(), "sys/fs/cgroup/a/cpu.max", "150000 100000\n");
        write(dir.path(), "sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
        assert_eq!(quota(dir.path()), Some(1.5));
    }

    #[test]
    fn version_1_has_its_own_files() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "proc/self/cgroup", "4:memory:/x\n3:cpu,cpuacct:/x\n");
        write(dir.path(), "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1");
        write(dir.path(), "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000");
        assert_eq!(quota(dir.path()), None, "-1 is no quota");
        write(dir.path(), "sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us", "300000");
        write(dir.path(), "sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_period_us", "100000");
        assert_eq!(quota(dir.path()), Some(3.0));
    }

    #[test]
    fn siblings_of_a_core_come_after_all_first_threads() {
        let dir = tempfile::tempdir().unwrap();
        for (cpu, list) in [(0, "0-1"), (1, "0-1"), (2, "2,3"), (3, "2,3")] {
            write(dir.path(), &format!("sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"), list);
        }
        assert_eq!(siblings_last(vec![0, 1, 2, 3], dir.path()), vec![0, 2, 1, 3]);
        assert_eq!(siblings_last(vec![1, 3], dir.path()), vec![1, 3], "a sibling we may not use takes nothing away");
    }

    #[test]
    fn this_machine_allows_something() {
        assert!(!allowed().cpus.is_empty());
    }
}
