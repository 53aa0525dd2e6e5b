//! What the operator said, and what we run on.
//!
//! ```text
//! file, environment, command line
//!   -> raw       what was said, each with its origin, nothing judged        Raw
//!   -> keys      THE TABLE: every key, how it is read, what it costs        KEYS
//!   -> resolve   every problem at once, or                                  Problems | Config
//!   -> check     combinations that cannot work
//! ```
//!
//! `load` is the one file here that reads files. The table also writes `example.toml`, the manual's page and the help
//! text, and compares two configurations for a reload; a new key is one entry of the table.

pub mod api_key;
pub mod check;
pub mod choice;
pub mod diff;
pub mod document;
pub mod environment;
pub mod field;
pub mod form;
pub mod key;
pub mod key_edit;
pub mod key_file;
pub mod keys;
pub mod load;
pub mod problem;
pub mod raw;
pub mod resolve;
pub mod settings;
pub mod topics;
pub mod value;

pub use api_key::{API_KEY_FILE, find_api_key};
pub use choice::{Cores, LogFormat, TlsVersion};
pub use diff::Changes;
pub use document::{help, report};
pub use key_edit::{Rights, with_key, without_key};
pub use keys::{KEYS, flags};
pub use load::{Loaded, Sources, load};
pub use problem::{Origin, Problem, Problems};
pub use settings::Config;
pub use topics::{DeadLetter, TopicRule, TopicRules};
