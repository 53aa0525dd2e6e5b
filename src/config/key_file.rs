//! The file of API keys: `[[key]]` tables with names, hashes and permissions.

use std::collections::BTreeSet;
use std::path::Path;

use super::keys::{KEY, KEY_KEYS};
use super::problem::{HIDDEN, Origin, Problem};
use super::raw::Raw;
use super::resolve::{Draft, missing, tables};
use crate::auth::{Hashed, Key, Permissions, Secret};
use crate::model::Pattern;

/// A `[[key]]` table on its way to a [`Key`].
#[derive(Clone, Debug, Default)]
pub struct KeyDraft {
    pub name: Option<String>,
    pub key: Option<Secret>,
    pub hash: Option<Hashed>,
    pub publish: Option<Vec<Pattern>>,
    pub subscribe: Option<Vec<Pattern>>,
    pub admin: Option<bool>,
}

/// The longest name of a key, in bytes: it stands in log lines and metrics.
const NAME_MAX: usize = 64;

/// Reads the text of a keys file. A key with a problem is left out; nothing shown of it is secret.
pub fn parse(text: &str, path: &Path) -> (Vec<Key>, Vec<Problem>) {
    let (raw, mut problems) = Raw::from_toml(text, path, KEY);
    for said in raw.said.iter().filter(|said| said.table.is_none()) {
        let reason = format!("unknown key; a keys file has [[{KEY}]] tables only");
        problems.push(refused(&said.origin, said.name.clone(), reason));
    }
    let mut keys: Vec<Key> = Vec::new();
    let mut names = BTreeSet::new();
    for (draft, origin) in tables(&raw, KEY, KEY_KEYS, &mut problems).into_iter().zip(&raw.tables) {
        let Some(key) = key(draft, origin, &mut problems) else { continue };
        if !names.insert(key.name().to_owned()) {
            problems.push(refused(origin, KEY.into(), format!("two keys are named \"{}\"", key.name())));
        }
        keys.push(key);
    }
    for problem in problems.iter_mut().filter(|problem| problem.value.is_some()) {
        // Whatever stands in this file by mistake may be a key.
        problem.value = Some(HIDDEN.into());
    }
    (keys, problems)
}

fn key(draft: Draft<KeyDraft>, origin: &Origin, problems: &mut Vec<Problem>) -> Option<Key> {
    let before = problems.len();
    let path = |name: &str| format!("{KEY}[{}].{name}", draft.index);
    let KeyDraft { name, key, hash, publish, subscribe, admin } = draft.filled;
    if !draft.said.contains("name") {
        problems.push(missing(origin, path("name")));
    }
    if name.as_ref().is_some_and(|name| name.is_empty() || name.len() > NAME_MAX || name.chars().any(char::is_control))
    {
        let reason = format!("expected 1 to {NAME_MAX} printable bytes");
        problems.push(refused(origin, path("name"), reason));
    }
    if draft.said.contains("key") == draft.said.contains("hash") {
        problems.push(refused(origin, path("key"), "expected either key or hash".into()));
    }
    let hashed = hash.or_else(|| key.map(|key| Hashed::of(&key, [0; Hashed::SALT])));
    let known = (name?, hashed?);
    // A rule that could not be read must not leave a key that may everything.
    (problems.len() == before).then(|| Key::named(&known.0, known.1, Permissions::new(publish, subscribe, admin)))
}

fn refused(origin: &Origin, key: String, reason: String) -> Problem {
    Problem { origin: origin.clone(), key, value: None, reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::KeyRing;
    use crate::model::TopicName;

    fn read(text: &str) -> (Vec<Key>, Vec<String>) {
        let (keys, problems) = parse(text, Path::new("keys.toml"));
        (keys, problems.iter().map(Problem::to_string).collect())
    }

    #[test]
    fn keys_in_plain_and_hashed_open_with_their_permissions() {
        let hash = Hashed::of(&Secret::new(b"swordfish").unwrap(), [5; 16]);
        let (keys, problems) = read(&format!(
            "[[key]]\nname = \"app\"\nkey = \"hunter2\"\n[[key]]\nname = \"meter\"\nhash = \"{hash}\"\npublish = [\"m.>\"]\n"
        ));
        assert_eq!(problems, Vec::<String>::new());
        let ring = KeyRing::new(keys).unwrap();
        assert!(ring.authenticate(b"hunter2").unwrap().permissions.may_administer());
        let meter = ring.authenticate(b"swordfish").unwrap();
        assert_eq!(&*meter.name, "meter");
        assert!(meter.permissions.may_publish(&TopicName::parse(b"m.a").unwrap()));
        assert!(!meter.permissions.may_publish(&TopicName::parse(b"x").unwrap()));
    }

    #[test]
    fn every_problem_is_named_and_no_value_is_shown() {
        let (keys, problems) = read(
            "hunter2 = 1\n[[key]]\nkey = \"hunter2\"\n[[key]]\nname = \"a\"\nkey = \"hunter2\"\nhash = \"hunter2\"\n\
             [[key]]\nname = \"b\"\nkey = \"k\"\npublish = [\"a.>.b\"]\nadmin = \"hunter2\"\nextra = \"hunter2\"\n\
             [[key]]\nname = \"c\"\n",
        );
        assert!(problems.iter().skip(1).all(|line| !line.contains("hunter2")), "{problems:#?}");
        let expected = [
            "keys.toml:1: hunter2: unknown key",
            "keys.toml:2: key[0].name: is missing",
            "keys.toml:7: key[1].hash = ***: expected",
            "keys.toml:11: key[2].publish = ***: item 1: '>' must be the last",
            "keys.toml:12: key[2].admin = ***: expected true or false",
            "keys.toml:13: key[2].extra = ***: unknown key",
            "keys.toml:14: key[3].key: expected either key or hash",
        ];
        for start in expected {
            assert!(problems.iter().any(|line| line.starts_with(start)), "{start} not in {problems:#?}");
        }
        assert!(keys.iter().all(|key| key.name() != "c"));
    }

    #[test]
    fn two_keys_may_not_have_one_name() {
        let (_, problems) = read("[[key]]\nname = \"a\"\nkey = \"1\"\n[[key]]\nname = \"a\"\nkey = \"2\"\n");
        assert_eq!(problems, ["keys.toml:4: key: two keys are named \"a\""]);
    }
}
