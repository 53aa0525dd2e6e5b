//! `blipmq torture`: what a broker promises, attacked.

use blipmq::torture;

pub use torture::cli::Arguments;

use super::failure::Failure;
use super::output::Output;

pub fn run(arguments: &Arguments, output: &Output) -> Result<(), Failure> {
    torture::cli::run(arguments, output.is_json()).map_err(Failure::Bench)
}
