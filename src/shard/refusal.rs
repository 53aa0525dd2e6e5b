//! No, and why: the code for the peer, the reason for the counters.

use std::borrow::Cow;

use super::Core;
use super::link::LinkIndex;
use super::receive::Flow;
use super::session::Hold;
use super::stats::Reason;
use crate::model::TopicName;
use crate::model::topic::TopicError;
use crate::protocol::ErrorCode;
use crate::protocol::native::reply;

/// Something that was asked and is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub code: ErrorCode,
    pub reason: Reason,
    pub text: Cow<'static, str>,
}

impl Refusal {
    pub fn new(code: ErrorCode, reason: Reason, text: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal { code, reason, text: text.into() }
    }

    pub fn bad(text: &'static str) -> Refusal {
        Refusal::new(ErrorCode::BadRequest, Reason::BadRequest, text)
    }

    pub fn unknown(text: &'static str) -> Refusal {
        Refusal::new(ErrorCode::Unknown, Reason::BadRequest, text)
    }

    pub fn limit(reason: Reason, text: &'static str) -> Refusal {
        Refusal::new(ErrorCode::OverLimit, reason, text)
    }

    pub fn draining() -> Refusal {
        Refusal::new(ErrorCode::Draining, Reason::Draining, "the broker is draining")
    }

    pub fn forbidden(what: &str, topic: &str) -> Refusal {
        let text = format!("this key may not {what} {topic}");
        Refusal::new(ErrorCode::Forbidden, Reason::Forbidden, text)
    }

    pub fn topic(error: TopicError) -> Refusal {
        let text = match error {
            TopicError::TooLong => format!("topic is longer than {} bytes", TopicName::MAX),
            other => other.to_string(),
        };
        Refusal::new(ErrorCode::BadRequest, Reason::BadRequest, text)
    }
}

impl Core {
    /// Says no to a frame. Who does not read what is answered waits, and the frame with them: answers have a bound.
    pub(super) fn decline(&mut self, link: LinkIndex, correlation: u64, refusal: &Refusal) -> Flow {
        if self.links[link].backlog() > self.options.limits.outbox_max {
            return Flow::Hold(Hold::Output);
        }
        self.refuse(link, correlation, refusal);
        Flow::Go
    }

    /// Says no on a link, and counts it.
    pub(super) fn refuse(&mut self, link: LinkIndex, correlation: u64, refusal: &Refusal) {
        self.stats.refused[refusal.reason as usize] += 1;
        let code = if self.links[link].version < 2 { refusal.code.in_version_1() } else { refusal.code };
        self.reply(link, |out| reply::nack(out, correlation, code, &refusal.text));
    }
}
