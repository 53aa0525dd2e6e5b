//! Who may: keys, what each allows, and how a presented one is recognised.
//!
//! ```text
//! KeyRing (all keys of this broker; holds digests, never a key)
//!   .authenticate(presented) -> Option<&Identity>      constant time over all keys
//! Identity { id, name, permissions }
//!   .permissions.may_publish(topic) / may_subscribe(pattern) / may_administer()
//! Offenders (who has tried wrong keys of late)
//!   .note(peer, now) -> Offence { failures, delay }
//! ```

pub mod generate;
pub mod hashed;
pub mod key_ring;
pub mod offenders;
pub mod permissions;
pub mod secret;

pub use generate::generate;
pub use hashed::Hashed;
pub use key_ring::{Identity, Key, KeyId, KeyRing, KeyRingError};
pub use offenders::{Offence, Offenders};
pub use permissions::Permissions;
pub use secret::{Secret, SecretError};
