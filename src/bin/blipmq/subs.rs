//! `blipmq subs`: what subscriptions there are.

use blipmq::protocol::native::request::What;
use clap::Args;

use super::connect::Broker;
use super::failure::Failure;
use super::output::Output;
use super::topics::list;

/// List subscriptions
#[derive(Args)]
pub struct Arguments {
    /// How many at most
    #[arg(long, value_name = "N", default_value_t = 1000)]
    limit: u32,
    #[command(flatten)]
    broker: Broker,
}

pub fn run(arguments: &Arguments, output: &mut Output) -> Result<(), Failure> {
    list(&arguments.broker, What::Subscriptions, arguments.limit, output)
}
