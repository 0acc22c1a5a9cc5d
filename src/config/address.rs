//! Addresses as people write them: `host:port`, and the local API's endpoint.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;
use std::str::FromStr;

use reqwest::Url;
use serde::{Deserialize, Serialize};

/// Longest DNS name (RFC 1035, without the trailing dot).
const DNS_NAME_LEN_BYTES_MAX: usize = 253;
/// Longest label of a DNS name.
const DNS_LABEL_LEN_BYTES_MAX: usize = 63;
/// Longest URL of a gateway.
const URL_LEN_BYTES_MAX: usize = 1_024;
/// Longest path of a unix socket on the systems that we run on (`sun_path` with its final zero).
const SOCKET_PATH_LEN_BYTES_MAX: usize = 103;

/// An address that is not one. Nothing was changed; the same text fails again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no address: {reason}")]
pub struct AddressError {
    /// What was given.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl AddressError {
    fn new(text: &str, reason: &'static str) -> Self {
        Self { text: text.chars().take(80).collect(), reason }
    }
}

/// Who is meant: an IP address or a DNS name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Host {
    /// IPv4 or IPv6.
    Ip(IpAddr),
    /// A DNS name, resolved when it is used.
    Dns(String),
}

/// `host:port`, with the host an IPv4 address, an IPv6 address in brackets, or a DNS name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostPort {
    /// Who.
    pub host: Host,
    /// The TCP port; 0 lets the kernel choose when listening.
    pub port: u16,
}

impl HostPort {
    /// Whether it stands for every address of the machine (`0.0.0.0`, `[::]`): good to listen on,
    /// useless to tell others.
    pub fn is_wildcard(&self) -> bool {
        matches!(self.host, Host::Ip(ip) if ip.is_unspecified())
    }

    /// Whether it can only be reached from this machine, judged without asking DNS.
    pub fn is_loopback(&self) -> bool {
        match &self.host {
            Host::Ip(ip) => ip.is_loopback(),
            Host::Dns(name) => name == "localhost" || name.ends_with(".localhost"),
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]:{}", self.port),
            Host::Ip(IpAddr::V4(ip)) => write!(f, "{ip}:{}", self.port),
            Host::Dns(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

impl FromStr for HostPort {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let fail = |reason| AddressError::new(text, reason);
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (ip, tail) =
                    rest.split_once(']').ok_or_else(|| fail("the bracket is not closed"))?;
                let ip: Ipv6Addr = ip.parse().map_err(|_| fail("brackets hold an IPv6 address"))?;
                let port = tail
                    .strip_prefix(':')
                    .ok_or_else(|| fail("a port is missing; write [address]:port"))?;
                (Host::Ip(ip.into()), port)
            }
            None => {
                let (host, port) = text
                    .rsplit_once(':')
                    .ok_or_else(|| fail("a port is missing; write host:port"))?;
                if host.contains(':') {
                    return Err(fail("an IPv6 address goes in brackets; write [address]:port"));
                }
                (parse_host(host).map_err(fail)?, port)
            }
        };
        if !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(fail("the port is no number"));
        }
        let port = port.parse().map_err(|_| fail("the port is not between 0 and 65535"))?;
        Ok(Self { host, port })
    }
}

fn parse_host(text: &str) -> Result<Host, &'static str> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(Host::Ip(ip));
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.is_empty() {
        return Err("the host is missing; write host:port");
    }
    if name.len() > DNS_NAME_LEN_BYTES_MAX {
        return Err("a DNS name has at most 253 characters");
    }
    let label_ok = |label: &str| {
        (1..=DNS_LABEL_LEN_BYTES_MAX).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if !name.split('.').all(label_ok) {
        return Err("the host is neither an IP address nor a DNS name");
    }
    // A last label of digits alone is a mistyped IPv4 address, never a name (RFC 1123, 2.1).
    if name.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit())) {
        return Err("the host looks like an IPv4 address and is none");
    }
    Ok(Host::Dns(name.to_ascii_lowercase()))
}

/// Where the local API is reached: TCP, or a unix socket written `unix:PATH`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ApiAddress {
    /// A TCP address.
    Tcp(HostPort),
    /// A unix socket.
    Unix(PathBuf),
}

impl ApiAddress {
    /// Whether whoever connects there stays on this machine, judged without asking DNS.
    pub fn leads_here(&self) -> bool {
        match self {
            // To connect to "every address" is to connect to the own machine.
            Self::Tcp(address) => address.is_loopback() || address.is_wildcard(),
            Self::Unix(_) => true,
        }
    }
}

impl fmt::Display for ApiAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => fmt::Display::fmt(address, f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl FromStr for ApiAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let Some(path) = text.strip_prefix("unix:") else {
            return text.parse().map(Self::Tcp);
        };
        if path.is_empty() || path.contains('\0') {
            return Err(AddressError::new(text, "a path is missing; write unix:PATH"));
        }
        if path.contains(char::REPLACEMENT_CHARACTER) {
            return Err(AddressError::new(text, "the path is no UTF-8"));
        }
        if path.len() > SOCKET_PATH_LEN_BYTES_MAX {
            return Err(AddressError::new(text, "a socket's path has at most 103 bytes"));
        }
        Ok(Self::Unix(path.into()))
    }
}

/// Where a gateway's paths begin: an `http` or `https` URL, such as `https://gateway.example`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GatewayUrl(Url);

impl GatewayUrl {
    /// Whether it is reached by TLS.
    pub fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// The URL of a block or DAG.
    pub fn of(&self, cid: &str, query: &str) -> Url {
        let mut url = self.0.clone();
        url.set_path(&format!("{}/ipfs/{cid}", self.0.path().trim_end_matches('/')));
        url.set_query(Some(query));
        url
    }
}

impl fmt::Display for GatewayUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

impl FromStr for GatewayUrl {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let fail = |reason| AddressError::new(text, reason);
        if text.len() > URL_LEN_BYTES_MAX {
            return Err(fail("a URL has at most 1,024 bytes here"));
        }
        let url = Url::parse(text).map_err(|_| fail("write http://HOST or https://HOST"))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(fail("write http://HOST or https://HOST"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(fail("secrets are no settings; leave out the user and the password"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(fail("write it without a query and a fragment"));
        }
        if url.path().trim_end_matches('/').ends_with("/ipfs") {
            return Err(fail("write it without /ipfs at its end"));
        }
        Ok(Self(url))
    }
}

/// Lets serde read and write an address as its text.
macro_rules! address_as_text {
    ($type:ty) => {
        impl TryFrom<String> for $type {
            type Error = AddressError;

            fn try_from(text: String) -> Result<Self, AddressError> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(address: $type) -> Self {
                address.to_string()
            }
        }
    };
}

address_as_text!(HostPort);
address_as_text!(ApiAddress);
address_as_text!(GatewayUrl);

#[cfg(test)]
mod tests;
