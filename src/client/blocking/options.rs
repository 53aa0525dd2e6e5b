//! How to connect.

use std::time::Duration;

use super::Tls;
use crate::client::SessionOptions;

/// Where to connect to, and as whom.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// Host and port.
    pub addr: String,
    pub session: SessionOptions,
    /// Encrypted, if given.
    pub tls: Option<Tls>,
    /// For each address that the host has, and for the handshake.
    pub connect_timeout: Duration,
    /// How long a call waits for its answer.
    pub answer_timeout: Duration,
    /// How long the broker may not read what is sent: it does that on purpose while its log is behind.
    pub write_timeout: Duration,
}

impl ConnectOptions {
    /// Version 2, without a key.
    #[must_use]
    pub fn new(addr: &str) -> ConnectOptions {
        ConnectOptions {
            addr: addr.into(),
            session: SessionOptions::default(),
            tls: None,
            connect_timeout: Duration::from_secs(5),
            answer_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(60),
        }
    }

    /// As whom.
    #[must_use]
    pub fn api_key(mut self, key: &str) -> ConnectOptions {
        self.session.api_key = key.into();
        self
    }

    /// Speaks TLS.
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> ConnectOptions {
        self.tls = Some(tls);
        self
    }

    /// 1 or 2.
    #[must_use]
    pub fn version(mut self, version: u8) -> ConnectOptions {
        self.session.version = version;
        self
    }

    /// Whether to check the checksum of every delivered batch; on unless said otherwise.
    #[must_use]
    pub fn verify(mut self, verify: bool) -> ConnectOptions {
        self.session.verify = verify;
        self
    }

    /// For each address that the host has, and for the handshake.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> ConnectOptions {
        self.connect_timeout = timeout;
        self
    }

    /// How long a call waits for its answer.
    #[must_use]
    pub fn answer_timeout(mut self, timeout: Duration) -> ConnectOptions {
        self.answer_timeout = timeout;
        self
    }

    /// How long the broker may not read what is sent.
    #[must_use]
    pub fn write_timeout(mut self, timeout: Duration) -> ConnectOptions {
        self.write_timeout = timeout;
        self
    }
}
