//! What a shard knows of one connection.

/// One connection's protocol state. Travels with the connection.
#[derive(Debug)]
pub struct Session {}
