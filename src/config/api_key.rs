//! Where a client on the same machine finds its key.

use std::path::{Path, PathBuf};

use super::load::read_text;
use crate::auth::Secret;

/// The file in the data directory that holds the key the broker made for itself; mode 0600.
pub const API_KEY_FILE: &str = "api-key";

/// The key in `key_file`, or what the environment said, or the one the broker made in `data_dir`. In that order; `Err`
/// says where was looked and what to do, never a key.
pub fn find_api_key(key_file: Option<&Path>, environment: Option<&str>, data_dir: &Path) -> Result<Secret, String> {
    let secret = |text: &str, whence: &dyn std::fmt::Display| {
        Secret::from_file_text(text).map_err(|error| format!("{whence}: {error}"))
    };
    if let Some(path) = key_file {
        return secret(&read_text(path)?, &path.display());
    }
    if let Some(text) = environment {
        return secret(text, &"BLIPMQ_API_KEY");
    }
    let path: PathBuf = data_dir.join(API_KEY_FILE);
    let advice = "give --key-file FILE, set BLIPMQ_API_KEY, or name the broker's data directory with --data-dir";
    let text = read_text(&path).map_err(|error| format!("no API key: {error}; {advice}"))?;
    secret(&text, &path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_key_wins() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(API_KEY_FILE), "generated\n").unwrap();
        let own = dir.path().join("own");
        std::fs::write(&own, "mine\n").unwrap();
        let found = |file: Option<&Path>, env| find_api_key(file, env, dir.path()).unwrap().expose().to_vec();
        assert_eq!(found(Some(&own), Some("env")), b"mine");
        assert_eq!(found(None, Some("env")), b"env");
        assert_eq!(found(None, None), b"generated");
    }

    #[test]
    fn a_missing_key_says_what_to_do() {
        let error = find_api_key(None, None, Path::new("/nonexistent")).unwrap_err();
        assert!(error.contains("/nonexistent/api-key") && error.contains("--data-dir"), "{error}");
        assert_eq!(
            find_api_key(None, Some(" "), Path::new("/")).unwrap_err(),
            "BLIPMQ_API_KEY: a key may not be empty"
        );
    }
}
