//! A new key from chance that somebody else drew.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::Secret;

/// What every generated key begins with, so that scanners for leaked secrets find it.
pub const PREFIX: &str = "bmq_";

/// `bmq_` and 43 characters of base64url: 256 bits, if `random` has them.
pub fn generate(random: [u8; 32]) -> Secret {
    let text = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random));
    Secret::new(text.as_bytes()).expect("47 bytes are within a key's bounds")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_key_is_printable_and_keeps_all_its_chance() {
        let key = generate([0xfb; 32]);
        let text = std::str::from_utf8(key.expose()).unwrap();
        assert_eq!(text.len(), 47);
        assert!(text.strip_prefix("bmq_").unwrap().chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-'));
        assert_ne!(generate([0; 32]), generate([1; 32]));
    }
}
