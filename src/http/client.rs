//! HTTP clients: of an API on this machine or next to it, and of servers on the internet.

use std::sync::Once;

use reqwest::{Client, ClientBuilder};

/// For an API: its address is known and says how to reach it, and nothing is encrypted.
pub fn of_api() -> ClientBuilder {
    // Reading the machine's certificates would cost more than the call.
    builder().no_proxy().tls_certs_only([])
}

/// For servers on the internet. Those with `https` are checked against the machine's certificates, and a
/// machine without any can't have such a client.
pub fn of_internet(needs_https: bool) -> ClientBuilder {
    if needs_https { builder() } else { builder().tls_certs_only([]) }
}

fn builder() -> ClientBuilder {
    static CRYPTOGRAPHY: Once = Once::new();
    CRYPTOGRAPHY.call_once(|| {
        // Another part of the process may have chosen already, and then its choice counts.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    Client::builder().user_agent(concat!("ipfs-kit/", env!("CARGO_PKG_VERSION")))
}
