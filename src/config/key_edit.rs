//! One key put into the text of a keys file, or taken out of it: everything else in it stays as it is.

use std::path::Path;

use super::key_file;
use super::keys::KEY;
use super::value::quoted;
use crate::auth::{Hashed, Key};

/// What a new key may; nothing said is everything.
#[derive(Clone, Debug, Default)]
pub struct Rights {
    pub publish: Vec<String>,
    pub subscribe: Vec<String>,
    pub admin: bool,
}

/// `text` with one more key at its end.
pub fn with_key(text: &str, name: &str, hashed: &Hashed, rights: &Rights) -> Result<String, String> {
    let before = names(text)?;
    let gap = if text.is_empty() || text.ends_with("\n\n") { "" } else { "\n" };
    let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    let mut after = format!("{text}{end}{gap}[[{KEY}]]\nname = {}\nhash = \"{hashed}\"\n", quoted(name));
    for (key, patterns) in [("publish", &rights.publish), ("subscribe", &rights.subscribe)] {
        if !patterns.is_empty() {
            let patterns: Vec<String> = patterns.iter().map(|pattern| quoted(pattern)).collect();
            after += &format!("{key} = [{}]\n", patterns.join(", "));
        }
    }
    if rights.admin {
        after += "admin = true\n";
    }
    let expected = [before, vec![name.to_owned()]].concat();
    whole(after, &expected)
}

/// `text` without the key of this name, and without what stands in its table.
pub fn without_key(text: &str, name: &str) -> Result<String, String> {
    let before = names(text)?;
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let block = blocks(&lines).into_iter().find(|block| is_named(&lines[block.clone()].concat(), name));
    let block = block.ok_or_else(|| format!("there is no key named \"{name}\""))?;
    let kept = [&lines[..block.start], &lines[block.end..]].concat().concat();
    let expected: Vec<String> = before.into_iter().filter(|other| other != name).collect();
    whole(kept, &expected)
}

/// The lines of each table: from its header to its last line that says something. A comment after that is about what
/// follows.
fn blocks(lines: &[&str]) -> Vec<std::ops::Range<usize>> {
    let is_header = |line: &&str| line.trim_start().starts_with("[[");
    let starts: Vec<usize> = (0..lines.len()).filter(|at| is_header(&lines[*at])).collect();
    let ends = starts.iter().skip(1).copied().chain([lines.len()]);
    let says = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    let block = |(start, end): (&usize, usize)| {
        let last = (*start..end).rev().find(|at| says(&lines[*at])).unwrap_or(*start);
        *start..last + 1
    };
    starts.iter().zip(ends).map(block).collect()
}

fn is_named(block: &str, name: &str) -> bool {
    names(block).is_ok_and(|names| names == [name])
}

/// The names of the keys of a file without problems.
fn names(text: &str) -> Result<Vec<String>, String> {
    let (keys, problems) = key_file::parse(text, Path::new("the file"));
    match problems.first() {
        Some(problem) => Err(problem.to_string()),
        None => Ok(keys.iter().map(Key::name).map(str::to_owned).collect()),
    }
}

/// What was edited says exactly what it should, or it is not used.
fn whole(text: String, expected: &[String]) -> Result<String, String> {
    match names(&text)? {
        names if names == expected => Ok(text),
        _ => Err("the file is written in a way that this cannot edit: edit it by hand".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Secret;

    const TEXT: &str = "# all of them\n\n[[key]]\nname = \"a\" # first\nkey = \"1\"\n\n# the second\n[[key]]\nkey = \"2\"\n\
                        name = \"b\"\npublish = [\n  \"x\",\n]\n\n# the third\n[[key]]\nname = \"c\"\nkey = \"3\"";

    fn hashed() -> Hashed {
        Hashed::of(&Secret::new(b"x").unwrap(), [1; 16])
    }

    #[test]
    fn a_key_is_taken_out_and_the_rest_stays_as_it_was() {
        let without = without_key(TEXT, "b").unwrap();
        assert_eq!(
            without,
            "# all of them\n\n[[key]]\nname = \"a\" # first\nkey = \"1\"\n\n# the second\n\n# the third\n[[key]]\n\
             name = \"c\"\nkey = \"3\""
        );
        assert_eq!(names(&without_key(&without, "c").unwrap()).unwrap(), ["a"]);
        assert!(without_key(TEXT, "d").unwrap_err().contains("\"d\""));
    }

    #[test]
    fn a_key_is_put_in_with_its_rights() {
        let rights = Rights { publish: vec!["a.>".into(), "b".into()], subscribe: vec![], admin: true };
        let with = with_key(TEXT, "d \"e\"", &hashed(), &rights).unwrap();
        assert!(with.starts_with(TEXT) && with.contains("publish = [\"a.>\", \"b\"]\nadmin = true\n"), "{with}");
        assert_eq!(names(&with).unwrap(), ["a", "b", "c", "d \"e\""]);
        assert_eq!(names(&with_key("", "a", &hashed(), &Rights::default()).unwrap()).unwrap(), ["a"]);
    }

    #[test]
    fn what_would_be_wrong_is_not_written() {
        assert!(with_key(TEXT, "a", &hashed(), &Rights::default()).unwrap_err().contains("two keys"));
        assert!(with_key(TEXT, "", &hashed(), &Rights::default()).is_err());
        let rights = Rights { publish: vec!["a.>.b".into()], ..Rights::default() };
        assert!(with_key(TEXT, "d", &hashed(), &rights).is_err());
        assert!(with_key("nonsense", "d", &hashed(), &Rights::default()).is_err());
        assert!(without_key("[[key]]\nname = \"a\"\n", "a").is_err(), "a file with a problem is left alone");
    }
}
