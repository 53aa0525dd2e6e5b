//! Replays seeds of the simulator.
fn main() {}
