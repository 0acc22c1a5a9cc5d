//! Gossip between members: signed, judged by the owner before it is passed on, bounded.
//!
//! A message's id is a hash of author, topic and content, so that a message published again within
//! the cache time is one message. An author that the registry does not know, or that lacks the
//! right, is ignored rather than rejected: the registry of this node may lag.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use libp2p::PeerId;
use libp2p::identity;
use libp2p_gossipsub as gossipsub;
use libp2p_gossipsub::{
    ConfigBuilder, IdentTopic, Message, MessageAcceptance, MessageAuthenticity, MessageId,
    PeerScoreParams, PeerScoreThresholds, RawMessage, TopicHash, TopicScoreParams, ValidationMode,
    WhitelistSubscriptionFilter,
};
use tokio::sync::mpsc;

use crate::config::{ClusterId, FloodPublish, GossipConfig, MAX_GOSSIP_BYTES};
use crate::error::{PublishError, StartError};
use crate::identity::PeerKey;

#[cfg(test)]
mod tests;

/// Room for author, sequence number, signature and key around a message.
const ENVELOPE_BYTES: usize = 1024;

/// What gossip is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// Pin deltas and announcements.
    Pins,
    /// The members' own outcomes, and beacons.
    Status,
    /// Role and address announcements.
    Discovery,
}

impl Topic {
    /// Every topic.
    pub const ALL: [Self; 3] = [Self::Pins, Self::Status, Self::Discovery];

    fn name(self) -> &'static str {
        match self {
            Self::Pins => "pins",
            Self::Status => "status",
            Self::Discovery => "discovery",
        }
    }
}

/// The topics of one cluster.
pub(crate) struct Topics([(Topic, IdentTopic, TopicHash); 3]);

impl Topics {
    pub(crate) fn new(cluster_id: ClusterId) -> Self {
        Self(Topic::ALL.map(|topic| {
            let ident = IdentTopic::new(format!("/ipfs-kit/{cluster_id}/{}/1", topic.name()));
            let hash = ident.hash();
            (topic, ident, hash)
        }))
    }

    pub(crate) fn hash(&self, topic: Topic) -> TopicHash {
        self.0[topic as usize].2.clone()
    }

    pub(crate) fn of(&self, hash: &TopicHash) -> Option<Topic> {
        self.0.iter().find(|(_, _, known)| known == hash).map(|(topic, _, _)| *topic)
    }
}

/// The judgement on a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Pass it on.
    Accept,
    /// It breaks the rules: drop it, and think less of who sent it.
    Reject,
    /// Drop it without blame.
    Ignore,
}

impl From<Verdict> for MessageAcceptance {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Accept => Self::Accept,
            Verdict::Reject => Self::Reject,
            Verdict::Ignore => Self::Ignore,
        }
    }
}

/// A verdict on its way to the driver.
pub(crate) struct Judged {
    pub(crate) id: MessageId,
    pub(crate) source: PeerId,
    pub(crate) verdict: Verdict,
}

/// The duty to judge a message. Dropped, it means [`Verdict::Ignore`]. A verdict that comes later
/// than about three heartbeats can't pass the message on any more.
#[derive(Debug)]
pub struct Validation {
    id: MessageId,
    source: PeerId,
    /// Reserved when the message came, so that a verdict always has its place.
    place: Option<mpsc::OwnedPermit<Judged>>,
}

impl Validation {
    pub(crate) fn new(id: MessageId, source: PeerId, place: mpsc::OwnedPermit<Judged>) -> Self {
        Self { id, source, place: Some(place) }
    }

    /// Passes the message on.
    pub fn accept(self) {
        self.judge(Verdict::Accept);
    }

    /// Drops the message and blames who sent it.
    pub fn reject(self) {
        self.judge(Verdict::Reject);
    }

    /// Drops the message.
    pub fn ignore(self) {
        self.judge(Verdict::Ignore);
    }

    /// Judges the message.
    pub fn judge(mut self, verdict: Verdict) {
        self.send(verdict);
    }

    fn send(&mut self, verdict: Verdict) {
        if let Some(place) = self.place.take() {
            place.send(Judged { id: self.id.clone(), source: self.source, verdict });
        }
    }
}

impl Drop for Validation {
    fn drop(&mut self) {
        self.send(Verdict::Ignore);
    }
}

/// A message of a member that may author it.
#[derive(Debug)]
pub struct GossipMessage {
    /// On which topic.
    pub topic: Topic,
    /// Who wrote and signed it.
    pub author: PeerKey,
    /// The content.
    pub bytes: Bytes,
    /// The duty to judge it.
    pub validate: Validation,
}

/// Counters since the start. Bytes are content bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GossipStats {
    /// Own messages that were published.
    pub published: u64,
    /// Content bytes of these.
    pub published_bytes: u64,
    /// Messages that came, each counted once.
    pub received: u64,
    /// Content bytes of everything that came, duplicates included.
    pub received_bytes: u64,
    /// Copies of messages that had come before.
    pub duplicates: u64,
    /// Messages that the owner rejected, or that were too large.
    pub rejected: u64,
    /// Messages without verdict or of authors that may not write them.
    pub ignored: u64,
    /// Messages dropped because the owner fell behind.
    pub overflowed: u64,
}

#[derive(Default)]
pub(crate) struct GossipCounters {
    pub(crate) published: AtomicU64,
    pub(crate) published_bytes: AtomicU64,
    /// Everything that came, duplicates included.
    arrived: AtomicU64,
    arrived_bytes: AtomicU64,
    pub(crate) received: AtomicU64,
    pub(crate) rejected: AtomicU64,
    pub(crate) ignored: AtomicU64,
    pub(crate) overflowed: AtomicU64,
}

impl GossipCounters {
    pub(crate) fn snapshot(&self) -> GossipStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        // Read before the greater one, so that the difference is never negative.
        let received = read(&self.received);
        GossipStats {
            published: read(&self.published),
            published_bytes: read(&self.published_bytes),
            received,
            received_bytes: read(&self.arrived_bytes),
            duplicates: read(&self.arrived).saturating_sub(received),
            rejected: read(&self.rejected),
            ignored: read(&self.ignored),
            overflowed: read(&self.overflowed),
        }
    }
}

pub(crate) fn bump(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Counts what comes and refuses what is too large; changes nothing.
pub(crate) struct Counting(Arc<GossipCounters>);

impl gossipsub::DataTransform for Counting {
    fn inbound_transform(&self, raw: RawMessage) -> Result<Message, std::io::Error> {
        if raw.data.len() > MAX_GOSSIP_BYTES {
            bump(&self.0.rejected);
            return Err(std::io::ErrorKind::InvalidData.into());
        }
        bump(&self.0.arrived);
        self.0.arrived_bytes.fetch_add(raw.data.len() as u64, Ordering::Relaxed);
        Ok(Message {
            source: raw.source,
            data: raw.data,
            sequence_number: raw.sequence_number,
            topic: raw.topic,
        })
    }

    fn outbound_transform(&self, _: &TopicHash, data: Vec<u8>) -> Result<Vec<u8>, std::io::Error> {
        Ok(data)
    }
}

pub(crate) type GossipBehaviour = gossipsub::Behaviour<Counting, WhitelistSubscriptionFilter>;

/// Hash of author, topic and content; the first two carry their lengths.
fn message_id(message: &Message) -> MessageId {
    let author = message.source.map(PeerId::to_bytes).unwrap_or_default();
    let topic = message.topic.as_str().as_bytes();
    let mut hasher = blake3::Hasher::new();
    for part in [author.as_slice(), topic] {
        hasher.update(&(part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.update(&message.data);
    MessageId::from(hasher.finalize().as_bytes()[..20].to_vec())
}

/// Scores punish invalid messages and protocol abuse only: in a small or quiet topic an honest
/// member delivers little, and many members may share one address.
fn scoring() -> (PeerScoreParams, TopicScoreParams) {
    let topic = TopicScoreParams {
        topic_weight: 1.0,
        time_in_mesh_weight: 0.0,
        first_message_deliveries_weight: 0.0,
        mesh_message_deliveries_weight: 0.0,
        mesh_failure_penalty_weight: 0.0,
        invalid_message_deliveries_weight: -1.0,
        invalid_message_deliveries_decay: 0.9,
        ..TopicScoreParams::default()
    };
    let peer = PeerScoreParams {
        ip_colocation_factor_weight: 0.0,
        behaviour_penalty_weight: -1.0,
        behaviour_penalty_threshold: 6.0,
        behaviour_penalty_decay: 0.9,
        ..PeerScoreParams::default()
    };
    (peer, topic)
}

/// Builds the gossip behaviour, subscribed to every topic.
pub(crate) fn behaviour(
    keypair: &identity::Keypair,
    cluster_id: ClusterId,
    epoch: u64,
    config: &GossipConfig,
    counters: Arc<GossipCounters>,
) -> Result<GossipBehaviour, StartError> {
    let bad = |detail: String| StartError::Setting { setting: "gossip", detail };
    let GossipConfig { mesh_peers, mesh_peers_low, mesh_peers_high, .. } = *config;
    if !(1..=mesh_peers).contains(&mesh_peers_low) || mesh_peers_high < mesh_peers {
        return Err(bad(format!(
            "mesh sizes must be 1 <= low <= wanted <= high, not {mesh_peers_low}, {mesh_peers}, \
             {mesh_peers_high}"
        )));
    }
    if config.heartbeat_ms == 0 {
        return Err(bad("the heartbeat must not be zero".to_owned()));
    }
    let settings = ConfigBuilder::default()
        // Other clusters and other histories of this one don't even share the stream.
        .protocol_id_prefix(format!("/ipfs-kit/{cluster_id}/{epoch}/gossip"))
        .mesh_n(mesh_peers)
        .mesh_n_low(mesh_peers_low)
        .mesh_n_high(mesh_peers_high)
        .mesh_outbound_min((mesh_peers_low - 1).min(mesh_peers / 2).min(2))
        .heartbeat_interval(Duration::from_millis(config.heartbeat_ms))
        .heartbeat_initial_delay(Duration::from_millis(config.first_heartbeat_ms))
        .duplicate_cache_time(Duration::from_millis(config.duplicate_cache_ms))
        .flood_publish(config.flood_publish == FloodPublish::ToAll)
        .prune_backoff(Duration::from_secs(10))
        .unsubscribe_backoff(Duration::from_secs(2))
        .graft_flood_threshold(Duration::from_secs(1))
        .max_transmit_size(MAX_GOSSIP_BYTES + ENVELOPE_BYTES)
        .connection_handler_queue_len(1024)
        .validation_mode(ValidationMode::Strict)
        .validate_messages()
        .message_id_fn(message_id)
        .build()
        .map_err(|error| bad(error.to_string()))?;
    let topics = Topics::new(cluster_id);
    let filter =
        WhitelistSubscriptionFilter(topics.0.iter().map(|(_, _, hash)| hash.clone()).collect());
    let mut behaviour = GossipBehaviour::new_with_subscription_filter_and_transform(
        MessageAuthenticity::Signed(keypair.clone()),
        settings,
        filter,
        Counting(counters),
    )
    .map_err(|error| bad(error.to_owned()))?;
    let (peer_score, topic_score) = scoring();
    behaviour.with_peer_score(peer_score, PeerScoreThresholds::default()).map_err(bad)?;
    for (_, ident, _) in &topics.0 {
        behaviour
            .set_topic_params(ident.clone(), topic_score.clone())
            .map_err(|e| bad(e.to_string()))?;
        behaviour.subscribe(ident).map_err(|error| bad(error.to_string()))?;
    }
    Ok(behaviour)
}

/// Refuses what is over the limit before it is signed.
pub(crate) fn check_len(len_bytes: usize) -> Result<(), PublishError> {
    match len_bytes > MAX_GOSSIP_BYTES {
        true => Err(PublishError::TooLarge { len_bytes, limit_bytes: MAX_GOSSIP_BYTES }),
        false => Ok(()),
    }
}

pub(crate) fn publish_error(error: gossipsub::PublishError, len_bytes: usize) -> PublishError {
    match error {
        gossipsub::PublishError::Duplicate => PublishError::Duplicate,
        gossipsub::PublishError::NoPeersSubscribedToTopic => PublishError::NoPeers,
        gossipsub::PublishError::AllQueuesFull(_) => PublishError::QueuesFull,
        gossipsub::PublishError::MessageTooLarge => {
            PublishError::TooLarge { len_bytes, limit_bytes: MAX_GOSSIP_BYTES }
        }
        other => PublishError::Signing { detail: other.to_string() },
    }
}
