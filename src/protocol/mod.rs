//! Bytes to commands and back, no sockets.

pub mod codes;
pub mod native;

pub use codes::ErrorCode;
