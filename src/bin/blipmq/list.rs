//! `blipmq topics` and `blipmq subs`: what there is.

use blipmq::protocol::native::request::What;
use clap::Args;

use super::connect::Broker;
use super::failure::Failure;
use super::output::Output;
use super::table;

#[derive(Args)]
pub struct Arguments {
    /// How many at most
    #[arg(long, value_name = "N", default_value_t = 1000)]
    limit: u32,
    #[command(flatten)]
    broker: Broker,
}

/// What the broker answers to a query, one line each.
pub fn run(what: What, arguments: &Arguments, output: &mut Output) -> Result<(), Failure> {
    let client = arguments.broker.connect()?;
    table::write(&client.query(what, arguments.limit)?, output)?;
    Ok(client.close()?)
}
