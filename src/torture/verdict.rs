//! What a trial found.

use std::borrow::Cow;
use std::fmt;

use serde_json::{Map, Value, json};

/// Broken promises that are written out; the rest are counted.
const TOLD_MAX: usize = 20;

/// What a trial did, in figures with names, and the promises it found broken.
#[derive(Debug, Default)]
pub struct Verdict {
    figures: Vec<(Cow<'static, str>, Value)>,
    broken: Vec<String>,
    broken_count: u64,
}

impl Verdict {
    /// Nothing done, nothing broken.
    pub fn new() -> Verdict {
        Verdict::default()
    }

    /// States a figure. Figures are told in the order in which they are stated.
    pub fn figure(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Value>) {
        self.figures.push((name.into(), value.into()));
    }

    /// A promise did not hold.
    pub fn broken(&mut self, what: String) {
        self.broken_count += 1;
        if self.broken.len() < TOLD_MAX {
            self.broken.push(what);
        }
    }

    /// Whether every promise held.
    pub fn holds(&self) -> bool {
        self.broken_count == 0
    }

    /// For `--json`.
    pub fn to_json(&self, trial: &str, seed: u64) -> Value {
        let mut object: Map<String, Value> =
            self.figures.iter().map(|(name, value)| (name.clone().into_owned(), value.clone())).collect();
        object.insert("trial".into(), json!(trial));
        object.insert("seed".into(), json!(seed));
        object.insert("broken".into(), json!(self.broken_count));
        object.insert("told".into(), json!(self.broken));
        Value::Object(object)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.figures {
            match value {
                Value::String(text) => writeln!(f, "{name:<28} {text}")?,
                value => writeln!(f, "{name:<28} {value}")?,
            }
        }
        for what in &self.broken {
            writeln!(f, "BROKEN: {what}")?;
        }
        write!(f, "{:<28} {}", "promises broken", self.broken_count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_promises_are_counted_beyond_what_is_told() {
        let mut verdict = Verdict::new();
        assert!(verdict.holds());
        (0..TOLD_MAX + 5).for_each(|at| verdict.broken(format!("number {at}")));
        assert!(!verdict.holds());
        assert_eq!(verdict.to_string().matches("BROKEN").count(), TOLD_MAX);
        assert!(verdict.to_string().ends_with("25"));
    }
}
