//! Bytes that are never shown.

use std::fmt;

use subtle::ConstantTimeEq;
use thiserror::Error;

/// An API key in plain. `Debug` and `Display` show three stars; only [`Secret::expose`] gives the bytes.
#[derive(Clone)]
pub struct Secret(Box<[u8]>);

/// Why bytes are no key. Says nothing of the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SecretError {
    #[error("a key may not be empty")]
    Empty,
    #[error("a key is at most {} bytes long", Secret::MAX)]
    TooLong,
}

impl Secret {
    /// The longest key, in bytes: bounds what a refused attempt costs.
    pub const MAX: usize = 1024;

    /// A key of 1 to [`Secret::MAX`] bytes.
    pub fn new(bytes: &[u8]) -> Result<Secret, SecretError> {
        match bytes.len() {
            0 => Err(SecretError::Empty),
            n if n > Secret::MAX => Err(SecretError::TooLong),
            _ => Ok(Secret(bytes.into())),
        }
    }

    /// The key in a file of its own: white space around it is not part of it.
    pub fn from_file_text(text: &str) -> Result<Secret, SecretError> {
        Secret::new(text.trim().as_bytes())
    }

    /// The bytes themselves: for the wire and for a file with mode 0600, never for a log line.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

/// Takes as long for a near miss as for a far one, given the lengths.
impl PartialEq for Secret {
    fn eq(&self, other: &Secret) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_shown() {
        let secret = Secret::new(b"hunter2").unwrap();
        assert!(!format!("{secret} {secret:?} {secret:#?}").contains("hunter2"));
        assert_eq!(secret.expose(), b"hunter2");
    }

    #[test]
    fn a_secret_has_bounds() {
        assert_eq!(Secret::new(b""), Err(SecretError::Empty));
        assert_eq!(Secret::new(&[b'x'; Secret::MAX + 1]), Err(SecretError::TooLong));
        assert!(Secret::new(&[b'x'; Secret::MAX]).is_ok());
    }

    #[test]
    fn a_line_end_in_a_file_is_not_part_of_the_key() {
        assert_eq!(Secret::from_file_text("abc\r\n").unwrap().expose(), b"abc");
        assert!(Secret::from_file_text(" \n").is_err());
    }
}
