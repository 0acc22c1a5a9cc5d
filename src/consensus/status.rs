//! What a member knows about the group: plain data for operators, for the membership reconciler
//! and for compaction.

use std::collections::{BTreeMap, BTreeSet};

use crate::conf::ConfState;
use crate::id::RaftId;

/// The part that a member plays in the current term.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Follows a leader, or waits for one.
    Follower,
    /// Asks whether it could win an election.
    PreCandidate,
    /// Asks for votes.
    Candidate,
    /// Leads.
    Leader,
}

/// How a leader replicates to a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerState {
    /// Finding out where the member's log ends.
    Probe,
    /// Sending entries as they come.
    Replicate,
    /// Waiting for a snapshot transfer.
    Snapshot,
}

/// What a leader knows about another member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerStatus {
    /// The last entry that the member is known to hold.
    pub matched: u64,
    /// The next entry to send.
    pub next: u64,
    /// How it is being replicated to.
    pub state: PeerState,
    /// Raft's own mark; it is cleared at every quorum check, so it says little by itself.
    pub recent_active: bool,
    /// True if nothing is sent until the member answers.
    pub paused: bool,
    /// Ticks since anything was heard from the member; `u64::MAX` if nothing has been heard during
    /// this leadership.
    pub silent_ticks: u64,
}

/// A snapshot of one member's view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// This member.
    pub id: RaftId,
    /// Its role.
    pub role: Role,
    /// The term.
    pub term: u64,
    /// The leader it follows, if any.
    pub leader: Option<RaftId>,
    /// Where the leadership is being handed to, if it is.
    pub transferring_to: Option<RaftId>,
    /// The highest committed index it knows.
    pub commit: u64,
    /// The highest applied index.
    pub applied: u64,
    /// The first entry of its log.
    pub first: u64,
    /// The last entry of its log, persisted or not.
    pub last: u64,
    /// The configuration it acts under.
    pub conf: ConfState,
    /// True if a membership change may be under way; only a leader knows.
    pub membership_pending: bool,
    /// Bytes of proposals that wait for their commit; only a leader counts.
    pub uncommitted_bytes: u64,
    /// Reads that wait.
    pub reads: usize,
    /// True while the end of its log is in doubt, see [`crate::LogTail::Suspect`].
    pub tail_suspect: bool,
    /// The other members; filled in on a leader only.
    pub peers: BTreeMap<RaftId, PeerStatus>,
    /// Snapshots being sent: the receiver and the index.
    pub snapshots: BTreeMap<RaftId, u64>,
}

impl Status {
    /// True if this member leads.
    pub fn is_leader(&self) -> bool {
        self.role == Role::Leader
    }

    /// The members that a leader has heard within `ticks`, itself among them.
    pub fn heard_within(&self, ticks: u64) -> BTreeSet<RaftId> {
        let heard = self.peers.iter().filter(|(_, peer)| peer.silent_ticks < ticks);
        heard.map(|(id, _)| *id).chain([self.id]).collect()
    }

    /// The last entry that a member is known to hold, as far as a leader knows.
    pub fn matched(&self, id: RaftId) -> u64 {
        if id == self.id { self.last } else { self.peers.get(&id).map_or(0, |peer| peer.matched) }
    }
}
