//! BlipMQ: a thread-per-core message broker on io_uring.

pub mod manual;

pub mod model;

pub mod config;

pub mod auth;

pub mod protocol;

pub mod broker;

pub mod wal;

pub mod shard;

pub mod admin;

pub mod runtime;

pub mod client;

pub mod bench;

pub mod sim;
