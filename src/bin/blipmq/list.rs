//! `blipmq topics`: what topics there are.

use blipmq::protocol::native::request::What;
use clap::Args;

use super::connect::Broker;
use super::failure::Failure;
use super::output::Output;
use super::table;

/// List topics
#[derive(Args)]
pub struct Arguments {
    /// How many at most
    #[arg(long, value_name = "N", default_value_t = 1000)]
    limit: u32,
    #[command(flatten)]
    broker: Broker,
}

pub fn run(arguments: &Arguments, output: &mut Output) -> Result<(), Failure> {
    list(&arguments.broker, What::Topics, arguments.limit, output)
}

/// What the broker answers to a query, one line each.
pub fn list(broker: &Broker, what: What, limit: u32, output: &mut Output) -> Result<(), Failure> {
    let client = broker.connect()?;
    table::write(&client.query(what, limit)?, output)?;
    Ok(client.close()?)
}
