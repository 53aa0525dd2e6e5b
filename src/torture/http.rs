//! The daemon's other listener: what it counts, and orders to it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::daemon::{Daemon, KEY};
use crate::bench::failure::Failure;

/// For connecting, and for the answer. Long: a machine may be stopped for a while.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where one daemon answers.
#[derive(Clone, Copy, Debug)]
pub struct Http {
    addr: SocketAddr,
}

/// Every figure of one scrape.
#[derive(Debug)]
pub struct Figures {
    text: String,
}

impl Http {
    /// Of a daemon that has its metrics on.
    pub fn of(daemon: &Daemon) -> Result<Http, Failure> {
        let url = daemon.metrics.as_deref().unwrap_or_default();
        let host = url.trim_start_matches("http://").split('/').next().unwrap_or_default();
        let addr = host.parse().map_err(|_| Failure::Local(format!("{url:?} is no address of metrics")))?;
        Ok(Http { addr })
    }

    /// What is counted.
    pub fn figures(&self) -> Result<Figures, Failure> {
        match self.ask("GET", "/metrics")? {
            (200, text) => Ok(Figures { text }),
            (status, text) => Err(Failure::Broker(format!("metrics: {status} {text}"))),
        }
    }

    /// Status and body.
    pub fn ask(&self, method: &str, path: &str) -> Result<(u16, String), Failure> {
        let mut stream = TcpStream::connect_timeout(&self.addr, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {KEY}\r\nContent-Length: 0\r\n\r\n",
            self.addr
        );
        stream.write_all(head.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| Failure::Broker(format!("{method} {path}: no HTTP but {head:?}")))?;
        Ok((status, body.to_owned()))
    }
}

impl Figures {
    /// A metric, added up over its labels.
    pub fn sum(&self, name: &str) -> f64 {
        self.series(name).map(|(_, value)| value).sum()
    }

    /// One series of a metric: that whose label has this value.
    pub fn labelled(&self, name: &str, label: &str, value: &str) -> f64 {
        let wanted = format!("{label}=\"{value}\"");
        self.series(name).filter(|(labels, _)| labels.contains(&wanted)).map(|(_, value)| value).sum()
    }

    fn series<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
        self.text.lines().filter_map(move |line| {
            let rest = line.strip_prefix(name)?;
            let (labels, value) = rest.rsplit_once(' ')?;
            let named = labels.is_empty() || labels.starts_with('{');
            named.then(|| value.parse().ok().map(|value| (labels, value)))?
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_by_their_whole_names() {
        let text = "# HELP a x\na{r=\"one\",s=\"0\"} 1\na{r=\"two\",s=\"0\"} 2\na_b 40\nc 5.5\n".to_owned();
        let figures = Figures { text };
        assert_eq!((figures.sum("a"), figures.sum("a_b"), figures.sum("c"), figures.sum("d")), (3.0, 40.0, 5.5, 0.0));
        assert_eq!(figures.labelled("a", "r", "two"), 2.0);
    }
}
