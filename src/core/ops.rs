//! The operation registry: everything a user can ask of a node, once, with its types.
//!
//! The command line, the HTTP API and `ipfs-kit call` are renderings of this table. There are exactly
//! three refusals before an operation runs: it is unknown, the node's role may not run it, or the
//! component that would run it is not running.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::health::NodeHealth;
use crate::id::{Cid, ClusterId, NodeId, TokenId};
use crate::member::{Liveness, RaftStanding, Role};
use crate::metrics::NodeMetrics;
use crate::pin::{ContentKind, Pin, ReplicaState};
use crate::proto::Usage;

mod dag;
mod many;
mod reach;
mod table;
#[cfg(test)]
mod tests;

pub use dag::{BlockInfo, BlockRemoved, CollectReport, DagFigures, StoreFigures};
pub use many::{Each, Line, PinCommitted, PinsAddRequest, PinsAdded, PinsInfo, PinsStatusRequest};
pub use reach::{ClockAnswer, Dial, ProbeAnswer, ProbeRequest, Reach, ReachList};
pub use table::{ALL, find};

/// What stands in the registry for one operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct OpInfo {
    /// Dotted, verb last: `pin.add`.
    pub name: &'static str,
    /// One line for people.
    pub summary: &'static str,
    /// A request that works, as JSON.
    pub example: &'static str,
    /// Roles that may run it.
    pub roles: &'static [Role],
    /// What must be running on the node that is asked.
    pub component: Component,
    /// Where it runs.
    pub site: Site,
    /// One answer, or a stream that only the API's own routes carry.
    pub shape: Shape,
}

/// A part of a node that an operation needs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Component {
    /// The node itself.
    Node,
    /// Its embedded IPFS node.
    Ipfs,
    /// Its part in a cluster; a node that joined none has none.
    Cluster,
    /// Its index of what was added.
    Index,
}

impl std::fmt::Display for Component {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Node => "node",
            Self::Ipfs => "ipfs",
            Self::Cluster => "cluster",
            Self::Index => "index",
        })
    }
}

/// Where an operation runs; other nodes pass it on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Site {
    /// On the node that is asked.
    Local,
    /// On any master.
    Master,
    /// On the leader.
    Leader,
    /// On whichever member is asked; members ask each other too.
    Any,
}

/// How an operation answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// One JSON request, one JSON answer.
    Unary,
    /// Bytes or lines, through a route of its own.
    Stream,
}

/// Why an operation did not start. Nothing was changed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// No such operation.
    #[error("there is no operation {name:?}")]
    Unknown {
        /// What was asked.
        name: String,
    },
    /// The node's role may not run it.
    #[error("a {role} may not run {name}; it is for {}", list(.roles))]
    NotPermitted {
        /// The operation.
        name: &'static str,
        /// The node's role.
        role: Role,
        /// Who may.
        roles: &'static [Role],
    },
    /// What would run it is not running here.
    #[error("{name} needs the {component}, which is not running on this node")]
    NotRunning {
        /// The operation.
        name: &'static str,
        /// What is missing.
        component: Component,
    },
}

impl Refusal {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "E_UNKNOWN_OPERATION",
            Self::NotPermitted { .. } => "E_NOT_PERMITTED",
            Self::NotRunning { .. } => "E_NOT_RUNNING",
        }
    }
}

fn list(roles: &[Role]) -> String {
    roles.iter().map(|role| format!("{role}s")).collect::<Vec<_>>().join(" and ")
}

/// Looks an operation up and says whether a role may run it, wherever that is.
pub fn permit(name: &str, role: Role) -> Result<&'static OpInfo, Refusal> {
    let info = find(name).ok_or_else(|| Refusal::Unknown { name: name.into() })?;
    if !info.roles.contains(&role) {
        return Err(Refusal::NotPermitted { name: info.name, role, roles: info.roles });
    }
    Ok(info)
}

/// Looks an operation up and says whether it may run here.
pub fn admit(
    name: &str,
    role: Role,
    running: impl Fn(Component) -> bool,
) -> Result<&'static OpInfo, Refusal> {
    let info = permit(name, role)?;
    if !running(info.component) {
        return Err(Refusal::NotRunning { name: info.name, component: info.component });
    }
    Ok(info)
}

/// A unary operation's types.
pub trait Operation {
    /// Its name in the registry.
    const NAME: &'static str;
    /// What is asked.
    type Request: Serialize + DeserializeOwned + Send + 'static;
    /// What is answered.
    type Response: Serialize + DeserializeOwned + Send + 'static;
}

macro_rules! operations {
    ($($op:ident = $name:literal: $request:ty => $response:ty;)*) => {$(
        #[doc = concat!("`", $name, "`, see the table.")]
        #[derive(Clone, Copy, Debug)]
        pub struct $op;
        impl Operation for $op {
            const NAME: &'static str = $name;
            type Request = $request;
            type Response = $response;
        }
    )*
    #[cfg(test)]
    const TYPED: &[&str] = &[$($name),*];
    };
}

operations! {
    Status = "status": Nothing => NodeStatus;
    Actors = "actors": Nothing => serde_json::Value;
    Health = "health": Nothing => NodeHealth;
    Metrics = "metrics": Nothing => NodeMetrics;
    PinAdd = "pin.add": PinAddRequest => PinInfo;
    PinRm = "pin.rm": CidRequest => PinRemoved;
    PinLs = "pin.ls": PinLsRequest => PinPage;
    PinStatus = "pin.status": CidRequest => PinInfo;
    PinsAdd = "pins.add": PinsAddRequest => PinsAdded;
    PinsStatus = "pins.status": PinsStatusRequest => PinsInfo;
    NodeClock = "node.clock": Nothing => ClockAnswer;
    NodeLs = "node.ls": Nothing => NodeList;
    NodeProbe = "node.probe": ProbeRequest => ProbeAnswer;
    NodeReach = "node.reach": Nothing => ReachList;
    NodeShow = "node.show": NodeRequest => NodeInfo;
    NodeRole = "node.role": NodeRoleRequest => NodeInfo;
    NodeLeave = "node.leave": NodeRequest => NodeInfo;
    NodeRm = "node.rm": NodeRequest => NodeRemoved;
    TokenCreate = "cluster.token.create": TokenCreateRequest => TokenCreated;
    TokenLs = "cluster.token.ls": Nothing => TokenList;
    TokenRevoke = "cluster.token.revoke": TokenRequest => TokenInfo;
    IndexFind = "index.find": IndexFindRequest => IndexPage;
    ContentLs = "ls": LsRequest => LsPage;
    ContentStat = "stat": PathRequest => ContentInfo;
    BlockStat = "block.stat": CidRequest => BlockInfo;
    BlockRm = "block.rm": CidRequest => BlockRemoved;
    DagStat = "dag.stat": CidRequest => DagFigures;
    StoreStat = "store.stat": Nothing => StoreFigures;
    StoreGc = "store.gc": Nothing => CollectReport;
}

/// The empty request.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// A pin's root.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CidRequest {
    /// The root.
    pub cid: Cid,
}

/// A member by number (`n3`), name or peer id.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeRequest {
    /// The member; empty means the asked node itself.
    #[serde(default)]
    pub node: String,
}

/// A role change.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeRoleRequest {
    /// The member.
    pub node: String,
    /// Its new role.
    pub role: Role,
}

/// A pin to add or change.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinAddRequest {
    /// The root.
    pub cid: Cid,
    /// A name for people.
    #[serde(default)]
    pub name: String,
    /// Fewest copies; the cluster's default without it.
    #[serde(default)]
    pub replicas_min: Option<u16>,
    /// Copies aimed at; the cluster's default without it.
    #[serde(default)]
    pub replicas_max: Option<u16>,
    /// Milliseconds until the pin ends by itself.
    #[serde(default)]
    pub expires_in_ms: Option<u64>,
    /// Free key-value pairs.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// Bytes of the content, where known.
    #[serde(default)]
    pub size_bytes: Option<u64>,
    /// What the root is, where known.
    #[serde(default)]
    pub kind: ContentKind,
    /// A member that has the blocks without being asked to hold them.
    #[serde(default)]
    pub origin: Option<NodeId>,
}

impl PinAddRequest {
    /// A pin with the cluster's defaults, without a name.
    pub fn of(cid: Cid) -> Self {
        Self {
            cid,
            name: String::new(),
            replicas_min: None,
            replicas_max: None,
            expires_in_ms: None,
            metadata: BTreeMap::new(),
            size_bytes: None,
            kind: ContentKind::Unknown,
            origin: None,
        }
    }
}

/// One pin as users see it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PinInfo {
    /// The root.
    pub cid: Cid,
    /// Its name.
    pub name: String,
    /// The summary of its copies.
    pub status: PinStatusKind,
    /// Fewest copies.
    pub replicas_min: u16,
    /// Copies aimed at.
    pub replicas_max: u16,
    /// Copies that are durable on members that are there.
    pub replicas_live: u16,
    /// Bytes of the content, where known.
    pub size_bytes: Option<u64>,
    /// What the root is, where known.
    pub kind: ContentKind,
    /// Log index of the last change of what is asked or of who holds it.
    pub revision: u64,
    /// Committed time of the first request, in milliseconds.
    pub created_ms: u64,
    /// Committed time at which it ends, in milliseconds.
    pub expires_ms: Option<u64>,
    /// Free key-value pairs.
    pub metadata: BTreeMap<String, String>,
    /// Who holds it or should.
    pub replicas: Vec<ReplicaInfo>,
}

/// A pin's copies in one word.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PinStatusKind {
    /// As many copies as aimed at.
    Pinned,
    /// At least the minimum, fewer than aimed at.
    Partial,
    /// Fewer than the minimum; being copied or repaired.
    Pinning,
    /// More than aimed at; being trimmed.
    Surplus,
    /// Fewer than the minimum, and every assigned holder has given up.
    Failed,
}

/// One holder of a pin as users see it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReplicaInfo {
    /// The holder.
    pub node: NodeId,
    /// Its name; empty when it is gone for good.
    pub name: String,
    /// Whether it is there; `None` when it is gone for good.
    pub liveness: Option<Liveness>,
    /// How far it is.
    pub state: ReplicaState,
}

/// A pin that ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PinRemoved {
    /// The root.
    pub cid: Cid,
    /// The log index at which it ended.
    pub index: u64,
}

/// A page of pins.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinLsRequest {
    /// Only pins after this root.
    #[serde(default)]
    pub after: Option<Cid>,
    /// At most this many, at most 1000.
    #[serde(default)]
    pub limit: Option<usize>,
    /// Only pins whose name contains this.
    #[serde(default)]
    pub name: Option<String>,
    /// Only pins of which this is true now.
    #[serde(default)]
    pub status: Option<PinStatusKind>,
}

/// A page of pins.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PinPage {
    /// The pins.
    pub items: Vec<PinInfo>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<Cid>,
}

/// All members.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NodeList {
    /// By number.
    pub items: Vec<NodeInfo>,
}

/// One member as users see it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NodeInfo {
    /// Its number.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// Its peer id.
    pub peer: String,
    /// Its role.
    pub role: Role,
    /// Its place in Raft.
    pub raft: RaftStanding,
    /// Whether it leads.
    pub leader: bool,
    /// Whether it is there.
    pub liveness: Liveness,
    /// Its failure domain.
    pub zone: String,
    /// Where it is reached.
    pub addrs: Vec<String>,
    /// Pins assigned to it.
    pub pins: u64,
    /// Milliseconds since the leader last heard of it; only the leader knows.
    pub heard_ms_ago: Option<u64>,
    /// What it stores; only the leader knows.
    pub usage: Option<Usage>,
    /// An advertised address at which it can't be reached, with the reason.
    pub unreachable: Option<String>,
}

/// A member that is gone for good.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NodeRemoved {
    /// Its number, which nobody gets again.
    pub node: NodeId,
    /// The log index at which it went.
    pub index: u64,
}

/// A join token to make.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenCreateRequest {
    /// The highest role it admits.
    pub role: Role,
    /// Milliseconds it lives; an hour without it.
    #[serde(default)]
    pub expires_in_ms: Option<u64>,
}

/// A join token, shown this once.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TokenCreated {
    /// The line of text for `init --join`.
    pub token: String,
    /// Its public half, for `revoke`.
    pub id: TokenId,
    /// The highest role it admits.
    pub role: Role,
    /// Committed time at which it ends, in milliseconds.
    pub expires_ms: u64,
}

/// A token's public half.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// The public half.
    pub id: TokenId,
}

/// Tokens that exist.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TokenList {
    /// By id.
    pub items: Vec<TokenInfo>,
}

/// A token without its secret.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TokenInfo {
    /// Its public half.
    pub id: TokenId,
    /// The highest role it admits.
    pub role: Role,
    /// Committed time at which it ends, in milliseconds.
    pub expires_ms: u64,
    /// Whom it admitted.
    pub used_by: Option<NodeId>,
}

/// A search of the index.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IndexFindRequest {
    /// Part of a name; empty finds everything.
    #[serde(default)]
    pub name: String,
    /// Only entries after this one, as given by the page before.
    #[serde(default)]
    pub after: Option<String>,
    /// At most this many, at most 1000.
    #[serde(default)]
    pub limit: Option<usize>,
}

/// A page of the index.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct IndexPage {
    /// By name.
    pub items: Vec<IndexEntry>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<String>,
}

/// Something that was added.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct IndexEntry {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: ContentKind,
    /// Its bytes, where known.
    pub size_bytes: Option<u64>,
    /// Its root.
    pub cid: Cid,
    /// Committed time at which it was added, in milliseconds.
    pub created_ms: u64,
}

/// A path: a CID, optionally with names below it, optionally after `/ipfs/`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PathRequest {
    /// The path.
    pub path: String,
}

/// A page of a directory.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LsRequest {
    /// The path.
    pub path: String,
    /// How many entries to pass over.
    #[serde(default)]
    pub skip: Option<usize>,
    /// At most this many, at most 1000.
    #[serde(default)]
    pub limit: Option<usize>,
}

/// A page of a directory.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LsPage {
    /// The entries.
    pub items: Vec<ContentInfo>,
    /// How many entries to pass over for the next page; `None` at the end.
    pub next: Option<usize>,
}

/// One file, directory or link.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ContentInfo {
    /// Its name in its directory; empty for a root.
    pub name: String,
    /// Its CID.
    pub cid: Cid,
    /// What it is; `unknown` where only its own block would tell.
    pub kind: ContentKind,
    /// A file's bytes; otherwise the bytes of its blocks as its parent says, where known.
    pub size_bytes: Option<u64>,
    /// Where a symbolic link points.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

/// A node at a glance.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NodeStatus {
    /// The program's version.
    pub version: String,
    /// The node's name.
    pub name: String,
    /// Its peer id.
    pub peer: String,
    /// Its role.
    pub role: Role,
    /// Its number; `None` without a cluster.
    pub node: Option<NodeId>,
    /// Its cluster; `None` without one.
    pub cluster: Option<ClusterId>,
    /// Where others reach it.
    pub addrs: Vec<String>,
    /// Milliseconds since it started.
    pub uptime_ms: u64,
    /// What it stores.
    pub usage: Usage,
    /// The cluster as it sees it; `None` without one.
    pub view: Option<ClusterGlance>,
    /// What needs an operator's eye.
    pub warnings: Vec<String>,
}

/// The cluster as one node sees it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ClusterGlance {
    /// The leader, if one is known.
    pub leader: Option<NodeId>,
    /// Its term.
    pub term: u64,
    /// The last log index that this node has.
    pub index: u64,
    /// The set's hash there, short.
    pub hash: String,
    /// Members by liveness.
    pub alive: usize,
    /// Members that are lost.
    pub lost: usize,
    /// Pins this node knows: all on a master, its own elsewhere.
    pub pins: usize,
    /// Deltas that arrived first by gossip.
    pub deltas_by_gossip: u64,
    /// Deltas that had to be fetched.
    pub deltas_by_feed: u64,
    /// Outcomes that arrived first by gossip; counted where this node led.
    pub outcomes_by_gossip: u64,
    /// Outcomes that came with a heartbeat.
    pub outcomes_by_heartbeat: u64,
}

impl PinInfo {
    /// The summary of a pin's copies.
    pub fn summarise(pin: &Pin, live: usize, waiting: usize) -> PinStatusKind {
        let (min, max) = (pin.spec.replicas_min as usize, pin.spec.replicas_max as usize);
        match live {
            _ if live > max => PinStatusKind::Surplus,
            _ if live == max => PinStatusKind::Pinned,
            _ if live >= min => PinStatusKind::Partial,
            _ if waiting == 0 && !pin.replicas.is_empty() => PinStatusKind::Failed,
            _ => PinStatusKind::Pinning,
        }
    }
}
