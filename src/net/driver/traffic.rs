//! What flows over connections: swarm events, inbound streams, gossip, addresses.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use libp2p::swarm::SwarmEvent;
use libp2p::{PeerId, identify, kad};
use libp2p_gossipsub as gossipsub;

use super::conns::{Class, Conn, MAX_PARKED, State};
use super::{Driver, Report};
use crate::addr::NetAddr;
use crate::behaviour::ClusterBehaviourEvent;
use crate::calls;
use crate::config::MAX_JOIN_BYTES;
use crate::error::{NetFailure, PublishError};
use crate::frame::FrameError;
use crate::gossip::{self, GossipMessage, Judged, Topic, Validation, Verdict, bump};
use crate::identity::PeerKey;
use crate::join;
use crate::lanes::{Lane, read_lane};
use crate::links::OpenWish;
use crate::registry::{MAX_ADDRS_PER_PEER, Rights};
use crate::streams::{Inbound, Proto};

const _: () = assert!(MAX_JOIN_BYTES <= 64 << 10, "a stranger may send few bytes only");

impl Driver {
    pub(super) fn on_swarm(&mut self, event: SwarmEvent<ClusterBehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(event) => self.on_behaviour(event),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.on_established(peer_id, connection_id, &endpoint);
            }
            SwarmEvent::ConnectionClosed { connection_id, cause, .. } => {
                self.on_closed(connection_id, cause.as_ref());
            }
            SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => {
                self.on_dial_failed(connection_id, &error);
            }
            SwarmEvent::IncomingConnectionError { send_back_addr, error, .. } => {
                tracing::debug!(from = %send_back_addr, %error, "inbound connection failed");
            }
            SwarmEvent::NewListenAddr { .. } | SwarmEvent::ExpiredListenAddr { .. } => {
                self.set_bound();
            }
            SwarmEvent::ListenerClosed { addresses, reason, .. } => {
                let addrs = addresses.iter().filter_map(NetAddr::from_multiaddr).collect();
                self.failure = Some(NetFailure::ListenerClosed { addrs, source: reason.err() });
            }
            SwarmEvent::ListenerError { error, .. } => {
                tracing::warn!(%error, "accepting a connection failed");
            }
            _ => {}
        }
    }

    fn on_behaviour(&mut self, event: ClusterBehaviourEvent) {
        match event {
            ClusterBehaviourEvent::Streams(inbound) => self.on_inbound(inbound),
            ClusterBehaviourEvent::Ping(ping) => {
                self.on_ping(ping.connection, ping.result.is_ok());
            }
            ClusterBehaviourEvent::Identify(identify::Event::Received {
                connection_id,
                info,
                ..
            }) => {
                let told = info.listen_addrs.iter().filter_map(NetAddr::from_multiaddr);
                let told: Vec<_> = told.take(MAX_ADDRS_PER_PEER).collect();
                if let Some(peer) = self.conns.get(&connection_id).map(|conn| conn.peer) {
                    self.set_addrs(&peer, &told);
                }
            }
            ClusterBehaviourEvent::Kad(kad::Event::OutboundQueryProgressed {
                result: kad::QueryResult::GetClosestPeers(result),
                ..
            }) => self.on_looked_up(result),
            ClusterBehaviourEvent::Gossip(gossipsub::Event::Message {
                propagation_source,
                message_id,
                message,
            }) => self.on_gossip(propagation_source, message_id, message),
            _ => {}
        }
    }

    /// Opens a stream over the peer's best connection.
    pub(super) fn on_wish(&mut self, wish: OpenWish) {
        let Some(connection_id) = self.best_connection(&wish.peer) else {
            return; // The dropped reply says that the peer is gone.
        };
        let peer_id = wish.peer.to_peer_id();
        self.swarm.behaviour_mut().streams.open(peer_id, connection_id, wish.proto, wish.reply);
    }

    /// Where two members have dialled each other at once, both prefer the connection that the
    /// one with the smaller key dialled.
    fn best_connection(&self, peer: &PeerKey) -> Option<libp2p::swarm::ConnectionId> {
        use crate::event::Direction;
        let ready = &self.peers.get(peer)?.ready;
        let preferred = match self.local < *peer {
            true => Direction::Outbound,
            false => Direction::Inbound,
        };
        let is_preferred = |id: &&libp2p::swarm::ConnectionId| {
            self.conns.get(id).is_some_and(|conn| conn.direction == preferred)
        };
        ready.iter().find(is_preferred).or_else(|| ready.first()).copied()
    }

    pub(super) fn on_inbound(&mut self, inbound: Inbound) {
        let Some(conn) = self.conns.get_mut(&inbound.connection_id) else { return };
        match (inbound.proto, &mut conn.state) {
            (_, State::Closing | State::Closed) => {}
            (Proto::Hello, _) => self.hear_hello(inbound),
            (Proto::Join, _) => self.answer_join(inbound),
            (_, State::Greeting { parked, .. }) => match parked.len() < MAX_PARKED {
                true => parked.push(inbound),
                false => tracing::warn!(peer = %conn.peer, "too many streams before the hello"),
            },
            (Proto::Call, State::Ready) => self.serve_call(inbound),
            (Proto::Raft, State::Ready) => self.serve_lane(Lane::Raft, inbound),
        }
    }

    fn answer_join(&mut self, inbound: Inbound) {
        let connection_id = inbound.connection_id;
        let Some(conn) = self.conns.get_mut(&connection_id) else { return };
        if conn.joins > 0 {
            return; // One at a time; the stream is reset by being dropped.
        }
        conn.joins += 1;
        let (from, ip) = (conn.peer, conn.ip);
        let (server, reports) = (self.inlets.joins.clone(), self.reports.0.clone());
        self.tasks.spawn(async move {
            if let Err(error) = join::answer(server, from, ip, inbound.stream).await {
                tracing::debug!(%from, %error, "join request broke");
            }
            drop(reports.send(Report::JoinEnded { connection_id }).await);
        });
    }

    fn serve_call(&mut self, inbound: Inbound) {
        let Some((conn, gates)) = self.ready(&inbound, |peer| peer.gates.clone()) else { return };
        let (from, ended) = (conn.peer, conn.ended.clone());
        let (server, reports) = (self.inlets.calls.clone(), self.reports.0.clone());
        self.tasks.spawn(async move {
            let serve = calls::serve(server, gates, from, inbound.stream);
            match ended.run_until_cancelled_owned(serve).await {
                Some(Err(FrameError::TooLarge { len_bytes, .. })) => {
                    let detail = format!("a request of {len_bytes} bytes");
                    let connection_id = inbound.connection_id;
                    drop(reports.send(Report::Violation { connection_id, detail }).await);
                }
                Some(Err(error)) => tracing::debug!(%from, %error, "inbound call broke"),
                Some(Ok(())) | None => {}
            }
        });
    }

    fn serve_lane(&mut self, lane: Lane, inbound: Inbound) {
        let Some((conn, ())) = self.ready(&inbound, |_| ()) else { return };
        let (from, ended) = (conn.peer, conn.ended.clone());
        let rights = self.membership.rights(&conn.peer_id).unwrap_or(Rights::NONE);
        if !rights.contains(lane.right()) {
            tracing::warn!(%from, ?lane, "lane refused, the member lacks the right");
            return;
        }
        let Some(link) = self.links.get(&from) else { return };
        let turn = link.lane_reader.replace();
        let inlet = match lane {
            Lane::Raft => self.inlets.raft.clone(),
        };
        let (stall, reports) = (self.timing.stall(), self.reports.0.clone());
        self.tasks.spawn(async move {
            let connection_id = inbound.connection_id;
            let read = link.lane_reader.read(turn, read_lane(inlet, from, inbound.stream, stall));
            match ended.run_until_cancelled(read).await.flatten() {
                Some(Err(FrameError::TooLarge { len_bytes, .. })) => {
                    let detail = format!("a lane message of {len_bytes} bytes");
                    drop(reports.send(Report::Violation { connection_id, detail }).await);
                }
                Some(Err(error)) => tracing::debug!(%from, %error, "lane broke"),
                Some(Ok(())) | None => {}
            }
        });
    }

    /// The connection of a stream, and what `pick` takes of its ready peer.
    fn ready<T>(
        &self,
        inbound: &Inbound,
        pick: impl Fn(&super::conns::Peer) -> T,
    ) -> Option<(&Conn, T)> {
        let conn = self.conns.get(&inbound.connection_id)?;
        debug_assert!(conn.class == Class::Member);
        Some((conn, pick(self.peers.get(&conn.peer)?)))
    }

    fn on_gossip(&mut self, source: PeerId, id: gossipsub::MessageId, message: gossipsub::Message) {
        bump(&self.counters.received);
        let Some((topic, author)) = self.may_author(&message) else {
            bump(&self.counters.ignored);
            self.pass_on(&id, &source, Verdict::Ignore);
            return;
        };
        let inlet = self.inlets.gossip.clone();
        let places = (inlet.try_reserve(), self.verdicts.0.clone().try_reserve_owned());
        let (Ok(queue), Ok(place)) = places else {
            bump(&self.counters.overflowed);
            self.pass_on(&id, &source, Verdict::Ignore);
            return;
        };
        let bytes = Bytes::from(message.data);
        let validate = Validation::new(id, source, place);
        queue.send(GossipMessage { topic, author, bytes, validate });
    }

    /// Topic and author, if the author may write there.
    fn may_author(&self, message: &gossipsub::Message) -> Option<(Topic, PeerKey)> {
        let topic = self.topics.of(&message.topic)?;
        let author = message.source?;
        let rights = self.membership.rights(&author)?;
        let author = PeerKey::from_peer_id(&author).ok()?;
        rights.contains(Rights::to_author(topic)).then_some((topic, author))
    }

    pub(super) fn on_judged(&mut self, judged: Judged) {
        match judged.verdict {
            Verdict::Accept => {}
            Verdict::Reject => bump(&self.counters.rejected),
            Verdict::Ignore => bump(&self.counters.ignored),
        }
        self.pass_on(&judged.id, &judged.source, judged.verdict);
    }

    fn pass_on(&mut self, id: &gossipsub::MessageId, source: &PeerId, verdict: Verdict) {
        if let Some(gossip) = self.swarm.behaviour_mut().gossip.inner_mut().as_mut() {
            gossip.report_message_validation_result(id, source, verdict.into());
        }
    }

    pub(super) fn publish(&mut self, topic: Topic, bytes: &[u8]) -> Result<(), PublishError> {
        let hash = self.topics.hash(topic);
        let gossip = self.swarm.behaviour_mut().gossip.inner_mut().as_mut();
        let gossip = gossip.ok_or(PublishError::Disabled)?;
        gossip
            .publish(hash, bytes.to_vec())
            .map_err(|error| gossip::publish_error(error, bytes.len()))?;
        bump(&self.counters.published);
        self.counters.published_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    pub(super) fn gossip_peers(&mut self, topic: Topic) -> usize {
        let hash = self.topics.hash(topic);
        match self.swarm.behaviour_mut().gossip.inner_mut().as_mut() {
            Some(gossip) => {
                gossip.all_peers().filter(|(_, topics)| topics.contains(&&hash)).count()
            }
            None => 0,
        }
    }

    /// Tells the DHT where a connected member is: where the registry says, and where it says
    /// itself. Replaces what was told before, so that nobody can fill the table.
    pub(super) fn set_addrs(&mut self, peer: &PeerKey, told: &[NetAddr]) {
        let Some(entry) = self.registry.members.get(peer) else { return };
        let registered = entry.addrs.iter().take(MAX_ADDRS_PER_PEER);
        let peer_id = peer.to_peer_id();
        let kad = self.swarm.behaviour_mut().kad.inner_mut();
        kad.remove_peer(&peer_id);
        for addr in registered.chain(told) {
            kad.add_address(&peer_id, addr.to_multiaddr());
        }
    }

    pub(super) fn forget_addrs(&mut self, peer: &PeerKey) {
        self.swarm.behaviour_mut().kad.inner_mut().remove_peer(&peer.to_peer_id());
    }

    /// Asks connected members where a member is that none of its known addresses reaches.
    pub(super) fn look_up(&mut self, peer: &PeerKey) {
        self.swarm.behaviour_mut().kad.inner_mut().get_closest_peers(peer.to_peer_id());
    }

    fn on_looked_up(&mut self, result: kad::GetClosestPeersResult) {
        let (key, found) = match result {
            Ok(kad::GetClosestPeersOk { key, peers }) => (key, peers),
            Err(kad::GetClosestPeersError::Timeout { key, peers }) => (key, peers),
        };
        let Ok(sought) = PeerId::from_bytes(&key) else { return };
        let Ok(peer) = PeerKey::from_peer_id(&sought) else { return };
        let addrs: Vec<_> = found
            .iter()
            .filter(|info| info.peer_id == sought)
            .flat_map(|info| info.addrs.iter().filter_map(NetAddr::from_multiaddr))
            .collect();
        if !addrs.is_empty() {
            tracing::debug!(%peer, ?addrs, "members know other addresses");
            self.redial.learned(&peer, addrs);
        }
    }
}
