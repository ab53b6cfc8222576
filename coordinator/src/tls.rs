//! TLS 1.3 with raw public keys (RFC 7250) in both directions: a key *is* the identity, there is no certificate,
//! no name, no expiry.
//!
//! - One crypto provider (aws-lc-rs), passed explicitly; one key exchange, the hybrid X25519MLKEM768, so that
//!   recorded control traffic cannot be read by a later quantum computer.
//! - The server accepts *any* Ed25519 key whose holder proves possession in the handshake. That says who speaks, not
//!   that they may: authorisation is the coordinator's, and a client is authorised only when the first message of
//!   the server has come.
//! - The client accepts exactly one server key: the one its token or its state names.
//! - No 0-RTT, no resumption: each session proves the key again.

use std::any::Any;
use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use warren_wire::frame::{ALPN, RELAY_ALPN};
use warren_wire::id::IdentityKey;
use zeroize::Zeroizing;

/// DER of `SubjectPublicKeyInfo` for Ed25519 up to the key (RFC 8410 section 4); the key's 32 bytes follow.
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// DER of a PKCS#8 `PrivateKeyInfo` for Ed25519 up to the seed (RFC 8410 section 7); 32 bytes follow.
const PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] Error),
    #[error("TLS cannot be set up: no cipher suite for QUIC's first packets")]
    NoInitialCipher,
    #[error("the peer presented no proven key")]
    NoKey,
    #[error("the peer presented {count} keys instead of one")]
    NotOneKey { count: usize },
    #[error("the peer's key is not a raw Ed25519 public key")]
    NotEd25519,
}

/// TLS of the coordinator's control channel. `seed` is the online key.
pub fn server(seed: &[u8; 32]) -> Result<QuicServerConfig, TlsError> {
    let provider = Arc::new(provider());
    let key = certified_key(&provider, seed)?;
    let mut config = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(AnyProvenKey(provider.signature_verification_algorithms)))
        .with_cert_resolver(Arc::new(rustls::server::AlwaysResolvesServerRawPublicKeys::new(key)));
    config.alpn_protocols = vec![ALPN.to_vec(), RELAY_ALPN.to_vec()];
    config.max_early_data_size = 0;
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    QuicServerConfig::try_from(config).map_err(|_| TlsError::NoInitialCipher)
}

/// TLS of a door that speaks `alpn`. Nobody is asked who he is: what comes through it proves that at the port.
pub fn door(seed: &[u8; 32], alpn: &[u8]) -> Result<rustls::ServerConfig, TlsError> {
    let provider = Arc::new(provider());
    let key = certified_key(&provider, seed)?;
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(rustls::server::AlwaysResolvesServerRawPublicKeys::new(key)));
    config.alpn_protocols = vec![alpn.to_vec()];
    config.max_early_data_size = 0;
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    Ok(config)
}

/// The same for QUIC.
pub fn quic_door(seed: &[u8; 32], alpn: &[u8]) -> Result<QuicServerConfig, TlsError> {
    QuicServerConfig::try_from(door(seed, alpn)?).map_err(|_| TlsError::NoInitialCipher)
}

/// TLS of a client that holds identity `seed` and speaks to nobody but `server`.
pub fn client(seed: &[u8; 32], server: IdentityKey, alpn: &[u8]) -> Result<QuicClientConfig, TlsError> {
    let provider = Arc::new(provider());
    let key = certified_key(&provider, seed)?;
    let verifier = OneServerKey { key: server, algorithms: provider.signature_verification_algorithms };
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(Arc::new(rustls::client::AlwaysResolvesClientRawPublicKeys::new(key)));
    config.alpn_protocols = vec![alpn.to_vec()];
    config.enable_early_data = false;
    config.resumption = rustls::client::Resumption::disabled();
    QuicClientConfig::try_from(config).map_err(|_| TlsError::NoInitialCipher)
}

/// The identity behind a finished handshake, from [`quinn::Connection::peer_identity`]: the one key that was proven.
pub fn peer_key(identity: Option<Box<dyn Any>>) -> Result<IdentityKey, TlsError> {
    let keys = identity.ok_or(TlsError::NoKey)?.downcast::<Vec<CertificateDer<'static>>>();
    let keys = keys.map_err(|_| TlsError::NoKey)?;
    match keys.as_slice() {
        [only] => key_of_spki(only).ok_or(TlsError::NotEd25519),
        more => Err(TlsError::NotOneKey { count: more.len() }),
    }
}

/// The public half of an Ed25519 seed.
pub fn public_of(seed: &[u8; 32]) -> IdentityKey {
    IdentityKey(ed25519_dalek::SigningKey::from_bytes(seed).verifying_key().to_bytes())
}

fn provider() -> CryptoProvider {
    CryptoProvider { kx_groups: vec![aws_lc_rs::kx_group::X25519MLKEM768], ..aws_lc_rs::default_provider() }
}

fn certified_key(provider: &CryptoProvider, seed: &[u8; 32]) -> Result<Arc<CertifiedKey>, TlsError> {
    let private = Zeroizing::new([&PKCS8_PREFIX[..], &seed[..]].concat());
    let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(private.as_slice())).clone_key();
    let signing = provider.key_provider.load_private_key(der)?;
    let spki = [&SPKI_PREFIX[..], &public_of(seed).0[..]].concat();
    Ok(Arc::new(CertifiedKey::new(vec![CertificateDer::from(spki)], signing)))
}

/// Compares the whole 44 bytes: another algorithm's key must never read as ours.
fn key_of_spki(spki: &[u8]) -> Option<IdentityKey> {
    IdentityKey::from_slice(spki.strip_prefix(&SPKI_PREFIX)?)
}

fn verify_proof(
    message: &[u8],
    cert: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    if signature.scheme != SignatureScheme::ED25519 {
        return Err(CertificateError::BadSignature.into());
    }
    let spki = SubjectPublicKeyInfoDer::from(cert.as_ref());
    verify_tls13_signature_with_raw_key(message, &spki, signature, algorithms)
}

fn one_raw_key(end_entity: &CertificateDer<'_>, others: &[CertificateDer<'_>]) -> Result<IdentityKey, Error> {
    let key = key_of_spki(end_entity).ok_or(CertificateError::BadEncoding)?;
    if others.is_empty() { Ok(key) } else { Err(CertificateError::BadEncoding.into()) }
}

#[derive(Debug)]
struct AnyProvenKey(WebPkiSupportedAlgorithms);

impl ClientCertVerifier for AnyProvenKey {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }
    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        one_raw_key(end_entity, intermediates).map(|_| ClientCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(rustls::PeerIncompatible::Tls12NotOffered))
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_proof(message, cert, dss, &self.0)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

#[derive(Debug)]
struct OneServerKey {
    key: IdentityKey,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for OneServerKey {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if one_raw_key(end_entity, intermediates)? != self.key {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(rustls::PeerIncompatible::Tls12NotOffered))
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_proof(message, cert, dss, &self.algorithms)
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

    fn identity(keys: Vec<Vec<u8>>) -> Option<Box<dyn Any>> {
        Some(Box::new(keys.into_iter().map(CertificateDer::from).collect::<Vec<_>>()))
    }

    #[test]
    fn only_one_whole_ed25519_spki_is_an_identity() {
        let key = public_of(&[7; 32]);
        let spki = [&SPKI_PREFIX[..], &key.0[..]].concat();
        assert_eq!(peer_key(identity(vec![spki.clone()])).unwrap(), key);
        // X25519 (RFC 8410: 1.3.101.110) differs in one byte of the prefix only.
        let mut x25519 = spki.clone();
        x25519[8] = 0x6e;
        assert!(matches!(peer_key(identity(vec![x25519])), Err(TlsError::NotEd25519)));
        let longer = [&spki[..], &[0]].concat();
        assert!(matches!(peer_key(identity(vec![longer])), Err(TlsError::NotEd25519)));
        assert!(matches!(
            peer_key(identity(vec![spki.clone(), spki])),
            Err(TlsError::NotOneKey { count: 2 })
        ));
        assert!(matches!(peer_key(identity(vec![])), Err(TlsError::NotOneKey { count: 0 })));
        assert!(matches!(peer_key(None), Err(TlsError::NoKey)));
    }

    #[test]
    fn only_the_hybrid_key_exchange_is_offered() {
        let names: Vec<_> = provider().kx_groups.iter().map(|g| g.name()).collect();
        assert_eq!(names, [rustls::NamedGroup::X25519MLKEM768]);
    }
}
