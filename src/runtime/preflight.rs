//! What the kernel must give before anything is started.

use std::fs;
use std::io;

use glommio::{LocalExecutorBuilder, Placement};
use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::cores::CorePlan;
use super::failure::{Exit, Failure};
use crate::model::Limits;

/// Locked memory one executor cannot start without: glommio's own bound.
const MEMLOCK_MIN: u64 = 512 * 1024;
/// Descriptors one shard needs beside its connections and logs: rings, event descriptors, the listener.
const FILES_PER_SHARD: u64 = 64;
/// Of one log: its segments, the newest of them twice, and what is made, synced or renamed meanwhile.
const FILES_PER_LOG: u64 = Limits::SEGMENTS_OPEN_MAX as u64 + 8;
/// Descriptors of the process itself: logs, metrics connections, the standard three.
const FILES_OF_PROCESS: u64 = 64;
/// The smallest registered memory glommio makes.
const IO_MEMORY_MIN: usize = 64 * 1024;

/// What the preflight found out.
#[derive(Clone, Debug)]
pub struct Ground {
    /// Bytes each executor may register with its rings; beyond that it takes from the heap.
    pub io_memory: usize,
    /// Whether executors can be bound to their CPUs here.
    pub pinned: bool,
}

/// Raises what may be raised and refuses what cannot work. `io_memory`: bytes wanted for each executor.
pub fn check(plan: &CorePlan, connections_max: usize, io_memory: usize) -> Result<Ground, Failure> {
    // There may be more logs than shards: that is known when the data directory is open.
    files(plan.cpus.len(), plan.cpus.len(), connections_max)?;
    let memlock = locked_memory()?;
    let pinned = io_uring(plan)?;
    Ok(Ground { io_memory: affordable(memlock, plan.cpus.len() as u64, io_memory), pinned })
}

/// The soft limit is a default, the hard one is what the operator meant.
fn raise(resource: Resource) -> (u64, u64) {
    let (soft, hard) = getrlimit(resource).unwrap_or((u64::MAX, u64::MAX));
    if soft < hard && setrlimit(resource, hard, hard).is_ok() {
        return (hard, hard);
    }
    (soft, hard)
}

/// Raises the limit on open files as far as allowed; whether that is enough for so many connections.
pub fn files(shards: usize, logs: usize, connections_max: usize) -> Result<(), Failure> {
    let own = shards as u64 * FILES_PER_SHARD + logs as u64 * FILES_PER_LOG + FILES_OF_PROCESS;
    let needed = connections_max as u64 + own;
    let (limit, _) = raise(Resource::RLIMIT_NOFILE);
    if limit >= needed {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Environment,
        format!("at most {limit} open files, but max_connections = {connections_max} needs {needed}"),
        format!("raise it (`ulimit -n {needed}`, LimitNOFILE={needed}), or lower max_connections"),
    ))
}

fn locked_memory() -> Result<u64, Failure> {
    let (limit, _) = raise(Resource::RLIMIT_MEMLOCK);
    if limit >= MEMLOCK_MIN {
        return Ok(limit);
    }
    Err(Failure::new(
        Exit::Environment,
        format!("at most {} KB of locked memory; io_uring needs {} KB", limit / 1024, MEMLOCK_MIN / 1024),
        "raise it (`ulimit -l unlimited`, LimitMEMLOCK=infinity, docker --ulimit memlock=-1)",
    ))
}

/// Each of an executor's three rings counts the registered memory against the limit; half of it stays for others.
fn affordable(memlock: u64, shards: u64, wanted: usize) -> usize {
    if nix::unistd::geteuid().is_root() {
        return wanted;
    }
    let each = usize::try_from(memlock / 2 / 3 / shards).unwrap_or(usize::MAX);
    wanted.min(each).max(IO_MEMORY_MIN)
}

/// Starts the smallest executor there is, bound and unbound. Answers whether binding works.
fn io_uring(plan: &CorePlan) -> Result<bool, Failure> {
    if plan.pinned && trial(Placement::Fixed(plan.cpus[0])).is_ok() {
        return Ok(true);
    }
    trial(Placement::Unbound).map(|()| false).map_err(|error| refused(&error))
}

fn trial(placement: Placement) -> io::Result<()> {
    let builder = LocalExecutorBuilder::new(placement).name("preflight").io_memory(IO_MEMORY_MIN).ring_depth(8);
    builder.spawn(|| async {}).and_then(|thread| thread.join()).map_err(io::Error::from)
}

fn refused(error: &io::Error) -> Failure {
    let switch = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    let remedy = match (switch.trim(), error.raw_os_error().map(Errno::from_raw)) {
        ("1" | "2", _) => {
            format!("kernel.io_uring_disabled is {}: `sysctl kernel.io_uring_disabled=0`", switch.trim())
        }
        (_, Some(Errno::ENOSYS)) => "this kernel has no io_uring: Linux 5.8 or newer is needed".into(),
        (_, Some(Errno::ENOMEM)) => "raise locked memory (`ulimit -l unlimited`, LimitMEMLOCK=infinity)".into(),
        _ => "a container's seccomp profile may block io_uring (docker: --security-opt seccomp=unconfined)".into(),
    };
    Failure::new(Exit::Environment, format!("io_uring does not work here: {error}"), remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_connections_for_the_limit_on_files_are_refused_with_the_number_needed() {
        let failure = files(2, 5, 1 << 40).unwrap_err();
        assert_eq!(failure.exit, Exit::Environment);
        assert!(
            failure
                .remedy
                .contains(&((1u64 << 40) + 2 * FILES_PER_SHARD + 5 * FILES_PER_LOG + FILES_OF_PROCESS).to_string())
        );
        assert!(files(1, 1, 10).is_ok());
    }

    #[test]
    fn io_uring_works_where_the_tests_run() {
        let plan = CorePlan { cpus: vec![0], pinned: false };
        assert!(!check(&plan, 10, 1 << 20).unwrap().pinned);
    }

    #[test]
    fn registered_memory_has_a_floor() {
        assert!(affordable(600 * 1024, 64, 10 << 20) >= IO_MEMORY_MIN);
        assert_eq!(affordable(u64::MAX, 1, 1 << 20), 1 << 20);
    }

    #[test]
    fn a_refusal_names_the_way_out() {
        let failure = refused(&io::Error::from_raw_os_error(libc::ENOSYS));
        assert!(failure.remedy.contains("5.8") || failure.remedy.contains("sysctl"));
    }
}
