//! TLS: certificates from files, read again when they change.
//!
//! Used by `listen`. A certificate that cannot be read later leaves the one before in
//! use, and the log says so. HTTP/2 is offered by ALPN.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, ServerConfig};
use tokio_rustls::server::TlsStream;

/// Between two looks at the files.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A client must finish its handshake within this time.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Cheap to clone.
#[derive(Clone)]
pub struct Tls(TlsAcceptor);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read the certificates in {}: {source}", path.display())]
    Certificate {
        path: PathBuf,
        source: rustls::pki_types::pem::Error,
    },
    #[error("{} holds no certificate; it must be PEM, the host's own first", path.display())]
    NoCertificate { path: PathBuf },
    #[error("cannot read the private key in {}: {source}", path.display())]
    Key {
        path: PathBuf,
        source: rustls::pki_types::pem::Error,
    },
    #[error("the certificate and the private key do not serve together: {0}")]
    Rustls(#[from] rustls::Error),
}

impl Tls {
    /// Both files are PEM; the first of the certificates is the host's own.
    pub fn from_files(certificates: &Path, key: &Path) -> Result<Self, Error> {
        let provider = Arc::new(ring::default_provider());
        let files = Files {
            certificates: certificates.to_owned(),
            key: key.to_owned(),
        };
        let current = Current {
            key: files.load(&provider)?,
            changed: files.changed(),
            looked: Instant::now(),
        };
        let reloading = Reloading {
            files,
            provider: provider.clone(),
            current: Mutex::new(current),
        };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(reloading));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }

    pub(super) async fn shake_hands(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        match tokio::time::timeout(HANDSHAKE, self.0.accept(stream)).await {
            Ok(shaken) => shaken,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

#[derive(Debug)]
struct Files {
    certificates: PathBuf,
    key: PathBuf,
}

impl Files {
    fn load(&self, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, Error> {
        let unreadable = |source| Error::Certificate {
            path: self.certificates.clone(),
            source,
        };
        let certificates = CertificateDer::pem_file_iter(&self.certificates)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(unreadable)?;
        if certificates.is_empty() {
            return Err(Error::NoCertificate {
                path: self.certificates.clone(),
            });
        }
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|source| Error::Key {
            path: self.key.clone(),
            source,
        })?;
        Ok(Arc::new(CertifiedKey::from_der(
            certificates,
            key,
            provider,
        )?))
    }

    /// When they last changed; links count, too, as tools for certificates use them.
    fn changed(&self) -> [Option<SystemTime>; 2] {
        [&self.certificates, &self.key].map(|file| {
            std::fs::metadata(file)
                .and_then(|found| found.modified())
                .ok()
        })
    }
}

#[derive(Debug)]
struct Reloading {
    files: Files,
    provider: Arc<CryptoProvider>,
    current: Mutex<Current>,
}

#[derive(Debug)]
struct Current {
    key: Arc<CertifiedKey>,
    changed: [Option<SystemTime>; 2],
    looked: Instant,
}

impl ResolvesServerCert for Reloading {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.looked.elapsed() >= LOOK_EVERY {
            current.looked = Instant::now();
            let changed = self.files.changed();
            if changed != current.changed {
                current.changed = changed;
                match self.files.load(&self.provider) {
                    Ok(key) => {
                        current.key = key;
                        tracing::info!("the certificate was read again");
                    }
                    Err(error) => tracing::error!("the certificate from before stays: {error}"),
                }
            }
        }
        Some(current.key.clone())
    }
}
