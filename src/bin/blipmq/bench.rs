//! `blipmq bench`: how fast a broker is here.

use blipmq::bench;

pub use bench::cli::Arguments;

use super::failure::Failure;
use super::output::Output;

pub fn run(arguments: &Arguments, output: &Output) -> Result<(), Failure> {
    bench::cli::run(arguments, output.is_json()).map_err(Failure::Bench)
}
