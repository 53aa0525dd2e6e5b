//! One key of a table: how it is read, shown and explained.

use super::form::Form;
use super::value::Value;

/// One key of the file, of the environment and of the command line; `T` is what it fills.
pub struct Key<T: 'static> {
    pub name: &'static str,
    pub form: Form,
    pub place: Place<T>,
    /// What it does, in a sentence or two.
    pub meaning: &'static str,
    /// What another value costs or risks; may be empty.
    pub cost: &'static str,
    /// A reload refuses to change it.
    pub restart_only: bool,
    /// Has a flag of its own on the command line.
    pub flag: bool,
    /// One of the ten keys of the original BlipMQ: accepted from the environment without prefix, too.
    pub original: bool,
    /// Its value is never shown.
    pub secret: bool,
}

/// Where a key's value lives in `T`.
pub struct Place<T: 'static> {
    pub read: fn(&mut T, &Value, &Form) -> Result<(), String>,
    /// As it would stand in the file.
    pub show: fn(&T, &Form) -> String,
}

impl<T: 'static> Key<T> {
    /// A key that a reload may change, without a flag and not secret.
    pub const fn new(
        name: &'static str,
        form: Form,
        place: Place<T>,
        meaning: &'static str,
        cost: &'static str,
    ) -> Key<T> {
        let (restart_only, flag, original, secret) = (false, false, false, false);
        Key { name, form, place, meaning, cost, restart_only, flag, original, secret }
    }

    /// Changing it needs a restart.
    pub const fn restart(self) -> Key<T> {
        Key { restart_only: true, ..self }
    }

    /// It has a flag of its own.
    pub const fn flag(self) -> Key<T> {
        Key { flag: true, ..self }
    }

    /// It is one of the original ten.
    pub const fn original(self) -> Key<T> {
        Key { original: true, ..self }
    }

    /// Its value is never shown.
    pub const fn secret(self) -> Key<T> {
        Key { secret: true, ..self }
    }

    /// The value that `config` has, as it would stand in the file.
    pub fn show(&self, config: &T) -> String {
        (self.place.show)(config, &self.form)
    }

    /// `BLIPMQ_PORT`.
    pub fn variable(&self) -> String {
        format!("{PREFIX}{}", self.name.to_ascii_uppercase())
    }

    /// `bind-addr`, for a flag.
    pub fn dashed(&self) -> String {
        self.name.replace('_', "-")
    }
}

/// What every environment variable of ours begins with.
pub const PREFIX: &str = "BLIPMQ_";

/// A field of a structure that a table fills: `place!(Config: limits.frame_max)`.
macro_rules! place {
    ($into:ty: $($field:ident).+) => {
        $crate::config::key::Place {
            read: |into: &mut $into, value, form| {
                into.$($field).+ = $crate::config::field::Field::read(value, form)?;
                Ok(())
            },
            show: |from: &$into, form| $crate::config::field::Field::show(&from.$($field).+, form),
        }
    };
}

/// An optional field that nobody need mention.
macro_rules! optional {
    ($into:ty: $field:ident) => {
        $crate::config::key::Place {
            read: |into: &mut $into, value, form| {
                into.$field = Some($crate::config::field::Field::read(value, form)?);
                Ok(())
            },
            show: |from: &$into, form| {
                from.$field.as_ref().map_or_else(String::new, |it| $crate::config::field::Field::show(it, form))
            },
        }
    };
}

pub(super) use {optional, place};
