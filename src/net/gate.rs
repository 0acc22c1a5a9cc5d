//! `Gated<B>`: a behaviour that exists for members only.
//!
//! On a stranger's connection the wrapped behaviour has a handler that speaks no protocol, and it
//! never learns of the connection. A connection keeps the side of the gate on which it was
//! established; the driver closes those whose peer changes sides.

use std::collections::BTreeMap;
use std::task::{Context, Poll};

use either::Either;
use libp2p::PeerId;
use libp2p::core::transport::PortUse;
use libp2p::core::{Endpoint, Multiaddr};
use libp2p::swarm::behaviour::ConnectionEstablished;
use libp2p::swarm::{
    AddressChange, ConnectionClosed, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour,
    THandler, THandlerInEvent, THandlerOutEvent, ToSwarm, dummy,
};

use crate::registry::Membership;

pub(crate) struct Gated<B> {
    inner: B,
    membership: Membership,
    /// Connections that the wrapped behaviour knows of.
    passed: BTreeMap<ConnectionId, PeerId>,
}

impl<B> Gated<B> {
    pub(crate) fn new(inner: B, membership: Membership) -> Self {
        Self { inner, membership, passed: BTreeMap::new() }
    }

    pub(crate) fn inner_mut(&mut self) -> &mut B {
        &mut self.inner
    }

    /// Connections of `peer` that the wrapped behaviour knows of. The swarm's own count includes
    /// those it does not, and behaviours set a peer up at its first connection only.
    fn passed_of(&self, peer: &PeerId) -> usize {
        self.passed.values().filter(|passed| *passed == peer).count()
    }
}

impl<B: NetworkBehaviour> Gated<B> {
    fn handler(
        &self,
        peer: &PeerId,
        inner: Result<THandler<B>, ConnectionDenied>,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        debug_assert!(self.membership.contains(peer));
        inner.map(Either::Left)
    }

    fn on_established(&mut self, event: ConnectionEstablished<'_>) {
        if !self.passed.contains_key(&event.connection_id) {
            return;
        }
        let other_established = self.passed_of(&event.peer_id).saturating_sub(1);
        self.inner.on_swarm_event(FromSwarm::ConnectionEstablished(ConnectionEstablished {
            other_established,
            ..event
        }));
    }

    fn on_closed(&mut self, event: ConnectionClosed<'_>) {
        if self.passed.remove(&event.connection_id).is_none() {
            return;
        }
        let remaining_established = self.passed_of(&event.peer_id);
        self.inner.on_swarm_event(FromSwarm::ConnectionClosed(ConnectionClosed {
            remaining_established,
            ..event
        }));
    }
}

impl<B: NetworkBehaviour> NetworkBehaviour for Gated<B> {
    type ConnectionHandler = Either<THandler<B>, dummy::ConnectionHandler>;
    type ToSwarm = B::ToSwarm;

    fn handle_pending_inbound_connection(
        &mut self,
        connection_id: ConnectionId,
        local_addr: &Multiaddr,
        remote_addr: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.inner.handle_pending_inbound_connection(connection_id, local_addr, remote_addr)
    }

    fn handle_established_inbound_connection(
        &mut self,
        connection_id: ConnectionId,
        peer: PeerId,
        local_addr: &Multiaddr,
        remote_addr: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        if !self.membership.contains(&peer) {
            return Ok(Either::Right(dummy::ConnectionHandler));
        }
        let inner = self.inner.handle_established_inbound_connection(
            connection_id,
            peer,
            local_addr,
            remote_addr,
        );
        let handler = self.handler(&peer, inner)?;
        self.passed.insert(connection_id, peer);
        Ok(handler)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        connection_id: ConnectionId,
        maybe_peer: Option<PeerId>,
        addresses: &[Multiaddr],
        effective_role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        self.inner.handle_pending_outbound_connection(
            connection_id,
            maybe_peer,
            addresses,
            effective_role,
        )
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection_id: ConnectionId,
        peer: PeerId,
        addr: &Multiaddr,
        role_override: Endpoint,
        port_use: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        if !self.membership.contains(&peer) {
            return Ok(Either::Right(dummy::ConnectionHandler));
        }
        let inner = self.inner.handle_established_outbound_connection(
            connection_id,
            peer,
            addr,
            role_override,
            port_use,
        );
        let handler = self.handler(&peer, inner)?;
        self.passed.insert(connection_id, peer);
        Ok(handler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(event) => self.on_established(event),
            FromSwarm::ConnectionClosed(event) => self.on_closed(event),
            FromSwarm::AddressChange(AddressChange { connection_id, .. })
                if !self.passed.contains_key(&connection_id) => {}
            // A connection that another behaviour refused after this one made its handler.
            FromSwarm::DialFailure(failure) => {
                self.passed.remove(&failure.connection_id);
                self.inner.on_swarm_event(event);
            }
            FromSwarm::ListenFailure(failure) => {
                self.passed.remove(&failure.connection_id);
                self.inner.on_swarm_event(event);
            }
            other => self.inner.on_swarm_event(other),
        }
    }

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        connection_id: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        match event {
            Either::Left(event) => {
                self.inner.on_connection_handler_event(peer, connection_id, event);
            }
            Either::Right(never) => match never {},
        }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.inner.poll(cx).map(|wish| wish.map_in(Either::Left))
    }
}
