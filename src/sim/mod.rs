//! The other world: the same cores, another disk, network and clock.

pub mod book;
pub mod checkers;
pub mod clients;
pub mod dice;
pub mod disk;
pub mod ledger;
pub mod messages;
pub mod network;
pub mod scheduler;
pub mod segment_image;
pub mod subs;
pub mod trace;
pub mod violation;
pub mod witness;
