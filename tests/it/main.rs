//! Stories told to the real `blipmqd`, over real sockets, in one file a subject.

mod support;

mod administer;
mod backup;
mod bad_input;
mod checklist;
mod command_line;
mod crash;
mod delivery;
mod disks;
mod drain;
mod durability;
mod in_memory;
mod keys;
mod latency;
mod log_index;
mod metrics;
mod network;
mod overload;
mod pages;
mod patterns;
mod power;
mod recovery_modes;
mod redelivery;
mod refusals;
mod reload;
mod shards;
mod start;
mod stop;
mod tls;
mod version_1;
mod version_2;
mod wal_command;
