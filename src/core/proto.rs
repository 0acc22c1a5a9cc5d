//! What members say to each other: unary requests, gossip, and the join exchange.
//!
//! Raft messages have their own bounded envelope in the consensus room; everything here is sealed by
//! [`crate::codec`] and bounded by [`crate::limits`] before it is decoded.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::command::{Command, Outcome};
use crate::delta::{Beacon, Delta};
use crate::follow::{Scope, View};
use crate::id::{Cid, ClusterId, Incarnation, NodeId};
use crate::member::{Member, MemberSpec};
use crate::pin::ReplicaReport;
use crate::token::JoinToken;

/// A unary request between members.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub enum Request {
    /// Commit these; sent to the leader by any member's coordination.
    Propose {
        /// At most [`crate::limits::ENTRY_COMMANDS_MAX`].
        commands: Vec<Command>,
    },
    /// A log index that covers everything acknowledged before now; answered by the leader.
    ReadIndex,
    /// A member is there. Sent to any master, which passes it to the leader.
    Heartbeat(Heartbeat),
    /// What happened since `from`; answered by any master.
    Feed {
        /// The follower's index.
        from: u64,
        /// The follower's epoch.
        epoch: u64,
        /// What it keeps.
        scope: Scope,
        /// How long the master may wait for something to happen before it answers, in milliseconds.
        wait_ms: u32,
    },
    /// Blocks by CID; the answer may stop early, the rest is asked again.
    Blocks {
        /// At most [`crate::limits::BLOCKS_PER_REQUEST_MAX`].
        cids: Vec<Cid>,
    },
    /// Which of these are here? A "yes" takes a lease, so that they stay for a while.
    Have {
        /// At most [`crate::limits::BLOCKS_PER_REQUEST_MAX`].
        cids: Vec<Cid>,
    },
    /// The hashes of a checkpoint's chunks, for a master that lags behind the log.
    StateHashes {
        /// The checkpoint, by its root hash.
        root: [u8; 32],
    },
    /// A chunk of a checkpoint's state.
    StateChunk {
        /// The checkpoint, by its root hash.
        root: [u8; 32],
        /// Which chunk, from 0.
        chunk: u32,
    },
    /// An operation of the registry, run on the asked member on behalf of the asking one's user.
    Operation {
        /// Its name.
        name: String,
        /// Its request as JSON.
        json: String,
    },
    /// A member that stops says goodbye, so that nobody waits for its lease to end.
    Goodbye {
        /// Who.
        node: NodeId,
        /// Which run.
        incarnation: Incarnation,
    },
}

/// A member's regular word.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Heartbeat {
    /// Who.
    pub node: NodeId,
    /// Which run.
    pub incarnation: Incarnation,
    /// Where it can be reached now; differing from the registry, it is registered anew.
    pub spec: MemberSpec,
    /// Where its view is.
    pub index: u64,
    /// What its wall clock shows, in milliseconds; the masters' clocks say together what time it is.
    pub wall_ms: u64,
    /// What it stores.
    pub usage: Usage,
    /// Outcomes that no delta has confirmed yet; the repair path of the gossiped ones.
    pub reports: Vec<ReplicaReport>,
}

/// What a member stores and may store.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug, Default)]
pub struct Usage {
    /// Blocks held.
    pub blocks: u64,
    /// Bytes used.
    pub used_bytes: u64,
    /// Bytes it may use.
    pub max_bytes: u64,
}

/// The answer to a unary request.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub enum Response {
    /// Outcomes in the commands' order.
    Proposed(Vec<Outcome>),
    /// The index to wait for.
    ReadIndex(u64),
    /// The leader's word.
    Heartbeat(HeartbeatReply),
    /// Deltas in order; empty: nothing happened.
    Feed {
        /// Each begins where the one before ended.
        deltas: Vec<Delta>,
        /// Where the master is.
        beacon: Beacon,
    },
    /// The follower is too far behind or diverged: everything anew.
    Snapshot(Box<View>),
    /// Block bytes in the order asked, `None` where one is not here; possibly fewer than asked.
    Blocks(Vec<Option<Bytes>>),
    /// In the order asked.
    Have(Vec<bool>),
    /// The hashes of all chunks, one after the other.
    StateHashes(Bytes),
    /// A chunk of the state.
    StateChunk(Bytes),
    /// The operation's result as JSON.
    Operation {
        /// `Ok` or the error object.
        result: Result<String, OperationFailure>,
    },
    /// Done, nothing to say.
    Ok,
    /// The asked member does not lead; ask this one, if it is known.
    NotLeader {
        /// The leader as the asked member knows it.
        leader: Option<NodeId>,
    },
    /// It can't be done now; a retry after a moment may help.
    Unavailable {
        /// Why.
        reason: String,
    },
    /// It will never be done.
    Refused {
        /// Why.
        reason: String,
    },
}

/// An operation's error as it crosses the wire.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct OperationFailure {
    /// The stable code.
    pub code: String,
    /// What failed and why.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
    /// Whether a retry may help.
    pub retryable: bool,
}

/// The answer to a heartbeat.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub enum HeartbeatReply {
    /// All is well.
    Welcome {
        /// Where the log is.
        beacon: Beacon,
        /// An advertised address at which the master could not reach the member, with the reason.
        unreachable: Option<(String, String)>,
    },
    /// An earlier run of this member was heard a moment ago: ask again.
    Wait {
        /// After which time, in milliseconds.
        retry_ms: u64,
    },
    /// Another live run has this identity: stop.
    IdentityInUse {
        /// The other run.
        other: Incarnation,
        /// Where it is.
        addrs: Vec<String>,
    },
    /// The member is not in the registry any more: stop.
    NotAMember,
}

/// A gossip message.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub enum Gossip {
    /// From the leader: what happened.
    Delta(Delta),
    /// From the leader: where the log is.
    Beacon(Beacon),
    /// From a holder: its outcomes.
    Outcomes {
        /// Who.
        node: NodeId,
        /// Which run.
        incarnation: Incarnation,
        /// What.
        reports: Vec<ReplicaReport>,
    },
}

/// Gossip topics.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Topic {
    /// Deltas.
    Pins,
    /// Outcomes.
    Status,
    /// Beacons.
    Discovery,
}

/// What a node that is no member yet may say, and nothing else.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct JoinRequest {
    /// The whole token.
    pub token: JoinToken,
    /// What the node says of itself.
    pub spec: MemberSpec,
}

/// What it hears.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub enum JoinReply {
    /// Admitted.
    Welcome {
        /// Its number.
        node: NodeId,
        /// The cluster.
        cluster: ClusterId,
        /// The history epoch.
        epoch: u64,
        /// The masters and itself, so that it knows whom to follow.
        members: Vec<Member>,
        /// Advertised addresses at which the master could not reach it, with the reason.
        unreachable: Vec<(String, String)>,
    },
    /// Not admitted; final for this token unless `retryable`.
    Refused {
        /// Stable code.
        code: String,
        /// Why.
        reason: String,
        /// Whether asking again later may help (no leader now).
        retryable: bool,
    },
}
