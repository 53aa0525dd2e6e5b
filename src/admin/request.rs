//! An HTTP request: bytes to words. One a connection; more than the bounds is refused.

use std::borrow::Cow;
use std::net::IpAddr;

/// What somebody asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub method: Method,
    /// The path's segments, decoded.
    pub path: Vec<String>,
    /// The query's pairs, decoded.
    pub query: Vec<(String, String)>,
    /// The API key that came with it.
    pub key: Option<Vec<u8>>,
    /// It comes from a page in a browser, or names a host that may be somebody else's: such a request needs a key
    /// wherever it comes from, or any page could give orders to a broker on its reader's machine.
    pub by_page: bool,
    pub body: Vec<u8>,
}

/// Those that are understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Get,
    /// As `Get`, without the body of the answer.
    Head,
    Put,
    Post,
    Delete,
}

/// What came of reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parsed {
    /// It goes on.
    More,
    Whole(Request),
    /// It will not be a request: a status, and why.
    Bad(u16, &'static str),
}

/// Bytes of the request line and headers at most.
pub const HEAD_MAX: usize = 16 * 1024;
/// Bytes of a body at most.
pub const BODY_MAX: usize = 64 * 1024;
const HEADERS_MAX: usize = 64;

impl Method {
    pub fn name(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Put => "PUT",
            Method::Post => "POST",
            Method::Delete => "DELETE",
        }
    }

    fn parse(text: &str) -> Option<Method> {
        [Method::Get, Method::Head, Method::Put, Method::Post, Method::Delete]
            .into_iter()
            .find(|method| method.name() == text)
    }
}

impl Request {
    /// The first value of a name in the query.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }
}

/// Reads a request off everything that has come so far.
pub fn parse(bytes: &[u8]) -> Parsed {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Request::new(&mut headers);
    let end = match head.parse(bytes) {
        Ok(httparse::Status::Complete(end)) if end <= HEAD_MAX => end,
        Ok(httparse::Status::Partial) if bytes.len() < HEAD_MAX => return Parsed::More,
        Ok(_) | Err(httparse::Error::TooManyHeaders) => return Parsed::Bad(431, "the headers are too large"),
        Err(_) => return Parsed::Bad(400, "this is no HTTP request"),
    };
    match body_length(&head) {
        Ok(length) if length > BODY_MAX => Parsed::Bad(413, "the body is too large"),
        Ok(length) if bytes.len() - end < length => Parsed::More,
        Ok(length) => whole(&head, &bytes[end..end + length]),
        Err(text) => Parsed::Bad(400, text),
    }
}

fn body_length(head: &httparse::Request<'_, '_>) -> Result<usize, &'static str> {
    if header(head, "transfer-encoding").next().is_some() {
        return Err("a body needs a Content-Length");
    }
    let mut lengths = header(head, "content-length");
    let Some(first) = lengths.next() else { return Ok(0) };
    if lengths.next().is_some() || !first.iter().all(u8::is_ascii_digit) {
        return Err("Content-Length is not one number");
    }
    let text = std::str::from_utf8(first).expect("digits are text");
    // More digits than fit are more bytes than fit.
    Ok(if text.is_empty() { 0 } else { text.parse().unwrap_or(usize::MAX) })
}

fn header<'a>(head: &'a httparse::Request<'_, '_>, name: &str) -> impl Iterator<Item = &'a [u8]> {
    head.headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
}

fn whole(head: &httparse::Request<'_, '_>, body: &[u8]) -> Parsed {
    let Some(method) = Method::parse(head.method.unwrap_or_default()) else {
        return Parsed::Bad(405, "the method is not understood");
    };
    let target = head.path.unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let Some(path) = path.strip_prefix('/') else { return Parsed::Bad(400, "the path does not begin with /") };
    let segments = path.split('/').filter(|segment| !segment.is_empty()).map(|segment| decoded(segment, false));
    let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Some((decoded(name, true)?, decoded(value, true)?))
    });
    let (Some(path), Some(query)) = (segments.collect(), pairs.collect()) else {
        return Parsed::Bad(400, "the path or the query is not percent-encoded UTF-8");
    };
    let key = header(head, "authorization").next().and_then(bearer).or_else(|| header(head, "x-api-key").next());
    let key = key.map(<[u8]>::to_vec);
    Parsed::Whole(Request { method, path, query, key, by_page: by_page(head), body: body.to_vec() })
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, key) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| key.trim_ascii())
}

/// Browsers add an `Origin` to what a page orders, and a name that was rebound to this machine stands in `Host`.
fn by_page(head: &httparse::Request<'_, '_>) -> bool {
    let host = header(head, "host").next().and_then(|host| std::str::from_utf8(host).ok()).unwrap_or_default();
    header(head, "origin").next().is_some() || !is_address(host)
}

/// An address, or the name of this machine for itself; without a port or with one.
fn is_address(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || [host, bare].iter().any(|text| text.parse::<IpAddr>().is_ok())
}

/// Percent-decoded; in a query, a plus is a space.
fn decoded(text: &str, query: bool) -> Option<String> {
    let text: Cow<'_, str> = if query { text.replace('+', " ").into() } else { text.into() };
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = rest.get(..2).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request(text: &str) -> Request {
        match parse(text.as_bytes()) {
            Parsed::Whole(request) => request,
            other => panic!("{other:?}"),
        }
    }

    const WHOLE: &str = "PUT /api/v1/topics/a%2Fb%20c?x=1+2&y HTTP/1.1\r\nHost: localhost:9100\r\n\
                         Authorization: bearer  secret \r\nContent-Length: 4\r\n\r\nbody";

    #[test]
    fn a_request_is_read_off_its_bytes() {
        let request = request(WHOLE);
        assert_eq!((request.method, request.body.as_slice()), (Method::Put, &b"body"[..]));
        assert_eq!(request.path, ["api", "v1", "topics", "a/b c"]);
        assert_eq!((request.query("x"), request.query("y"), request.query("z")), (Some("1 2"), Some(""), None));
        assert_eq!(request.key.as_deref(), Some(&b"secret"[..]));
        assert!(!request.by_page);
    }

    #[test]
    fn a_request_cut_anywhere_wants_more() {
        for cut in 0..WHOLE.len() {
            assert_eq!(parse(&WHOLE.as_bytes()[..cut]), Parsed::More, "{cut}");
        }
    }

    #[test]
    fn what_is_too_large_or_unclear_is_refused() {
        let status = |text: &str| match parse(text.as_bytes()) {
            Parsed::Bad(status, _) => status,
            other => panic!("{other:?}"),
        };
        assert_eq!(status(&format!("GET /{} HTTP/1.1\r\n", "a".repeat(HEAD_MAX))), 431);
        assert_eq!(status(&format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(65))), 431);
        assert_eq!(status("PUT / HTTP/1.1\r\nContent-Length: 65537\r\n\r\n"), 413);
        assert_eq!(status("PUT / HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n"), 413);
        assert_eq!(status("PUT / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"), 400);
        assert_eq!(status("PUT / HTTP/1.1\r\nContent-Length: +1\r\n\r\n"), 400);
        assert_eq!(status("PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"), 400);
        assert_eq!(status("BREW / HTTP/1.1\r\n\r\n"), 405);
        assert_eq!(status("GET http://elsewhere/ HTTP/1.1\r\n\r\n"), 400);
        assert_eq!(status("GET /%zz HTTP/1.1\r\n\r\n"), 400);
        assert_eq!(status("GET /%ff HTTP/1.1\r\n\r\n"), 400);
        assert_eq!(status("\0\0\0\x0b"), 400);
    }

    #[test]
    fn what_a_page_in_a_browser_asks_is_told_apart() {
        let by_page = |headers: &str| request(&format!("GET / HTTP/1.1\r\n{headers}\r\n")).by_page;
        for own in ["Host: 127.0.0.1:9100\r\n", "host: LOCALHOST\r\n", "Host: [::1]:9100\r\n", "Host: ::1\r\n"] {
            assert!(!by_page(own), "{own}");
        }
        assert!(by_page("Host: rebound.example:9100\r\n"));
        assert!(by_page("Host: 127.0.0.1\r\nOrigin: https://page.example\r\n"));
        assert!(by_page(""));
    }

    #[test]
    fn a_key_may_come_in_either_header() {
        let key = |headers: &str| request(&format!("GET / HTTP/1.1\r\n{headers}\r\n")).key;
        assert_eq!(key("X-Api-Key: k\r\n").as_deref(), Some(&b"k"[..]));
        assert_eq!(key("Authorization: Basic abc\r\n"), None);
        assert_eq!(key(""), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            parse(&bytes);
        }

        #[test]
        fn no_target_makes_it_panic(target in "[ -~]{0,40}") {
            parse(format!("GET /{target} HTTP/1.1\r\n\r\n").as_bytes());
        }
    }
}
