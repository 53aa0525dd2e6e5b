//! Stories told to the real `blipmqd`, over real sockets, in one file a subject.

mod support;

mod administer;
mod backup;
mod bad_input;
mod checklist;
mod command_line;
mod crash;
mod delivery;
mod drain;
mod durability;
mod in_memory;
mod latency;
mod metrics;
mod redelivery;
mod refusals;
mod shards;
mod start;
mod stop;
mod version_1;
mod version_2;
mod wal_command;
