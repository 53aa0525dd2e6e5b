//! The instruments: a load generator that loses count of nothing, and the floors that its figures are measured against.
//!
//! One thread publishes and listens over sockets that never block ([`load`]). Batches are made once ([`stencil`]) and
//! stamped again for each sending: publisher, number and time in every message ([`stamp`]), the checksum renewed
//! without reading the batch again ([`checksum`]). What arrives is walked record by record: each subscriber keeps a
//! [`ledger`] of each publisher, so that lost, duplicate and reordered are exact counts, and latencies go into
//! histograms from the stamp to the read that brought the message ([`sink`]).
//!
//! A closed loop sends as soon as fewer than `window` messages are on their way. An open loop sends at fixed times and
//! stamps the time at which a message was to be sent: a broker that stalls is charged for all who waited (no
//! coordinated omission).

pub mod checksum;
pub mod cli;
pub mod clock;
pub mod connect;
pub mod cpu;
pub mod dialect;
pub mod embedded;
pub mod failure;
pub mod floor;
pub mod hdr;
pub mod latency;
pub mod ledger;
pub mod load;
pub mod machine;
pub mod pin;
pub mod plan;
pub mod poller;
pub mod progress;
pub mod publisher;
pub mod report;
pub mod results;
pub mod sink;
pub mod size;
pub mod slo;
pub mod stage;
pub mod stamp;
pub mod stencil;
pub mod stream;
pub mod subscriber;
pub mod wire;
pub mod workload;

#[cfg(test)]
mod fake_broker;
#[cfg(test)]
mod tests;
