//! Connect: how the command line reaches a door, with TLS for `https://`.
//!
//! The roots are those of this machine, or Mozilla's where it has none, or what `--ca`
//! names instead.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

pub(in crate::cli) type Connector = HttpsConnector<HttpConnector>;

pub(in crate::cli) fn connector(ca: Option<&Path>) -> anyhow::Result<Connector> {
    let builder = match ca {
        Some(file) => HttpsConnectorBuilder::new().with_tls_config(trusting(file)?),
        None => {
            let roots = HttpsConnectorBuilder::new().with_native_roots();
            roots.unwrap_or_else(|_| HttpsConnectorBuilder::new().with_webpki_roots())
        }
    };
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    Ok(builder.https_or_http().enable_http1().wrap_connector(http))
}

/// Trusts the certificates of one file, and no other.
fn trusting(file: &Path) -> anyhow::Result<ClientConfig> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates =
        read.with_context(|| format!("cannot read the certificates in {}", file.display()))?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        let added = roots.add(certificate);
        added.with_context(|| format!("a certificate in {} is damaged", file.display()))?;
    }
    anyhow::ensure!(
        !roots.is_empty(),
        "{} holds no certificate; it must be PEM",
        file.display()
    );
    let provider = Arc::new(ring::default_provider());
    let config =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Ok(config?.with_root_certificates(roots).with_no_client_auth())
}
