//! Metrics, health and the admin API: text in, text out. Opens nothing; the runtime owns the sockets.
//!
//! ```text
//! figures      what one scrape has gathered
//! registry     THE TABLE of metrics, each a `metric`  ->  exposition (Prometheus text), page (the manual), dashboard
//! alerts       THE TABLE of alerts                    ->  rules (Prometheus rules and their tests), runbooks
//! ```

pub mod exposition;
pub mod figures;
pub mod metric;
pub mod registry;

pub use figures::Figures;
