//! `host:port` addresses as operators write them, and their multiaddr form.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

#[cfg(test)]
mod tests;

/// The longest DNS name (RFC 1035, without the root dot).
const MAX_DNS_NAME_LEN: usize = 253;

/// Why a text is no [`NetAddr`]. Nothing changed; a retry can't help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddrError {
    /// There is no port.
    #[error("{text:?} has no port, write host:port")]
    NoPort {
        /// The refused text, cut to 300 characters.
        text: String,
    },
    /// The port is no number from 0 to 65535.
    #[error("{text:?} has a bad port")]
    BadPort {
        /// The refused text, cut to 300 characters.
        text: String,
    },
    /// The host is neither an IP address nor a DNS name.
    #[error(
        "{text:?} has a bad host, write an IPv4 address, an IPv6 address in brackets or a name"
    )]
    BadHost {
        /// The refused text, cut to 300 characters.
        text: String,
    },
}

/// The machine part of a [`NetAddr`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// An IPv4 address.
    Ip4(Ipv4Addr),
    /// An IPv6 address.
    Ip6(Ipv6Addr),
    /// A DNS name, in lower case; resolved at each dial.
    Dns(String),
}

/// A TCP endpoint: `10.0.0.1:4100`, `[fd00::1]:4100` or `master-1.example:4100`.
/// Port 0 in a listen address lets the kernel choose.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetAddr {
    host: Host,
    port: u16,
}

impl NetAddr {
    /// The machine part.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The IP address, unless the host is a name.
    pub fn ip(&self) -> Option<IpAddr> {
        match &self.host {
            Host::Ip4(ip) => Some(IpAddr::V4(*ip)),
            Host::Ip6(ip) => Some(IpAddr::V6(*ip)),
            Host::Dns(_) => None,
        }
    }

    pub(crate) fn to_multiaddr(&self) -> Multiaddr {
        let host = match &self.host {
            Host::Ip4(ip) => Protocol::Ip4(*ip),
            Host::Ip6(ip) => Protocol::Ip6(*ip),
            Host::Dns(name) => Protocol::Dns(name.as_str().into()),
        };
        Multiaddr::empty().with(host).with(Protocol::Tcp(self.port))
    }

    /// Reads `/ip4|ip6|dns*/…/tcp/…`, with or without a trailing `/p2p/…`.
    pub(crate) fn from_multiaddr(addr: &Multiaddr) -> Option<Self> {
        let mut parts = addr.iter();
        let host = match parts.next()? {
            Protocol::Ip4(ip) => Host::Ip4(ip),
            Protocol::Ip6(ip) => Host::Ip6(ip),
            Protocol::Dns(name) | Protocol::Dns4(name) | Protocol::Dns6(name) => dns_name(&name)?,
            _ => return None,
        };
        let Protocol::Tcp(port) = parts.next()? else { return None };
        match parts.next() {
            None | Some(Protocol::P2p(_)) => Some(Self { host, port }),
            Some(_) => None,
        }
    }
}

impl From<SocketAddr> for NetAddr {
    fn from(addr: SocketAddr) -> Self {
        let host = match addr.ip() {
            IpAddr::V4(ip) => Host::Ip4(ip),
            IpAddr::V6(ip) => Host::Ip6(ip),
        };
        Self { host, port: addr.port() }
    }
}

impl fmt::Display for NetAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip4(ip) => write!(f, "{ip}:{}", self.port),
            Host::Ip6(ip) => write!(f, "[{ip}]:{}", self.port),
            Host::Dns(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

impl FromStr for NetAddr {
    type Err = AddrError;

    fn from_str(text: &str) -> Result<Self, AddrError> {
        let shown = || text.chars().take(300).collect::<String>();
        let bad_host = || AddrError::BadHost { text: shown() };
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (ip, port) = rest.split_once(']').ok_or_else(bad_host)?;
                let ip = ip.parse().map_err(|_| bad_host())?;
                let port =
                    port.strip_prefix(':').ok_or_else(|| AddrError::NoPort { text: shown() })?;
                (Host::Ip6(ip), port)
            }
            None => {
                let (host, port) =
                    text.rsplit_once(':').ok_or_else(|| AddrError::NoPort { text: shown() })?;
                let host = match host.parse() {
                    Ok(ip) => Host::Ip4(ip),
                    Err(_) => dns_name(host).ok_or_else(bad_host)?,
                };
                (host, port)
            }
        };
        // `u16::from_str` accepts a leading plus sign, people don't write one.
        if !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(AddrError::BadPort { text: shown() });
        }
        let port = port.parse().map_err(|_| AddrError::BadPort { text: shown() })?;
        Ok(Self { host, port })
    }
}

/// Checks a host name (RFC 1123, plus the underscore that container networks use). A last label of
/// digits only is a mistyped IPv4 address and refused.
fn dns_name(name: &str) -> Option<Host> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let label_ok = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let last = name.rsplit('.').next()?;
    let valid = name.len() <= MAX_DNS_NAME_LEN
        && name.split('.').all(label_ok)
        && !last.bytes().all(|byte| byte.is_ascii_digit());
    valid.then(|| Host::Dns(name.to_ascii_lowercase()))
}
