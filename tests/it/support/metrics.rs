//! What a broker's metrics listener says.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::{Broker, eventually};

impl Broker {
    /// Where metrics, health and admin are.
    pub fn admin_addr(&self) -> String {
        let line = self.lines.iter().find_map(|line| line.strip_prefix("metrics"));
        let url = line.expect("the broker says where its metrics are").trim();
        url.trim_start_matches("http://").trim_end_matches("/metrics").to_owned()
    }

    /// One request, and its answer with the head.
    pub fn http(&self, method: &str, path: &str, key: Option<&str>) -> String {
        let address = self.admin_addr();
        let mut stream = TcpStream::connect(&address).expect("the broker listens");
        let key = key.map(|key| format!("Authorization: Bearer {key}\r\n")).unwrap_or_default();
        let request = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\n{key}Content-Length: 0\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("the broker reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("the broker answers");
        answer
    }

    /// One series, by its name and labels as they are written.
    pub fn metric(&self, series: &str) -> f64 {
        let page = self.http("GET", "/metrics", None);
        let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no {series} in {page}"))
    }

    /// Waits until a series is at least what is wanted.
    #[track_caller]
    pub fn until_metric(&self, series: &str, least: f64) {
        eventually(&format!("{series} is {least}"), || (self.metric(series) >= least).then_some(()));
    }
}
