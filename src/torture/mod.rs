//! The trials: the real daemon, real files and real sockets, and what a bad day does to them.
//!
//! The simulator (`crate::sim`) explores; a trial shows the same promises outside it. Each trial is one file, takes a
//! seed that it prints, starts daemons of its own ([`daemon`]), keeps a book of what was promised to whom, and ends
//! with a verdict ([`verdict`]): what was done, how often, and what was broken, which must be nothing.

pub mod cli;
pub mod crash;
pub mod crowd;
pub mod daemon;
pub mod damage;
pub mod disk_full;
pub mod failing_disk;
pub mod faults;
pub mod http;
pub mod killing;
pub mod lateness;
pub mod losses;
pub mod network;
pub mod overload;
pub mod power;
pub mod raw;
pub mod slow_disk;
pub mod small_disk;
pub mod soak;
pub mod verdict;
