//! `Admission`: which connections may exist at all.
//!
//! Only the driver dials: a dial that another behaviour wishes for is refused. Strangers are
//! bounded in number, in total and by address, both while they connect and afterwards; members
//! are bounded by the connection limits alone, so that strangers can't take their places.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::task::{Context, Poll};

use libp2p::PeerId;
use libp2p::core::transport::PortUse;
use libp2p::core::{Endpoint, Multiaddr};
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm, dummy,
};

use crate::config::NetLimits;
use crate::rate::Origin;
use crate::registry::Membership;

/// Who a dial of this node may end at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DialTo {
    /// A member only.
    Member,
    /// Anyone: a join or a probe.
    Anyone,
}

/// Why a connection was refused by this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("only the connection manager dials")]
    NotOurDial,
    #[error("the peer is not in the registry")]
    NotRegistered,
    #[error("too many strangers are connected")]
    TooManyGuests,
    #[error("too many strangers are connected from this address")]
    TooManyGuestsOfAddress,
    #[error("too many connections from this address are being set up")]
    TooManyPendingOfAddress,
}

pub(crate) struct Admission {
    membership: Membership,
    guests_max: usize,
    guests_per_ip_max: usize,
    pending_per_ip_max: usize,
    dials: BTreeMap<ConnectionId, DialTo>,
    pending: BTreeMap<ConnectionId, Origin>,
    guests: BTreeMap<ConnectionId, Origin>,
}

impl Admission {
    pub(crate) fn new(membership: Membership, limits: &NetLimits) -> Self {
        Self {
            membership,
            guests_max: limits.join.guests,
            guests_per_ip_max: limits.join.guests_per_ip,
            pending_per_ip_max: limits.pending_per_ip,
            dials: BTreeMap::new(),
            pending: BTreeMap::new(),
            guests: BTreeMap::new(),
        }
    }

    /// Announces a dial of the driver.
    pub(crate) fn expect_dial(&mut self, connection_id: ConnectionId, to: DialTo) {
        self.dials.insert(connection_id, to);
    }

    fn admit_guest(
        &mut self,
        connection_id: ConnectionId,
        remote_addr: &Multiaddr,
    ) -> Result<(), Refused> {
        if self.guests.len() >= self.guests_max {
            return Err(Refused::TooManyGuests);
        }
        let Some(origin) = ip_of(remote_addr).map(Origin::from) else { return Ok(()) };
        if count(&self.guests, origin) >= self.guests_per_ip_max {
            return Err(Refused::TooManyGuestsOfAddress);
        }
        self.guests.insert(connection_id, origin);
        Ok(())
    }

    fn forget(&mut self, connection_id: &ConnectionId) {
        self.dials.remove(connection_id);
        self.pending.remove(connection_id);
        self.guests.remove(connection_id);
    }
}

fn count(origins: &BTreeMap<ConnectionId, Origin>, origin: Origin) -> usize {
    origins.values().filter(|other| **other == origin).count()
}

/// The IP address at the start of a multiaddr.
pub(crate) fn ip_of(addr: &Multiaddr) -> Option<IpAddr> {
    match addr.iter().next()? {
        Protocol::Ip4(ip) => Some(IpAddr::V4(ip)),
        Protocol::Ip6(ip) => Some(IpAddr::V6(ip)),
        _ => None,
    }
}

impl NetworkBehaviour for Admission {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        connection_id: ConnectionId,
        _local_addr: &Multiaddr,
        remote_addr: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        let Some(origin) = ip_of(remote_addr).map(Origin::from) else { return Ok(()) };
        if count(&self.pending, origin) >= self.pending_per_ip_max {
            return Err(ConnectionDenied::new(Refused::TooManyPendingOfAddress));
        }
        self.pending.insert(connection_id, origin);
        Ok(())
    }

    fn handle_established_inbound_connection(
        &mut self,
        connection_id: ConnectionId,
        peer: PeerId,
        _local_addr: &Multiaddr,
        remote_addr: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.pending.remove(&connection_id);
        if !self.membership.contains(&peer) {
            self.admit_guest(connection_id, remote_addr).map_err(ConnectionDenied::new)?;
        }
        Ok(dummy::ConnectionHandler)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        connection_id: ConnectionId,
        _maybe_peer: Option<PeerId>,
        _addresses: &[Multiaddr],
        _effective_role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        match self.dials.contains_key(&connection_id) {
            true => Ok(Vec::new()),
            false => Err(ConnectionDenied::new(Refused::NotOurDial)),
        }
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection_id: ConnectionId,
        peer: PeerId,
        _addr: &Multiaddr,
        _role_override: Endpoint,
        _port_use: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        match self.dials.remove(&connection_id) {
            Some(DialTo::Anyone) => Ok(dummy::ConnectionHandler),
            Some(DialTo::Member) if self.membership.contains(&peer) => Ok(dummy::ConnectionHandler),
            Some(DialTo::Member) => Err(ConnectionDenied::new(Refused::NotRegistered)),
            None => Err(ConnectionDenied::new(Refused::NotOurDial)),
        }
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionClosed(closed) => self.forget(&closed.connection_id),
            FromSwarm::DialFailure(failure) => self.forget(&failure.connection_id),
            FromSwarm::ListenFailure(failure) => self.forget(&failure.connection_id),
            _ => {}
        }
    }

    fn on_connection_handler_event(
        &mut self,
        _peer: PeerId,
        _connection_id: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Infallible, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}
