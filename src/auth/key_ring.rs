//! All keys of this broker.

use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use subtle::{ConditionallySelectable, ConstantTimeEq};
use thiserror::Error;

use super::{Hashed, Permissions, Secret};

/// A key's place in its ring: valid for as long as the ring is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(pub u32);

/// Who a connection turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub id: KeyId,
    /// Unique in its ring, the same after a restart: fit for logs and for naming version 1 sessions.
    pub name: Arc<str>,
    pub permissions: Arc<Permissions>,
    /// Which key it was: a ring that has another one under the same name does not know it.
    hashed: Hashed,
}

/// One key to be put into a ring. Holds a digest, not the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    name: Arc<str>,
    hashed: Hashed,
    permissions: Arc<Permissions>,
}

/// Every key that opens this broker. Cheap to clone; read-only, so each shard has its own handle.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct KeyRing {
    keys: Arc<[(Key, Identity)]>,
}

/// What two keys of one ring may not share.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeyRingError {
    #[error("two keys are named \"{0}\"")]
    Name(Arc<str>),
    #[error("more than {} keys", KeyRing::MAX)]
    TooMany,
}

impl Key {
    /// A key with a name of its own.
    pub fn named(name: &str, hashed: Hashed, permissions: Permissions) -> Key {
        Key { name: name.into(), hashed, permissions: Arc::new(permissions) }
    }

    /// A key given in plain and without a name: may everything, and is named by [`fingerprint`] so that its version 1
    /// sessions find it again after a restart, in whatever order the keys are then listed.
    pub fn plain(secret: &Secret) -> Key {
        Key::named(&fingerprint(secret), Hashed::of(secret, [0; Hashed::SALT]), Permissions::ALL)
    }

    /// Unique in a ring.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// `key-` and 32 bits of a digest: enough to tell keys apart in a log, too few to find one that has full chance.
pub fn fingerprint(secret: &Secret) -> String {
    let digest = Sha256::new().chain_update(b"blipmq key name\0").chain_update(secret.expose()).finalize();
    format!("key-{:02x}{:02x}{:02x}{:02x}", digest[0], digest[1], digest[2], digest[3])
}

impl KeyRing {
    /// Bounds what a refused attempt costs: one digest of at most [`Secret::MAX`] bytes for each key.
    pub const MAX: usize = 1024;

    /// The same key given twice is one key.
    pub fn new(keys: impl IntoIterator<Item = Key>) -> Result<KeyRing, KeyRingError> {
        let mut ring: Vec<(Key, Identity)> = Vec::new();
        for key in keys {
            if ring.iter().any(|(other, _)| *other == key) {
                continue;
            }
            if ring.iter().any(|(other, _)| other.name == key.name) {
                return Err(KeyRingError::Name(key.name));
            }
            if ring.len() == KeyRing::MAX {
                return Err(KeyRingError::TooMany);
            }
            let id = KeyId(ring.len() as u32);
            let identity =
                Identity { id, name: key.name.clone(), permissions: key.permissions.clone(), hashed: key.hashed };
            ring.push((key, identity));
        }
        Ok(KeyRing { keys: ring.into() })
    }

    /// This ring and one key more.
    pub fn with(&self, key: Key) -> Result<KeyRing, KeyRingError> {
        KeyRing::new(self.keys.iter().map(|(key, _)| key.clone()).chain([key]))
    }

    /// Nobody may.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// How many keys.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whose key this is. Tries every key to the end, so that the time taken tells nothing but the number of keys and
    /// the length of `presented`. Longer than [`Secret::MAX`] is nobody's.
    pub fn authenticate(&self, presented: &[u8]) -> Option<&Identity> {
        if presented.is_empty() || presented.len() > Secret::MAX {
            return None;
        }
        let mut found = NOBODY;
        for (index, (key, _)) in self.keys.iter().enumerate() {
            found.conditional_assign(&(index as u32), key.hashed.is(presented));
        }
        if found.ct_eq(&NOBODY).into() { None } else { self.keys.get(found as usize).map(|(_, identity)| identity) }
    }

    /// Who `identity`, perhaps of an older ring, is here; `None` if its key is no longer in use.
    pub fn renew(&self, identity: &Identity) -> Option<&Identity> {
        let mut all = self.identities();
        all.find(|known| known.name == identity.name && known.hashed == identity.hashed)
    }

    /// Everybody, in order of their ids.
    pub fn identities(&self) -> impl Iterator<Item = &Identity> {
        self.keys.iter().map(|(_, identity)| identity)
    }
}

const NOBODY: u32 = u32::MAX;

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.identities().map(|identity| &identity.name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.as_bytes()).unwrap()
    }

    fn ring() -> KeyRing {
        let hashed = Hashed::of(&secret("third"), [3; 16]);
        let named = Key::named("reader", hashed, Permissions::new(None, Some(vec![]), None));
        KeyRing::new([Key::plain(&secret("first")), Key::plain(&secret("second")), named]).unwrap()
    }

    #[test]
    fn each_key_opens_as_itself_and_nothing_else_opens() {
        let ring = ring();
        assert_eq!(ring.authenticate(b"first").unwrap().id, KeyId(0));
        assert_eq!(ring.authenticate(b"second").unwrap().id, KeyId(1));
        assert_eq!(&*ring.authenticate(b"third").unwrap().name, "reader");
        for wrong in [&b""[..], b"firs", b"first\0", b"FIRST", &[b'x'; Secret::MAX + 1]] {
            assert_eq!(ring.authenticate(wrong), None);
        }
        assert_eq!(KeyRing::default().authenticate(b"first"), None);
    }

    #[test]
    fn a_ring_shows_names_and_no_keys_and_no_digests() {
        let shown = format!("{:?} {:?}", ring(), ring().keys);
        assert!(shown.contains("reader"));
        assert!(!shown.contains("first") && !shown.contains("second") && !shown.contains("third"));
        assert!(shown.contains("Hashed(***)"));
    }

    #[test]
    fn a_plain_key_has_the_same_name_wherever_it_is_listed() {
        let other = KeyRing::new([Key::plain(&secret("second")), Key::plain(&secret("first"))]).unwrap();
        assert_eq!(other.authenticate(b"first").unwrap().name, ring().authenticate(b"first").unwrap().name);
        assert_ne!(fingerprint(&secret("first")), fingerprint(&secret("second")));
    }

    #[test]
    fn names_are_unique_and_repeats_are_one() {
        let twice = KeyRing::new([Key::plain(&secret("a")), Key::plain(&secret("a"))]).unwrap();
        assert_eq!(twice.len(), 1);
        let key = |salt| Key::named("app", Hashed::of(&secret("a"), [salt; 16]), Permissions::ALL);
        assert_eq!(KeyRing::new([key(1), key(2)]), Err(KeyRingError::Name("app".into())));
    }

    #[test]
    fn an_identity_is_known_to_a_newer_ring_by_its_key_and_not_by_its_name_alone() {
        let named = |text: &str, permissions| Key::named("app", Hashed::of(&secret(text), [1; 16]), permissions);
        let old = KeyRing::new([Key::plain(&secret("first")), named("a", Permissions::ALL)]).unwrap();
        let app = old.authenticate(b"a").unwrap().clone();
        let narrower = KeyRing::new([named("a", Permissions::new(None, None, Some(false)))]).unwrap();
        let renewed = narrower.renew(&app).unwrap();
        assert!(renewed.id == KeyId(0) && !renewed.permissions.may_administer());
        assert_eq!(KeyRing::new([named("b", Permissions::ALL)]).unwrap().renew(&app), None);
        assert_eq!(KeyRing::default().renew(&app), None);
    }

    #[test]
    fn a_ring_has_a_bound() {
        let key = |n: usize| Key::named(&format!("k{n}"), Hashed::of(&secret("a"), [0; 16]), Permissions::ALL);
        assert_eq!(KeyRing::new((0..KeyRing::MAX).map(key)).unwrap().len(), KeyRing::MAX);
        assert_eq!(KeyRing::new((0..=KeyRing::MAX).map(key)), Err(KeyRingError::TooMany));
    }
}
