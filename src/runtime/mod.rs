//! The only room that knows glommio and the kernel.

/// Runs a broker until it ends; gives the process's exit code.
pub fn run(_config: crate::config::Config) -> i32 {
    1
}
