//! Metrics, health and administration, asked for as any HTTP client does.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use super::{Broker, PATIENCE, eventually};

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub text: String,
}

impl Answer {
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Broker {
    /// Where metrics, health and admin listen.
    #[track_caller]
    pub fn metrics_address(&self) -> &str {
        let line = self.lines.iter().find_map(|line| line.strip_prefix("metrics ")).expect("the broker says it");
        line.trim().strip_prefix("http://").and_then(|line| line.strip_suffix("/metrics")).expect("an address")
    }

    /// One request with these lines in its head; `None` if nobody listens any more.
    pub fn http(&self, method: &str, path: &str, head: &str, body: &str) -> Option<Answer> {
        let address = self.metrics_address();
        let mut stream = TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
        let length = body.len();
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\n{head}Content-Length: {length}\r\n\r\n{body}");
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, text) = answer.split_once("\r\n\r\n")?;
        let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
        Some(Answer { status, text: text.to_owned() })
    }

    /// One request with this key, or without one.
    #[track_caller]
    pub fn ask_as(&self, key: Option<&str>, method: &str, path: &str) -> Answer {
        let head = key.map(|key| format!("Authorization: Bearer {key}\r\n")).unwrap_or_default();
        self.http(method, path, &head, "").expect("the broker answers")
    }

    #[track_caller]
    pub fn call(&self, method: &str, path: &str, body: &Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.http(method, path, "", &body).expect("the broker answers")
    }

    /// What is there, as JSON; it has to be there.
    #[track_caller]
    pub fn get(&self, path: &str) -> Value {
        let answer = self.call("GET", path, &Value::Null);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.json()
    }

    /// What comes of an order; it has to be done.
    #[track_caller]
    pub fn post(&self, path: &str, body: &Value) -> Value {
        let answer = self.call("POST", path, body);
        assert!((200..300).contains(&answer.status), "{path}: {answer:?}");
        answer.json()
    }

    /// All series of one scrape.
    #[track_caller]
    pub fn scrape(&self) -> Vec<(String, f64)> {
        let text = self.call("GET", "/metrics", &Value::Null).text;
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let series = |line: &str| {
            let (name, value) = line.rsplit_once(' ').expect("a name and a value");
            (name.to_owned(), value.parse().expect("a number"))
        };
        lines.map(series).collect()
    }

    /// One series, labels and all; zero if it is not there.
    #[track_caller]
    pub fn metric(&self, name: &str) -> f64 {
        self.scrape().into_iter().find(|(other, _)| other == name).map_or(0.0, |(_, value)| value)
    }

    /// A metric added up over those of its series whose labels hold this text.
    #[track_caller]
    pub fn sum(&self, name: &str, label: &str) -> f64 {
        let ours = |series: &str| series.split('{').next() == Some(name) && series.contains(label);
        self.scrape().into_iter().filter(|(series, _)| ours(series)).map(|(_, value)| value).sum()
    }

    /// Waits until a series is what is wanted.
    #[track_caller]
    pub fn until_metric(&self, name: &str, wanted: impl Fn(f64) -> bool) {
        eventually(&format!("{name} moves"), || wanted(self.metric(name)).then_some(()));
    }
}
