//! From what was said to what we run on, with every problem on the way.

use std::collections::{BTreeMap, BTreeSet};

use super::key::Key;
use super::keys::{TOPIC, TOPIC_KEYS, keys};
use super::problem::{HIDDEN, Origin, Problem};
use super::raw::{Raw, Said};
use super::settings::Config;
use super::topics::{DeadLetter, TopicRule};
use crate::model::Pattern;

/// A `[[topic]]` table on its way to a [`TopicRule`].
#[derive(Clone, Debug, Default)]
pub struct TopicDraft {
    pub pattern: Option<Pattern>,
    pub ttl_ms: Option<u64>,
    pub dead_letter: Option<DeadLetter>,
}

/// A configuration as far as it could be read, and what could not.
#[derive(Debug, Default)]
pub struct Resolved {
    pub config: Config,
    pub problems: Vec<Problem>,
    /// Where each key that was said got its value.
    pub origins: BTreeMap<&'static str, Origin>,
    /// Keys whose value in force could not be read: no combination is judged by them.
    pub bad: BTreeSet<&'static str>,
}

/// Reads the sources, the weakest first. A value that a stronger source overrides must be right, too.
pub fn resolve(sources: Vec<Raw>) -> Resolved {
    let mut resolved = Resolved::default();
    for raw in sources {
        resolved.source(raw);
    }
    resolved
}

impl Resolved {
    fn source(&mut self, mut raw: Raw) {
        let worded = raw.said.iter().any(|said| said.table.is_none() && said.name == TOPIC);
        self.problems.extend(raw.spell_out(TOPIC));
        for said in raw.said.iter().filter(|said| said.table.is_none()) {
            self.key(said);
        }
        if worded || !raw.tables.is_empty() {
            self.topics(&raw);
        }
    }

    fn key(&mut self, said: &Said) {
        let Some(key) = keys().find(|key| key.name == said.name) else {
            let names: Vec<&str> = keys().map(|key| key.name).chain([TOPIC]).collect();
            self.problems.push(unknown(said, said.name.clone(), &names));
            return;
        };
        self.origins.insert(key.name, said.origin.clone());
        match (key.place.read)(&mut self.config, &said.value, &key.form) {
            Ok(()) => {
                self.bad.remove(key.name);
            }
            Err(reason) => {
                self.bad.insert(key.name);
                self.problems.push(wrong(key, said, said.name.clone(), reason));
            }
        }
    }

    /// The tables of a stronger source replace those of a weaker one.
    fn topics(&mut self, raw: &Raw) {
        let drafts = tables(raw, TOPIC, TOPIC_KEYS, &mut self.problems);
        let mut rules = Vec::new();
        for (draft, origin) in drafts.into_iter().zip(&raw.tables) {
            let TopicDraft { pattern, ttl_ms, dead_letter } = draft.filled;
            match pattern {
                Some(pattern) => rules.push(TopicRule { pattern, ttl_ms, dead_letter }),
                None if draft.said.contains("pattern") => {}
                None => self.problems.push(missing(origin, format!("{TOPIC}[{}].pattern", draft.index))),
            }
        }
        self.config.topics.rules = rules.into();
    }
}

/// One table of an array as far as it could be read.
pub struct Draft<T> {
    pub index: usize,
    pub filled: T,
    /// What was said, right or wrong.
    pub said: BTreeSet<String>,
}

/// Reads the `[[group]]` tables of a source.
pub fn tables<T: Default>(raw: &Raw, group: &str, keys: &[Key<T>], problems: &mut Vec<Problem>) -> Vec<Draft<T>> {
    let draft = |index| Draft { index, filled: T::default(), said: BTreeSet::new() };
    let mut drafts: Vec<Draft<T>> = (0..raw.tables.len()).map(draft).collect();
    for said in &raw.said {
        let Some(draft) = said.table.and_then(|index| drafts.get_mut(index)) else { continue };
        draft.said.insert(said.name.clone());
        let path = format!("{group}[{}].{}", draft.index, said.name);
        let Some(key) = keys.iter().find(|key| key.name == said.name) else {
            let names: Vec<&str> = keys.iter().map(|key| key.name).collect();
            problems.push(unknown(said, path, &names));
            continue;
        };
        if let Err(reason) = (key.place.read)(&mut draft.filled, &said.value, &key.form) {
            problems.push(wrong(key, said, path, reason));
        }
    }
    drafts
}

fn wrong<T>(key: &Key<T>, said: &Said, path: String, reason: String) -> Problem {
    let value = if key.secret { HIDDEN.into() } else { shown(&said.value.to_string()) };
    Problem { origin: said.origin.clone(), key: path, value: Some(value), reason }
}

/// A table that lacks what it must have.
pub fn missing(origin: &Origin, path: String) -> Problem {
    Problem { origin: origin.clone(), key: path, value: None, reason: "is missing".into() }
}

/// A misspelt key may be one whose value is secret.
pub fn unknown(said: &Said, path: String, names: &[&str]) -> Problem {
    let secretive = ["key", "secret", "pass", "token", "hash", "auth"].iter().any(|word| said.name.contains(word));
    let value = if secretive { HIDDEN.into() } else { shown(&said.value.to_string()) };
    let reason = match nearest(&said.name, names) {
        Some(name) => format!("unknown key; did you mean {name}?"),
        None => "unknown key".into(),
    };
    Problem { origin: said.origin.clone(), key: path, value: Some(value), reason }
}

/// Problems are lines, not pages.
fn shown(value: &str) -> String {
    const LONGEST: usize = 80;
    match value.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}...", &value[..at]),
        None => value.into(),
    }
}

/// The name for which at most half of the letters would have to change.
fn nearest<'a>(word: &str, names: &[&'a str]) -> Option<&'a str> {
    let (distance, name) = names.iter().map(|name| (distance(word, name), *name)).min()?;
    (distance * 2 <= name.len()).then_some(name)
}

/// Letters to insert, remove or replace (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    const LONGEST: usize = 64;
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(LONGEST).collect(), b.chars().collect());
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_miss_is_recognised() {
        let names = ["port", "bind_addr", "fsync_policy"];
        assert_eq!(nearest("fsync_polcy", &names), Some("fsync_policy"));
        assert_eq!(nearest("prot", &names), Some("port"));
        assert_eq!(nearest("bindaddr", &names), Some("bind_addr"));
        assert_eq!(nearest("something_else", &names), None);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}

#[cfg(test)]
mod every_key {
    use std::path::Path;

    use super::*;
    use crate::config::environment;
    use crate::config::form::Form;

    /// A value that is right for this form, as TOML, and as the environment spells it.
    fn sample(form: &Form) -> (String, String) {
        let same = |text: &str| (format!("\"{text}\""), text.to_owned());
        match form {
            Form::Address => same("::1"),
            Form::Path => same("/else/where"),
            Form::Text => same("text"),
            Form::OnOff => same("off"),
            Form::Switch => ("true".into(), "true".into()),
            Form::Number { min, .. } | Form::Millis { min, .. } => ((min + 1).to_string(), (min + 1).to_string()),
            Form::Bytes { min, .. } => ((min + 4096).to_string(), (min + 4096).to_string()),
            Form::Choice(names) => same(names[1]),
            Form::Fsync => same("interval_ms:5"),
            Form::Cores => same("0,1"),
            Form::Secrets => ("[\"one\", \"two\"]".into(), "one,two".into()),
            Form::Template => same("dead.{topic}"),
            other => unreachable!("no key of the table has the form {other:?}"),
        }
    }

    #[test]
    fn is_read_from_the_file() {
        for key in keys() {
            let text = format!("{} = {}\n", key.name, sample(&key.form).0);
            let (raw, problems) = Raw::from_toml(&text, Path::new("b.toml"), TOPIC);
            assert_eq!(problems, []);
            let resolved = resolve(vec![raw]);
            assert_eq!(resolved.problems, [], "{text}");
            assert_eq!(Config::default().diff(&resolved.config).changed(), [key.name]);
        }
    }

    #[test]
    fn is_read_from_the_environment_with_the_prefix_and_ten_without() {
        for key in keys() {
            let word = sample(&key.form).1;
            let bare = (key.name.to_uppercase(), word.clone());
            let resolved = |variable| resolve(vec![environment::read(&[variable]).0]);
            let prefixed = resolved((key.variable(), word));
            assert_eq!(prefixed.problems, [], "{}", key.name);
            assert_eq!(Config::default().diff(&prefixed.config).changed(), [key.name]);
            let expected: &[&str] = if key.original { &[key.name] } else { &[] };
            assert_eq!(Config::default().diff(&resolved(bare).config).changed(), expected);
        }
    }

    #[test]
    fn refuses_what_is_wrong_and_says_what_it_expected() {
        for key in keys() {
            let (raw, _) = Raw::from_toml(&format!("{} = 1.5\n", key.name), Path::new("b.toml"), TOPIC);
            let resolved = resolve(vec![raw]);
            let [problem] = &resolved.problems[..] else { panic!("{}: {:?}", key.name, resolved.problems) };
            assert_eq!(problem.reason, key.form.expected(), "{}", key.name);
            assert_eq!(resolved.config, Config::default());
        }
    }

    #[test]
    fn reads_what_it_shows() {
        for key in keys().filter(|key| !key.secret) {
            let read = |toml: &str| {
                let text = format!("{} = {toml}\n", key.name);
                resolve(vec![Raw::from_toml(&text, Path::new("b.toml"), TOPIC).0]).config
            };
            let once = read(&sample(&key.form).0);
            assert_eq!(read(&key.show(&once)), once, "{}", key.name);
        }
    }
}
