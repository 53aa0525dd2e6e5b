//! What was said: keys and values with their origins, nothing judged yet.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Origin, Problem};
use super::value::Value;

/// One key and what was said of it.
#[derive(Clone, Debug)]
pub struct Said {
    /// `Some(2)`: of the third `[[group]]` table.
    pub table: Option<usize>,
    pub name: String,
    pub value: Value,
    pub origin: Origin,
}

/// Everything one source said, in its order.
#[derive(Clone, Debug, Default)]
pub struct Raw {
    pub said: Vec<Said>,
    /// Origins of the `[[group]]` tables, empty ones too.
    pub tables: Vec<Origin>,
}

impl Raw {
    /// Reads TOML. `group` names the one array of tables that may stand in it.
    pub fn from_toml(text: &str, path: &Path, group: &str) -> (Raw, Vec<Problem>) {
        let lines = Lines::of(text);
        let origin = |at: usize| Origin::File { path: path.to_owned(), line: lines.line(at) };
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut problems: Vec<Problem> = errors.iter().map(|error| syntax(error, &origin)).collect();
        problems.sort_by(|a, b| a.origin.cmp(&b.origin));
        if !problems.is_empty() {
            // What the parser guessed after an error would give problems that are none.
            return (Raw::default(), problems);
        }
        let mut raw = Raw::default();
        raw.tables(table.get_ref(), group, &origin);
        raw.in_order_of_lines();
        (raw, problems)
    }

    /// The operator's words for `name`, from the environment or a flag.
    pub fn word(&mut self, name: &str, word: &str, group: &str, origin: Origin) {
        let value = if name == group { Value::Word(word.into()) } else { Value::from_word(word) };
        self.said.push(Said { table: None, name: name.into(), value, origin });
    }

    /// Replaces `group = '[{..}, ..]'`, said in one word, by the tables it spells.
    pub fn spell_out(&mut self, group: &str) -> Vec<Problem> {
        let mut problems = Vec::new();
        let spelled = |said: &Said| said.table.is_none() && said.name == group;
        let (words, rest) = std::mem::take(&mut self.said).into_iter().partition(spelled);
        self.said = rest;
        for said in Vec::<Said>::into_iter(words) {
            let text = format!("{group} = {}", said.value.word().unwrap_or_default());
            match DeTable::parse(&text) {
                Ok(table) if is_group(table.get_ref(), group) => {
                    self.tables(table.get_ref(), group, &|_| said.origin.clone());
                }
                _ => problems.push(Problem {
                    origin: said.origin,
                    key: group.into(),
                    value: Some(said.value.to_string()),
                    reason: format!("expected tables, such as [{{ pattern = \"a.>\" }}], or [[{group}]] in the file"),
                }),
            }
        }
        problems
    }

    fn tables(&mut self, table: &DeTable<'_>, group: &str, origin: &dyn Fn(usize) -> Origin) {
        for (name, value) in table.iter() {
            match value.get_ref() {
                DeValue::Array(tables) if name.get_ref() == group => {
                    tables.iter().for_each(|table| self.entry(table, group, origin));
                }
                _ => self.push(None, name, value, origin),
            }
        }
    }

    fn entry(&mut self, table: &Spanned<DeValue<'_>>, group: &str, origin: &dyn Fn(usize) -> Origin) {
        match table.get_ref() {
            DeValue::Table(entries) => {
                let index = self.tables.len();
                self.tables.push(origin(table.span().start));
                for (name, value) in entries.iter() {
                    self.push(Some(index), name, value, origin);
                }
            }
            other => self.said.push(Said {
                table: None,
                name: group.into(),
                value: Value::from_toml(other),
                origin: origin(table.span().start),
            }),
        }
    }

    fn push(
        &mut self,
        table: Option<usize>,
        name: &Spanned<std::borrow::Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
        origin: &dyn Fn(usize) -> Origin,
    ) {
        self.said.push(Said {
            table,
            name: name.get_ref().to_string(),
            value: Value::from_toml(value.get_ref()),
            origin: origin(name.span().start),
        });
    }

    /// The parser sorts keys by name; people read from the top.
    fn in_order_of_lines(&mut self) {
        self.said.sort_by(|a, b| a.origin.cmp(&b.origin));
    }
}

fn is_group(table: &DeTable<'_>, group: &str) -> bool {
    table.len() == 1
        && matches!(table.get(group).map(Spanned::get_ref), Some(DeValue::Array(entries))
            if entries.iter().all(|entry| entry.get_ref().is_table()))
}

/// The parser's own words, never the line it stumbled over: a secret may stand there.
fn syntax(error: &toml::de::Error, origin: &dyn Fn(usize) -> Origin) -> Problem {
    let at = error.span().map_or(0, |span| span.start);
    Problem { origin: origin(at), key: String::new(), value: None, reason: format!("not TOML: {}", error.message()) }
}

/// Where the lines of a text begin.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Lines {
        Lines(std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect())
    }

    fn line(&self, at: usize) -> usize {
        self.0.partition_point(|start| *start <= at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn toml(text: &str) -> (Raw, Vec<Problem>) {
        Raw::from_toml(text, Path::new("b.toml"), "topic")
    }

    #[test]
    fn every_key_knows_its_line() {
        let (raw, problems) = toml("port = 1\n\n# a\nbind_addr = \"::1\"\n[[topic]]\npattern = \"a\"\n");
        assert!(problems.is_empty());
        let lines: Vec<String> = raw.said.iter().map(|said| format!("{} {}", said.name, said.origin)).collect();
        assert_eq!(lines, ["port b.toml:1", "bind_addr b.toml:4", "pattern b.toml:6"]);
        assert_eq!(raw.said[2].table, Some(0));
    }

    #[test]
    fn broken_lines_are_all_named_and_never_quoted() {
        let (_, problems) = toml("port = \nallowed_api_keys = [\"hunter2\nbind_addr = = 1\n");
        assert!(problems.len() >= 2, "{problems:?}");
        let shown = Problem::to_string(&problems[1]) + &format!("{problems:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(problems[0].to_string().starts_with("b.toml:1: not TOML: "), "{}", problems[0]);
    }

    #[test]
    fn a_key_said_twice_is_a_problem() {
        let (_, problems) = toml("port = 1\nport = 2\n");
        assert!(problems[0].to_string().contains("duplicate key"), "{problems:?}");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[a-z\\[\\]=\"\n {}.,0-9#']{0,120}") {
            let _ = toml(&text);
        }
    }
}
