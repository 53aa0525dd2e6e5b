//! Metrics, health and the admin API: text in, text out. Opens nothing; the runtime owns the sockets.
//!
//! ```text
//! request      bytes -> Request
//! route        Request -> Plan         by the table in `endpoints`, each served by one of
//!                                      public, topics, subscriptions, connections, dead_letters, backup, operate,
//!                                      debug
//! plan         what to ask the shards, or the process, and how to go on        -> Response
//! figures      what one scrape has gathered (`gather`)                        -> health, metrics
//! registry     THE TABLE of metrics, each a `metric`   -> exposition (Prometheus text), page (the manual)
//! alerts       THE TABLE of alerts                     -> rules (Prometheus rules and their tests)
//! openapi, dashboard                                   -> files for others
//! dump         the broker's own latencies              -> files for HdrHistogram's viewers
//! ```

pub mod alerts;
mod backup;
mod connections;
pub mod dashboard;
mod dead_letters;
mod debug;
pub mod dump;
pub mod endpoints;
pub mod exposition;
pub mod figures;
pub mod gather;
#[cfg(test)]
mod generated;
pub mod health;
pub mod metric;
pub mod openapi;
mod operate;
pub mod page;
mod paging;
pub mod plan;
mod public;
pub mod registry;
pub mod request;
pub mod response;
pub mod route;
pub mod rules;
mod schemas;
#[cfg(test)]
mod stories;
mod subscriptions;
mod topics;

pub use figures::Figures;
pub use gather::{Memory, Surroundings};
pub use plan::Plan;
pub use request::{Parsed, Request};
pub use response::Response;
pub use route::{Context, route};
