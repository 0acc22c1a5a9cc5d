//! Gossip: messages forwarded from machine to machine over the connections that exist.
//!
//! A machine forwards what its node accepted, once. The mesh is all of its connections: in clusters of the
//! simulated size gossipsub's mesh covers them as well.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use ipfs_kit_actors::ports::{Inbound, PublishError, Verdict};
use ipfs_kit_core::id::PeerKey;
use ipfs_kit_core::limits;
use ipfs_kit_core::proto::Topic;
use ipfs_kit_core::rights::may_author;
use tokio::sync::oneshot;

use super::courier::Watch;
use super::state::{Arrived, CopyKind, Event, State, fingerprint};
use super::{GossipSwitch, HostId};

/// Messages that a machine remembers, so that it forwards each once.
const SEEN_MAX: usize = 8192;
/// How much later than the first a second copy comes, in milliseconds.
const REPLAY_MIN_MS: u64 = 100;
const REPLAY_MAX_MS: u64 = 5_000;

/// A signed message.
#[derive(Debug)]
pub(super) struct Message {
    id: [u8; 32],
    author: PeerKey,
    topic: Topic,
    bytes: Bytes,
}

/// The messages that a machine has seen lately.
#[derive(Debug, Default)]
pub(super) struct Seen {
    ids: BTreeSet<[u8; 32]>,
    order: VecDeque<[u8; 32]>,
}

impl Seen {
    /// Remembers a message; false if it was known.
    fn insert(&mut self, id: [u8; 32]) -> bool {
        if !self.ids.insert(id) {
            return false;
        }
        self.order.push_back(id);
        if self.order.len() > SEEN_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }
}

impl State {
    pub fn publish(
        &mut self,
        from: HostId,
        topic: Topic,
        bytes: Bytes,
    ) -> Result<(), PublishError> {
        if self.gossip == GossipSwitch::Off {
            return Err(PublishError::Off);
        }
        if bytes.len() > limits::GOSSIP_BYTES_MAX {
            return Err(PublishError::Refused { reason: "it is larger than allowed".into() });
        }
        if !self.is_up(from) || self.peers_of(from).is_empty() {
            return Err(PublishError::NoPeers);
        }
        let author = self.host(from).key;
        let mut hasher = blake3::Hasher::new();
        hasher.update(&author.0).update(format!("{topic:?}/").as_bytes()).update(&bytes);
        let id = *hasher.finalize().as_bytes();
        if !self.host_mut(from).seen.insert(id) {
            return Err(PublishError::Refused { reason: "it was published before".into() });
        }
        self.stats.published += 1;
        self.forward(from, &Arc::new(Message { id, author, topic, bytes }), None);
        Ok(())
    }

    /// Sends a message to all connections but the one it came from.
    pub fn forward(&mut self, from: HostId, message: &Arc<Message>, except: Option<HostId>) {
        for (to, conn) in self.peers_of(from) {
            if Some(to) == except || self.host(to).key == message.author {
                continue;
            }
            self.send_copy(from, to, conn, message, CopyKind::First);
            if self.rng.chance(self.weather.gossip_duplicate_per_mille) {
                self.send_copy(from, to, conn, message, CopyKind::Again);
            }
        }
    }

    fn send_copy(
        &mut self,
        from: HostId,
        to: HostId,
        conn: u64,
        message: &Arc<Message>,
        copy: CopyKind,
    ) {
        if self.rng.chance(self.weather.gossip_loss_per_mille) {
            self.stats.gossip_lost += 1;
            return;
        }
        let mut delay_ms = self.delay_ms(from, to, message.bytes.len());
        if copy == CopyKind::Again {
            delay_ms += self.rng.within(REPLAY_MIN_MS..=REPLAY_MAX_MS);
        }
        let message = Arc::clone(message);
        self.schedule_in(delay_ms, Event::Gossip { from, to, conn, message, copy });
    }

    pub fn gossip_arrives(
        &mut self,
        from: HostId,
        to: HostId,
        conn: u64,
        message: Arc<Message>,
        copy: CopyKind,
    ) -> Option<Watch> {
        if self.is_blocked(from, to) {
            self.hold(from, to, Event::Gossip { from, to, conn, message, copy });
            return None;
        }
        if !self.is_up(to) || self.open_conn(to, from) != Some(conn) {
            return None;
        }
        let author = self.host(to).entry_by_key(&message.author);
        // An author that is not known (yet) is nobody's fault; the message is not forwarded either.
        let (node, role) = author.map(|entry| (entry.node, entry.role))?;
        if !may_author(role, message.topic) {
            self.stats.gossip_rejected += 1;
            return None;
        }
        if !self.host_mut(to).seen.insert(message.id) && copy == CopyKind::First {
            return None;
        }
        if !self.has_room(to) {
            self.stats.gossip_lost += 1;
            return None;
        }
        let (len, print) = (message.bytes.len(), fingerprint(&message.bytes));
        let topic = message.topic;
        self.trace.event(format_args!("{from}>{to} gossip {topic:?} of {node} {len}B {print}"));
        self.stats.gossiped += 1;
        self.stats.bytes += len as u64;
        let (verdict, answer) = oneshot::channel();
        let inbound =
            Inbound::Gossip { author: node, topic, message: message.bytes.clone(), verdict };
        self.arrive(to, Arrived { inbound, credit: None });
        Some(Watch::Verdict { at: to, from, message, answer })
    }

    /// What a node thinks of a message. One that it forgot is not passed on.
    pub fn judged(
        &mut self,
        at: HostId,
        from: HostId,
        message: &Arc<Message>,
        verdict: Option<Verdict>,
    ) {
        match verdict {
            Some(Verdict::Accept) => self.forward(at, message, Some(from)),
            Some(Verdict::Reject) => {
                self.stats.gossip_rejected += 1;
                self.trace.event(format_args!("{at} rejects gossip of {}", message.author));
            }
            Some(Verdict::Ignore) | None => {}
        }
    }
}
