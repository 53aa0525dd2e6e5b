//! A value as it was said: typed where TOML types it, a bare word where the environment or a flag gave it.

use std::fmt;

use toml::de::DeValue;

/// One value, before anybody knows what it is for.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Untyped: from the environment or a flag. Reads as whatever is expected.
    Word(String),
    Text(String),
    Integer(i128),
    Switch(bool),
    List(Vec<Value>),
    /// Something that no key takes: its kind, for the message.
    Other(&'static str),
}

impl Value {
    /// A word that begins with `[` may be a TOML list.
    pub fn from_word(word: &str) -> Value {
        match DeValue::parse(word) {
            Ok(value) if value.get_ref().is_array() => Value::from_toml(value.get_ref()),
            _ => Value::Word(word.into()),
        }
    }

    /// A value of the file.
    pub fn from_toml(value: &DeValue<'_>) -> Value {
        match value {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(digits) => {
                i128::from_str_radix(digits.as_str(), digits.radix()).map_or(Value::Other("number"), Value::Integer)
            }
            DeValue::Boolean(on) => Value::Switch(*on),
            DeValue::Array(items) => Value::List(items.iter().map(|item| Value::from_toml(item.get_ref())).collect()),
            DeValue::Float(_) => Value::Other("fraction"),
            DeValue::Datetime(_) => Value::Other("time"),
            DeValue::Table(_) => Value::Other("table"),
        }
    }

    /// The text of a text or a word.
    pub fn word(&self) -> Option<&str> {
        match self {
            Value::Word(text) | Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A whole number, or a word that spells one.
    pub fn integer(&self) -> Option<i128> {
        match self {
            Value::Integer(number) => Some(*number),
            Value::Word(word) => word.trim().parse().ok(),
            _ => None,
        }
    }

    /// The items of a list; a word is split at its commas, an empty word is an empty list.
    pub fn items(&self) -> Option<Vec<Value>> {
        match self {
            Value::List(items) => Some(items.clone()),
            Value::Word(word) if word.trim().is_empty() => Some(Vec::new()),
            Value::Word(word) => Some(word.split(',').map(|item| Value::Word(item.trim().into())).collect()),
            _ => None,
        }
    }
}

/// As it would stand in the file.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Word(text) | Value::Text(text) => f.write_str(&quoted(text)),
            Value::Integer(number) => write!(f, "{number}"),
            Value::Switch(on) => write!(f, "{on}"),
            Value::List(items) => {
                let items: Vec<String> = items.iter().map(Value::to_string).collect();
                write!(f, "[{}]", items.join(", "))
            }
            Value::Other(kind) => write!(f, "(a {kind})"),
        }
    }
}

/// A text in TOML's own quotes.
pub fn quoted(text: &str) -> String {
    toml::Value::String(text.into()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_reads_as_what_is_expected() {
        assert_eq!(Value::from_word(" 7 ").integer(), Some(7));
        assert_eq!(Value::from_word("a, b").items().unwrap().len(), 2);
        assert_eq!(Value::from_word("").items(), Some(vec![]));
        assert_eq!(Value::from_word("[\"a,b\"]").items(), Some(vec![Value::Text("a,b".into())]));
        assert_eq!(Value::from_word("[broken").word(), Some("[broken"));
    }

    #[test]
    fn a_text_in_the_file_is_no_number() {
        assert_eq!(Value::Text("7".into()).integer(), None);
        assert_eq!(Value::Text("a,b".into()).items(), None);
    }
}
