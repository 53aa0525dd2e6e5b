//! What a value must look like: one form for each kind of key.

use std::time::Duration;

use super::value::Value;

/// The form of a key's value, with its bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Address,
    /// May be empty where the key is optional.
    Path,
    Text,
    Switch,
    OnOff,
    Number {
        min: u64,
        max: u64,
    },
    /// A number, or a text with KiB, MiB, GiB, TiB.
    Bytes {
        min: u64,
        max: u64,
    },
    /// Whole milliseconds.
    Millis {
        min: u64,
        max: u64,
    },
    Choice(&'static [&'static str]),
    Fsync,
    Cores,
    Secret,
    Hash,
    Secrets,
    Pattern,
    Patterns,
    /// A topic's name with `{topic}` for the original one.
    Template,
}

const UNITS: [(&str, u32); 4] = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40)];

impl Form {
    /// A TCP port; zero is any free one.
    pub const PORT: Form = Form::Number { min: 0, max: u16::MAX as u64 };
    /// About thirty years: no sum with a time of day overflows.
    pub const MILLIS_MAX: u64 = 1_000_000_000_000;
    /// Any time.
    pub const ANY_MILLIS: Form = Form::Millis { min: 0, max: Form::MILLIS_MAX };
    /// 1 PiB.
    pub const BYTES_MAX: u64 = 1 << 50;
    /// Any size.
    pub const ANY_BYTES: Form = Form::Bytes { min: 0, max: Form::BYTES_MAX };

    /// The whole number that `value` spells, within this form's bounds.
    pub fn number(&self, value: &Value) -> Result<u64, String> {
        let (Form::Number { min, max } | Form::Bytes { min, max } | Form::Millis { min, max }) = *self else {
            return Err(self.expected());
        };
        let bytes = matches!(self, Form::Bytes { .. }).then(|| value.word().and_then(bytes)).flatten();
        bytes
            .or_else(|| value.integer())
            .and_then(|number| u64::try_from(number).ok())
            .filter(|number| (min..=max).contains(number))
            .ok_or_else(|| self.expected())
    }

    /// What to say when a value has another form.
    pub fn expected(&self) -> String {
        format!("expected {}", self.describe())
    }

    /// The form in words.
    pub fn describe(&self) -> String {
        match *self {
            Form::Address => "an IP address".into(),
            Form::Path => "a path".into(),
            Form::Text => "a text".into(),
            Form::Switch => "true or false".into(),
            Form::OnOff => "\"on\" or \"off\"".into(),
            Form::Number { min, max } => format!("a whole number from {min} to {max}"),
            Form::Bytes { min, max } => {
                format!("bytes from {} to {}, such as 65536 or \"64 KiB\"", size(min), size(max))
            }
            Form::Millis { min, max } => format!("milliseconds from {min} to {max}"),
            Form::Choice(names) => {
                let names: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
                names.join(" or ")
            }
            Form::Fsync => "\"always\", \"none\", \"every_n:N\" or \"interval_ms:T\" with N, T > 0".into(),
            Form::Cores => {
                "a number of cores (0: all available), or a list of core numbers such as \"0,2\", \"0-3\" or [0, 2]"
                    .into()
            }
            Form::Secret => "a key of 1 to 1024 bytes".into(),
            Form::Hash => "\"sha256:SALT:DIGEST\" as `blipmq key hash` writes it".into(),
            Form::Secrets => "a list of keys, each of 1 to 1024 bytes".into(),
            Form::Pattern => "a topic or a pattern".into(),
            Form::Patterns => "a list of topics and patterns".into(),
            Form::Template => "a topic's name, which may have {topic} in it, or nothing".into(),
        }
    }
}

/// `64 MiB`, `64MiB`; plain digits are left to others.
fn bytes(text: &str) -> Option<i128> {
    let (digits, shift) = UNITS.iter().find_map(|(unit, shift)| Some((text.trim().strip_suffix(unit)?, *shift)))?;
    digits.trim().parse::<u32>().ok().map(|number| i128::from(number) << shift)
}

/// Bytes in the largest unit that leaves no rest.
pub fn size(bytes: u64) -> String {
    let fits = |shift: &u32| bytes > 0 && bytes % (1 << shift) == 0;
    match UNITS.iter().rev().find(|(_, shift)| fits(shift)) {
        Some((unit, shift)) => format!("{} {unit}", bytes >> shift),
        None => bytes.to_string(),
    }
}

/// Whole milliseconds of `time`, as keys spell it.
pub fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(Form::MILLIS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_may_have_a_unit() {
        let form = Form::Bytes { min: 1, max: 1 << 40 };
        for (text, expected) in
            [("1", 1), ("64 KiB", 65536), ("2MiB", 2 << 20), (" 3 GiB ", 3 << 30), ("1TiB", 1 << 40)]
        {
            assert_eq!(form.number(&Value::Word(text.into())), Ok(expected), "{text}");
        }
        for text in ["", "KiB", "-1 KiB", "1.5 MiB", "1 MB", "2 TiB", "99999999999 KiB", "0"] {
            assert!(form.number(&Value::Word(text.into())).is_err(), "{text}");
        }
        assert_eq!(form.number(&Value::Text("64 KiB".into())), Ok(65536));
        assert!(form.number(&Value::Text("65536".into())).is_err(), "a number in quotes in a file is a mistake");
    }

    #[test]
    fn sizes_are_shown_as_people_write_them() {
        assert_eq!(
            [size(0), size(1), size(1024), size(3 << 20), size((1 << 20) + 1)],
            ["0", "1", "1 KiB", "3 MiB", "1048577"]
        );
    }
}
