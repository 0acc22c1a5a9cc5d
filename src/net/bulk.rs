//! Bulk connections: calls with large answers have TLS 1.3 connections of their own, beside the swarm.
//!
//! A multiplexer's small frames cost more than the cipher, so that one plain TLS connection carries about
//! three times what a stream of the swarm does, and what is large does not stand in the way of what is
//! urgent. They come in on the swarm's own ports: a TLS hello and the swarm's first message differ in their
//! first byte. Both ends prove their node's key ([`tls`]), and only a member that is connected to the swarm
//! just now is served or called: the end of that connection ends these.
//!
//! A connection carries one call at a time and stays for the next one. Where none can be made, as behind
//! an address translation, calls go over a stream of the swarm as all others do.

use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_rustls::rustls::pki_types::ServerName;
use futures_rustls::{TlsAcceptor, TlsConnector, client, server};
use libp2p::core::ConnectedPoint;
use libp2p::tcp::tokio::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::addr::{Host, NetAddr};
use crate::calls::{self, CallServer};
use crate::identity::PeerKey;
use crate::lanes::{Lane, LaneInlet, read_lane};
use crate::links::{Links, PeerLink};
use crate::registry::{Membership, Rights};
use crate::tasks::Tasks;

pub(crate) mod tls;

/// The first byte of a TLS connection (RFC 8446, 5.1: a record of type handshake). The swarm's starts with
/// the length of `/multistream/1.0.0`.
const TLS_FIRST_BYTE: u8 = 22;
/// Connections that are still being set up, over all peers.
const HANDSHAKES_MAX: usize = 64;
/// Inbound connections of one peer.
const INBOUND_PER_PEER_MAX: usize = 16;
/// Connections to one peer that wait for their next call.
const IDLE_MAX: usize = 8;
/// How long a connection is used again; less than the other end keeps it.
const REUSE_WITHIN: Duration = Duration::from_secs(20);
/// How long setting one up may take; a firewall that swallows everything must not cost more.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// After a failure streams of the swarm are used for so long, doubled with each further failure.
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(60);

type Outbound = client::TlsStream<TcpStream>;

/// Takes bulk connections in.
pub(crate) struct BulkServer {
    acceptor: TlsAcceptor,
    identity: Arc<tls::Identity>,
    lanes: LaneServer,
    links: Links,
    calls: Arc<CallServer>,
    tasks: Tasks,
    handshakes: Arc<Semaphore>,
}

impl BulkServer {
    pub(crate) fn new(
        identity: Arc<tls::Identity>,
        lanes: LaneServer,
        links: Links,
        calls: Arc<CallServer>,
        tasks: Tasks,
    ) -> Self {
        Self {
            acceptor: identity.server().into(),
            identity,
            lanes,
            links,
            calls,
            tasks,
            handshakes: Arc::new(Semaphore::new(HANDSHAKES_MAX)),
        }
    }

    /// Takes an accepted connection out of the swarm's hands if it starts as TLS does.
    ///
    /// # Errors
    /// It was taken, or it broke.
    pub(crate) async fn divert(
        self: Arc<Self>,
        stream: TcpStream,
        endpoint: ConnectedPoint,
    ) -> io::Result<TcpStream> {
        if endpoint.is_dialer() {
            return Ok(stream);
        }
        let mut first = [0];
        let seen = stream.0.peek(&mut first).await?;
        if seen == 0 || first[0] != TLS_FIRST_BYTE {
            return Ok(stream);
        }
        self.take(stream);
        Err(io::Error::other("it is a bulk connection"))
    }

    fn take(self: Arc<Self>, stream: TcpStream) {
        let Ok(place) = self.handshakes.clone().try_acquire_owned() else {
            tracing::debug!("too many bulk connections are being set up");
            return;
        };
        let tasks = self.tasks.clone();
        tasks.spawn(async move {
            let greeted = timeout(CONNECT_WITHIN, self.greet(stream)).await;
            drop(place);
            match greeted {
                Ok(Ok((stream, link))) if self.identity.is_raft(stream.get_ref().1) => {
                    self.lanes.clone().read_where_needed(stream, link).await;
                }
                Ok(Ok((stream, link))) => self.serve(stream, &link).await,
                Ok(Err(error)) => tracing::debug!(%error, "bulk connection refused"),
                Err(_) => tracing::debug!("a bulk connection was not set up in time"),
            }
        });
    }

    async fn greet(
        &self,
        stream: TcpStream,
    ) -> io::Result<(server::TlsStream<TcpStream>, Arc<PeerLink>)> {
        let stream = self.acceptor.accept(stream).await?;
        let peer = tls::peer_of(stream.get_ref().1)?;
        let link = self.links.get(&peer);
        let link = link.ok_or_else(|| io::Error::other(format!("{peer} is not connected")))?;
        Ok((stream, link))
    }

    async fn serve(&self, stream: server::TlsStream<TcpStream>, link: &PeerLink) {
        let Ok(_place) = link.bulk.inbound.try_acquire() else {
            tracing::debug!(peer = %link.about.peer, "too many bulk connections");
            return;
        };
        let from = link.about.peer;
        let serve = calls::serve_all(&self.calls, &link.served, from, stream);
        if let Some(Err(error)) = link.closed.run_until_cancelled(serve).await {
            tracing::debug!(%from, %error, "bulk connection broke");
        }
    }
}

/// Reads Raft lanes that have a connection of their own.
#[derive(Clone)]
pub(crate) struct LaneServer {
    pub(crate) inlet: LaneInlet,
    pub(crate) membership: Membership,
    pub(crate) stall: Duration,
}

impl LaneServer {
    async fn read_where_needed(
        self,
        mut stream: server::TlsStream<TcpStream>,
        link: Arc<PeerLink>,
    ) {
        let Some(runtime) = self.inlet.sink.runtime().cloned() else {
            return self.read(stream, &link).await;
        };
        let reading = runtime.spawn(async move {
            match settle(&mut stream) {
                Ok(()) => self.read(stream, &link).await,
                Err(error) => tracing::warn!(%error, "a lane's connection can't be read"),
            }
        });
        if let Err(error) = AbortOnDropHandle::new(reading).await
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
    }

    async fn read(&self, stream: server::TlsStream<TcpStream>, link: &PeerLink) {
        let from = link.about.peer;
        // Before the look at the rights: one that is withdrawn after it ends this turn.
        let turn = link.lane_reader.replace();
        let rights = self.membership.rights(&from.to_peer_id()).unwrap_or(Rights::NONE);
        if !rights.contains(Lane::Raft.right()) {
            tracing::warn!(%from, "lane refused, the member lacks the right");
            return;
        }
        let read = read_lane(self.inlet.clone(), from, stream, self.stall);
        let read = link.lane_reader.read(turn, read);
        if let Some(Some(Err(error))) = link.closed.run_until_cancelled(read).await {
            tracing::debug!(%from, %error, "lane broke");
        }
    }
}

/// Lets the runtime that calls this watch the connection; another one did.
fn settle(stream: &mut server::TlsStream<TcpStream>) -> io::Result<()> {
    let (socket, _) = stream.get_mut();
    let again = std::net::TcpStream::from(socket.0.as_fd().try_clone_to_owned()?);
    *socket = TcpStream(tokio::net::TcpStream::from_std(again)?);
    Ok(())
}

/// The bulk connections of one connected member.
pub(crate) struct Bulk {
    peer: PeerKey,
    connector: TlsConnector,
    raft_connector: TlsConnector,
    /// Where it may listen, best first.
    addrs: Vec<NetAddr>,
    idle: Mutex<Vec<(Outbound, Instant)>>,
    /// When to try again after failures, and how long to wait after the next one.
    retry: Mutex<Option<(Instant, Duration)>>,
    inbound: Semaphore,
}

impl Bulk {
    pub(crate) fn new(identity: &tls::Identity, peer: PeerKey, addrs: Vec<NetAddr>) -> Self {
        Self {
            peer,
            connector: identity.client(peer).into(),
            raft_connector: identity.raft_client(peer).into(),
            addrs,
            idle: Mutex::default(),
            retry: Mutex::default(),
            inbound: Semaphore::new(INBOUND_PER_PEER_MAX),
        }
    }

    /// A connection for one call; `None` where none can be made just now.
    pub(crate) async fn connection(&self) -> Option<Outbound> {
        if let Some(stream) = self.take_idle() {
            return Some(stream);
        }
        let retry = *self.retry.lock().unwrap_or_else(PoisonError::into_inner);
        if retry.is_some_and(|(at, _)| Instant::now() < at) {
            return None;
        }
        if let Some(stream) = self.connect(&self.connector).await {
            *self.retry.lock().unwrap_or_else(PoisonError::into_inner) = None;
            return Some(stream);
        }
        let wait = retry.map_or(RETRY_FIRST, |(_, wait)| wait);
        let next = (wait * 2).min(RETRY_MAX);
        *self.retry.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((Instant::now() + wait, next));
        None
    }

    /// A connection for the Raft lane; `None` where none can be made just now.
    pub(crate) async fn lane(&self) -> Option<Outbound> {
        self.connect(&self.raft_connector).await
    }

    async fn connect(&self, connector: &TlsConnector) -> Option<Outbound> {
        for addr in &self.addrs {
            let connected = timeout(CONNECT_WITHIN, dial(connector, addr)).await;
            let error = match connected {
                Ok(Ok(stream)) => return Some(stream),
                Ok(Err(error)) => error,
                Err(_) => io::ErrorKind::TimedOut.into(),
            };
            tracing::debug!(peer = %self.peer, %addr, %error, "no connection beside the swarm");
        }
        None
    }

    #[cfg(test)]
    pub(crate) fn idle_count(&self) -> usize {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Keeps a connection whose call was answered for the next one.
    pub(crate) fn give_back(&self, stream: Outbound) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        idle.retain(|(_, since)| now.duration_since(*since) < REUSE_WITHIN);
        if idle.len() < IDLE_MAX {
            idle.push((stream, now));
        }
    }

    fn take_idle(&self) -> Option<Outbound> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        idle.retain(|(_, since)| now.duration_since(*since) < REUSE_WITHIN);
        idle.pop().map(|(stream, _)| stream)
    }
}

async fn dial(connector: &TlsConnector, addr: &NetAddr) -> io::Result<Outbound> {
    let stream = match addr.host() {
        Host::Ip4(ip) => tokio::net::TcpStream::connect((*ip, addr.port())).await?,
        Host::Ip6(ip) => tokio::net::TcpStream::connect((*ip, addr.port())).await?,
        Host::Dns(name) => tokio::net::TcpStream::connect((name.as_str(), addr.port())).await?,
    };
    stream.set_nodelay(true)?;
    // The name is not sent; the peer is known by its key.
    let name = ServerName::try_from("member").expect("it is a valid name");
    connector.connect(name, TcpStream(stream)).await
}
