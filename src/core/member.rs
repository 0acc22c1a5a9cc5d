//! Members: who belongs to the cluster, in which role, and whether they are there.

use serde::{Deserialize, Serialize};

use crate::id::{NodeId, ParseError, PeerKey};

/// What a node is in the cluster. It changes at run time, but only by a committed command.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Debug, Default,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Consumes; holds nothing for others. Also what a node without a cluster is.
    #[default]
    Leecher,
    /// Stores pins and runs tasks.
    Worker,
    /// Keeps the cluster's state in Raft.
    Master,
}

impl Role {
    /// The word used in configuration, tokens and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Leecher => "leecher",
            Self::Worker => "worker",
            Self::Master => "master",
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Role {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text {
            "leecher" => Ok(Self::Leecher),
            "worker" => Ok(Self::Worker),
            "master" => Ok(Self::Master),
            _ => Err(ParseError::new("role", text, "master, worker or leecher")),
        }
    }
}

/// Where a master stands in Raft. Changed only in the context of a Raft membership change, so that the
/// registry and the voters can't diverge.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug, Default)]
#[serde(rename_all = "lowercase")]
pub enum RaftStanding {
    /// Takes no part.
    #[default]
    None,
    /// Receives the log and does not vote yet.
    Learner,
    /// Votes.
    Voter,
}

/// Whether a member is there, as the leader has committed it.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug, Default)]
#[serde(rename_all = "lowercase")]
pub enum Liveness {
    /// Its session is alive.
    #[default]
    Alive,
    /// Its session ended and the grace has passed; its copies count as gone until it returns.
    Lost,
    /// It is leaving: it still serves, gets nothing new, and its copies are being moved.
    Draining,
}

/// Whether a member may be given pins to hold.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug, Default)]
#[serde(rename_all = "lowercase")]
pub enum HoldPolicy {
    /// Workers hold; masters only where there are too few workers; leechers never.
    #[default]
    Auto,
    /// Holds like a worker whatever the role (leechers still never do).
    Always,
    /// Holds nothing.
    Never,
}

/// What a node says of itself when it joins or re-registers.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct MemberSpec {
    /// Its identity; it stays when everything else changes.
    pub key: PeerKey,
    /// A name for people; made unique by the node id where two are alike.
    pub name: String,
    /// The role it asks for.
    pub role: Role,
    /// Where others reach it, `host:port`, best first.
    pub addrs: Vec<String>,
    /// Its failure domain; copies go to distinct zones where possible. Empty: a domain of its own.
    pub zone: String,
    /// Its share of the placement, usually usable GiB; at least 1 for a holder.
    pub weight: u32,
    /// Whether it may hold pins.
    pub hold: HoldPolicy,
}

/// A member as the cluster has committed it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Member {
    /// Its number, never reused.
    pub id: NodeId,
    /// What it said of itself, with the role it has now.
    pub spec: MemberSpec,
    /// Its place in Raft.
    pub raft: RaftStanding,
    /// Whether it is there.
    pub liveness: Liveness,
    /// The log index at which it joined.
    pub joined_index: u64,
    /// Committed time of the last change of `liveness`, in milliseconds.
    pub since_ms: u64,
}

impl Member {
    /// Whether new copies may be placed on it at all, workers being present or not.
    pub fn may_hold(&self) -> bool {
        match (self.spec.hold, self.spec.role) {
            (HoldPolicy::Never, _) | (_, Role::Leecher) => false,
            (HoldPolicy::Always, _) | (HoldPolicy::Auto, Role::Worker | Role::Master) => true,
        }
    }

    /// Whether its copies count as present.
    pub fn is_present(&self) -> bool {
        !matches!(self.liveness, Liveness::Lost)
    }
}
