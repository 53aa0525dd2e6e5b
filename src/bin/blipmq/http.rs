//! One HTTP request to the broker's metrics and admin listener.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use blipmq::config::find_api_key;
use clap::Args;
use serde_json::Value;

use super::duration;
use super::failure::Failure;

const ADDR: &str = "127.0.0.1:9100";

/// Where the listener is, and with which key.
#[derive(Args)]
pub struct Listener {
    /// Host and port of the broker's metrics and admin listener [default: BLIPMQ_ADMIN_ADDR, or 127.0.0.1:9100]
    #[arg(long, value_name = "HOST:PORT", global = true)]
    admin_addr: Option<String>,
    /// File with an API key that may administer [default: BLIPMQ_API_KEY, or api-key in the data directory]; on the
    /// broker's own machine none is needed
    #[arg(long, value_name = "FILE", global = true)]
    key_file: Option<PathBuf>,
    /// Data directory of a broker on this machine: where it keeps the key that it made
    #[arg(long, value_name = "DIR", default_value = "./blipmq-data", global = true)]
    data_dir: PathBuf,
    /// How long to wait for a connection, and for the answer
    #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "15s", global = true)]
    answer_timeout: Duration,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    pub method: &'static str,
    pub path: String,
    /// Empty for none.
    pub body: String,
}

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    pub body: String,
}

impl Call {
    pub fn get(path: impl Into<String>) -> Call {
        Call { method: "GET", path: path.into(), body: String::new() }
    }

    pub fn with(method: &'static str, path: impl Into<String>, body: &Value) -> Call {
        Call { method, path: path.into(), body: body.to_string() }
    }
}

impl Listener {
    pub fn addr(&self) -> String {
        let said = self.admin_addr.clone().or_else(|| std::env::var("BLIPMQ_ADMIN_ADDR").ok());
        said.unwrap_or_else(|| ADDR.into())
    }

    /// Asks, and gives what was answered if it is well.
    pub fn ask(&self, call: &Call) -> Result<String, Failure> {
        let reply = self.exchange(call)?;
        match reply.status {
            200..300 => Ok(reply.body),
            status => Err(refused(status, &reply.body)),
        }
    }

    /// Asks, and gives whatever was answered.
    pub fn exchange(&self, call: &Call) -> Result<Reply, Failure> {
        let key = self.key()?;
        let answer = self.send(call, key.as_deref()).map_err(|error| Failure::Listener(self.addr(), error))?;
        parse(&answer).ok_or_else(|| Failure::Local(format!("{} does not speak HTTP", self.addr())))
    }

    /// A file that is named has to be there; without any, whoever is on the broker's machine needs none.
    fn key(&self) -> Result<Option<String>, Failure> {
        let environment = std::env::var("BLIPMQ_API_KEY").ok();
        let named = self.key_file.is_some() || environment.is_some();
        match find_api_key(self.key_file.as_deref(), environment.as_deref(), &self.data_dir) {
            Ok(key) => Ok(Some(String::from_utf8_lossy(key.expose()).into_owned())),
            Err(error) if named => Err(Failure::Key(error)),
            Err(_) => Ok(None),
        }
    }

    fn send(&self, call: &Call, key: Option<&str>) -> io::Result<Vec<u8>> {
        let addr = self.addr();
        let mut stream = self.connect(&addr)?;
        stream.set_read_timeout(Some(self.answer_timeout))?;
        stream.set_write_timeout(Some(self.answer_timeout))?;
        let key = key.map(|key| format!("Authorization: Bearer {key}\r\n")).unwrap_or_default();
        let Call { method, path, body } = call;
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {addr}\r\n{key}Content-Length: {length}\r\n\r\n{body}");
        stream.write_all(head.as_bytes())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(answer)
    }

    fn connect(&self, addr: &str) -> io::Result<TcpStream> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in addr.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, self.answer_timeout) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

fn parse(answer: &[u8]) -> Option<Reply> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    Some(Reply { status, body: body.to_owned() })
}

fn refused(status: u16, body: &str) -> Failure {
    let problem: Option<Value> = serde_json::from_str(body).ok();
    let detail = problem.as_ref().and_then(|problem| problem["detail"].as_str()).unwrap_or_default();
    let text = if detail.is_empty() { format!("the broker says {status}") } else { detail.to_owned() };
    match status {
        401 | 403 => Failure::Key(text),
        _ => Failure::Local(text),
    }
}

/// A segment of a path, or a value in a query, in which anything may stand.
pub fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte.into());
        } else {
            out += &format!("%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_its_status_and_its_body() {
        let reply = parse(b"HTTP/1.1 409 Conflict\r\nContent-Length: 2\r\n\r\n{}").unwrap();
        assert_eq!((reply.status, reply.body.as_str()), (409, "{}"));
        for wrong in ["", "HTTP/1.1 409", "SSH-2.0\r\n\r\n", "HTTP/1.1 x\r\n\r\n"] {
            assert_eq!(parse(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn what_the_broker_refuses_is_said_in_its_words() {
        assert_eq!(
            refused(409, r#"{"detail":"the topic has 2 subscriptions"}"#).to_string(),
            "the topic has 2 subscriptions"
        );
        assert_eq!(refused(401, r#"{"detail":"invalid API key"}"#).exit_code(), 4);
        assert_eq!(refused(500, "").to_string(), "the broker says 500");
    }

    #[test]
    fn any_name_fits_in_a_path() {
        assert_eq!(encoded("a.b/c d%ü"), "a.b%2Fc%20d%25%C3%BC");
    }
}
