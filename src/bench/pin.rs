//! Which CPU runs what: the broker on one, the load on another.

use core_affinity::CoreId;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use super::failure::Failure;

/// CPUs that this process may use, in order.
pub fn allowed() -> Vec<usize> {
    core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| core.id).collect()
}

/// Binds the calling thread.
pub fn to(cpu: usize) -> Result<(), Failure> {
    if core_affinity::set_for_current(CoreId { id: cpu }) {
        return Ok(());
    }
    Err(Failure::Usage(format!("CPU {cpu} is not one of those that may be used: {:?}", allowed())))
}

/// Calls `what` with the calling thread bound to `cpus`, if there are any: threads and processes that it starts inherit
/// that.
pub fn on<T>(cpus: &[usize], what: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    if cpus.is_empty() {
        return what();
    }
    let before = sched_getaffinity(Pid::from_raw(0))?;
    let mut set = CpuSet::new();
    for cpu in cpus {
        set.set(*cpu)?;
    }
    if sched_setaffinity(Pid::from_raw(0), &set).is_err() {
        return Err(Failure::Usage(format!("CPUs {cpus:?} are not among those that may be used: {:?}", allowed())));
    }
    let result = what();
    sched_setaffinity(Pid::from_raw(0), &before)?;
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_started_inherits_the_cpus_and_nothing_else_changes() {
        let before = allowed();
        let last = *before.last().unwrap();
        let seen = on(&[last], || Ok(std::thread::spawn(allowed).join().unwrap())).unwrap();
        assert_eq!(seen, [last]);
        assert_eq!(allowed(), before);
        assert!(on(&[100_000], || Ok(())).is_err());
    }
}
