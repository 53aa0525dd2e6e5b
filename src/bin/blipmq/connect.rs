//! Which broker, and with which key.

use std::path::PathBuf;
use std::time::Duration;

use blipmq::client::blocking::{Client, ConnectOptions};
use blipmq::config::find_api_key;
use clap::Args;

use super::duration;
use super::failure::Failure;

const ADDR: &str = "127.0.0.1:5555";

/// Arguments of every command that talks to a broker.
#[derive(Args)]
pub struct Broker {
    /// Host and port of the broker [default: BLIPMQ_ADDR, or 127.0.0.1:5555]
    #[arg(long, value_name = "HOST:PORT")]
    addr: Option<String>,
    /// File with the API key [default: BLIPMQ_API_KEY, or api-key in the data directory]
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Data directory of a broker on this machine: where it keeps the key that it made
    #[arg(long, value_name = "DIR", default_value = "./blipmq-data")]
    data_dir: PathBuf,
    /// How long to wait for a connection, and for each answer
    #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "10s")]
    answer_timeout: Duration,
}

impl Broker {
    /// Connects and authenticates.
    pub fn connect(&self) -> Result<Client, Failure> {
        let environment = std::env::var("BLIPMQ_API_KEY").ok();
        let key =
            find_api_key(self.key_file.as_deref(), environment.as_deref(), &self.data_dir).map_err(Failure::Key)?;
        let key = std::str::from_utf8(key.expose()).expect("keys are read from text");
        let options = ConnectOptions::new(&self.addr())
            .api_key(key)
            .connect_timeout(self.answer_timeout)
            .answer_timeout(self.answer_timeout);
        Client::connect(&options).map_err(|error| Failure::unreachable(self.addr(), error))
    }

    pub fn addr(&self) -> String {
        self.addr.clone().or_else(|| std::env::var("BLIPMQ_ADDR").ok()).unwrap_or_else(|| ADDR.into())
    }
}
