//! Bytes to commands and back, no sockets.

pub mod native;

/// The table of wire codes: the one place where the rooms' errors meet.
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
