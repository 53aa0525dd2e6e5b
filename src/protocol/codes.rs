//! The table of wire codes: the one place where the rooms' errors meet.

use std::fmt;

/// Why something was refused, as a NACK or a GO_AWAY says it.
///
/// | code | name               | when                                                                             |
/// |-----:|--------------------|----------------------------------------------------------------------------------|
/// |  400 | BadRequest         | malformed payload, frame out of order, wrong direction, unknown type or option    |
/// |  401 | Unauthenticated    | a frame before AUTH succeeded, a wrong key, or the handshake took too long        |
/// |  403 | Forbidden          | the key may not do this with this topic                                          |
/// |  404 | Unknown            | no such subscription, delivery, alias or source; no subscriber where one was asked for |
/// |  409 | Conflict           | an exclusive subscription is taken, or a producer's sequence has a gap            |
/// |  413 | TooLarge           | frame or message beyond the bound                                                |
/// |  426 | UnsupportedVersion | HELLO names a version that is not spoken here                                    |
/// |  429 | OverLimit          | a bound of connections, topics, subscriptions, aliases or memory is reached       |
/// |  500 | Server             | the broker failed, or its log refuses                                            |
/// |  503 | Draining           | the broker is going down: connect again later                                    |
/// |  507 | DiskFull           | the log's device is full, or its index: QoS 1 is refused until there is room        |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u16)]
pub enum ErrorCode {
    BadRequest = 400,
    Unauthenticated = 401,
    Forbidden = 403,
    Unknown = 404,
    Conflict = 409,
    TooLarge = 413,
    UnsupportedVersion = 426,
    OverLimit = 429,
    Server = 500,
    Draining = 503,
    DiskFull = 507,
}

impl ErrorCode {
    /// Every code, in order.
    pub const ALL: [ErrorCode; 11] = [
        ErrorCode::BadRequest,
        ErrorCode::Unauthenticated,
        ErrorCode::Forbidden,
        ErrorCode::Unknown,
        ErrorCode::Conflict,
        ErrorCode::TooLarge,
        ErrorCode::UnsupportedVersion,
        ErrorCode::OverLimit,
        ErrorCode::Server,
        ErrorCode::Draining,
        ErrorCode::DiskFull,
    ];

    /// The number on the wire.
    #[must_use]
    pub const fn as_u16(self) -> u16 {
        self as u16
    }

    /// The code with this number; `None` for one that a newer broker may know.
    #[must_use]
    pub fn from_u16(number: u16) -> Option<ErrorCode> {
        ErrorCode::ALL.into_iter().find(|code| code.as_u16() == number)
    }

    /// What version 1 is told: it knows fewer codes.
    #[must_use]
    pub const fn in_version_1(self) -> ErrorCode {
        match self {
            ErrorCode::DiskFull => ErrorCode::Server,
            ErrorCode::Forbidden => ErrorCode::Unauthenticated,
            ErrorCode::Conflict => ErrorCode::BadRequest,
            code => code,
        }
    }

    /// What it means, in a few words: the text where nothing more can be said.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            ErrorCode::BadRequest => "bad request",
            ErrorCode::Unauthenticated => "unauthenticated",
            ErrorCode::Forbidden => "not allowed",
            ErrorCode::Unknown => "unknown",
            ErrorCode::Conflict => "conflict",
            ErrorCode::TooLarge => "too large",
            ErrorCode::UnsupportedVersion => "unsupported protocol version",
            ErrorCode::OverLimit => "over a limit",
            ErrorCode::Server => "server error",
            ErrorCode::Draining => "draining",
            ErrorCode::DiskFull => "disk full",
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.as_u16(), self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_names_its_code_and_no_other_number_does() {
        let known = (0..=u16::MAX).filter_map(ErrorCode::from_u16).collect::<Vec<_>>();
        assert_eq!(known, ErrorCode::ALL);
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_u16(code.as_u16()), Some(code));
            assert!(!code.text().is_empty());
        }
    }
}
