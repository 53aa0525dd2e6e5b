//! How each type of setting is read from a value and shown as one.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use super::choice::{Cores, LogFormat, TlsVersion};
use super::form::{Form, millis};
use super::topics::DeadLetter;
use super::value::{Value, quoted};
use crate::auth::{Hashed, Key, Secret};
use crate::model::{FsyncPolicy, OverflowPolicy, Pattern, RecoveryMode};

/// A type that a key can have. `Err` says what was expected and never repeats the value.
pub trait Field: Sized {
    /// From what was said, within the bounds of `form`.
    fn read(value: &Value, form: &Form) -> Result<Self, String>;
    /// As it would stand in the file.
    fn show(&self, form: &Form) -> String;
}

/// A type with a name for each of its values.
trait Choice: Sized + PartialEq + 'static {
    const NAMES: &'static [(&'static str, Self)];
}

impl Choice for RecoveryMode {
    const NAMES: &'static [(&'static str, RecoveryMode)] =
        &[("refuse", RecoveryMode::Refuse), ("truncate", RecoveryMode::Truncate), ("skip", RecoveryMode::Skip)];
}

impl Choice for OverflowPolicy {
    const NAMES: &'static [(&'static str, OverflowPolicy)] = &[
        ("block", OverflowPolicy::Block),
        ("drop_oldest", OverflowPolicy::DropOldest),
        ("drop_new", OverflowPolicy::DropNew),
    ];
}

impl Choice for LogFormat {
    const NAMES: &'static [(&'static str, LogFormat)] = &[("human", LogFormat::Human), ("json", LogFormat::Json)];
}

impl Choice for TlsVersion {
    const NAMES: &'static [(&'static str, TlsVersion)] = &[("1.2", TlsVersion::V1_2), ("1.3", TlsVersion::V1_3)];
}

impl<T: Choice + Copy> Field for T {
    fn read(value: &Value, form: &Form) -> Result<T, String> {
        let word = value.word().ok_or_else(|| form.expected())?;
        T::NAMES.iter().find(|(name, _)| *name == word).map(|(_, choice)| *choice).ok_or_else(|| form.expected())
    }

    fn show(&self, _: &Form) -> String {
        let name = T::NAMES.iter().find(|(_, choice)| choice == self).map(|(name, _)| *name);
        quoted(name.expect("every value of a choice has a name"))
    }
}

macro_rules! whole_number {
    ($($number:ty)+) => {$(
        impl Field for $number {
            fn read(value: &Value, form: &Form) -> Result<$number, String> {
                <$number>::try_from(form.number(value)?).map_err(|_| form.expected())
            }

            fn show(&self, _: &Form) -> String {
                self.to_string()
            }
        }
    )+};
}

whole_number!(u16 u32 u64 usize);

impl Field for Duration {
    fn read(value: &Value, form: &Form) -> Result<Duration, String> {
        form.number(value).map(Duration::from_millis)
    }

    fn show(&self, _: &Form) -> String {
        millis(*self).to_string()
    }
}

impl Field for bool {
    fn read(value: &Value, form: &Form) -> Result<bool, String> {
        match (value, value.word()) {
            (Value::Switch(on), _) => Ok(*on),
            (Value::Word(_), Some("true")) | (_, Some("on")) => Ok(true),
            (Value::Word(_), Some("false")) | (_, Some("off")) => Ok(false),
            _ => Err(form.expected()),
        }
    }

    fn show(&self, form: &Form) -> String {
        match (form, self) {
            (Form::OnOff, true) => quoted("on"),
            (Form::OnOff, false) => quoted("off"),
            (_, on) => on.to_string(),
        }
    }
}

impl Field for IpAddr {
    fn read(value: &Value, form: &Form) -> Result<IpAddr, String> {
        match value.word() {
            Some("localhost") => Ok(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            Some(text) => text.parse().map_err(|_| form.expected()),
            None => Err(form.expected()),
        }
    }

    fn show(&self, _: &Form) -> String {
        quoted(&self.to_string())
    }
}

impl Field for String {
    fn read(value: &Value, form: &Form) -> Result<String, String> {
        value.word().map(str::to_owned).ok_or_else(|| form.expected())
    }

    fn show(&self, _: &Form) -> String {
        quoted(self)
    }
}

impl Field for PathBuf {
    fn read(value: &Value, form: &Form) -> Result<PathBuf, String> {
        let text = value.word().filter(|text| !text.is_empty() && !text.contains('\0'));
        text.map(PathBuf::from).ok_or_else(|| form.expected())
    }

    fn show(&self, _: &Form) -> String {
        quoted(&self.to_string_lossy())
    }
}

/// Empty: none.
impl Field for Option<PathBuf> {
    fn read(value: &Value, form: &Form) -> Result<Option<PathBuf>, String> {
        if value.word() == Some("") { Ok(None) } else { PathBuf::read(value, form).map(Some) }
    }

    fn show(&self, form: &Form) -> String {
        self.as_ref().map_or_else(|| quoted(""), |path| path.show(form))
    }
}

impl Field for FsyncPolicy {
    fn read(value: &Value, form: &Form) -> Result<FsyncPolicy, String> {
        value.word().and_then(|text| text.parse().ok()).ok_or_else(|| form.expected())
    }

    fn show(&self, _: &Form) -> String {
        quoted(&self.to_string())
    }
}

impl Field for Cores {
    fn read(value: &Value, form: &Form) -> Result<Cores, String> {
        let count = Form::Number { min: 0, max: crate::model::ShardId::MAX as u64 };
        let core = Form::Number { min: 0, max: 8 * crate::model::ShardId::MAX as u64 };
        let read = match value {
            Value::List(items) => {
                let cores: Result<Vec<usize>, String> = items.iter().map(|item| usize::read(item, &core)).collect();
                cores.ok().and_then(Cores::distinct)
            }
            // A number alone is a count, in quotes or not.
            value => match value.word().map_or(count.number(value), |word| count.number(&Value::Word(word.into()))) {
                Ok(0) => Some(Cores::All),
                Ok(n) => Some(Cores::Count(n as usize)),
                Err(_) => value.word().filter(|word| word.contains([',', '-'])).and_then(Cores::these),
            },
        };
        read.ok_or_else(|| form.expected())
    }

    fn show(&self, _: &Form) -> String {
        match self {
            Cores::These(_) => quoted(&self.to_string()),
            count => count.to_string(),
        }
    }
}

impl Field for DeadLetter {
    fn read(value: &Value, form: &Form) -> Result<DeadLetter, String> {
        DeadLetter::parse(value.word().ok_or_else(|| form.expected())?)
    }

    fn show(&self, _: &Form) -> String {
        quoted(&self.to_string())
    }
}

impl Field for Pattern {
    fn read(value: &Value, form: &Form) -> Result<Pattern, String> {
        let text = value.word().ok_or_else(|| form.expected())?;
        Pattern::parse(text.as_bytes()).map_err(|error| error.to_string())
    }

    fn show(&self, _: &Form) -> String {
        quoted(self.as_str())
    }
}

impl Field for Secret {
    fn read(value: &Value, form: &Form) -> Result<Secret, String> {
        Secret::new(value.word().ok_or_else(|| form.expected())?.as_bytes()).map_err(|error| error.to_string())
    }

    fn show(&self, _: &Form) -> String {
        quoted(&self.to_string())
    }
}

impl Field for Hashed {
    fn read(value: &Value, form: &Form) -> Result<Hashed, String> {
        value.word().and_then(|text| text.parse().ok()).ok_or_else(|| form.expected())
    }

    fn show(&self, _: &Form) -> String {
        quoted(&self.to_string())
    }
}

/// Plain keys: read as digests, shown as names.
impl Field for Key {
    fn read(value: &Value, form: &Form) -> Result<Key, String> {
        Secret::read(value, form).map(|secret| Key::plain(&secret))
    }

    fn show(&self, _: &Form) -> String {
        quoted(self.name())
    }
}

/// Types of which a key may have several.
trait Item: Field {}

impl Item for Key {}

impl Item for Pattern {}

impl<T: Item> Field for Vec<T> {
    fn read(value: &Value, form: &Form) -> Result<Vec<T>, String> {
        let items = value.items().ok_or_else(|| form.expected())?;
        let item = |(index, item): (usize, &Value)| {
            T::read(item, form).map_err(|reason| format!("item {}: {reason}", index + 1))
        };
        items.iter().enumerate().map(item).collect()
    }

    fn show(&self, form: &Form) -> String {
        let items: Vec<String> = self.iter().map(|item| item.show(form)).collect();
        format!("[{}]", items.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cores(text: &str) -> Option<Cores> {
        Cores::read(&Value::from_word(text), &Form::Cores).ok()
    }

    #[test]
    fn cores_are_counted_or_named() {
        assert_eq!(cores("0"), Some(Cores::All));
        assert_eq!(cores("3"), Some(Cores::Count(3)));
        assert_eq!(cores("0,2"), Some(Cores::These(vec![0, 2])));
        assert_eq!(cores("[2]"), Some(Cores::These(vec![2])));
        assert_eq!(cores("1,4-6"), Some(Cores::These(vec![1, 4, 5, 6])));
        for text in ["", "-1", "a", "0,0", "3-1", "0-", "1025", "[]", "0-99999999999", "[\"x\"]"] {
            assert_eq!(cores(text), None, "{text}");
        }
        assert_eq!(Cores::read(&Value::Text("2".into()), &Form::Cores), Ok(Cores::Count(2)));
        for list in ["2-2", "0,2", "0"] {
            assert_eq!(cores(list).unwrap().to_string(), list);
        }
    }

    #[test]
    fn a_switch_is_strict_in_a_file_and_lenient_in_a_word() {
        let read = |value| bool::read(&value, &Form::Switch).ok();
        assert_eq!(read(Value::Switch(true)), Some(true));
        assert_eq!(read(Value::Word("true".into())), Some(true));
        assert_eq!(read(Value::Text("off".into())), Some(false));
        assert_eq!(read(Value::Text("true".into())), None);
        assert_eq!(read(Value::Word("1".into())), None);
    }

    #[test]
    fn keys_are_shown_by_name() {
        let keys = Vec::<Key>::read(&Value::from_word("one,two"), &Form::Secrets).unwrap();
        assert_eq!(keys.len(), 2);
        assert!(!keys.show(&Form::Secrets).contains("one"));
        assert!(Vec::<Key>::read(&Value::from_word("one,,two"), &Form::Secrets).unwrap_err().starts_with("item 2: "));
    }
}
