//! Lists in pages.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::request::Request;
use super::response::{Problem, Response};
use crate::shard::{Page, Row};

/// Rows of a page if nothing is said, and at most.
pub const LIMIT: usize = 100;
pub const LIMIT_MAX: usize = 1000;

/// The page that a request asks for: `limit` rows, after the token `after` that the page before gave.
pub fn page(request: &Request) -> Result<Page, Problem> {
    let after = match request.query("after") {
        None | Some("") => String::new(),
        Some(token) => {
            let bytes = URL_SAFE_NO_PAD.decode(token).ok();
            let key = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
            key.ok_or_else(|| Problem::bad("after is not what a page before said in next"))?
        }
    };
    Ok(Page { after, most: limit(request)? })
}

/// How many rows at most.
pub fn limit(request: &Request) -> Result<usize, Problem> {
    let Some(text) = request.query("limit") else { return Ok(LIMIT) };
    let limit = text.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
    limit.ok_or_else(|| Problem::bad(format!("limit is not a number from 1 to {LIMIT_MAX}")))
}

/// The first `most` of the sorted rows of all shards, each of which gave one more than that if it had it.
pub fn list(mut rows: Vec<Row>, most: usize) -> Response {
    let more = rows.len() > most;
    rows.truncate(most);
    let next = rows.last().filter(|_| more).map(|row| URL_SAFE_NO_PAD.encode(&row.key));
    let items: Vec<Value> = rows.into_iter().map(|row| row.value).collect();
    Response::ok(&json!({ "items": items, "next": next }))
}

/// What to ask each shard for, so that `list` sees whether there is more.
pub fn with_one_more(page: &Page) -> Page {
    Page { after: page.after.clone(), most: page.most + 1 }
}
