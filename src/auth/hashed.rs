//! A key as it may be kept: salted SHA-256.
//!
//! Written `sha256:SALT:DIGEST`, both base64 (standard alphabet, padded): 16 bytes of salt, then SHA-256 of salt and
//! key. One round is enough for keys of full chance, as `blipmq key new` makes them, and cheap enough to be computed
//! at every connection. It does not protect a key that can be guessed.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::Secret;

/// A salted digest of a key. Tells whether a presented key is the one, and nothing else of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hashed {
    salt: [u8; Hashed::SALT],
    digest: [u8; 32],
}

impl Hashed {
    /// Bytes of salt.
    pub const SALT: usize = 16;
    const NAME: &'static str = "sha256";

    /// `salt` is chance, drawn for this key alone.
    pub fn of(secret: &Secret, salt: [u8; Hashed::SALT]) -> Hashed {
        Hashed { salt, digest: digest(&salt, secret.expose()) }
    }

    /// In constant time for a given length of `presented`.
    pub(super) fn is(&self, presented: &[u8]) -> Choice {
        digest(&self.salt, presented).ct_eq(&self.digest)
    }
}

fn digest(salt: &[u8], key: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(salt).chain_update(key).finalize().into()
}

impl FromStr for Hashed {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Hashed, &'static str> {
        let parts = text.strip_prefix(Hashed::NAME).and_then(|rest| rest.strip_prefix(':'));
        let (salt, digest) = parts.and_then(|rest| rest.split_once(':')).ok_or(EXPECTED)?;
        Ok(Hashed { salt: bytes(salt)?, digest: bytes(digest)? })
    }
}

const EXPECTED: &str = "expected \"sha256:SALT:DIGEST\" as `blipmq key hash` writes it";

fn bytes<const N: usize>(text: &str) -> Result<[u8; N], &'static str> {
    STANDARD.decode(text).ok().and_then(|bytes| bytes.try_into().ok()).ok_or(EXPECTED)
}

/// The spelling that a keys file holds. Not a secret if the key has full chance; still not for logs.
impl fmt::Display for Hashed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", Hashed::NAME, STANDARD.encode(self.salt), STANDARD.encode(self.digest))
    }
}

impl fmt::Debug for Hashed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hashed(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(text: &str) -> Secret {
        Secret::new(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_hash_reads_what_it_writes_and_knows_its_key() {
        let hashed = Hashed::of(&key("open sesame"), [7; 16]);
        let read: Hashed = hashed.to_string().parse().unwrap();
        assert_eq!(read, hashed);
        assert!(bool::from(read.is(b"open sesame")));
        assert!(!bool::from(read.is(b"open sesam")));
        assert!(!bool::from(read.is(b"")));
    }

    #[test]
    fn the_digest_is_plain_sha_256_of_salt_then_key() {
        // printf '0000000000000000k' | sha256sum
        let hashed = Hashed::of(&key("k"), [b'0'; 16]);
        let expected: [u8; 32] = Sha256::digest(b"0000000000000000k").into();
        assert_eq!(hashed.digest, expected);
    }

    #[test]
    fn the_same_key_with_another_salt_looks_different() {
        assert_ne!(Hashed::of(&key("k"), [0; 16]), Hashed::of(&key("k"), [1; 16]));
    }

    #[test]
    fn every_cut_of_a_hash_is_refused() {
        let text = Hashed::of(&key("k"), [9; 16]).to_string();
        for cut in 0..text.len() {
            assert!(text[..cut].parse::<Hashed>().is_err(), "{cut}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,100}") {
            let _ = text.parse::<Hashed>();
        }
    }
}
