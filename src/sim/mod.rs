//! The other world: the same cores, another disk, network and clock.

pub mod dice;
pub mod disk;
pub mod network;
pub mod scheduler;
pub mod segment_image;
pub mod trace;
pub mod violation;
