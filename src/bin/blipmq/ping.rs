//! `blipmq ping`: how long the broker takes to answer.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::connect::Broker;
use super::duration;
use super::failure::Failure;
use super::output::Output;

/// Say how long the broker takes to answer
#[derive(Args)]
pub struct Arguments {
    /// How often
    #[arg(long, value_name = "N", default_value_t = 1)]
    count: u64,
    /// How long to wait between two
    #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "1s")]
    interval: Duration,
    #[command(flatten)]
    broker: Broker,
}

pub fn run(arguments: &Arguments, output: &mut Output) -> Result<(), Failure> {
    let client = arguments.broker.connect()?;
    let addr = arguments.broker.addr();
    for round in 0..arguments.count {
        if round > 0 {
            std::thread::sleep(arguments.interval);
        }
        let us = client.ping()?.as_micros() as u64;
        output.say(&format!("pong from {addr} in {us} us"), &json!({ "addr": addr, "us": us }))?;
        output.flush()?;
    }
    Ok(client.close()?)
}
