//! What the Raft log says: entries of commands, and what each command led to.

use serde::{Deserialize, Serialize};

use crate::id::{Cid, ClusterId, Incarnation, NodeId, TokenId};
use crate::member::{Liveness, MemberSpec, RaftStanding, Role};
use crate::pin::{PinSpec, ReplicaReport};

/// One log entry: commands in order, and the leader's clock.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Entry {
    /// The masters' time when it was proposed, as the leader knew it, in milliseconds. Committed time is the largest stamp so
    /// far, so a leader whose clock is behind can't turn it back. 0: the leader stamps nothing.
    pub stamped_ms: u64,
    /// What to do, in this order.
    pub commands: Vec<Command>,
}

/// One command with the id that makes a retry harmless.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Command {
    /// Who asked, and its number for the request.
    pub request: RequestId,
    /// What to do.
    pub op: Op,
}

/// A request of one run of one node. A retry carries the same id and takes effect at most once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Debug)]
pub struct RequestId {
    /// The node through which it came.
    pub node: NodeId,
    /// That node's run.
    pub incarnation: Incarnation,
    /// Counts up from 1 within the run.
    pub seq: u64,
}

/// A change of the replicated state. Everything that needs judgement (allocations, liveness) was decided
/// by the proposing leader; applying is mechanical.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub enum Op {
    /// The first command of a cluster's life: its identity and its first master.
    Found {
        /// The cluster.
        cluster: ClusterId,
        /// The first master; it gets node id 1 and is a voter.
        first: MemberSpec,
    },
    /// Makes a join token known. The secret itself never enters the log.
    CreateToken {
        /// Its public half.
        token: TokenId,
        /// BLAKE3 of its secret half.
        secret_hash: [u8; 32],
        /// The highest role it admits.
        role_cap: Role,
        /// Committed time at which it ends, in milliseconds.
        expires_ms: u64,
    },
    /// Ends a join token.
    RevokeToken {
        /// Its public half.
        token: TokenId,
    },
    /// Admits a node with a one-time token. The same key with the same token gets the same answer again.
    Join {
        /// The token.
        token: TokenId,
        /// BLAKE3 of the secret that the node presented.
        secret_hash: [u8; 32],
        /// What the node says of itself.
        spec: MemberSpec,
    },
    /// A member's addresses, name, zone, weight or hold policy changed; key and role stay.
    Register {
        /// The member.
        node: NodeId,
        /// What it says of itself now.
        spec: MemberSpec,
    },
    /// The leader's judgement of a member.
    SetLiveness {
        /// The member.
        node: NodeId,
        /// The judgement.
        liveness: Liveness,
    },
    /// A member's role changes.
    SetRole {
        /// The member.
        node: NodeId,
        /// Its new role.
        role: Role,
    },
    /// A master's place in Raft; valid only in the context of the Raft change itself.
    SetRaft {
        /// The master.
        node: NodeId,
        /// Its place now.
        standing: RaftStanding,
    },
    /// Takes a member out for good. A voter must have left Raft first.
    Remove {
        /// The member.
        node: NodeId,
    },
    /// Pins, or changes what an existing pin asks for; named holders are added to those it has.
    Pin {
        /// What is asked.
        spec: PinSpec,
        /// Holders that the leader chose.
        holders: Vec<NodeId>,
    },
    /// Ends a pin.
    Unpin {
        /// Its root.
        cid: Cid,
    },
    /// The planner's change of who holds a pin; refused if the pin changed meanwhile.
    Reassign {
        /// Its root.
        cid: Cid,
        /// The revision on which the plan was made.
        revision: u64,
        /// New holders; one that is already there is assigned afresh.
        add: Vec<NodeId>,
        /// Holders released.
        remove: Vec<NodeId>,
    },
    /// What a holder says of its assignments.
    Report {
        /// The holder.
        node: NodeId,
        /// Its outcomes; at most [`crate::limits::REPORTS_MAX`].
        items: Vec<ReplicaReport>,
    },
    /// Ends pins and tokens whose time has come, at most [`crate::limits::PAGE_MAX`] at once.
    Expire,
    /// Many pins under one request id, each of which takes effect or is refused by itself.
    PinMany {
        /// What [`Op::Pin`] says, for each; at most [`crate::limits::PIN_MANY_MAX`].
        pins: Vec<Placed>,
    },
}

/// A pin and the holders that the leader chose for it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Placed {
    /// What is asked.
    pub spec: PinSpec,
    /// Holders that the leader chose.
    pub holders: Vec<NodeId>,
}

/// What a command led to; kept for deduplication, so small.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub enum Outcome {
    /// It took effect at this log index.
    Done {
        /// The index.
        index: u64,
    },
    /// A join (or the founding) admitted this member.
    Admitted {
        /// Its number.
        node: NodeId,
        /// The index.
        index: u64,
    },
    /// It was refused and changed nothing.
    Refused(Refusal),
    /// Its items took effect at this log index, but for those that were refused.
    Each {
        /// The index.
        index: u64,
        /// Places of the refused items, in order, and why.
        refused: Vec<(u32, Refusal)>,
    },
}

impl Outcome {
    /// What remembering it counts against [`crate::limits::DEDUP_WINDOW`].
    pub(crate) fn weight(&self) -> u64 {
        match self {
            Self::Each { refused, .. } => 1 + refused.len() as u64,
            _ => 1,
        }
    }
}

/// Why a committed command changed nothing. A retry helps only where the text says so.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug, thiserror::Error)]
pub enum Refusal {
    /// The cluster exists already.
    #[error("the cluster is founded already")]
    AlreadyFounded,
    /// No such token; mistyped, used up, revoked or expired and forgotten.
    #[error("the join token is not known")]
    UnknownToken,
    /// The token's secret is wrong.
    #[error("the join token's secret does not match")]
    WrongSecret,
    /// The token's time is over.
    #[error("the join token expired")]
    TokenExpired,
    /// The token has admitted another node.
    #[error("the join token was used by another node")]
    TokenUsed,
    /// The token admits lower roles only.
    #[error("the join token admits no {asked}; its highest role is {cap}")]
    RoleAboveCap {
        /// What was asked.
        asked: Role,
        /// What the token admits.
        cap: Role,
    },
    /// The key is a member already, admitted by another token.
    #[error("this identity is member {node} already")]
    AlreadyMember {
        /// Its number.
        node: NodeId,
    },
    /// The key was removed for good.
    #[error("this identity was removed from the cluster; join with a new one")]
    RemovedIdentity,
    /// No such member.
    #[error("no member {node}")]
    UnknownNode {
        /// Its number.
        node: NodeId,
    },
    /// The key of a registration is not the member's.
    #[error("the identity is not that of member {node}")]
    WrongIdentity {
        /// The member.
        node: NodeId,
    },
    /// The member still votes.
    #[error("member {node} still has a place in raft")]
    StillInRaft {
        /// The member.
        node: NodeId,
    },
    /// The change is allowed in the context of a Raft change only.
    #[error("a place in raft changes only with raft's own membership change")]
    OutsideMembershipChange,
    /// No such pin.
    #[error("{cid} is not pinned")]
    NotPinned {
        /// The root.
        cid: Cid,
    },
    /// The pin changed since the plan was made; plan again.
    #[error("the pin changed meanwhile")]
    StaleRevision,
    /// A bound of [`crate::limits`] or a rule of the request itself.
    #[error("{what} is outside its bounds: {rule}")]
    OutOfBounds {
        /// Which value.
        what: String,
        /// The rule.
        rule: String,
    },
    /// The request is older than the window that is remembered, or of an older run.
    #[error("the request is too old to be told from a repetition")]
    TooOld,
}
