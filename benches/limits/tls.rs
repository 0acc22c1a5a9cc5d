//! One plain TLS 1.3 connection over loopback: a thread that sends and a thread that receives.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::AlwaysResolvesServerRawPublicKeys;
use rustls::sign::CertifiedKey;
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, ServerConfig, ServerConnection,
    SignatureScheme, StreamOwned, version,
};

/// Bytes handed over at once.
const PIECE_BYTES: usize = 256 << 10;
/// An Ed25519 key in PKCS #8 up to its seed (RFC 8410).
const PKCS8_PREFIX: &[u8] = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";

/// Sends so many bytes from one thread to another. The time runs from the first byte to the last.
pub fn transfer(len_bytes: u64) -> Result<Duration> {
    let provider = Arc::new(ring::default_provider());
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let addr = listener.local_addr()?;
    let server = server(&provider)?;
    let client = client(&provider)?;
    std::thread::scope(|scope| {
        let sending = scope.spawn(move || -> Result<()> {
            let (socket, _) = listener.accept()?;
            let mut stream = StreamOwned::new(ServerConnection::new(server)?, socket);
            // One byte from the other end: the handshake is over.
            stream.read_exact(&mut [0])?;
            let piece = vec![7; PIECE_BYTES];
            let mut left = len_bytes;
            while left > 0 {
                let len = left.min(PIECE_BYTES as u64) as usize;
                stream.write_all(&piece[..len])?;
                left -= len as u64;
            }
            Ok(stream.flush()?)
        });
        let name = ServerName::try_from("limit").context("the name is valid")?;
        let socket = TcpStream::connect(addr)?;
        let mut stream = StreamOwned::new(ClientConnection::new(client, name)?, socket);
        stream.write_all(&[1])?;
        stream.flush()?;
        let begun = Instant::now();
        let mut piece = vec![0; PIECE_BYTES];
        let mut left = len_bytes;
        while left > 0 {
            let read = stream.read(&mut piece)?;
            ensure!(read > 0, "the connection ended early");
            left -= read as u64;
        }
        let took = begun.elapsed();
        sending.join().expect("the sending thread does not panic")?;
        Ok(took)
    })
}

fn server(provider: &Arc<CryptoProvider>) -> Result<Arc<ServerConfig>> {
    let private = [PKCS8_PREFIX, &[7; 32]].concat();
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(private));
    let signing = provider.key_provider.load_private_key(private)?;
    let public = signing.public_key().context("the key has a public half")?;
    let key = CertifiedKey::new(vec![CertificateDer::from(public.as_ref().to_vec())], signing);
    let config = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&version::TLS13])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(Arc::new(key))));
    Ok(Arc::new(config))
}

fn client(provider: &Arc<CryptoProvider>) -> Result<Arc<ClientConfig>> {
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Both ends are threads of this process; who they are is no question here.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("only TLS 1.3 is measured".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
