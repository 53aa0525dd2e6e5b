//! TLS for a client: whom it trusts, who it is, and its side of one connection.

use std::fmt;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use crate::client::ClientError;

/// Where Linux systems keep the authorities that they trust.
const SYSTEM_ROOTS: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem"];

/// Whom a client trusts, and its own certificate. Made once; cheap to clone, and clones resume each other's sessions.
#[derive(Clone, Debug)]
pub struct Tls {
    rules: Arc<ClientConfig>,
    name: Option<String>,
}

impl Tls {
    /// Reads PEM files. `ca`: the authorities that the broker's certificate must come from; the system's, if none is
    /// named. `identity`: this client's certificate chain and its key, for a broker that asks for one.
    pub fn from_files(ca: Option<&Path>, identity: Option<(&Path, &Path)>) -> Result<Tls, ClientError> {
        let rules = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| ClientError::Tls(error.to_string()))?
            .with_root_certificates(roots(ca)?);
        let rules = match identity {
            None => rules.with_no_client_auth(),
            Some((cert, key)) => {
                let wrong = |error| ClientError::Tls(format!("{} with {}: {error}", cert.display(), key.display()));
                rules.with_client_auth_cert(chain(cert)?, private_key(key)?).map_err(wrong)?
            }
        };
        Ok(Tls { rules: Arc::new(rules), name: None })
    }

    /// The name that the broker's certificate must have, if it is not the host that is connected to.
    #[must_use]
    pub fn server_name(mut self, name: &str) -> Tls {
        self.name = Some(name.into());
        self
    }

    /// The client's side of a connection to `addr`, host and port.
    pub fn connect(&self, addr: &str) -> Result<TlsSide, ClientError> {
        let host = addr.rsplit_once(':').map_or(addr, |(host, _)| host).trim_matches(['[', ']']);
        let name = self.name.as_deref().unwrap_or(host);
        let wrong = |error: &dyn std::fmt::Display| ClientError::Tls(format!("{name}: {error}"));
        let server = ServerName::try_from(name.to_owned()).map_err(|error| wrong(&error))?;
        let session = ClientConnection::new(self.rules.clone(), server).map_err(|error| wrong(&error))?;
        Ok(TlsSide::new(session))
    }
}

fn roots(ca: Option<&Path>) -> Result<RootCertStore, ClientError> {
    let mut roots = RootCertStore::empty();
    match ca.or_else(|| SYSTEM_ROOTS.iter().map(Path::new).find(|path| path.exists())) {
        // The system may hold authorities that nobody can read any more; ours must all be right.
        Some(path) if ca.is_none() => drop(roots.add_parsable_certificates(chain(path)?)),
        Some(path) => {
            for authority in chain(path)? {
                roots.add(authority).map_err(|error| ClientError::Tls(format!("{}: {error}", path.display())))?;
            }
        }
        None => return Err(ClientError::Tls("this system has no list of authorities: name a file of them".into())),
    }
    Ok(roots)
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, ClientError> {
    let wrong = |error: &dyn std::fmt::Display| ClientError::Tls(format!("{}: {error}", path.display()));
    match CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>) {
        Ok(chain) if chain.is_empty() => Err(wrong(&"no certificate in it")),
        Ok(chain) => Ok(chain),
        Err(error) => Err(wrong(&error)),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, ClientError> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| ClientError::Tls(format!("{}: {error}", path.display())))
}

/// Bytes one read of the socket asks for.
const READ: usize = 64 * 1024;

/// The client's side of one connection, beside its socket: for those who keep the socket themselves. It waits only if
/// the socket does.
pub struct TlsSide {
    session: ClientConnection,
    /// Read and not decrypted yet; empty until something was read.
    sealed: Vec<u8>,
    from: usize,
    to: usize,
    /// Found behind something that was still to be given out.
    broken: Option<rustls::Error>,
}

impl TlsSide {
    fn new(session: ClientConnection) -> TlsSide {
        TlsSide { session, sealed: Vec::new(), from: 0, to: 0, broken: None }
    }

    /// Whether nothing can be said yet.
    #[must_use]
    pub fn is_handshaking(&self) -> bool {
        self.session.is_handshaking()
    }

    /// Whether something is encrypted that the socket has not taken.
    #[must_use]
    pub fn wants_write(&self) -> bool {
        self.session.wants_write()
    }

    /// Encrypts what it has room for, and sends what the socket takes. `Ok(0)` if it has room for nothing.
    pub fn write(&mut self, socket: &TcpStream, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.push(socket)?;
        let count = self.session.writer().write_vectored(slices)?;
        match self.push(socket) {
            // What is encrypted is taken, and waits here for the socket.
            Err(error) if error.kind() == ErrorKind::WouldBlock && count > 0 => Ok(count),
            Err(error) => Err(error),
            Ok(()) => Ok(count),
        }
    }

    /// Sends what is encrypted.
    pub fn push(&mut self, mut socket: &TcpStream) -> io::Result<()> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut socket) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// What the broker said, as far as it has come; zero at the end. Nothing that was read is left over, unless the room
    /// is full.
    pub fn read(&mut self, mut socket: &TcpStream, room: &mut [u8]) -> io::Result<usize> {
        let mut count = 0;
        loop {
            let more = self.take(&mut room[count..])?;
            count += more.unwrap_or(0);
            // The end, or a full room, or all that was read.
            if more == Some(0) || count == room.len() || (count > 0 && self.from == self.to) {
                return Ok(count);
            }
            if self.from == self.to {
                self.sealed.resize(READ, 0);
                (self.from, self.to) = (0, socket.read(&mut self.sealed)?);
                if self.to == 0 {
                    // A broker that was killed says no good-bye; frames say how long they are, so no cut goes unseen.
                    return Ok(0);
                }
            }
            if let Err(error) = self.decrypt(socket) {
                if count == 0 {
                    return Err(io::Error::new(ErrorKind::InvalidData, error));
                }
                self.broken = Some(error);
                return Ok(count);
            }
        }
    }

    /// What is decrypted; `None` if nothing is, zero at the end.
    fn take(&mut self, room: &mut [u8]) -> io::Result<Option<usize>> {
        if let Some(error) = self.broken.take() {
            return Err(io::Error::new(ErrorKind::InvalidData, error));
        }
        match self.session.reader().read(room) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
            Ok(count) => Ok(Some(count)),
        }
    }

    fn decrypt(&mut self, socket: &TcpStream) -> Result<(), rustls::Error> {
        let mut sealed = &self.sealed[self.from..self.to];
        let taken = self.session.read_tls(&mut sealed).map_err(|error| rustls::Error::General(error.to_string()))?;
        self.from += taken;
        let handled = self.session.process_new_packets();
        // An answer, or the alert that says what was wrong; the socket may be full or gone.
        let _ = self.push(socket);
        if taken == 0 {
            // After its good-bye nothing counts.
            self.from = self.to;
        }
        handled.map(drop)
    }

    /// Says that nothing more comes.
    pub fn say_goodbye(&mut self, socket: &TcpStream) {
        self.session.send_close_notify();
        let _ = self.push(socket);
    }
}

impl fmt::Debug for TlsSide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsSide").field("handshaking", &self.is_handshaking()).finish_non_exhaustive()
    }
}
