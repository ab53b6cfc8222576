//! TLS of the control channel, the node's side.
//!
//! One provider (aws-lc-rs) given explicitly, one key exchange: the hybrid X25519MLKEM768, so that recorded traffic
//! cannot be read by a later quantum computer. The server must hold a key that the token or the charter names; there
//! is no certificate, no name, no expiry. No resumption and no early data: each session proves both keys again.

use std::sync::{Arc, Mutex};

use ed25519_dalek::SigningKey;
use quinn::crypto::rustls::QuicClientConfig;
use rustls::client::AlwaysResolvesClientRawPublicKeys;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, DigitallySignedStruct, Error, PeerIncompatible, SignatureScheme};
use warren_wire::frame::ALPN;
use warren_wire::id::IdentityKey;
use zeroize::Zeroizing;

/// DER of a `SubjectPublicKeyInfo` for Ed25519 up to its 32 key bytes (RFC 8410, section 4).
const SPKI_HEAD: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// DER of a PKCS#8 key for Ed25519 up to its 32 seed bytes (RFC 8410, section 7).
const PKCS8_HEAD: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// A key the server showed although it is not one of ours: for the error message.
pub type Stranger = Arc<Mutex<Option<IdentityKey>>>;

/// TLS for a client that holds `identity` and speaks only to a holder of one of `servers`.
pub fn client(
    identity: &SigningKey,
    servers: Vec<IdentityKey>,
    stranger: Stranger,
) -> Result<QuicClientConfig, Error> {
    let provider = Arc::new(provider());
    let algorithms = provider.signature_verification_algorithms;
    let key = Arc::new(own_key(&provider, identity)?);
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Pinned { servers, stranger, algorithms }))
        .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(key)));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.enable_early_data = false;
    config.resumption = Resumption::disabled();
    QuicClientConfig::try_from(config).map_err(|_| Error::General("no cipher suite for QUIC".to_owned()))
}

/// TLS of a door: its holder proves one of `servers`, this node nothing. Nothing names anybody to who looks on.
pub fn door(
    servers: Vec<IdentityKey>,
    stranger: Stranger,
    alpn: &[u8],
) -> Result<rustls::ClientConfig, Error> {
    let provider = Arc::new(provider());
    let algorithms = provider.signature_verification_algorithms;
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Pinned { servers, stranger, algorithms }))
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    config.enable_sni = false;
    config.enable_early_data = false;
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// The same for QUIC.
pub fn quic_door(
    servers: Vec<IdentityKey>,
    stranger: Stranger,
    alpn: &[u8],
) -> Result<QuicClientConfig, Error> {
    QuicClientConfig::try_from(door(servers, stranger, alpn)?)
        .map_err(|_| Error::General("no cipher suite for QUIC".to_owned()))
}

fn provider() -> CryptoProvider {
    CryptoProvider { kx_groups: vec![aws_lc_rs::kx_group::X25519MLKEM768], ..aws_lc_rs::default_provider() }
}

fn own_key(provider: &CryptoProvider, identity: &SigningKey) -> Result<CertifiedKey, Error> {
    let mut der = Zeroizing::new(Vec::with_capacity(PKCS8_HEAD.len() + 32));
    der.extend_from_slice(&PKCS8_HEAD);
    der.extend_from_slice(identity.as_bytes());
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(der.as_slice())).clone_key();
    let signer = provider.key_provider.load_private_key(private)?;
    let spki = [&SPKI_HEAD[..], identity.verifying_key().as_bytes()].concat();
    Ok(CertifiedKey::new(vec![CertificateDer::from(spki)], signer))
}

/// The whole 44 bytes are compared, so that no other algorithm's key reads as one of ours.
fn ed25519_key(spki: &[u8]) -> Option<IdentityKey> {
    IdentityKey::from_slice(spki.strip_prefix(&SPKI_HEAD)?)
}

#[derive(Debug)]
struct Pinned {
    servers: Vec<IdentityKey>,
    stranger: Stranger,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let key = ed25519_key(end_entity).filter(|_| intermediates.is_empty());
        let key = key.ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))?;
        if self.servers.contains(&key) {
            return Ok(ServerCertVerified::assertion());
        }
        if let Ok(mut stranger) = self.stranger.lock() {
            *stranger = Some(key);
        }
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if dss.scheme != SignatureScheme::ED25519 {
            return Err(CertificateError::BadSignature.into());
        }
        let spki = SubjectPublicKeyInfoDer::from(cert.as_ref());
        verify_tls13_signature_with_raw_key(message, &spki, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verify(spki: &[u8], pinned: &Pinned) -> Result<ServerCertVerified, Error> {
        let name = ServerName::try_from("warren").expect("name");
        pinned.verify_server_cert(&CertificateDer::from(spki), &[], &name, &[], UnixTime::now())
    }

    #[test]
    fn only_a_pinned_ed25519_key_is_the_coordinator() {
        let key = IdentityKey([5; 32]);
        let stranger = Stranger::default();
        let algorithms = provider().signature_verification_algorithms;
        let pinned = Pinned { servers: vec![key], stranger: Arc::clone(&stranger), algorithms };
        let spki = |head: &[u8], key: &[u8]| [head, key].concat();
        verify(&spki(&SPKI_HEAD, &key.0), &pinned).expect("the pinned key");
        assert!(verify(&spki(&SPKI_HEAD, &[6; 32]), &pinned).is_err());
        assert_eq!(*stranger.lock().expect("lock"), Some(IdentityKey([6; 32])));
        let mut x25519 = SPKI_HEAD;
        x25519[8] = 0x6e;
        assert!(verify(&spki(&x25519, &key.0), &pinned).is_err());
        assert!(verify(&spki(&SPKI_HEAD, &[5; 33]), &pinned).is_err());
    }

    #[test]
    fn only_the_hybrid_key_exchange_is_offered() {
        let groups: Vec<_> = provider().kx_groups.iter().map(|g| g.name()).collect();
        assert_eq!(groups, [rustls::NamedGroup::X25519MLKEM768]);
    }
}
