//! How to come back.

/// What recovery brought back of one log: all that [`super::Log`] needs to go on, and the catalogue of what it holds.
#[derive(Debug)]
pub struct Recovered {}
