//! Connections: from established over hello to ready, and their end.

use std::net::IpAddr;
use std::time::Duration;

use libp2p::PeerId;
use libp2p::core::ConnectedPoint;
use libp2p::swarm::{ConnectionError, ConnectionId};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Driver;
use super::dials::Purpose;
use crate::addr::NetAddr;
use crate::admission::ip_of;
use crate::bulk::Bulk;
use crate::calls::ClassGates;
use crate::error::{ConnectError, HelloError};
use crate::event::{Direction, DownReason, Event, RefusedBy};
use crate::identity::PeerKey;
use crate::lanes::direct::Writer;
use crate::lanes::{Lane, lane_queue, write_lane};
use crate::links::{ConnectedPeer, LaneReader, Opener, PeerLink};
use crate::redial::Retry;
use crate::registry::{Link, MAX_ADDRS_PER_PEER, Registry, Rights};
use crate::streams::Inbound;

/// Streams that may come before the hello's end is known here.
pub(super) const MAX_PARKED: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Member,
    Guest,
}

pub(super) enum State {
    /// The hello is not done. Streams that the other end, further along, has opened wait here.
    Greeting {
        parked: Vec<Inbound>,
        hello: HelloTask,
    },
    Ready,
    /// This node closes it.
    Closing,
    /// It is closed, but its hello has a result that is still to be reported.
    Closed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HelloTask {
    NotStarted,
    Running,
}

/// One established connection.
pub(super) struct Conn {
    pub(super) peer: PeerKey,
    pub(super) peer_id: PeerId,
    pub(super) class: Class,
    pub(super) state: State,
    pub(super) direction: Direction,
    pub(super) addr: Option<NetAddr>,
    pub(super) ip: Option<IpAddr>,
    /// A dial of the connection manager or of [`crate::NetHandle::connect`].
    pub(super) wanted: bool,
    /// Cancelled when the connection ends: ends its stream tasks.
    pub(super) ended: CancellationToken,
    pub(super) deadline: Option<Instant>,
    pub(super) joins: u8,
    pub(super) failed_pings: u8,
    incarnation: u64,
}

/// A member with at least one ready connection.
pub(super) struct Peer {
    /// In the order in which they became ready.
    pub(super) ready: Vec<ConnectionId>,
    pub(super) incarnation: u64,
    /// Bounds on its inbound calls.
    pub(super) gates: ClassGates,
}

impl Driver {
    pub(super) fn on_established(
        &mut self,
        peer_id: PeerId,
        connection_id: ConnectionId,
        endpoint: &ConnectedPoint,
    ) {
        let purpose = self.dials.remove(&connection_id);
        let Ok(peer) = PeerKey::from_peer_id(&peer_id) else {
            // No member has such a key.
            self.swarm.close_connection(connection_id);
            return;
        };
        let (direction, remote) = match endpoint {
            ConnectedPoint::Dialer { address, .. } => (Direction::Outbound, address),
            ConnectedPoint::Listener { send_back_addr, .. } => (Direction::Inbound, send_back_addr),
        };
        let class = match self.membership.contains(&peer_id) {
            true => Class::Member,
            false => Class::Guest,
        };
        let conn = Conn {
            peer,
            peer_id,
            class,
            state: State::Greeting { parked: Vec::new(), hello: HelloTask::NotStarted },
            direction,
            addr: NetAddr::from_multiaddr(remote),
            ip: ip_of(remote),
            wanted: matches!(purpose, Some(Purpose::Keep { .. } | Purpose::Connect { .. })),
            ended: self.tasks.child_token(),
            deadline: None,
            joins: 0,
            failed_pings: 0,
            incarnation: 0,
        };
        self.conns.insert(connection_id, conn);
        let limit_ms = match (class, direction) {
            (Class::Member, _) => self.timing.hello_ms.saturating_mul(2),
            (Class::Guest, Direction::Inbound) => self.limits.join.guest_ms,
            // The join's own limit is the shorter one.
            (Class::Guest, Direction::Outbound) => self.limits.join.guest_ms.saturating_mul(2),
        };
        self.set_deadline(connection_id, limit_ms);
        match purpose {
            Some(Purpose::Probe { done, .. }) => {
                let _ = done.send(Ok(())); // The asker may have gone.
                self.close(connection_id, DownReason::Idle);
                return;
            }
            Some(Purpose::Join(wish)) => self.start_join(connection_id, wish),
            Some(Purpose::Keep { .. } | Purpose::Connect { .. }) | None => {}
        }
        if class == Class::Member && direction == Direction::Outbound {
            self.say_hello(connection_id);
        }
    }

    pub(super) fn on_ready(&mut self, connection_id: ConnectionId, incarnation: u64) {
        let Some(conn) = self.conns.get(&connection_id) else { return };
        let peer = conn.peer;
        // The connections of an older start are dead, whether TCP knows it or not.
        let older: Vec<_> = self
            .conns
            .iter()
            .filter(|(_, other)| other.peer == peer && matches!(other.state, State::Ready))
            .filter(|(_, other)| other.incarnation < incarnation)
            .map(|(id, _)| *id)
            .collect();
        for id in older {
            self.close(id, DownReason::Superseded);
        }
        self.clear_deadline(connection_id);
        let Some(conn) = self.conns.get_mut(&connection_id) else { return };
        conn.incarnation = incarnation;
        let parked = match std::mem::replace(&mut conn.state, State::Ready) {
            State::Greeting { parked, .. } => parked,
            State::Ready | State::Closing | State::Closed => Vec::new(),
        };
        let about = ConnectedPeer { peer, incarnation, addr: conn.addr.clone() };
        let direction = conn.direction;
        match self.peers.get_mut(&peer) {
            Some(known) => known.ready.push(connection_id),
            None => self.on_peer_up(connection_id, about, direction),
        }
        for inbound in parked {
            self.on_inbound(inbound);
        }
    }

    fn on_peer_up(
        &mut self,
        connection_id: ConnectionId,
        about: ConnectedPeer,
        direction: Direction,
    ) {
        let ConnectedPeer { peer, incarnation, addr } = about.clone();
        let opener = Opener { peer, wishes: self.wishes.0.clone() };
        let closed = self.tasks.child_token();
        let (raft, queue) = lane_queue(Lane::Raft, self.limits.raft_lane);
        let calls = ClassGates::new(&self.limits);
        let served = ClassGates::new(&self.limits);
        let bulk = Bulk::new(&self.identity, peer, self.listens_at(&about, direction));
        let (gates, lane_reader) = (served.clone(), LaneReader::default());
        let (writer, ended) = (opener.clone(), closed.clone());
        let link = PeerLink { about, opener, closed, calls, served, bulk, raft, lane_reader };
        let link = self.links.insert(link);
        let (stall, losses) = (self.timing.stall(), self.losses.0.clone());
        self.tasks.spawn(async move {
            let connect = async || Some(Box::new(link.bulk.lane().await?) as Writer);
            write_lane(queue, writer, connect, ended, stall, losses).await;
        });
        let entry = Peer { ready: vec![connection_id], incarnation, gates };
        self.peers.insert(peer, entry);
        self.redial.up(&peer);
        self.set_addrs(&peer, &[]);
        self.tell(Event::PeerUp { peer, incarnation, addr, direction });
        self.resolve_waiters(&peer, Ok(()));
    }

    /// Where a connected member may be dialled once more: first where it was.
    fn listens_at(&self, about: &ConnectedPeer, direction: Direction) -> Vec<NetAddr> {
        let dialled = about.addr.clone().filter(|_| direction == Direction::Outbound);
        let told = self.registry.members.get(&about.peer).map_or(&[][..], |entry| &entry.addrs);
        let told = told.iter().filter(|addr| Some(*addr) != dialled.as_ref()).cloned();
        dialled.iter().cloned().chain(told).take(MAX_ADDRS_PER_PEER).collect()
    }

    fn on_unready(&mut self, peer: PeerKey, connection_id: ConnectionId, reason: DownReason) {
        let Some(known) = self.peers.get_mut(&peer) else { return };
        known.ready.retain(|id| *id != connection_id);
        if known.ready.is_empty() {
            self.peers.remove(&peer);
            self.links.remove(&peer);
            self.redial.down(&peer, Instant::now());
            self.tell(Event::PeerDown { peer, reason });
        }
    }

    /// Closes a connection for a reason of this node.
    pub(super) fn close(&mut self, connection_id: ConnectionId, reason: DownReason) {
        self.clear_deadline(connection_id);
        let Some(conn) = self.conns.get_mut(&connection_id) else { return };
        conn.ended.cancel();
        let (peer, wanted) = (conn.peer, conn.wanted);
        let before = std::mem::replace(&mut conn.state, State::Closing);
        self.swarm.close_connection(connection_id);
        match before {
            State::Ready => self.on_unready(peer, connection_id, reason),
            State::Greeting { .. } if wanted => {
                self.redial.failed(&peer, Retry::Backoff, Instant::now());
                self.resolve_waiters(&peer, Err(ConnectError::Lost));
            }
            State::Greeting { .. } | State::Closing | State::Closed => {}
        }
    }

    pub(super) fn on_closed(
        &mut self,
        connection_id: ConnectionId,
        cause: Option<&ConnectionError>,
    ) {
        self.clear_deadline(connection_id);
        let Some(conn) = self.conns.get_mut(&connection_id) else { return };
        conn.ended.cancel();
        let peer = conn.peer;
        match conn.state {
            State::Greeting { hello: HelloTask::Running, .. } => conn.state = State::Closed,
            State::Greeting { .. } => self.on_lost_greeting(connection_id),
            State::Ready => {
                let reason = down_reason(cause);
                self.forget(connection_id);
                self.on_unready(peer, connection_id, reason);
            }
            State::Closing | State::Closed => self.forget(connection_id),
        }
    }

    pub(super) fn forget(&mut self, connection_id: ConnectionId) {
        self.clear_deadline(connection_id);
        self.conns.remove(&connection_id);
    }

    pub(super) fn set_registry(&mut self, mut registry: Registry) {
        registry.members.remove(&self.local);
        self.membership.replace(&registry.members);
        let changed_class: Vec<_> = self
            .conns
            .iter()
            .filter_map(|(id, conn)| {
                match (conn.class, registry.members.contains_key(&conn.peer)) {
                    (Class::Member, false) => Some(*id),
                    // A stranger that became a member connects anew; a join under way ends first.
                    (Class::Guest, true) if conn.joins == 0 => Some(*id),
                    _ => None,
                }
            })
            .collect();
        let kept = registry
            .members
            .iter()
            .filter(|(_, entry)| entry.link == Link::Keep)
            .map(|(peer, entry)| (*peer, entry.addrs.clone()))
            .collect();
        for id in changed_class {
            self.close(id, DownReason::Removed);
        }
        self.end_lanes_without_right();
        let before = self.registry.members.keys();
        let left: Vec<_> =
            before.filter(|peer| !registry.members.contains_key(peer)).copied().collect();
        for peer in left {
            self.forget_addrs(&peer);
            self.resolve_waiters(&peer, Err(ConnectError::NotRegistered));
        }
        self.registry = registry;
        let now = Instant::now();
        let peers = &self.peers;
        self.redial.set(kept, |peer| peers.contains_key(peer), now);
        self.dial_due(now);
    }

    /// A right that was withdrawn ends the lane that it opened.
    fn end_lanes_without_right(&mut self) {
        for key in self.peers.keys() {
            let rights = self.membership.rights(&key.to_peer_id()).unwrap_or(Rights::NONE);
            if let Some(link) = self.links.get(key)
                && !rights.contains(Lane::Raft.right())
            {
                link.lane_reader.replace();
            }
        }
    }

    pub(super) fn on_deadline(&mut self, connection_id: ConnectionId) {
        let Some(conn) = self.conns.get_mut(&connection_id) else { return };
        conn.deadline = None;
        let silent_member = conn.class == Class::Member
            && matches!(conn.state, State::Greeting { hello: HelloTask::NotStarted, .. });
        match silent_member {
            true => self.on_refused(connection_id, RefusedBy::Them, HelloError::TimedOut),
            false => self.close(connection_id, DownReason::Idle),
        }
    }

    pub(super) fn on_join_ended(&mut self, connection_id: ConnectionId) {
        match self.conns.get_mut(&connection_id) {
            Some(conn) if conn.class == Class::Guest => {
                self.close(connection_id, DownReason::Idle);
            }
            Some(conn) => conn.joins = conn.joins.saturating_sub(1),
            None => {}
        }
    }

    pub(super) fn on_violation(&mut self, connection_id: ConnectionId, detail: String) {
        if let Some(conn) = self.conns.get(&connection_id) {
            tracing::warn!(peer = %conn.peer, %detail, "protocol violation");
            self.close(connection_id, DownReason::ProtocolViolation { detail });
        }
    }

    pub(super) fn on_ping(&mut self, connection_id: ConnectionId, ok: bool) {
        let Some(conn) = self.conns.get_mut(&connection_id) else { return };
        conn.failed_pings = if ok { 0 } else { conn.failed_pings.saturating_add(1) };
        if conn.failed_pings >= 2 {
            self.close(connection_id, DownReason::Unresponsive);
        }
    }

    fn set_deadline(&mut self, connection_id: ConnectionId, limit_ms: u64) {
        let at = Instant::now() + Duration::from_millis(limit_ms);
        if let Some(conn) = self.conns.get_mut(&connection_id) {
            conn.deadline = Some(at);
            self.deadlines.insert((at, connection_id));
        }
    }

    fn clear_deadline(&mut self, connection_id: ConnectionId) {
        let deadline = self.conns.get_mut(&connection_id).and_then(|conn| conn.deadline.take());
        if let Some(at) = deadline {
            self.deadlines.remove(&(at, connection_id));
        }
    }
}

fn down_reason(cause: Option<&ConnectionError>) -> DownReason {
    match cause {
        None => DownReason::ClosedByPeer,
        Some(ConnectionError::KeepAliveTimeout) => DownReason::Idle,
        Some(ConnectionError::IO(error)) => match error.kind() {
            std::io::ErrorKind::UnexpectedEof => DownReason::ClosedByPeer,
            _ => DownReason::Lost { detail: error.to_string() },
        },
    }
}
