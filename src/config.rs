//! Settings: plain values, where each came from, and how the layers merge.
//!
//! A setting is looked up in four layers, strongest first: a command-line flag, an environment
//! variable, the configuration file (YAML or JSON), the default. Layers merge key by key, so a file
//! that sets `raft.tick` leaves `raft.election_ticks` as it was; a list replaces the list below it.
//! [`keys::KEYS`] is the only list of keys: parsing, help, environment names and `config show` are
//! renderings of it.
//!
//! Secrets are no settings. A node's key and its API token are files in its folder.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use address::{ApiAddress, GatewayUrl, HostPort};
pub use error::{ConfigError, Problem};
pub use ipfs_kit_core::member::{HoldPolicy, Role};
pub use load::{Entry, Flag, Loaded, Origin, Sources, load};
pub use log_filter::{LogFilter, LogLevel};
pub use write::{help_text, initial_file};

pub mod address;
mod error;
mod file;
pub mod keys;
mod load;
mod log_filter;
pub mod quantity;
mod suggest;
mod validate;
mod write;

/// The one port to open between machines: members listen here unless told otherwise.
pub const CLUSTER_PORT: u16 = 4701;
/// The local API's port; loopback only unless told otherwise.
pub const API_PORT: u16 = 4702;
/// The configuration file that `init` writes into the node's folder.
pub const FILE_NAME: &str = "config.yaml";

/// Everything that can be set about a node. Values only: nothing here opens, starts or holds anything.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// What the node is when it first joins; later the cluster decides.
    pub role: Role,
    /// A name for people.
    pub name: String,
    /// Keys, token, log, blocks and state. Absolute.
    pub folder: PathBuf,
    /// Where members reach this node, as bound here.
    pub listen: Vec<HostPort>,
    /// Where members reach this node, as seen from outside. Empty: what `listen` was bound to.
    pub advertise: Vec<HostPort>,
    /// The local API.
    pub api: ApiSettings,
    /// Disk.
    pub storage: StorageSettings,
    /// How fast pins are fetched.
    pub transfer: TransferSettings,
    /// Sessions and repair.
    pub cluster: ClusterSettings,
    /// Consensus timing.
    pub raft: RaftSettings,
    /// The fast path of news.
    pub gossip: GossipSettings,
    /// What a pin asks for when it does not say.
    pub pins: PinSettings,
    /// Failure domain; copies go to distinct zones where possible. Empty: a domain of its own.
    pub zone: String,
    /// Share of the placement. `None`: one per usable GiB.
    #[serde(with = "quantity::count_or_auto")]
    pub weight: Option<u32>,
    /// Servers outside the cluster to ask for what no member has, best first.
    pub gateways: Vec<GatewayUrl>,
    /// Memory cache of blocks.
    pub cache: CacheSettings,
    /// How files become blocks.
    pub import: ImportSettings,
    /// The node's own log.
    pub log: LogSettings,
}

/// The local API's listener.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiSettings {
    /// A loopback address or a unix socket, unless `expose` is set.
    pub listen: ApiAddress,
    /// Whether it may be reached from other machines. There is no encryption on it.
    pub expose: bool,
    /// Whether `/metrics` may be read without the token.
    pub open_metrics: bool,
    /// How long no byte may come of a body that is waited for.
    #[serde(with = "quantity::duration")]
    pub body_idle: Duration,
}

/// How much disk the blocks may take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StorageSettings {
    /// Most bytes of blocks.
    #[serde(rename = "max", with = "quantity::size")]
    pub max_bytes: u64,
    /// Bytes of the file system that stay free whatever `max` says.
    #[serde(rename = "reserve", with = "quantity::size")]
    pub reserve_bytes: u64,
}

/// How fast this node fetches what it is to hold; 0 is no limit. Readers are not held up by it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransferSettings {
    /// Bytes a second, everything together.
    #[serde(rename = "max", with = "quantity::size")]
    pub max_bytes_s: u64,
    /// Bytes a second of pins that another holder has already.
    #[serde(rename = "repair_max", with = "quantity::size")]
    pub repair_max_bytes_s: u64,
}

/// How members notice that one of them is gone, and when they act on it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterSettings {
    /// How often a member renews its session.
    #[serde(with = "quantity::duration")]
    pub heartbeat: Duration,
    /// How long a session lives without renewal; more than twice `heartbeat`.
    #[serde(with = "quantity::duration")]
    pub lease: Duration,
    /// How long after the end of its session a member's copies are replaced.
    #[serde(with = "quantity::duration")]
    pub repair_grace: Duration,
}

/// Raft's clock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RaftSettings {
    /// One tick.
    #[serde(with = "quantity::duration")]
    pub tick: Duration,
    /// Ticks without a leader before an election; at least twice `heartbeat_ticks`.
    pub election_ticks: u32,
    /// Ticks between a leader's heartbeats.
    pub heartbeat_ticks: u32,
}

/// Gossip between members.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GossipSettings {
    /// Off, the feed alone carries the news: slower, and just as correct.
    pub enabled: bool,
}

/// What a pin asks for when it does not say, and who may hold it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinSettings {
    /// Fewest copies.
    pub replicas_min: u16,
    /// Copies aimed at; not below `replicas_min`.
    pub replicas_max: u16,
    /// Whether this node holds pins while it is a master.
    pub masters_hold: HoldPolicy,
}

/// The memory cache of blocks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CacheSettings {
    /// Most bytes; 0 switches it off.
    #[serde(rename = "max", with = "quantity::size")]
    pub max_bytes: u64,
}

/// How files become blocks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportSettings {
    /// The named set of chunking and layout choices that decides the CID.
    pub profile: ImportProfile,
    /// Threads that hash leaves. `None`: one per processor.
    #[serde(with = "quantity::count_or_auto")]
    pub hash_threads: Option<u32>,
}

/// A published set of import choices (IPIP-499): the same bytes give the same CID everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ImportProfile {
    /// CIDv1, raw leaves, 1 MiB chunks.
    #[serde(rename = "unixfs-v1-2025")]
    UnixfsV1_2025,
    /// CIDv0, dag-pb leaves, 256 KiB chunks.
    #[serde(rename = "unixfs-v0-2015")]
    UnixfsV0_2015,
}

impl ImportProfile {
    /// The name in configuration, on the command line and in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnixfsV1_2025 => "unixfs-v1-2025",
            Self::UnixfsV0_2015 => "unixfs-v0-2015",
        }
    }
}

/// The node's own log, on standard error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogSettings {
    /// Which lines are written.
    pub level: LogFilter,
    /// Form of a line.
    pub format: LogFormat,
}

/// Form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

#[cfg(test)]
mod tests;
