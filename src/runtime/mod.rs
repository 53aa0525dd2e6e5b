//! The only room that knows glommio and the kernel.
//!
//! ```text
//! run        start, wait, stop            preflight, cores, data_dir, filesystem, signals, failure, control, memory,
//!                                         service_manager
//!                                         daemon: from a configuration to an exit code
//! executor   what runs on one core        recover, clock, gauges
//! shard      tells the core, acts         connections, connection, reader, writer, outbox, read_buffer
//!            its sockets, devices, peers  tls (what connections are accepted with), certificate,
//!                                         tls_session
//!                                         listener, log_device, log_folder, segment_file, mesh
//!            its tasks                    alarm, bell, turns, pulse
//! http       metrics, health, admin       desk, process, dumps
//! blipmq wal logs nobody runs             stopped_log
//! ```

pub mod alarm;
pub mod bell;
pub mod certificate;
pub mod clock;
pub mod connection;
pub mod connections;
pub mod control;
pub mod cores;
pub mod daemon;
pub mod data_dir;
pub mod desk;
pub mod doorkeeper;
pub mod dumps;
pub mod executor;
pub mod failure;
#[cfg(feature = "faults")]
pub mod faults;
pub mod filesystem;
pub mod gauges;
pub mod http;
pub mod listener;
pub mod log_device;
pub mod log_folder;
pub mod logging;
pub mod memory;
pub mod mesh;
pub mod outbox;
pub mod preflight;
pub mod process;
pub mod pulse;
pub mod read_buffer;
pub mod reader;
pub mod recover;
pub mod reload;
pub mod run;
pub mod segment_file;
pub mod service_manager;
pub mod shard;
pub mod signals;
pub mod stopped_log;
pub mod tls;
pub mod tls_session;
pub mod turns;
pub mod writer;

pub use control::{Control, Order};
pub use daemon::{check, run};
pub use executor::{LogOptionsOf, MakeCore, Makers};
pub use failure::{Exit, Failure};
pub use gauges::Gauges;
pub use run::{Broker, Prepared, Settings};
pub use shard::Logic;

#[cfg(test)]
mod tests;
