//! The other world: the same cores, another disk, network and clock.

pub mod book;
pub mod checkers;
pub mod clients;
pub mod dice;
pub mod disk;
pub mod ledger;
pub mod mesh;
pub mod messages;
pub mod network;
pub mod opening;
pub mod plant;
pub mod process;
pub mod run;
pub mod scheduler;
pub mod segment_image;
pub mod shape;
pub mod subs;
pub mod trace;
pub mod violation;
pub mod witness;
pub mod world;
