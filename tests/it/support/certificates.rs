//! Authorities and certificates, made for one story.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use blipmq::client::blocking::Tls;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use tempfile::TempDir;

/// One authority, and what it signs; files in a directory that goes with it.
pub struct Certificates {
    dir: TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Certificates {
    pub fn new() -> Certificates {
        let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("the target directory takes directories");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "an authority of a story");
        let key = KeyPair::generate().expect("a key");
        let authority = CertifiedIssuer::self_signed(params, key).expect("an authority");
        fs::write(dir.path().join("ca.pem"), authority.pem()).expect("the directory takes files");
        Certificates { dir, authority }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The authority's own certificate.
    pub fn ca(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// Writes NAME.pem and NAME.key, for a server at 127.0.0.1 and localhost or for a client; gives their paths.
    pub fn issue(&self, name: &str) -> (PathBuf, PathBuf) {
        self.issue_until(name, 40_000)
    }

    /// One that ends so many days after 1970 began.
    pub fn issue_until(&self, name: &str, days: u64) -> (PathBuf, PathBuf) {
        let mut params = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).expect("names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = date_time_ymd(1970, 1, 1);
        params.not_after = params.not_before + Duration::from_secs(days * 86_400);
        let key = KeyPair::generate().expect("a key");
        let cert = params.signed_by(&key, &self.authority).expect("a certificate");
        let files = (self.path(&format!("{name}.pem")), self.path(&format!("{name}.key")));
        fs::write(&files.0, cert.pem()).expect("the directory takes files");
        fs::write(&files.1, key.serialize_pem()).expect("the directory takes files");
        files
    }

    /// Lines of configuration with a certificate of this authority.
    pub fn keys(&self) -> String {
        let (cert, key) = self.issue("broker");
        format!("tls_cert = {cert:?}\ntls_key = {key:?}\n")
    }

    /// A client that trusts this authority.
    pub fn trusting(&self) -> Tls {
        Tls::from_files(Some(&self.ca()), None).expect("the authority can be read")
    }

    /// A client that trusts this authority and has a certificate of `other`'s.
    pub fn trusting_as(&self, other: &Certificates, name: &str) -> Tls {
        let (cert, key) = other.issue(name);
        let identity: (&Path, &Path) = (&cert, &key);
        Tls::from_files(Some(&self.ca()), Some(identity)).expect("the files can be read")
    }
}
