//! How a command ends when it does not end well.

use std::io;

use blipmq::client::ClientError;
use blipmq::protocol::ErrorCode;
use thiserror::Error;

/// Why a command failed; each has its exit code.
#[derive(Debug, Error)]
pub enum Failure {
    /// Whoever read our output has gone: no reason for a word.
    #[error("the reader has gone")]
    ReaderGone,
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    Key(String),
    #[error("cannot reach {addr}: {error}")]
    Unreachable { addr: String, error: ClientError },
    #[error("cannot reach {0}: {1}")]
    Listener(String, io::Error),
    #[error("{0}")]
    Broker(ClientError),
    #[error("{0}")]
    TooFew(String),
    #[error("{0}")]
    Local(String),
    #[error("{0}")]
    Corrupt(String),
    #[error("{0}")]
    Unfinished(String),
    #[error("{0}")]
    Bench(blipmq::bench::failure::Failure),
}

/// For `--help`.
pub const EXIT_CODES: &str = "\
Exit codes:
  0  done, or whoever read the output has gone
  1  the broker refused, or something unexpected
  2  wrong arguments
  3  the broker cannot be reached, or the connection was lost
  4  no API key was found, or the broker does not accept it
  5  the time is up before everything asked for came
  6  bench: messages were lost
  7  bench: an objective was missed
  8  wal: a log is corrupt
  9  wal check --strict: there are unfinished bytes at a log's end";

impl Failure {
    /// A failed connect: a refusal is the broker's word, anything else is about the way there.
    pub fn unreachable(addr: String, error: ClientError) -> Failure {
        match error {
            ClientError::Refused { .. } | ClientError::GoAway { .. } => Failure::Broker(error),
            error => Failure::Unreachable { addr, error },
        }
    }

    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::ReaderGone => 0,
            Failure::Local(_) => 1,
            Failure::Bench(failure) => failure.exit_code() as u8,
            Failure::Usage(_) => 2,
            Failure::Key(_) => 4,
            Failure::TooFew(_) => 5,
            Failure::Corrupt(_) => 8,
            Failure::Unfinished(_) => 9,
            Failure::Unreachable { .. } | Failure::Listener(..) => 3,
            Failure::Broker(error) => of(error),
        }
    }
}

fn of(error: &ClientError) -> u8 {
    match error {
        _ if error.code() == Some(ErrorCode::Unauthenticated) => 4,
        ClientError::GoAway { .. } | ClientError::Closed | ClientError::Tls(_) | ClientError::Io(_) => 3,
        ClientError::TimedOut => 5,
        _ => 1,
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        Failure::Broker(error)
    }
}

/// For what goes wrong with standard input and output; sockets have [`ClientError`].
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::ReaderGone,
            _ => Failure::Local(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_exit_code_is_in_the_help() {
        let refused = ClientError::Refused { code: 404, text: String::new() };
        let denied = ClientError::Refused { code: 401, text: String::new() };
        let failures = [
            (Failure::ReaderGone, 0),
            (Failure::Broker(refused), 1),
            (Failure::Usage(String::new()), 2),
            (Failure::unreachable(String::new(), ClientError::TimedOut), 3),
            (Failure::Broker(ClientError::Closed), 3),
            (Failure::Broker(denied), 4),
            (Failure::TooFew(String::new()), 5),
            (Failure::Corrupt(String::new()), 8),
            (Failure::Unfinished(String::new()), 9),
        ];
        for (failure, code) in failures {
            assert_eq!(failure.exit_code(), code, "{failure:?}");
            assert!(EXIT_CODES.contains(&format!("\n  {code}  ")));
        }
    }
}
