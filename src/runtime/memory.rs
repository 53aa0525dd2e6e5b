//! How the process's allocator treats memory that comes and goes with every read and every group.

/// Freed memory that stays with the process, for each of the allocator's arenas.
#[cfg(target_env = "gnu")]
const KEPT: libc::c_int = 64 * 1024 * 1024;
/// Allocations below this come from memory that is kept: several times a group of the log, the largest buffer that comes and
/// goes all the time. Large frames are rarer, and pieces of an arena that fitted a hundred of them would never leave.
#[cfg(target_env = "gnu")]
const FROM_KEPT: libc::c_int = 4 * 1024 * 1024;
/// Taken from the system at once.
#[cfg(target_env = "gnu")]
const STEP: libc::c_int = 1024 * 1024;

/// Keeps what is freed for the next use. As it comes, glibc gives buffers of this broker's sizes back to the system on
/// every free, and each new one costs a page fault for every four kilobytes: a tenth of the time a QoS 1 message takes.
#[cfg(target_env = "gnu")]
pub fn keep_what_is_freed() {
    for (option, value) in
        [(libc::M_TRIM_THRESHOLD, KEPT), (libc::M_MMAP_THRESHOLD, FROM_KEPT), (libc::M_TOP_PAD, STEP)]
    {
        // SAFETY: only sets a number of the allocator, before this process has started any thread.
        let set = unsafe { libc::mallopt(option, value) };
        if set == 0 {
            log::debug!("the allocator does not take option {option}");
        }
    }
}

/// Other allocators keep it by themselves.
#[cfg(not(target_env = "gnu"))]
pub fn keep_what_is_freed() {}
