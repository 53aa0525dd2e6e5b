//! Which broker, and with which key.

use std::path::PathBuf;
use std::time::Duration;

use blipmq::client::blocking::{Client, ConnectOptions, Tls};
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
    #[command(flatten)]
    tls: Encryption,
    /// How long to wait for a connection, and for each answer
    #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "10s")]
    answer_timeout: Duration,
}

/// Whether to speak TLS, whom to trust, and as whom.
#[derive(Args)]
pub struct Encryption {
    /// Speak TLS, trusting the system's authorities; implied by the other options of TLS
    #[arg(long)]
    tls: bool,
    /// PEM file with the authorities that the broker's certificate must come from [default: BLIPMQ_TLS_CA]
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// PEM file with a certificate of our own, for a broker that asks for one
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// PEM file with the private key of --tls-cert
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// The name that the broker's certificate must have [default: the host of the address]
    #[arg(long, value_name = "NAME")]
    tls_name: Option<String>,
}

impl Encryption {
    fn read(&self) -> Result<Option<Tls>, Failure> {
        let ca = self.tls_ca.clone().or_else(|| std::env::var_os("BLIPMQ_TLS_CA").map(PathBuf::from));
        let identity = self.tls_cert.as_deref().zip(self.tls_key.as_deref());
        if !self.tls && ca.is_none() && identity.is_none() && self.tls_name.is_none() {
            return Ok(None);
        }
        let tls = Tls::from_files(ca.as_deref(), identity).map_err(|error| Failure::Usage(error.to_string()))?;
        Ok(Some(match &self.tls_name {
            Some(name) => tls.server_name(name),
            None => tls,
        }))
    }
}

impl Broker {
    /// Connects and authenticates.
    pub fn connect(&self) -> Result<Client, Failure> {
        let environment = std::env::var("BLIPMQ_API_KEY").ok();
        let key =
            find_api_key(self.key_file.as_deref(), environment.as_deref(), &self.data_dir).map_err(Failure::Key)?;
        let key = std::str::from_utf8(key.expose()).expect("keys are read from text");
        let mut options = ConnectOptions::new(&self.addr())
            .api_key(key)
            .connect_timeout(self.answer_timeout)
            .answer_timeout(self.answer_timeout);
        options.tls = self.tls.read()?;
        Client::connect(&options).map_err(|error| Failure::unreachable(self.addr(), error))
    }

    pub fn addr(&self) -> String {
        self.addr.clone().or_else(|| std::env::var("BLIPMQ_ADDR").ok()).unwrap_or_else(|| ADDR.into())
    }
}
