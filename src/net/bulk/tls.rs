//! TLS 1.3 in which each end's certificate is its node's own key.
//!
//! Raw public keys (RFC 7250): what a peer presents is the Ed25519 key that names it everywhere else, and
//! the handshake's signature proves it. There is no certificate to parse, no clock to compare, no authority.

use std::io;
use std::sync::Arc;

use futures_rustls::rustls::client::AlwaysResolvesClientRawPublicKeys;
use futures_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use futures_rustls::rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls13_signature_with_raw_key,
};
use futures_rustls::rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer,
    UnixTime,
};
use futures_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use futures_rustls::rustls::server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage};
use futures_rustls::rustls::sign::CertifiedKey;
use futures_rustls::rustls::{
    CertificateError, ClientConfig, CommonState, DigitallySignedStruct, DistinguishedName, Error,
    ServerConfig, SignatureScheme, client, version,
};

use crate::config::ClusterId;
use crate::error::StartError;
use crate::identity::{Keypair, PeerKey};

/// Ed25519 private keys in PKCS #8 (RFC 8410, 7) up to the seed.
const PKCS8_PREFIX: [u8; 16] = *b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";
/// Ed25519 public keys in SubjectPublicKeyInfo (RFC 8410, 4) up to the key.
const SPKI_PREFIX: [u8; 12] = *b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";

/// What this node shows to others.
pub(crate) struct Identity {
    provider: Arc<CryptoProvider>,
    key: Arc<CertifiedKey>,
    /// Members of another cluster, or of another version of these protocols, don't understand each other.
    calls: Vec<u8>,
    raft: Vec<u8>,
}

impl Identity {
    pub(crate) fn new(keypair: &Keypair, cluster_id: ClusterId) -> Result<Self, StartError> {
        let provider = Arc::new(ring::default_provider());
        let private = [&PKCS8_PREFIX[..], &keypair.to_seed()].concat();
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(private));
        let signing = provider.key_provider.load_private_key(private).map_err(|error| {
            StartError::Setting { setting: "keypair", detail: error.to_string() }
        })?;
        let public = [&SPKI_PREFIX[..], keypair.peer_key().as_bytes()].concat();
        let key = CertifiedKey::new(vec![CertificateDer::from(public)], signing);
        let name = |what| format!("/ipfs-kit/{cluster_id}/{what}/{}", crate::WIRE_VERSION);
        let (calls, raft) = (name("bulk").into_bytes(), name("raft").into_bytes());
        Ok(Self { provider, key: Arc::new(key), calls, raft })
    }

    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        let verifier = Arc::new(self.verifier(None));
        let resolver = AlwaysResolvesServerRawPublicKeys::new(self.key.clone());
        let mut config = ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&version::TLS13])
            .expect("the provider speaks TLS 1.3")
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = vec![self.calls.clone(), self.raft.clone()];
        // Every connection proves its peer's key anew.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Arc::new(config)
    }

    /// For calls to a member.
    pub(crate) fn client(&self, expected: PeerKey) -> Arc<ClientConfig> {
        self.client_of(expected, self.calls.clone())
    }

    /// For the Raft lane to a member.
    pub(crate) fn raft_client(&self, expected: PeerKey) -> Arc<ClientConfig> {
        self.client_of(expected, self.raft.clone())
    }

    /// Whether a finished handshake is for the Raft lane.
    pub(crate) fn is_raft(&self, connection: &CommonState) -> bool {
        connection.alpn_protocol() == Some(&self.raft)
    }

    fn client_of(&self, expected: PeerKey, protocol: Vec<u8>) -> Arc<ClientConfig> {
        let verifier = Arc::new(self.verifier(Some(expected)));
        let resolver = AlwaysResolvesClientRawPublicKeys::new(self.key.clone());
        let mut config = ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&version::TLS13])
            .expect("the provider speaks TLS 1.3")
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = vec![protocol];
        config.resumption = client::Resumption::disabled();
        config.enable_sni = false;
        Arc::new(config)
    }

    fn verifier(&self, expected: Option<PeerKey>) -> Verifier {
        let algorithms = self.provider.signature_verification_algorithms;
        Verifier { expected, algorithms }
    }
}

/// Who is at the other end of a finished handshake.
///
/// # Errors
/// It did not agree on the protocol, or showed no key.
pub(crate) fn peer_of(connection: &CommonState) -> io::Result<PeerKey> {
    // A client that names no protocol would pass the handshake.
    if connection.alpn_protocol().is_none() {
        return Err(io::Error::other("no protocol was agreed on"));
    }
    let shown = connection.peer_certificates().and_then(|shown| shown.first());
    shown.and_then(key_in).ok_or_else(|| io::Error::other("the peer showed no key"))
}

fn key_in(shown: &CertificateDer<'_>) -> Option<PeerKey> {
    let key: [u8; 32] = shown.as_ref().strip_prefix(&SPKI_PREFIX)?.try_into().ok()?;
    Some(PeerKey::from_bytes(key))
}

/// Accepts Ed25519 keys: one of them, or any, of which the registry then decides.
#[derive(Debug)]
struct Verifier {
    expected: Option<PeerKey>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    fn check_key(&self, shown: &CertificateDer<'_>) -> Result<(), Error> {
        let key = key_in(shown).ok_or(CertificateError::BadEncoding)?;
        match self.expected {
            Some(expected) if expected != key => {
                Err(CertificateError::ApplicationVerificationFailure.into())
            }
            _ => Ok(()),
        }
    }

    fn check_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = SubjectPublicKeyInfoDer::from(shown.as_ref());
        verify_tls13_signature_with_raw_key(message, &key, signed, &self.algorithms)
    }
}

fn only_tls13() -> Result<HandshakeSignatureValid, Error> {
    Err(Error::General("only TLS 1.3 is spoken here".to_owned()))
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check_key(shown).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        only_tls13()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, shown, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check_key(shown).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        only_tls13()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, shown, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
