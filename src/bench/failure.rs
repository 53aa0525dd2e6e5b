//! How a benchmark ends when it does not end well.

use std::io;

use thiserror::Error;

/// Why there is no result, or why the result is a failure.
#[derive(Debug, Error)]
pub enum Failure {
    /// The arguments do not fit together.
    #[error("{0}")]
    Usage(String),
    /// Nobody answers, or the connection was lost.
    #[error("cannot reach {addr}: {error}")]
    Unreachable { addr: String, error: io::Error },
    /// The broker does not take the key.
    #[error("{0}")]
    Denied(String),
    /// The broker said no, or something that makes no sense.
    #[error("{0}")]
    Broker(String),
    /// The machine, or this process's limits.
    #[error("{0}")]
    Local(String),
    /// The broker's own process did not start, or ended.
    #[error("{0}")]
    Embedded(String),
    /// Messages were lost.
    #[error("{0} messages were lost")]
    Lost(u64),
    /// What was promised of latency was not kept.
    #[error("missed: {0}")]
    Slo(String),
}

/// For `--help`.
pub const EXIT_CODES: &str = "\
Exit codes:
  0  done, nothing lost, every objective met
  1  something unexpected, or the broker refused
  2  wrong arguments
  3  the broker cannot be reached, or the connection was lost
  4  the broker does not accept the API key
  6  messages were lost
  7  an objective of --slo was missed";

impl Failure {
    /// The process's exit code.
    pub fn exit_code(&self) -> i32 {
        match self {
            Failure::Usage(_) => 2,
            Failure::Unreachable { .. } => 3,
            Failure::Denied(_) => 4,
            Failure::Broker(_) | Failure::Local(_) | Failure::Embedded(_) => 1,
            Failure::Lost(_) => 6,
            Failure::Slo(_) => 7,
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Local(error.to_string())
    }
}

impl From<nix::Error> for Failure {
    fn from(error: nix::Error) -> Failure {
        Failure::Local(error.to_string())
    }
}
