//! What TLS connections are accepted with: certificate, key and rules, replaced whole when their files are read again.

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion, version};

use super::certificate::not_after;
use super::tls_session::TlsSession;
use crate::config::{Config, TlsVersion};

/// One for the process. Read once for each connection that is accepted; those that are open keep what they have.
pub struct Tls {
    rules: RwLock<Arc<ServerConfig>>,
}

/// Rules that have been read and found right, not yet in force.
pub struct Rules {
    config: Arc<ServerConfig>,
    /// When the first certificate of the chain ends, in seconds since 1970; zero if it does not say.
    pub expiry_s: u64,
}

/// A certificate that ends sooner than this is worth a word.
const SOON: Duration = Duration::from_secs(14 * 86_400);

impl Tls {
    /// With these rules to begin with.
    pub fn new(rules: Rules) -> Tls {
        Tls { rules: RwLock::new(rules.config) }
    }

    /// From now on these. Sessions begun under the old ones cannot be resumed under them.
    pub fn replace(&self, rules: Rules) {
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = rules.config;
    }

    /// The broker's side of a new connection.
    pub fn accept(&self) -> Result<TlsSession, rustls::Error> {
        let rules = self.rules.read().unwrap_or_else(PoisonError::into_inner).clone();
        TlsSession::new(rules)
    }
}

impl Rules {
    /// Reads the files of `config`; `None` if it asks for no TLS. `Err` names the key and the file, never what is in it.
    pub fn read(config: &Config) -> Result<Option<Rules>, String> {
        let (Some(cert), Some(key)) = (&config.tls_cert, &config.tls_key) else { return Ok(None) };
        let provider = Arc::new(ring::default_provider());
        let wrong =
            |error: rustls::Error| format!("tls_cert = {} with tls_key = {}: {error}", cert.display(), key.display());
        let verifier = config.tls_client_ca.as_deref().map(|ca| clients_of(ca, &provider)).transpose()?;
        let rules = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions(config.tls_min_version))
            .map_err(wrong)?;
        let rules = match verifier {
            Some(verifier) => rules.with_client_cert_verifier(verifier),
            None => rules.with_no_client_auth(),
        };
        let chain = chain("tls_cert", cert)?;
        let expiry_s = chain.iter().filter_map(|one| not_after(one)).min().unwrap_or_default();
        let mut rules = rules.with_single_cert(chain, private_key(key)?).map_err(wrong)?;
        // Clients that come back need no full handshake; the broker remembers nothing for it.
        rules.ticketer = ring::Ticketer::new().map_err(wrong)?;
        Ok(Some(Rules { config: Arc::new(rules), expiry_s }))
    }

    /// What is to be said of a certificate that works and will not for long, or not for anybody.
    pub fn warning(&self) -> Option<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let left = Duration::from_secs(self.expiry_s).checked_sub(now);
        match left {
            _ if self.expiry_s == 0 => None,
            None => Some("tls_cert has expired: clients refuse it".into()),
            Some(left) if left < SOON => Some(format!("tls_cert expires in {} days", left.as_secs() / 86_400)),
            Some(_) => None,
        }
    }
}

fn versions(least: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    static NEWEST: &[&SupportedProtocolVersion] = &[&version::TLS13];
    static BOTH: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];
    match least {
        TlsVersion::V1_2 => BOTH,
        TlsVersion::V1_3 => NEWEST,
    }
}

/// Who may connect at all: whoever has a certificate of one of these authorities.
fn clients_of(ca: &Path, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("tls_client_ca = {}: {error}", ca.display());
    let mut roots = RootCertStore::empty();
    for authority in chain("tls_client_ca", ca)? {
        roots.add(authority).map_err(|error| wrong(&error))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone()).build();
    verifier.map_err(|error| wrong(&error))
}

fn chain(name: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("{name} = {}: {error}", path.display());
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(chain) if chain.is_empty() => Err(wrong(&"no certificate in it")),
        Ok(chain) => Ok(chain),
        Err(error) => Err(wrong(&error)),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| format!("tls_key = {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertifiedKey, generate_simple_self_signed};

    struct Files(tempfile::TempDir);

    impl Files {
        fn new() -> Files {
            let files = Files(tempfile::tempdir().unwrap());
            for name in ["a", "b"] {
                let CertifiedKey { cert, signing_key } = generate_simple_self_signed(vec!["localhost".into()]).unwrap();
                files.write(&format!("{name}.pem"), &cert.pem());
                files.write(&format!("{name}.key"), &signing_key.serialize_pem());
            }
            files
        }

        fn write(&self, name: &str, text: &str) {
            std::fs::write(self.0.path().join(name), text).unwrap();
        }

        fn read(&self, cert: &str, key: &str, ca: Option<&str>) -> Result<bool, String> {
            let file = |name: &str| Some(self.0.path().join(name));
            let config = Config {
                tls_cert: file(cert),
                tls_key: file(key),
                tls_client_ca: ca.and_then(file),
                ..Config::default()
            };
            Rules::read(&config).map(|rules| rules.is_some())
        }
    }

    #[test]
    fn files_that_fit_together_are_rules() {
        let files = Files::new();
        assert_eq!(files.read("a.pem", "a.key", None), Ok(true));
        assert_eq!(files.read("a.pem", "a.key", Some("b.pem")), Ok(true));
        assert!(Rules::read(&Config::default()).unwrap().is_none());
    }

    #[test]
    fn files_that_are_wrong_are_named_with_their_key_and_not_shown() {
        let files = Files::new();
        files.write("empty", "");
        files.write("torn", "-----BEGIN CERTIFICATE-----\nhunter2\n");
        for (cert, key, ca, named) in [
            ("nowhere", "a.key", None, "tls_cert"),
            ("empty", "a.key", None, "tls_cert"),
            ("torn", "a.key", None, "tls_cert"),
            ("a.pem", "empty", None, "tls_key"),
            ("a.pem", "a.pem", None, "tls_key"),
            ("a.pem", "b.key", None, "tls_key"),
            ("a.pem", "a.key", Some("empty"), "tls_client_ca"),
        ] {
            let error = files.read(cert, key, ca).unwrap_err();
            assert!(error.contains(named) && !error.contains("hunter2"), "{cert} {key} {ca:?}: {error}");
        }
    }
}
