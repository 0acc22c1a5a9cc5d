//! `Streams`: raw streams for the cluster's own protocols, bound to one connection each.
//!
//! A small behaviour of our own, because the general one hands all inbound streams of a protocol
//! through one slot, drops those that come together, can't tell connections apart and offers every
//! protocol to everyone. Here each stream comes with its connection, none is dropped unseen, and a
//! stranger's connection offers hello and join only.

use std::collections::VecDeque;
use std::io;
use std::task::{Context, Poll, Waker};

use libp2p::core::transport::PortUse;
use libp2p::core::{Endpoint, Multiaddr};
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler, StreamProtocol,
    THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{PeerId, Stream};
use tokio::sync::oneshot;

use crate::config::ClusterId;
use crate::registry::{Link, Membership};

mod handler;

use handler::{Handler, Lifetime};

/// A protocol of our own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Proto {
    Hello,
    Join,
    Call,
    Raft,
}

impl Proto {
    const FOR_STRANGERS: [Self; 2] = [Self::Hello, Self::Join];
    const FOR_MEMBERS: [Self; 4] = [Self::Hello, Self::Join, Self::Call, Self::Raft];
}

/// Version of everything that members say to each other: the number in every protocol's name. Members of
/// different versions don't understand each other.
pub const WIRE_VERSION: u32 = 2;

/// The wire names of one cluster's protocols.
#[derive(Clone)]
pub(crate) struct ProtoNames {
    call: StreamProtocol,
    raft: StreamProtocol,
}

impl ProtoNames {
    pub(crate) fn new(cluster_id: ClusterId) -> Self {
        let name = |what| {
            StreamProtocol::try_from_owned(format!("/ipfs-kit/{cluster_id}/{what}/{WIRE_VERSION}"))
                .expect("the name starts with a slash")
        };
        Self { call: name("call"), raft: name("raft") }
    }

    pub(crate) fn name(&self, proto: Proto) -> StreamProtocol {
        match proto {
            Proto::Hello => StreamProtocol::new("/ipfs-kit/hello/1"),
            Proto::Join => StreamProtocol::new("/ipfs-kit/join/1"),
            Proto::Call => self.call.clone(),
            Proto::Raft => self.raft.clone(),
        }
    }
}

/// Why a stream could not be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("the peer does not offer the protocol")]
    Unsupported,
    #[error("the peer did not answer in time")]
    TimedOut,
    #[error(transparent)]
    Io(#[from] io::Error),
}

pub(crate) type OpenReply = oneshot::Sender<Result<Stream, OpenError>>;

/// An inbound stream.
#[derive(Debug)]
pub(crate) struct Inbound {
    pub(crate) connection_id: ConnectionId,
    pub(crate) proto: Proto,
    pub(crate) stream: Stream,
}

pub(crate) struct Streams {
    names: ProtoNames,
    membership: Membership,
    wishes: VecDeque<ToSwarm<Inbound, handler::Open>>,
    waker: Option<Waker>,
}

impl Streams {
    pub(crate) fn new(names: ProtoNames, membership: Membership) -> Self {
        Self { names, membership, wishes: VecDeque::new(), waker: None }
    }

    /// Opens a stream on this very connection. If the connection is gone the reply is dropped.
    pub(crate) fn open(
        &mut self,
        peer: PeerId,
        connection_id: ConnectionId,
        proto: Proto,
        reply: OpenReply,
    ) {
        self.open_named(peer, connection_id, self.names.name(proto), reply);
    }

    /// The same, for a protocol by its wire name.
    pub(crate) fn open_named(
        &mut self,
        peer: PeerId,
        connection_id: ConnectionId,
        proto: StreamProtocol,
        reply: OpenReply,
    ) {
        self.push(ToSwarm::NotifyHandler {
            peer_id: peer,
            handler: NotifyHandler::One(connection_id),
            event: handler::Open { proto, reply },
        });
    }

    fn push(&mut self, wish: ToSwarm<Inbound, handler::Open>) {
        self.wishes.push_back(wish);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn handler(&self, peer: &PeerId, direction: Endpoint) -> Handler {
        let link = self.membership.link(peer);
        let offered = match link {
            Some(_) => Proto::FOR_MEMBERS.as_slice(),
            None => Proto::FOR_STRANGERS.as_slice(),
        };
        // Only the end that dialled on demand may judge a connection idle; the other can't know.
        let lifetime = match (link, direction) {
            (Some(Link::OnDemand), Endpoint::Dialer) => Lifetime::WhileUsed,
            _ => Lifetime::UntilClosed,
        };
        let offered = offered.iter().map(|proto| (*proto, self.names.name(*proto))).collect();
        Handler::new(offered, lifetime)
    }
}

impl NetworkBehaviour for Streams {
    type ConnectionHandler = Handler;
    type ToSwarm = Inbound;

    fn handle_established_inbound_connection(
        &mut self,
        _connection_id: ConnectionId,
        peer: PeerId,
        _local_addr: &Multiaddr,
        _remote_addr: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(&peer, Endpoint::Listener))
    }

    fn handle_established_outbound_connection(
        &mut self,
        _connection_id: ConnectionId,
        peer: PeerId,
        _addr: &Multiaddr,
        _role_override: Endpoint,
        _port_use: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(&peer, Endpoint::Dialer))
    }

    fn on_swarm_event(&mut self, _event: FromSwarm<'_>) {}

    fn on_connection_handler_event(
        &mut self,
        _peer: PeerId,
        connection_id: ConnectionId,
        (proto, stream): THandlerOutEvent<Self>,
    ) {
        self.push(ToSwarm::GenerateEvent(Inbound { connection_id, proto, stream }));
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        match self.wishes.pop_front() {
            Some(wish) => Poll::Ready(wish),
            None => {
                self.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}
