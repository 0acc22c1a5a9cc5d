//! What a node of the cluster swarm is told at its start. Values, not components.

use std::fmt;
use std::time::Duration;

use crate::addr::NetAddr;
use crate::calls::CallClass;
use crate::identity::Keypair;

/// Largest request of a unary call, in bytes.
pub const MAX_REQUEST_BYTES: usize = 1 << 20;
/// Largest response of a unary call, in bytes.
pub const MAX_RESPONSE_BYTES: usize = 16 << 20;
/// Largest message on the Raft lane, in bytes.
pub const MAX_RAFT_MESSAGE_BYTES: usize = 8 << 20;
/// Largest join request or answer, in bytes.
pub const MAX_JOIN_BYTES: usize = 16 << 10;
/// Largest gossip message, in bytes.
pub const MAX_GOSSIP_BYTES: usize = 32 << 10;

/// The random name of one cluster; two clusters never share it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub [u8; 16]);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClusterId({self})")
    }
}

/// Whether gossip runs.
#[derive(Debug, Clone)]
pub enum GossipMode {
    /// It runs with these settings.
    Enabled(GossipConfig),
    /// It does not: nothing is published, nothing is heard.
    Disabled,
}

/// How a message reaches the first peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FloodPublish {
    /// To every connected subscriber: fastest, costs one copy for each.
    ToAll,
    /// To the mesh only: for members with many connections.
    MeshOnly,
}

/// Settings of the gossip mesh; the defaults suit one LAN with 3 to 1,000 members.
#[derive(Debug, Clone)]
pub struct GossipConfig {
    /// How an own message reaches the first peers.
    pub flood_publish: FloodPublish,
    /// Peers wanted in a topic's mesh.
    pub mesh_peers: usize,
    /// Below this many, a heartbeat adds peers.
    pub mesh_peers_low: usize,
    /// Above this many, a heartbeat drops peers.
    pub mesh_peers_high: usize,
    /// Time between two heartbeats.
    pub heartbeat_ms: u64,
    /// Time to the first heartbeat.
    pub first_heartbeat_ms: u64,
    /// How long a message id is remembered; a message published again within it is a duplicate.
    pub duplicate_cache_ms: u64,
}

impl Default for GossipConfig {
    fn default() -> Self {
        Self {
            flood_publish: FloodPublish::ToAll,
            mesh_peers: 6,
            mesh_peers_low: 4,
            mesh_peers_high: 12,
            heartbeat_ms: 700,
            first_heartbeat_ms: 100,
            duplicate_cache_ms: 60_000,
        }
    }
}

/// Bounds of one class of unary calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallLimits {
    /// Calls in flight to one peer; more wait for a place within their deadline. The same number
    /// is served from one peer; more are answered busy.
    pub concurrent_per_peer: usize,
    /// Deadline of a call that names none.
    pub deadline_ms: u64,
}

/// Bounds of one outbound lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneLimits {
    /// Messages that wait for one peer.
    pub queue_messages: usize,
    /// Bytes that wait for one peer.
    pub queue_bytes: usize,
    /// Received messages that wait for the caller, over all peers.
    pub inbound_messages: usize,
    /// Received bytes that wait for the caller, over all peers; at least one largest message.
    pub inbound_bytes: usize,
}

/// Bounds on strangers, who reach the join protocol only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JoinLimits {
    /// Strangers connected at one time.
    pub guests: usize,
    /// Strangers connected at one time from one IPv4 address or IPv6 /64.
    pub guests_per_ip: usize,
    /// How long a stranger may stay connected.
    pub guest_ms: u64,
    /// Join requests accepted at once from one IPv4 address or IPv6 /64.
    pub burst_per_ip: u32,
    /// Time in which one address earns one more request.
    pub refill_per_ip_ms: u64,
    /// Join requests accepted at once in total.
    pub burst: u32,
    /// Time in which one more request is earned in total.
    pub refill_ms: u64,
}

/// Every bound of the network.
#[derive(Debug, Clone)]
pub struct NetLimits {
    /// Members in the registry.
    pub registered_peers: usize,
    /// Removed identities in the registry.
    pub removed_peers: usize,
    /// Established connections to and from one peer.
    pub connections_per_peer: u32,
    /// Established connections in total, each way.
    pub connections_each_way: u32,
    /// Connections that are still being set up, each way.
    pub pending_each_way: u32,
    /// Inbound connections that are still being set up, from one IPv4 address or IPv6 /64.
    pub pending_per_ip: usize,
    /// Unary calls for control and small answers.
    pub control_calls: CallLimits,
    /// Unary calls with large responses.
    pub bulk_calls: CallLimits,
    /// Inbound calls in flight, over all peers.
    pub inbound_calls: usize,
    /// Bytes of inbound requests in flight, over all peers.
    pub inbound_call_bytes: usize,
    /// Inbound calls that wait for the caller to take them.
    pub call_queue: usize,
    /// The Raft lane.
    pub raft_lane: LaneLimits,
    /// Strangers.
    pub join: JoinLimits,
    /// Gossip messages that wait for the caller or for a verdict.
    pub gossip_queue: usize,
    /// Status events that wait for the caller.
    pub status_queue: usize,
}

impl Default for NetLimits {
    fn default() -> Self {
        Self {
            registered_peers: 4096,
            removed_peers: 4096,
            connections_per_peer: 4,
            connections_each_way: 2048,
            pending_each_way: 256,
            pending_per_ip: 64,
            control_calls: CallLimits { concurrent_per_peer: 64, deadline_ms: 5_000 },
            bulk_calls: CallLimits { concurrent_per_peer: 8, deadline_ms: 60_000 },
            inbound_calls: 1024,
            inbound_call_bytes: 64 << 20,
            call_queue: 256,
            raft_lane: LaneLimits {
                queue_messages: 1024,
                queue_bytes: 32 << 20,
                inbound_messages: 1024,
                inbound_bytes: 64 << 20,
            },
            join: JoinLimits {
                guests: 64,
                guests_per_ip: 16,
                guest_ms: 10_000,
                burst_per_ip: 20,
                refill_per_ip_ms: 500,
                burst: 64,
                refill_ms: 50,
            },
            gossip_queue: 1024,
            status_queue: 1024,
        }
    }
}

impl NetLimits {
    pub(crate) fn calls(&self, class: CallClass) -> CallLimits {
        match class {
            CallClass::Control => self.control_calls,
            CallClass::Bulk => self.bulk_calls,
        }
    }
}

/// Every delay of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NetTiming {
    /// Limit for TCP, Noise and Yamux together.
    pub connect_ms: u64,
    /// Limit for the hello that opens a connection between members.
    pub hello_ms: u64,
    /// A transfer that moves no byte for this long is given up.
    pub stall_ms: u64,
    /// Time between two pings on a connection, and the limit for each; two failures in a row close
    /// it.
    pub ping_ms: u64,
    /// An on-demand connection that nothing uses closes after this.
    pub idle_ms: u64,
    /// Delay before the second dial; doubles up to `redial_max_ms`, half of it is jitter.
    pub redial_min_ms: u64,
    /// Longest delay between two dials.
    pub redial_max_ms: u64,
}

impl NetTiming {
    pub(crate) fn stall(&self) -> Duration {
        Duration::from_millis(self.stall_ms)
    }

    pub(crate) fn hello(&self) -> Duration {
        Duration::from_millis(self.hello_ms)
    }
}

impl Default for NetTiming {
    fn default() -> Self {
        Self {
            connect_ms: 10_000,
            hello_ms: 5_000,
            stall_ms: 20_000,
            ping_ms: 5_000,
            idle_ms: 60_000,
            redial_min_ms: 200,
            redial_max_ms: 10_000,
        }
    }
}

/// Everything [`crate::Net::start`] needs.
#[derive(Debug, Clone)]
pub struct NetConfig {
    /// This node's identity.
    pub keypair: Keypair,
    /// The cluster it belongs to.
    pub cluster_id: ClusterId,
    /// The cluster's history epoch; a recovery bumps it.
    pub epoch: u64,
    /// Version of what the payloads mean; members with different versions refuse each other.
    pub wire_version: u16,
    /// Grows with each start of this node. Of two live starts of one identity the one that is
    /// connected is the node, and the other is refused; a greater one takes the place of one that
    /// does not answer, and a smaller one never comes back.
    pub incarnation: u64,
    /// Where to listen; port 0 lets the kernel choose.
    pub listen: Vec<NetAddr>,
    /// What members are told to dial; empty means the bound addresses.
    pub advertise: Vec<NetAddr>,
    /// Program name and version, as peers see them.
    pub agent: String,
    /// Whether gossip runs.
    pub gossip: GossipMode,
    /// Every bound.
    pub limits: NetLimits,
    /// Every delay.
    pub timing: NetTiming,
}

impl NetConfig {
    /// A configuration with default limits, timing and gossip, that listens nowhere.
    pub fn new(keypair: Keypair, cluster_id: ClusterId) -> Self {
        Self {
            keypair,
            cluster_id,
            epoch: 0,
            wire_version: 1,
            incarnation: 0,
            listen: Vec::new(),
            advertise: Vec::new(),
            agent: concat!("ipfs-kit/", env!("CARGO_PKG_VERSION")).to_owned(),
            gossip: GossipMode::Enabled(GossipConfig::default()),
            limits: NetLimits::default(),
            timing: NetTiming::default(),
        }
    }
}
