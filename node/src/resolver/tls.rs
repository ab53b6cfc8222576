//! TLS towards upstreams: names and certificates are checked, always; the one provider is given explicitly.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{path} with certificate authorities for DNS upstreams cannot be read: {why}")]
    Unreadable { path: String, why: String },
    #[error("{path} holds no certificate: it must be PEM with `BEGIN CERTIFICATE`")]
    Empty { path: String },
    #[error("TLS for DNS upstreams cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

/// The public authorities that browsers trust, and those in `own`: a PEM file of the operator.
pub fn config(own: Option<&Path>) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(path) = own {
        let shown = path.display().to_string();
        let unreadable =
            |e: &dyn std::fmt::Display| TlsError::Unreadable { path: shown.clone(), why: e.to_string() };
        let certificates = CertificateDer::pem_file_iter(path).map_err(|e| unreadable(&e))?;
        let certificates: Vec<_> = certificates.collect::<Result<_, _>>().map_err(|e| unreadable(&e))?;
        if certificates.is_empty() {
            return Err(TlsError::Empty { path: shown });
        }
        for certificate in certificates {
            roots.add(certificate).map_err(|e| unreadable(&e))?;
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
