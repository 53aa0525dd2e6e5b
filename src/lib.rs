//! BlipMQ: a thread-per-core message broker on io_uring.
//!
//! The daemon is `blipmqd`, the command line `blipmq`; for programs there is [`client`]. [`manual`] is for people.
//!
//! # The map, in reading order
//!
//! A room may use the rooms above it in this list and none below; `tests/tidy.rs` has the exact table. All but
//! `runtime` and the blocking half of `client` are pure: they open nothing, sleep never and read no clock, so that the
//! whole broker also runs in a simulated world.
//!
//! | room         | what is in it                                                                                   |
//! |--------------|-------------------------------------------------------------------------------------------------|
//! | [`model`]    | the words: ids, offsets, topics, record batches, time, and in [`model::limits`] every bound      |
//! | [`auth`]     | who may do what: API keys and their permissions                                                  |
//! | [`config`]   | what the operator said, and what we run on                                                       |
//! | [`protocol`] | bytes to requests and replies to bytes, versions 1 and 2                                         |
//! | [`broker`]   | one partition's records and one subscription: cursor, in flight, redelivery                      |
//! | [`wal`]      | what to write to the log, when to sync it, how to come back: plans, no files                     |
//! | [`shard`]    | one core, whole: [`shard::Core`] is told [`shard::Event`]s and asked for [`shard::Action`]s      |
//! | [`admin`]    | health, metrics and orders of operators: text in, text out                                       |
//! | [`runtime`]  | glommio, sockets, files, clocks, signals: does what the cores ask                                |
//! | [`client`]   | the client library: a pure session half and a blocking half                                      |
//! | [`sim`]      | the other world: a seeded scheduler, a disk that loses power, a network that stalls; checkers    |
//! | [`mod@bench`]| load and floors, measured                                                                        |
//! | [`torture`]  | the real daemon on a bad day: crashes, disks, networks, overload                                 |
//!
//! To see how it all hangs together, read [`shard::Core`] first: `handle`, `poll`, `poll_timeout`, and `finish_step`.
//! The way of a message is then `shard/receive.rs`, `publish.rs`, `commit.rs`, `deliver.rs`, `settle.rs`, with
//! [`wal::Log`] between publish and commit. [`runtime::run()`] is where it starts.

pub mod manual;

pub mod model;

pub mod auth;

pub mod config;

pub mod protocol;

pub mod broker;

pub mod wal;

pub mod shard;

pub mod admin;

pub mod runtime;

pub mod client;

pub mod sim;

pub mod bench;

pub mod torture;
