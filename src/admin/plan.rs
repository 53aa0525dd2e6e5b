//! What has to be done for a request, one step after another. The runtime does it; here is only said what.

use serde_json::Value;

use super::figures::Figures;
use super::response::{Problem, Response};
use crate::model::ShardId;
use crate::shard::{AdminQuestion, Answer, Question, Row};

/// The next step towards a response.
pub enum Plan {
    Respond(Response),
    /// Put this to the shards; go on with what they answer.
    Ask(Ask, Box<dyn FnOnce(Vec<Reply>) -> Plan + Send>),
    /// Gather figures.
    Measure(Depth, Box<dyn FnOnce(&Figures) -> Response + Send>),
    /// Something for the process itself. Its answer, or why not, in a sentence.
    Order(Order, Box<dyn FnOnce(Result<Value, String>) -> Response + Send>),
}

/// A question, and to whom.
#[derive(Debug)]
pub struct Ask {
    pub to: To,
    pub question: Question,
}

/// Whom to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    All,
    One(ShardId),
}

/// One shard's answer; `None` if it did not come in time.
#[derive(Debug)]
pub struct Reply {
    pub shard: ShardId,
    pub answer: Option<Answer>,
}

/// How much to gather.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// What is known without asking a shard.
    Vitals,
    /// Every shard's counters too.
    Stats,
    /// Histograms too, and the first so many topics.
    All { topics: usize },
}

/// Something that concerns the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Stop taking anything new, finish, and end with exit code 0.
    Drain,
    /// Read the configuration again.
    Reload,
    /// What is logged, as `RUST_LOG` spells it.
    LogFilter(String),
    /// What is logged now.
    ShowLogFilter,
    /// Write the histograms of latencies to files.
    DumpLatency,
}

impl Plan {
    /// Asks one shard, and goes on with its answer as it is.
    pub fn ask_one(
        shard: ShardId,
        question: AdminQuestion,
        then: impl FnOnce(Vec<Reply>) -> Plan + Send + 'static,
    ) -> Plan {
        let ask = Ask { to: To::One(shard), question: Question::Admin(Box::new(question)) };
        Plan::Ask(ask, Box::new(then))
    }

    /// Asks every shard, and goes on with their answers as they are.
    pub fn ask_all(question: AdminQuestion, then: impl FnOnce(Vec<Reply>) -> Plan + Send + 'static) -> Plan {
        let ask = Ask { to: To::All, question: Question::Admin(Box::new(question)) };
        Plan::Ask(ask, Box::new(then))
    }

    /// Asks the shard that owns what is asked about, and makes the response of the object it answers with.
    pub fn one(shard: ShardId, question: AdminQuestion, then: impl FnOnce(Value) -> Plan + Send + 'static) -> Plan {
        Plan::ask_one(shard, question, move |replies| {
            object(replies).map_or_else(|problem| Plan::Respond(problem.into()), then)
        })
    }

    /// Asks every shard for rows, and makes the response of all of them, sorted.
    pub fn all(question: AdminQuestion, then: impl FnOnce(Vec<Row>) -> Plan + Send + 'static) -> Plan {
        Plan::ask_all(question, move |replies| rows(replies).map_or_else(|problem| Plan::Respond(problem.into()), then))
    }

    pub fn measure(depth: Depth, then: impl FnOnce(&Figures) -> Response + Send + 'static) -> Plan {
        Plan::Measure(depth, Box::new(then))
    }

    pub fn order(order: Order, then: impl FnOnce(Value) -> Response + Send + 'static) -> Plan {
        let refused = |text: String| Problem::new(409, text).into();
        Plan::Order(order, Box::new(move |done| done.map_or_else(refused, then)))
    }
}

/// The object that one shard answered with; null for "done".
fn object(replies: Vec<Reply>) -> Result<Value, Problem> {
    match replies.into_iter().next() {
        Some(Reply { answer: Some(Answer::Object(value)), .. }) => Ok(value),
        Some(Reply { answer: Some(Answer::Done), .. }) => Ok(Value::Null),
        Some(Reply { answer: Some(Answer::Refused { code, text }), .. }) => Err(Problem::refused(code, text)),
        Some(Reply { shard, .. }) => Err(Problem::silent(shard)),
        None => Err(Problem::new(500, "nobody was asked")),
    }
}

/// A list with a gap would look whole: a silent shard fails it.
fn rows(replies: Vec<Reply>) -> Result<Vec<Row>, Problem> {
    let mut all = Vec::new();
    for reply in replies {
        match reply.answer {
            Some(Answer::Done) => {}
            Some(Answer::Rows(rows)) => all.extend(rows),
            Some(Answer::Object(value)) => all.push(Row { key: format!("{:05}", reply.shard.0), value }),
            Some(Answer::Refused { code, text }) => return Err(Problem::refused(code, text)),
            _ => return Err(Problem::silent(reply.shard)),
        }
    }
    all.sort_by(|one, other| one.key.cmp(&other.key));
    Ok(all)
}
