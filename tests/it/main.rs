//! Stories told to the real `blipmqd`, over real sockets, in one file a subject.

mod support;

mod bad_input;
mod command_line;
mod delivery;
mod durability;
mod in_memory;
mod network;
mod overload;
mod redelivery;
mod refusals;
mod shards;
mod start;
mod stop;
mod version_1;
mod version_2;
