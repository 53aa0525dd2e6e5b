//! The environment as a source.

use super::key::PREFIX;
use super::keys::{TOPIC, keys};
use super::problem::Origin;
use super::raw::Raw;

/// Variables with our prefix that are no keys, but have a reader of their own.
const OTHERS: &[&str] = &[
    "BLIPMQ_API_KEY",
    "BLIPMQ_ADDR",
    #[cfg(feature = "faults")]
    "BLIPMQ_FAULTS",
];

/// Whether a variable is ours to read: kept from the start for reloads, the others are not.
pub fn is_ours(name: &str) -> bool {
    name.starts_with(PREFIX) || keys().any(|key| key.original && key.name.to_ascii_uppercase() == name)
}

/// What the environment says, and what in it looks like ours but is not. `BLIPMQ_PORT` goes before `PORT`.
pub fn read(variables: &[(String, String)]) -> (Raw, Vec<String>) {
    let mut raw = Raw::default();
    let mut warnings = Vec::new();
    let (prefixed, bare): (Vec<_>, Vec<_>) = variables.iter().partition(|(name, _)| name.starts_with(PREFIX));
    for (name, word) in bare {
        if is_ours(name) {
            raw.word(&name.to_ascii_lowercase(), word, TOPIC, Origin::Environment(name.clone()));
        }
    }
    for (name, word) in prefixed {
        let key = name[PREFIX.len()..].to_ascii_lowercase();
        if is_service_link(&key, word) {
            warnings.push(format!("environment {name} is a Kubernetes service link, not a setting: ignored"));
        } else if !OTHERS.contains(&name.as_str()) {
            raw.word(&key, word, TOPIC, Origin::Environment(name.clone()));
        }
    }
    (raw, warnings)
}

/// Kubernetes tells a pod of a service named `blipmq` by `BLIPMQ_PORT=tcp://..`, `BLIPMQ_SERVICE_HOST=..` and more.
fn is_service_link(key: &str, word: &str) -> bool {
    key.starts_with("service_") || key.starts_with("port_") || (key == "port" && word.contains("://"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(variables: &[(&str, &str)]) -> Vec<(String, String)> {
        let variables: Vec<_> = variables.iter().map(|(name, word)| (name.to_string(), word.to_string())).collect();
        read(&variables).0.said.iter().map(|said| (said.name.clone(), said.origin.to_string())).collect()
    }

    #[test]
    fn the_prefixed_name_comes_last_and_so_wins() {
        let said = said(&[("BLIPMQ_PORT", "1"), ("PORT", "2"), ("CORES", "3"), ("BLIPMQ_CORES", "4"), ("HOME", "/")]);
        let origins: Vec<&str> = said.iter().map(|(_, origin)| origin.as_str()).collect();
        assert_eq!(origins, ["environment PORT", "environment BLIPMQ_PORT", "environment BLIPMQ_CORES"]);
    }

    #[test]
    fn service_links_are_no_settings() {
        let links =
            [("BLIPMQ_PORT", "tcp://10.0.0.1:5555"), ("BLIPMQ_SERVICE_HOST", "x"), ("BLIPMQ_PORT_5555_TCP", "y")];
        assert!(said(&links).is_empty());
        let links = links.map(|(name, word)| (name.to_string(), word.to_string()));
        assert_eq!(read(&links).1.len(), 3);
    }

    #[test]
    fn what_the_client_reads_is_not_the_brokers() {
        assert!(said(&[("BLIPMQ_API_KEY", "k"), ("BLIPMQ_ADDR", "host:1")]).is_empty());
    }
}
