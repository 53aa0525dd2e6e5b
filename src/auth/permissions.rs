//! What one key allows.

use crate::model::{Pattern, TopicName};

/// Topics that a key may publish to and subscribe to, and whether it may administer. Asked once per topic and
/// connection, never per message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permissions {
    publish: Topics,
    subscribe: Topics,
    admin: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Topics {
    All,
    /// None of them, if empty.
    These(Box<[Pattern]>),
}

impl Permissions {
    /// Everything: what a key without rules has.
    pub const ALL: Permissions = Permissions { publish: Topics::All, subscribe: Topics::All, admin: true };

    /// Nothing said: everything is allowed. Once one thing is said, what is not said is denied.
    pub fn new(publish: Option<Vec<Pattern>>, subscribe: Option<Vec<Pattern>>, admin: Option<bool>) -> Permissions {
        if publish.is_none() && subscribe.is_none() && admin.is_none() {
            return Permissions::ALL;
        }
        let these = |patterns: Option<Vec<Pattern>>| Topics::These(patterns.unwrap_or_default().into());
        Permissions { publish: these(publish), subscribe: these(subscribe), admin: admin.unwrap_or(false) }
    }

    /// Whether it may publish to this topic.
    pub fn may_publish(&self, topic: &TopicName) -> bool {
        match &self.publish {
            Topics::All => true,
            Topics::These(patterns) => patterns.iter().any(|pattern| pattern.matches(topic.as_str())),
        }
    }

    /// Whether every topic that `wanted` can name is allowed by one pattern of this key.
    pub fn may_subscribe(&self, wanted: &Pattern) -> bool {
        match &self.subscribe {
            Topics::All => true,
            Topics::These(patterns) => patterns.iter().any(|pattern| covers(pattern, wanted)),
        }
    }

    /// Whether it may know that this topic is there.
    pub fn may_see(&self, topic: &TopicName) -> bool {
        let exact = || Pattern::parse(topic.as_bytes()).is_ok_and(|pattern| self.may_subscribe(&pattern));
        self.admin || self.may_publish(topic) || exact()
    }

    /// Whether it may use the admin API.
    pub fn may_administer(&self) -> bool {
        self.admin
    }
}

/// Whether `allowed` matches every name that `wanted` matches.
fn covers(allowed: &Pattern, wanted: &Pattern) -> bool {
    let mut wanted = wanted.as_str().split('.');
    for token in allowed.as_str().split('.') {
        match (token, wanted.next()) {
            (">", Some(_)) => return true,
            ("*", Some(other)) if other != ">" => {}
            (token, Some(other)) if token == other => {}
            _ => return false,
        }
    }
    wanted.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text.as_bytes()).unwrap()
    }

    fn topic(text: &str) -> TopicName {
        TopicName::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_key_without_rules_may_everything() {
        let all = Permissions::new(None, None, None);
        assert!(all.may_publish(&topic("a")) && all.may_subscribe(&pattern(">")) && all.may_administer());
    }

    #[test]
    fn once_one_thing_is_said_the_rest_is_denied() {
        let publisher = Permissions::new(Some(vec![pattern("a.>")]), None, None);
        assert!(publisher.may_publish(&topic("a.b")));
        assert!(!publisher.may_publish(&topic("b")));
        assert!(!publisher.may_subscribe(&pattern("a.b")));
        assert!(!publisher.may_administer());
        assert!(!Permissions::new(None, None, Some(false)).may_publish(&topic("a")));
        assert!(!Permissions::new(Some(vec![]), None, None).may_publish(&topic("a")));
        assert!(publisher.may_see(&topic("a.b")) && !publisher.may_see(&topic("b")));
        assert!(Permissions::new(None, None, Some(true)).may_see(&topic("b")));
        assert!(Permissions::new(None, Some(vec![pattern("b.*")]), None).may_see(&topic("b.c")));
    }

    #[test]
    fn a_subscription_may_not_be_wider_than_its_key() {
        let reader = Permissions::new(None, Some(vec![pattern("a.*"), pattern("b.>")]), None);
        for allowed in ["a.x", "a.*", "b.x", "b.*", "b.>", "b.*.c", "b.x.>"] {
            assert!(reader.may_subscribe(&pattern(allowed)), "{allowed}");
        }
        for denied in ["a.>", "a.x.y", ">", "*.x", "b", "a", "*", "c"] {
            assert!(!reader.may_subscribe(&pattern(denied)), "{denied}");
        }
    }

    proptest! {
        #[test]
        fn what_a_covered_pattern_matches_the_allowed_one_matches(
            allowed in "([ab*]\\.){0,3}[ab*>]",
            wanted in "([ab*]\\.){0,3}[ab*>]",
            name in "([abc]\\.){0,4}[abc]",
        ) {
            let (allowed, wanted) = (pattern(&allowed), pattern(&wanted));
            if covers(&allowed, &wanted) && wanted.matches(&name) {
                prop_assert!(allowed.matches(&name), "{allowed} {wanted} {name}");
            }
        }
    }
}
