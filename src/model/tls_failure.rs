//! Why a TLS connection did not come about.

use std::fmt;

/// Indexes counters; metrics and logs spell it by [`TlsFailure::name`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum TlsFailure {
    /// The peer does not speak TLS.
    Plain,
    /// The peer speaks no version that is allowed here.
    Version,
    /// The peer and this broker have no cipher suite, key exchange or signature scheme in common.
    Incompatible,
    /// A client's certificate is asked for and there was none.
    NoCertificate,
    /// The client's certificate is not from an authority of ours, is out of date, or is not for clients.
    BadCertificate,
    /// The peer ended it: most often it does not accept our certificate.
    ByPeer,
    /// What came is not what the protocol allows.
    Protocol,
    /// The peer was gone before the handshake was done.
    Gone,
}

impl TlsFailure {
    /// Every reason, in order.
    pub const ALL: [TlsFailure; 8] = [
        TlsFailure::Plain,
        TlsFailure::Version,
        TlsFailure::Incompatible,
        TlsFailure::NoCertificate,
        TlsFailure::BadCertificate,
        TlsFailure::ByPeer,
        TlsFailure::Protocol,
        TlsFailure::Gone,
    ];

    /// As metrics and logs spell it.
    pub fn name(self) -> &'static str {
        match self {
            TlsFailure::Plain => "plain",
            TlsFailure::Version => "version",
            TlsFailure::Incompatible => "incompatible",
            TlsFailure::NoCertificate => "no_certificate",
            TlsFailure::BadCertificate => "bad_certificate",
            TlsFailure::ByPeer => "by_peer",
            TlsFailure::Protocol => "protocol",
            TlsFailure::Gone => "gone",
        }
    }
}

impl fmt::Display for TlsFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_stands_at_its_index() {
        assert!(TlsFailure::ALL.iter().enumerate().all(|(index, failure)| *failure as usize == index));
    }
}
