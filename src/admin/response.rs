//! An HTTP response: words to bytes. One shape for everything that went wrong.

use serde_json::{Value, json};

use crate::model::ShardId;
use crate::protocol::ErrorCode;

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub content_type: &'static str,
    pub body: String,
    /// Sent only after a while: somebody tries keys.
    pub slow: bool,
}

/// Why something is not done: a status, and a sentence. Written as RFC 9457 has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub status: u16,
    pub detail: String,
}

const JSON: &str = "application/json";
const PROBLEM: &str = "application/problem+json";

impl Response {
    pub fn text(content_type: &'static str, body: String) -> Response {
        Response { status: 200, content_type, body, slow: false }
    }

    pub fn json(status: u16, value: &Value) -> Response {
        Response { status, content_type: JSON, body: format!("{value}\n"), slow: false }
    }

    pub fn ok(value: &Value) -> Response {
        Response::json(200, value)
    }

    /// Status line, headers and body. The connection ends after it.
    pub fn bytes(&self, with_body: bool) -> Vec<u8> {
        let head = format!(
            "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n\
             X-Content-Type-Options: nosniff\r\n{}Connection: close\r\n\r\n",
            self.status,
            reason(self.status),
            self.content_type,
            self.body.len(),
            if self.status == 401 { "WWW-Authenticate: Bearer\r\n" } else { "" },
        );
        let mut bytes = head.into_bytes();
        if with_body {
            bytes.extend_from_slice(self.body.as_bytes());
        }
        bytes
    }
}

impl Problem {
    pub fn new(status: u16, detail: impl Into<String>) -> Problem {
        Problem { status, detail: detail.into() }
    }

    pub fn bad(detail: impl Into<String>) -> Problem {
        Problem::new(400, detail)
    }

    pub fn silent(shard: ShardId) -> Problem {
        Problem::new(504, format!("shard {shard} did not answer in time"))
    }

    /// What a shard refused: the codes of the wire are statuses of HTTP.
    pub fn refused(code: ErrorCode, text: String) -> Problem {
        Problem::new(code.as_u16(), text)
    }
}

impl From<Problem> for Response {
    fn from(problem: Problem) -> Response {
        let Problem { status, detail } = problem;
        let body = json!({ "type": "about:blank", "title": reason(status), "status": status, "detail": detail });
        let slow = status == 401;
        Response { content_type: PROBLEM, slow, ..Response::json(status, &body) }
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        413 => "Content Too Large",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        507 => "Insufficient Storage",
        _ => "Internal Server Error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_says_its_length_and_that_it_is_the_last() {
        let bytes = Response::ok(&json!({ "a": 1 })).bytes(true);
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with("\r\n\r\n{\"a\":1}\n"));
        assert!(text.contains("Content-Length: 8\r\n") && text.contains("Connection: close\r\n"));
        assert!(Response::ok(&json!({ "a": 1 })).bytes(false).ends_with(b"\r\n\r\n"));
    }

    #[test]
    fn every_problem_has_the_same_shape() {
        let response = Response::from(Problem::refused(ErrorCode::Conflict, "taken".into()));
        let body: Value = serde_json::from_str(&response.body).unwrap();
        assert_eq!(body, json!({ "type": "about:blank", "title": "Conflict", "status": 409, "detail": "taken" }));
        assert_eq!(response.content_type, "application/problem+json");
    }

    #[test]
    fn every_code_of_the_wire_has_a_name_in_http() {
        for code in ErrorCode::ALL {
            assert!(code == ErrorCode::Server || reason(code.as_u16()) != reason(500), "{code:?}");
        }
    }
}
