//! What can go wrong for a client.

use thiserror::Error;

use crate::model::record_batch::BatchError;
use crate::model::topic::TopicError;
use crate::protocol::ErrorCode;
use crate::protocol::native::Malformed;

/// Why a call did not do what was asked.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The broker declined; the connection goes on.
    #[error("refused with code {code}: {text}")]
    Refused { code: u16, text: String },
    /// The broker ended the connection and said why; connect again after `retry_after_ms`.
    #[error("the broker ended the connection with code {code}: {text}")]
    GoAway { code: u16, retry_after_ms: u32, text: String },
    /// What came is not what a broker says.
    #[error("the broker broke the protocol: {0}")]
    Protocol(&'static str),
    /// A delivered batch is damaged.
    #[error("delivered batch: {0}")]
    Batch(#[from] BatchError),
    #[error("topic: {0}")]
    Topic(#[from] TopicError),
    /// A frame of `bytes` does not fit into the broker's largest.
    #[error("{bytes} bytes are more than the broker's largest frame, {most}")]
    TooLarge { bytes: usize, most: usize },
    /// The call makes no sense here; nothing was sent.
    #[error("{0}")]
    Misuse(&'static str),
    #[error("no answer in time")]
    TimedOut,
    #[error("the connection is closed")]
    Closed,
    /// No connection that both sides trust: certificates, names or versions do not fit, or files cannot be read.
    #[error("TLS: {0}")]
    Tls(String),
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl ClientError {
    /// The broker's code, where it gave one that is known here.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            ClientError::Refused { code, .. } | ClientError::GoAway { code, .. } => ErrorCode::from_u16(*code),
            _ => None,
        }
    }
}

impl From<Malformed> for ClientError {
    fn from(malformed: Malformed) -> ClientError {
        ClientError::Protocol(malformed.text)
    }
}
