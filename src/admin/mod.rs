//! Metrics, health and the admin API: text in, text out. Opens nothing; the runtime owns the sockets.
//!
//! ```text
//! figures      what one scrape has gathered
//! registry     THE TABLE of metrics, each a `metric`  ->  exposition (Prometheus text), page (the manual)
//! alerts       THE TABLE of alerts                    ->  rules (Prometheus rules and their tests)
//! dashboard    Grafana's panels
//! ```

pub mod alerts;
pub mod dashboard;
pub mod exposition;
pub mod figures;
#[cfg(test)]
mod generated;
pub mod metric;
pub mod page;
pub mod registry;
pub mod rules;

pub use figures::Figures;
