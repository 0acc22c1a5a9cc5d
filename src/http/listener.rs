//! Where the API listens: a loopback address or a unix socket.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::config::address::Host;
use crate::config::{ApiAddress, HostPort};

/// Pause after a failed accept, as when file descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Whether the API may be reached from other machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposure {
    /// Loopback addresses and unix sockets only.
    Local,
    /// Any address: the operator has said so, and the token is all that protects it.
    Anywhere,
}

/// Why the API does not listen. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody else has the address; a retry helps when it is gone.
    #[error("{address} is in use by another program")]
    InUse {
        /// The address.
        address: ApiAddress,
    },
    /// The address leads out of this machine.
    #[error("{address} can be reached from other machines, and api.expose is not set")]
    Exposed {
        /// The address.
        address: ApiAddress,
    },
    /// The system refuses.
    #[error("cannot listen on {address}")]
    Refused {
        /// The address.
        address: ApiAddress,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A bound listener.
pub struct Listener {
    socket: Socket,
    address: ApiAddress,
}

enum Socket {
    Tcp(TcpListener),
    Unix { listener: UnixListener, path: PathBuf },
}

impl Listener {
    /// Binds. Port 0 lets the kernel choose; a unix socket that nobody serves any more is replaced.
    pub async fn bind(address: &ApiAddress, exposure: Exposure) -> Result<Self, BindError> {
        let socket = match address {
            ApiAddress::Tcp(host_port) => bind_tcp(address, host_port, exposure).await?,
            ApiAddress::Unix(path) => bind_unix(address, path).await?,
        };
        let address = match &socket {
            Socket::Unix { .. } => address.clone(),
            Socket::Tcp(listener) => {
                let bound = listener.local_addr().map_err(|error| refused(address, error))?;
                ApiAddress::Tcp(HostPort { host: Host::Ip(bound.ip()), port: bound.port() })
            }
        };
        Ok(Self { socket, address })
    }

    /// Where it listens, with the port that the kernel chose.
    pub fn address(&self) -> &ApiAddress {
        &self.address
    }

    /// The next connection. Failures are waited out: they are about others, or about a shortage.
    pub(super) async fn accept(&mut self) -> Connection {
        loop {
            let accepted = match &self.socket {
                Socket::Tcp(listener) => listener.accept().await.map(|(stream, _)| {
                    // Answers are small and written at once; waiting for more only delays them.
                    let _ = stream.set_nodelay(true);
                    Connection::Tcp(stream)
                }),
                Socket::Unix { listener, .. } => {
                    listener.accept().await.map(|(stream, _)| Connection::Unix(stream))
                }
            };
            match accepted {
                Ok(connection) => return connection,
                Err(error) => {
                    tracing::warn!(%error, "the API could not accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// A socket file whose listener is gone would look like a running node.
impl Drop for Listener {
    fn drop(&mut self) {
        if let Socket::Unix { path, .. } = &self.socket {
            // It may have been removed with its folder already; a stale one is replaced at the next bind.
            let _ = std::fs::remove_file(path);
        }
    }
}

async fn bind_tcp(
    address: &ApiAddress,
    host_port: &HostPort,
    exposure: Exposure,
) -> Result<Socket, BindError> {
    let resolved: Vec<SocketAddr> = match &host_port.host {
        Host::Ip(ip) => vec![SocketAddr::new(*ip, host_port.port)],
        Host::Dns(name) => tokio::net::lookup_host((name.as_str(), host_port.port))
            .await
            .map_err(|error| refused(address, error))?
            .collect(),
    };
    let leads_out = resolved.iter().any(|resolved| !resolved.ip().is_loopback());
    if leads_out && exposure == Exposure::Local {
        return Err(BindError::Exposed { address: address.clone() });
    }
    match TcpListener::bind(&resolved[..]).await {
        Ok(listener) => Ok(Socket::Tcp(listener)),
        Err(error) => Err(refused(address, error)),
    }
}

async fn bind_unix(address: &ApiAddress, path: &Path) -> Result<Socket, BindError> {
    let is_socket = path.symlink_metadata().is_ok_and(|metadata| metadata.file_type().is_socket());
    if is_socket {
        if UnixStream::connect(path).await.is_ok() {
            return Err(BindError::InUse { address: address.clone() });
        }
        std::fs::remove_file(path).map_err(|error| refused(address, error))?;
    }
    let listener = UnixListener::bind(path).map_err(|error| refused(address, error))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
        .map_err(|error| refused(address, error))?;
    Ok(Socket::Unix { listener, path: path.to_owned() })
}

fn refused(address: &ApiAddress, source: io::Error) -> BindError {
    let address = address.clone();
    match source.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse { address },
        _ => BindError::Refused { address, source },
    }
}

/// An accepted connection.
pub(super) enum Connection {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Calls the method on whichever stream it is.
macro_rules! on_stream {
    ($self:ident, $method:ident($($argument:expr),*)) => {
        match $self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).$method($($argument),*),
            Self::Unix(stream) => Pin::new(stream).$method($($argument),*),
        }
    };
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        on_stream!(self, poll_read(context, buffer))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        on_stream!(self, poll_write(context, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        on_stream!(self, poll_write_vectored(context, slices))
    }

    /// Both are; a writer that did not know would copy everything into one buffer first.
    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, poll_shutdown(context))
    }
}

#[cfg(test)]
mod tests;
