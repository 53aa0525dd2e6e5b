//! What the machine itself can do, measured in the same run: the floors under the broker's figures.

pub mod disk;
pub mod relay;
