//! CA: who vouches for servers behind TLS, if the manifest names a file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::{Error as PemError, PemObject as _};
use tokio_rustls::rustls::{ClientConfig, Error as TlsError, RootCertStore};

/// Why the certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    #[error("`outgoing.ca` in dormouse.toml: no certificates can be read from {}: {source}", path.display())]
    File { path: PathBuf, source: PemError },
    #[error("`outgoing.ca` in dormouse.toml: {} holds no certificate in PEM", path.display())]
    Empty { path: PathBuf },
    #[error("`outgoing.ca` in dormouse.toml: a certificate in {} cannot be trusted: {source}", path.display())]
    Unfit { path: PathBuf, source: TlsError },
}

/// TLS with those whom the certificates in a file vouch for, and nobody else.
pub(super) fn trusting(file: &Path) -> Result<ClientConfig, CaError> {
    let path = || file.to_owned();
    let found = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    let found: Vec<_> = found.map_err(|source| CaError::File {
        path: path(),
        source,
    })?;
    if found.is_empty() {
        return Err(CaError::Empty { path: path() });
    }
    let mut roots = RootCertStore::empty();
    let unfit = |source| CaError::Unfit {
        path: path(),
        source,
    };
    for certificate in found {
        roots.add(certificate).map_err(unfit)?;
    }
    let provider = Arc::new(ring::default_provider());
    let config =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Ok(config
        .map_err(unfit)?
        .with_root_certificates(roots)
        .with_no_client_auth())
}
