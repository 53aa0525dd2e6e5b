//! The other world: the same cores, another disk, network and clock.
