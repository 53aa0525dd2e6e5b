//! Names of topics, and patterns over them.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

/// A valid topic name: 1 to [`TopicName::MAX`] bytes of UTF-8, no control characters, and no wildcard token (`*` or
/// `>` standing alone between dots). Shared, cheap to clone; made once per topic and connection, never per message.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicName(Arc<str>);

/// A topic name, or a pattern: tokens between dots, `*` for any one token, `>` at the end for one or more.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pattern(Arc<str>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TopicError {
    #[error("topic is empty")]
    Empty,
    #[error("topic is longer than {} bytes", TopicName::MAX)]
    TooLong,
    #[error("topic is not UTF-8")]
    NotUtf8,
    #[error("topic has a control character")]
    Control,
    #[error("a wildcard is not allowed here")]
    Wildcard,
    #[error("'>' must be the last token of a pattern")]
    MisplacedRest,
}

impl TopicName {
    /// Longest topic name, in bytes.
    pub const MAX: usize = 512;

    pub fn parse(bytes: &[u8]) -> Result<TopicName, TopicError> {
        let name = checked(bytes)?;
        if name.split('.').any(is_wildcard) {
            return Err(TopicError::Wildcard);
        }
        Ok(TopicName(name.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl Pattern {
    pub fn parse(bytes: &[u8]) -> Result<Pattern, TopicError> {
        let text = checked(bytes)?;
        let tokens = text.split('.').count();
        if text.split('.').take(tokens - 1).any(|token| token == ">") {
            return Err(TopicError::MisplacedRest);
        }
        Ok(Pattern(text.into()))
    }

    /// The one topic this names, if it has no wildcard.
    pub fn exact(&self) -> Option<TopicName> {
        let wild = self.0.split('.').any(is_wildcard);
        (!wild).then(|| TopicName(self.0.clone()))
    }

    pub fn matches(&self, topic: &str) -> bool {
        let mut names = topic.split('.');
        for token in self.0.split('.') {
            match (token, names.next()) {
                (_, None) => return false,
                (">", Some(_)) => return true,
                ("*", Some(_)) => {}
                (token, Some(name)) if token == name => {}
                _ => return false,
            }
        }
        names.next().is_none()
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_wildcard(token: &str) -> bool {
    token == "*" || token == ">"
}

fn checked(bytes: &[u8]) -> Result<&str, TopicError> {
    if bytes.is_empty() {
        return Err(TopicError::Empty);
    }
    if bytes.len() > TopicName::MAX {
        return Err(TopicError::TooLong);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| TopicError::NotUtf8)?;
    if text.chars().any(char::is_control) {
        return Err(TopicError::Control);
    }
    Ok(text)
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, topic: &str) -> bool {
        Pattern::parse(pattern.as_bytes()).unwrap().matches(topic)
    }

    #[test]
    fn a_star_takes_one_token_and_an_arrow_the_rest() {
        assert!(matches("a.*.c", "a.b.c"));
        assert!(!matches("a.*.c", "a.b.b.c"));
        assert!(matches("a.>", "a.b.c"));
        assert!(!matches("a.>", "a"));
        assert!(matches(">", "anything.at.all"));
        assert!(!matches("a.b", "a.b.c"));
        assert!(!matches("a.b.c", "a.b"));
    }

    #[test]
    fn a_name_is_bounded_printable_and_plain() {
        assert_eq!(TopicName::parse(b""), Err(TopicError::Empty));
        assert_eq!(TopicName::parse(b"a\nb"), Err(TopicError::Control));
        assert_eq!(TopicName::parse(b"\xff"), Err(TopicError::NotUtf8));
        assert_eq!(TopicName::parse(b"a.>"), Err(TopicError::Wildcard));
        assert_eq!(Pattern::parse(b">.a"), Err(TopicError::MisplacedRest));
        assert!(TopicName::parse(&[b'x'; TopicName::MAX]).is_ok());
        assert_eq!(TopicName::parse(&[b'x'; TopicName::MAX + 1]), Err(TopicError::TooLong));
        assert!(TopicName::parse(b"price>10").is_ok(), "a wildcard sign inside a token is a letter");
    }

    #[test]
    fn a_pattern_without_wildcards_names_one_topic() {
        assert_eq!(Pattern::parse(b"a.b").unwrap().exact(), Some(TopicName::parse(b"a.b").unwrap()));
        assert_eq!(Pattern::parse(b"a.*").unwrap().exact(), None);
    }
}
