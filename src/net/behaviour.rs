//! What the swarm does, composed: admission and limits for everyone, the rest for members.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use libp2p::connection_limits::{self, ConnectionLimits};
use libp2p::kad::store::{MemoryStore, MemoryStoreConfig};
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::swarm::{NetworkBehaviour, StreamProtocol};
use libp2p::{PeerId, identify, kad, ping};

use crate::admission::Admission;
use crate::config::{GossipMode, NetConfig};
use crate::error::StartError;
use crate::gate::Gated;
use crate::gossip::{self, GossipBehaviour, GossipCounters};
use crate::registry::Membership;
use crate::streams::{ProtoNames, Streams};

/// Lookups ask this many members at once (the DHT specification's alpha).
const KAD_PARALLELISM: NonZeroUsize = NonZeroUsize::new(10).unwrap();
/// The default of 16 KiB is too small for 20 members with many addresses each.
const KAD_PACKET_BYTES: usize = 256 << 10;
const KAD_QUERY_LIMIT: Duration = Duration::from_secs(10);

/// The swarm's behaviour. Admission stands first: what it refuses, nobody else sees.
#[derive(NetworkBehaviour)]
pub(crate) struct ClusterBehaviour {
    pub(crate) admission: Admission,
    pub(crate) limits: connection_limits::Behaviour,
    pub(crate) streams: Streams,
    pub(crate) ping: Gated<ping::Behaviour>,
    pub(crate) identify: Gated<identify::Behaviour>,
    pub(crate) kad: Gated<kad::Behaviour<MemoryStore>>,
    pub(crate) gossip: Gated<Toggle<GossipBehaviour>>,
}

pub(crate) fn build(
    config: &NetConfig,
    membership: &Membership,
    counters: Arc<GossipCounters>,
) -> Result<ClusterBehaviour, StartError> {
    let keypair = config.keypair.to_libp2p();
    let gossip = match &config.gossip {
        GossipMode::Enabled(settings) => {
            Some(gossip::behaviour(&keypair, config.cluster_id, config.epoch, settings, counters)?)
        }
        GossipMode::Disabled => None,
    };
    let identify = identify::Config::new("/ipfs-kit/1".to_owned(), keypair.public())
        .with_agent_version(config.agent.clone())
        .with_hide_listen_addrs(true)
        .with_push_listen_addr_updates(true);
    let ping_interval = Duration::from_millis(config.timing.ping_ms);
    let ping = ping::Config::new().with_interval(ping_interval).with_timeout(ping_interval);
    Ok(ClusterBehaviour {
        admission: Admission::new(membership.clone(), &config.limits),
        limits: connection_limits::Behaviour::new(connection_limits(config)),
        streams: Streams::new(ProtoNames::new(config.cluster_id), membership.clone()),
        ping: Gated::new(ping::Behaviour::new(ping), membership.clone()),
        identify: Gated::new(identify::Behaviour::new(identify), membership.clone()),
        kad: Gated::new(kad(config, keypair.public().to_peer_id()), membership.clone()),
        gossip: Gated::new(Toggle::from(gossip), membership.clone()),
    })
}

fn connection_limits(config: &NetConfig) -> ConnectionLimits {
    let limits = &config.limits;
    ConnectionLimits::default()
        .with_max_pending_incoming(Some(limits.pending_each_way))
        .with_max_pending_outgoing(Some(limits.pending_each_way))
        .with_max_established_incoming(Some(limits.connections_each_way))
        .with_max_established_outgoing(Some(limits.connections_each_way))
        .with_max_established_per_peer(Some(limits.connections_per_peer))
}

/// The cluster's own DHT: it finds the present addresses of members whose registered ones fail.
/// It stores no records.
fn kad(config: &NetConfig, local: PeerId) -> kad::Behaviour<MemoryStore> {
    let name = StreamProtocol::try_from_owned(format!("/ipfs-kit/{}/kad/1", config.cluster_id))
        .expect("the name starts with a slash");
    let mut settings = kad::Config::new(name);
    settings
        .set_parallelism(KAD_PARALLELISM)
        .set_max_packet_size(KAD_PACKET_BYTES)
        .set_query_timeout(KAD_QUERY_LIMIT)
        .set_record_filtering(kad::StoreInserts::FilterBoth)
        .set_kbucket_inserts(kad::BucketInserts::Manual);
    let store = MemoryStoreConfig { max_records: 0, max_provided_keys: 0, ..Default::default() };
    let mut behaviour =
        kad::Behaviour::with_config(local, MemoryStore::with_config(local, store), settings);
    behaviour.set_mode(Some(kad::Mode::Server));
    behaviour
}
