//! Settings that depend on a topic's name.

use std::fmt;
use std::sync::Arc;

use crate::model::{Pattern, TopicName};

/// Where messages go that nobody could settle: nowhere, or a topic named after their own.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum DeadLetter {
    /// Dropped, counted.
    #[default]
    Drop,
    /// `before`, then the topic's name if `named`, then `after`.
    To { before: Arc<str>, named: bool, after: Arc<str> },
}

/// What one `[[topic]]` table says. What it leaves out is looked for in the next that matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicRule {
    pub pattern: Pattern,
    /// Zero: never expires.
    pub ttl_ms: Option<u64>,
    pub dead_letter: Option<DeadLetter>,
}

/// All of them, in the order of the file, and what holds where none speaks. Cheap to clone; asked once per topic.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct TopicRules {
    pub rules: Arc<[TopicRule]>,
    /// Zero: never expires.
    pub ttl_ms: u64,
    pub dead_letter: DeadLetter,
}

impl TopicRules {
    /// Milliseconds after which a record of this topic expires; zero: never.
    pub fn ttl_ms(&self, topic: &TopicName) -> u64 {
        self.matching(topic).find_map(|rule| rule.ttl_ms).unwrap_or(self.ttl_ms)
    }

    /// Where unsettled records of this topic go; `None`: they are dropped, counted.
    pub fn dead_letter(&self, topic: &TopicName) -> Option<TopicName> {
        self.matching(topic).find_map(|rule| rule.dead_letter.as_ref()).unwrap_or(&self.dead_letter).of(topic)
    }

    fn matching(&self, topic: &TopicName) -> impl Iterator<Item = &TopicRule> {
        self.rules.iter().filter(move |rule| rule.pattern.matches(topic.as_str()))
    }
}

impl DeadLetter {
    /// What stands for the topic's own name.
    pub const PLACE: &'static str = "{topic}";

    /// Reads a template: empty, a topic's name, or one with `{topic}` in it once.
    pub fn parse(template: &str) -> Result<DeadLetter, String> {
        if template.is_empty() {
            return Ok(DeadLetter::Drop);
        }
        let (before, after) = match template.split_once(DeadLetter::PLACE) {
            Some((before, after)) => (before, after),
            None => (template, ""),
        };
        let named = template.contains(DeadLetter::PLACE);
        if before.is_empty() && after.is_empty() || [before, after].iter().any(|part| part.contains(['{', '}'])) {
            return Err("expected a topic's name, which may have {topic} in it once, beside other characters".into());
        }
        let letter = DeadLetter::To { before: before.into(), named, after: after.into() };
        letter.name("x").map_err(|error| error.to_string())?;
        Ok(letter)
    }

    /// The dead-letter topic of `topic`. None for a topic that is one itself (dead letters are not buried twice), and
    /// where the name would be too long.
    pub fn of(&self, topic: &TopicName) -> Option<TopicName> {
        match self {
            DeadLetter::Drop => None,
            DeadLetter::To { .. } if self.names(topic.as_str()) => None,
            DeadLetter::To { .. } => self.name(topic.as_str()).ok(),
        }
    }

    fn name(&self, topic: &str) -> Result<TopicName, crate::model::topic::TopicError> {
        let DeadLetter::To { before, named, after } = self else { return TopicName::parse(b"") };
        TopicName::parse(format!("{before}{}{after}", if *named { topic } else { "" }).as_bytes())
    }

    /// Whether `topic` could have come from this template.
    fn names(&self, topic: &str) -> bool {
        let DeadLetter::To { before, named, after } = self else { return false };
        match topic.strip_prefix(&**before).and_then(|rest| rest.strip_suffix(&**after)) {
            Some(rest) => rest.is_empty() != *named,
            None => false,
        }
    }
}

impl fmt::Display for DeadLetter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeadLetter::Drop => Ok(()),
            DeadLetter::To { before, named, after } => {
                write!(f, "{before}{}{after}", if *named { DeadLetter::PLACE } else { "" })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(name: &str) -> TopicName {
        TopicName::parse(name.as_bytes()).unwrap()
    }

    fn dead(template: &str, name: &str) -> Option<String> {
        DeadLetter::parse(template).unwrap().of(&topic(name)).map(|topic| topic.as_str().to_owned())
    }

    #[test]
    fn dead_letters_go_to_one_topic_or_one_for_each() {
        assert_eq!(dead("", "orders"), None);
        assert_eq!(dead("dead", "orders").as_deref(), Some("dead"));
        assert_eq!(dead("dead.{topic}", "orders.eu").as_deref(), Some("dead.orders.eu"));
        assert_eq!(dead("{topic}-dead", "orders").as_deref(), Some("orders-dead"));
    }

    #[test]
    fn dead_letters_are_not_buried_twice() {
        assert_eq!(dead("dead", "dead"), None);
        assert_eq!(dead("dead.{topic}", "dead.orders"), None);
        assert_eq!(dead("{topic}.x", &"a".repeat(TopicName::MAX)), None, "too long a name");
    }

    #[test]
    fn a_template_reads_what_it_writes_and_refuses_nonsense() {
        for text in ["", "dead", "dead.{topic}", "{topic}.dead", "a{topic}b"] {
            assert_eq!(DeadLetter::parse(text).unwrap().to_string(), text);
        }
        for text in ["{topic}", "{topic}{topic}", "{name}", "dead.>", "a.*.{topic}", "a\n", "{", "x.{topic}.{topic}"] {
            assert!(DeadLetter::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_first_rule_that_speaks_wins() {
        let rule = |pattern: &str, ttl_ms, dead_letter: Option<&str>| TopicRule {
            pattern: Pattern::parse(pattern.as_bytes()).unwrap(),
            ttl_ms,
            dead_letter: dead_letter.map(|text| DeadLetter::parse(text).unwrap()),
        };
        let rules = TopicRules {
            rules: [rule("a.b", None, Some("")), rule("a.>", Some(5), Some("late")), rule(">", Some(0), None)].into(),
            ttl_ms: 9,
            dead_letter: DeadLetter::parse("dead").unwrap(),
        };
        assert_eq!(rules.ttl_ms(&topic("a.b")), 5);
        assert_eq!(rules.ttl_ms(&topic("c")), 0);
        assert_eq!(rules.dead_letter(&topic("a.b")), None);
        assert_eq!(rules.dead_letter(&topic("a.c")), Some(topic("late")));
        assert_eq!(rules.dead_letter(&topic("c")), Some(topic("dead")));
    }
}
