//! The certificate of the API: a given one, or one of the network's own that is made once and kept. On loopback none is
//! needed: nobody is in between.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::verify_server_name;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::ParsedCertificate;
use sha2::{Digest as _, Sha256};
use tokio_rustls::TlsAcceptor;

use crate::files;

#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error(
        "the API's certificate {path} cannot be read: {why}; name a PEM file in `api.certificate` and its key in `api.key`"
    )]
    Unreadable { path: PathBuf, why: String },
    #[error("the API's certificate cannot be used: {0}")]
    Unusable(#[from] rustls::Error),
    #[error("the API's own certificate cannot be made: {0}")]
    Make(String),
}

/// What a browser is shown, and its SHA-256 for the person who compares.
pub struct Certificate {
    pub acceptor: TlsAcceptor,
    pub fingerprint: String,
}

/// Reads a certificate and its key.
pub fn read(certificate: &Path, key: &Path) -> Result<Certificate, CertificateError> {
    let bad = |path: &Path| {
        let path = path.to_owned();
        move |e: rustls::pki_types::pem::Error| CertificateError::Unreadable { path, why: e.to_string() }
    };
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(bad(certificate))?;
    let fingerprint = match chain.first() {
        Some(first) => Sha256::digest(first).iter().map(|b| format!("{b:02X}")).collect::<Vec<_>>().join(":"),
        None => {
            let why = "there is no certificate in it".to_owned();
            return Err(CertificateError::Unreadable { path: certificate.to_owned(), why });
        }
    };
    let key = PrivateKeyDer::from_pem_file(key).map_err(bad(key))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Certificate { acceptor: TlsAcceptor::from(Arc::new(config)), fingerprint })
}

/// The network's own, for these names; made if it is not there, and anew if it lacks one of them: a browser that was told to
/// trust it would refuse that one. Otherwise it is kept, because whoever trusts it knows it by its fingerprint.
pub fn own(directory: &Path, hosts: &[String]) -> Result<Certificate, CertificateError> {
    let (certificate, key) = (directory.join("web.crt"), directory.join("web.key"));
    let is_there = certificate.exists() && key.exists();
    if !is_there || !is_for(&certificate, hosts) {
        if is_there {
            tracing::warn!(
                "the API has a name that its own certificate lacks: it is made anew, with another fingerprint"
            );
        }
        make(&certificate, &key, hosts)?;
    }
    read(&certificate, &key)
}

/// Would a browser that asks for any of these names take it?
fn is_for(certificate: &Path, hosts: &[String]) -> bool {
    let Ok(first) = CertificateDer::from_pem_file(certificate) else { return false };
    let Ok(parsed) = ParsedCertificate::try_from(&first) else { return false };
    // What cannot be asked for need not be named.
    let names = hosts.iter().filter_map(|host| ServerName::try_from(host.as_str()).ok());
    names.into_iter().all(|name| verify_server_name(&parsed, &name).is_ok())
}

fn make(certificate: &Path, key: &Path, hosts: &[String]) -> Result<(), CertificateError> {
    let failed = |e: &dyn std::fmt::Display| CertificateError::Make(e.to_string());
    let pair = rcgen::KeyPair::generate().map_err(|e| failed(&e))?;
    let mut params = rcgen::CertificateParams::new(hosts.to_vec()).map_err(|e| failed(&e))?;
    params.distinguished_name.push(rcgen::DnType::CommonName, "Warren coordinator");
    let made = params.self_signed(&pair).map_err(|e| failed(&e))?;
    let secret = zeroize::Zeroizing::new(pair.serialize_pem());
    for (path, text) in [(key, secret.as_bytes()), (certificate, made.pem().as_bytes())] {
        let _ = std::fs::remove_file(path);
        files::create_private(path, text).map_err(|e| failed(&e))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_own_certificate_is_made_once_and_its_key_is_private() {
        let dir = tempfile::tempdir().expect("directory");
        let hosts = ["localhost".to_owned(), "192.0.2.1".to_owned()];
        let first = own(dir.path(), &hosts).expect("made").fingerprint;
        assert_eq!(own(dir.path(), &hosts).expect("read").fingerprint, first);
        let mode = std::fs::metadata(dir.path().join("web.key")).expect("key").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn the_own_certificate_is_made_anew_when_it_lacks_a_name_and_only_then() {
        let dir = tempfile::tempdir().expect("directory");
        let own = |names: &[&str]| {
            let hosts: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            own(dir.path(), &hosts).expect("made").fingerprint
        };
        let first = own(&["localhost", "192.0.2.1"]);
        assert_eq!(own(&["192.0.2.1", "localhost"]), first, "the same names");
        let second = own(&["localhost", "192.0.2.1", "warren.example"]);
        assert_ne!(second, first);
        assert_eq!(own(&["localhost", "192.0.2.1"]), second, "it has these names");
        assert_ne!(own(&["localhost", "2001:db8::1"]), second, "another address to listen at");
        std::fs::write(dir.path().join("web.crt"), "nothing").expect("write");
        own(&["localhost"]);
    }

    #[test]
    fn a_file_that_is_none_is_named() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("x.pem");
        std::fs::write(&path, "nothing").expect("write");
        let error = read(&path, &path).err().expect("refused").to_string();
        assert!(error.contains("x.pem"), "{error}");
    }
}
