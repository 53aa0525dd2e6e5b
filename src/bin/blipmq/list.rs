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
    let rows = table::write(&client.query(what, arguments.limit)?, output)?;
    if rows > 0 && rows == arguments.limit as usize {
        // Not among the rows: somebody may be counting them.
        eprintln!("blipmq: these are the first {rows}, and there may be more: see --limit");
    }
    Ok(client.close()?)
}
