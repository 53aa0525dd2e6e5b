//! What a reload would change.

use super::keys::{TOPIC, keys};
use super::settings::Config;

/// Keys whose values differ between two configurations.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Changes {
    /// Take effect by a reload.
    pub reloadable: Vec<&'static str>,
    /// Need a restart: a reload that would change one of them is refused as a whole.
    pub restart_only: Vec<&'static str>,
}

impl Changes {
    /// Nothing would change.
    pub fn is_empty(&self) -> bool {
        self.reloadable.is_empty() && self.restart_only.is_empty()
    }

    /// Both kinds.
    pub fn changed(&self) -> Vec<&'static str> {
        self.restart_only.iter().chain(&self.reloadable).copied().collect()
    }
}

impl Config {
    /// Names what `new` changes, in the order of the table.
    pub fn diff(&self, new: &Config) -> Changes {
        let mut changes = Changes::default();
        for key in keys() {
            // The file may hold other keys under the same path.
            let held = key.name == "api_keys_file" && self.file_keys != new.file_keys;
            if held || key.show(self) != key.show(new) {
                // Other files are read by a reload, but a port that spoke TLS does not begin to speak plain.
                let switched = key.name == "tls_cert" && self.tls_cert.is_some() != new.tls_cert.is_some();
                let kind =
                    if key.restart_only || switched { &mut changes.restart_only } else { &mut changes.reloadable };
                kind.push(key.name);
            }
        }
        if self.topics.rules != new.topics.rules {
            changes.reloadable.push(TOPIC);
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{Key, Secret};
    use crate::model::FsyncPolicy;

    #[test]
    fn changes_are_told_apart_by_what_they_need() {
        let old = Config::default();
        assert!(old.diff(&old.clone()).is_empty());
        let mut new = Config { port: 1, fsync_policy: FsyncPolicy::Always, max_retries: 9, ..old.clone() };
        new.limits.connections_max = 5;
        let changes = old.diff(&new);
        assert_eq!(changes.restart_only, ["port", "fsync_policy"]);
        assert_eq!(changes.reloadable, ["max_retries", "max_connections"]);
    }

    #[test]
    fn other_certificates_are_reloaded_and_tls_itself_is_not_switched() {
        let with = |name: &str| Config { tls_cert: Some(name.into()), ..Config::default() };
        assert_eq!(with("a").diff(&with("b")).reloadable, ["tls_cert"]);
        assert_eq!(with("a").diff(&Config::default()).restart_only, ["tls_cert"]);
        assert_eq!(Config::default().diff(&with("a")).restart_only, ["tls_cert"]);
    }

    #[test]
    fn another_key_is_a_change_though_no_key_is_shown() {
        let old = Config::default();
        let key = |text: &[u8]| Key::plain(&Secret::new(text).unwrap());
        let new = Config { allowed_api_keys: vec![key(b"a")], ..old.clone() };
        assert_eq!(old.diff(&new).reloadable, ["allowed_api_keys"]);
        let newer = Config { allowed_api_keys: vec![key(b"b")], ..old.clone() };
        assert_eq!(new.diff(&newer).reloadable, ["allowed_api_keys"]);
        let filed = Config { file_keys: vec![key(b"b")], ..old.clone() };
        assert_eq!(old.diff(&filed).reloadable, ["api_keys_file"]);
    }
}
