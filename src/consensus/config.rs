//! The settings of one member, and what it starts from.

use thiserror::Error;

use crate::conf::ConfState;
use crate::id::RaftId;
use crate::log::{HardState, LogView};
use crate::snapshot::SnapshotManifest;
use crate::wire::WireLimits;

/// The index at which every group starts: the first member begins as if it had restored a snapshot
/// that ends here and names it as the only voter. No joining member can then replay the log from
/// nothing and miss how the group began: it must take a snapshot.
pub const BOOTSTRAP_INDEX: u64 = 1;
/// The term of the entry at [`BOOTSTRAP_INDEX`].
pub const BOOTSTRAP_TERM: u64 = 1;

/// The settings of one member. All durations count calls of [`crate::RaftCore::tick`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// This member.
    pub id: RaftId,
    /// Seeds the election timeouts. Members may share it; their ids tell them apart.
    pub seed: u64,
    /// A number that no earlier start of this member has used; keeps read requests apart.
    pub incarnation: u64,
    /// The shortest time without a leader before an election; the longest is twice that.
    pub election_ticks: u32,
    /// The time between two heartbeats of a leader. Well below `election_ticks`.
    pub heartbeat_ticks: u32,
    /// How long an unanswered read round waits before it is sent again.
    pub read_retry_ticks: u32,
    /// How long a snapshot transfer may make no progress before it counts as failed.
    pub snapshot_stall_ticks: u32,
    /// The size at which one append message is full, in bytes.
    pub append_max_bytes: u64,
    /// How many append messages may be under way to one member.
    pub inflight_max: usize,
    /// The largest entry, in bytes.
    pub entry_max_bytes: usize,
    /// How many bytes of proposals may wait for their commit before more are refused.
    pub uncommitted_max_bytes: u64,
    /// How many entries may wait for their commit before more are refused.
    pub uncommitted_max_entries: u64,
    /// How many bytes of committed entries one cycle hands out.
    pub committed_max_bytes: u64,
    /// How many reads may wait for an answer.
    pub reads_max: usize,
    /// How many messages may wait while a batch is being persisted.
    pub inbox_max: usize,
    /// How many bytes of messages may wait while a batch is being persisted.
    pub inbox_max_bytes: usize,
}

const MIB: u64 = 1024 * 1024;

impl Config {
    /// The default settings: elections after 10 to 20 ticks, a heartbeat every second tick.
    pub fn new(id: RaftId, seed: u64, incarnation: u64) -> Self {
        Self {
            id,
            seed,
            incarnation,
            election_ticks: 10,
            heartbeat_ticks: 2,
            read_retry_ticks: 10,
            snapshot_stall_ticks: 600,
            append_max_bytes: MIB,
            inflight_max: 256,
            entry_max_bytes: 8 * MIB as usize,
            uncommitted_max_bytes: 64 * MIB,
            uncommitted_max_entries: 262_144,
            committed_max_bytes: 16 * MIB,
            reads_max: 65_536,
            inbox_max: 4096,
            inbox_max_bytes: 64 * MIB as usize,
        }
    }

    pub(crate) fn wire_limits(&self) -> WireLimits {
        let message_max = self.append_max_bytes as usize + self.entry_max_bytes + MIB as usize;
        WireLimits { message_max_bytes: message_max, entry_max_bytes: self.entry_max_bytes }
    }

    /// Raft's settings. Read leases and append batching stay off: the first serves stale data
    /// after a pause, the second breaks the log under reordering.
    pub(crate) fn to_raft(&self, applied: u64) -> raft::Config {
        raft::Config {
            id: self.id.get(),
            election_tick: self.election_ticks as usize,
            heartbeat_tick: self.heartbeat_ticks as usize,
            applied,
            max_size_per_msg: self.append_max_bytes,
            max_inflight_msgs: self.inflight_max,
            check_quorum: true,
            pre_vote: true,
            read_only_option: raft::ReadOnlyOption::Safe,
            // Told by `RaftCore::tell_commit`.
            skip_bcast_commit: true,
            batch_append: false,
            max_uncommitted_size: self.uncommitted_max_bytes,
            max_committed_size_per_ready: self.committed_max_bytes,
            ..raft::Config::default()
        }
    }

    fn validate(&self) -> Result<(), RecoverError> {
        let ticks = self.heartbeat_ticks > 0
            && self.election_ticks >= 2 * self.heartbeat_ticks
            && self.read_retry_ticks > 0
            && self.snapshot_stall_ticks > 0;
        let sizes = self.entry_max_bytes > 0
            && (MIB / 16..=64 * MIB).contains(&self.append_max_bytes)
            && self.uncommitted_max_bytes >= self.append_max_bytes
            && self.committed_max_bytes > 0;
        let counts = self.inflight_max > 0
            && self.uncommitted_max_entries > 0
            && self.reads_max > 0
            && self.inbox_max > 0;
        match (ticks, sizes, counts) {
            (false, _, _) => Err(RecoverError::Config {
                reason: "ticks must be positive and an election at least two heartbeats long",
            }),
            (_, false, _) => Err(RecoverError::Config { reason: "a size limit is out of range" }),
            (_, _, false) => Err(RecoverError::Config { reason: "a count limit is zero" }),
            _ => Ok(()),
        }
    }
}

/// Whether the recovered log may lack an end that this member has once acknowledged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogTail {
    /// The log holds everything that was acknowledged.
    #[default]
    Whole,
    /// The log may have lost its end. The member neither votes nor campaigns until
    /// [`crate::RaftCore::tail_verified`]: its vote could elect a leader without an entry that
    /// was committed on the strength of its word.
    Suspect,
}

/// What a member starts from, read back from its disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovered {
    /// The last hard state that was persisted.
    pub hard_state: HardState,
    /// The configuration that was stored with the applied state.
    pub conf: ConfState,
    /// The last index whose effect the recovered state holds. Entries after it are handed out
    /// again. Never the commit index: that would skip what was committed but not applied.
    pub applied: u64,
    /// The newest durable checkpoint, from which other members can be served.
    pub checkpoint: Option<SnapshotManifest>,
    /// What is known about the end of the log.
    pub tail: LogTail,
}

impl Recovered {
    /// The start of a new group whose only member is `id`. The log must be empty and start after
    /// ([`BOOTSTRAP_INDEX`], [`BOOTSTRAP_TERM`]).
    pub fn first_member(id: RaftId) -> Self {
        Self {
            hard_state: HardState { term: BOOTSTRAP_TERM, vote: 0, commit: BOOTSTRAP_INDEX },
            conf: ConfState::single(id),
            applied: BOOTSTRAP_INDEX,
            ..Self::default()
        }
    }

    /// The start of a member that joins an existing group: it knows nothing and takes part once
    /// the leader has added it. The log must be empty and start at index 1.
    pub fn joining() -> Self {
        Self::default()
    }

    /// Checks what raft would panic on or silently believe, and lifts the commit index to the
    /// applied index: what has been applied was committed, even if the crash came before that was
    /// written down.
    pub(crate) fn check(
        mut self,
        config: &Config,
        log: &impl LogView,
    ) -> Result<Self, RecoverError> {
        config.validate()?;
        let (first_index, last_index) = (log.first_index(), log.last_index());
        let applied = self.applied;
        if self.conf == ConfState::default() {
            if applied != 0 || first_index != 1 {
                return Err(RecoverError::NoMembers { applied, first_index });
            }
        } else if applied == 0 {
            return Err(RecoverError::NotBootstrapped);
        }
        if applied + 1 < first_index || applied > last_index {
            return Err(RecoverError::AppliedOutsideLog { applied, first_index, last_index });
        }
        let HardState { term, commit, .. } = self.hard_state;
        if commit > last_index {
            return Err(RecoverError::CommittedEntriesLost { commit, last_index });
        }
        let last_term = log.term(last_index)?;
        if last_term > term {
            return Err(RecoverError::TermLost { term, last_term });
        }
        self.check_checkpoint(log)?;
        self.hard_state.commit = commit.max(applied);
        Ok(self)
    }

    /// A crash between the installation of a snapshot and the restart of the log leaves a log that
    /// knows nothing of the snapshot. If it reaches beyond it, only its terms give that away.
    fn check_checkpoint(&self, log: &impl LogView) -> Result<(), RecoverError> {
        let Some(checkpoint) = &self.checkpoint else { return Ok(()) };
        let (index, term) = (checkpoint.index, checkpoint.term);
        if index > self.applied {
            let applied = self.applied;
            return Err(RecoverError::CheckpointNotApplied { index, applied });
        }
        if index + 1 < log.first_index() {
            return Ok(());
        }
        match log.term(index)? {
            log_term if log_term == term => Ok(()),
            log_term => Err(RecoverError::CheckpointNotInLog { index, term, log_term }),
        }
    }
}

/// Why a member can't start. Nothing has been written; starting again with the same input fails
/// again.
#[derive(Debug, Error)]
pub enum RecoverError {
    /// A setting is out of range.
    #[error("invalid consensus settings: {reason}")]
    Config {
        /// What is wrong.
        reason: &'static str,
    },
    /// The node has state or a compacted log but no configuration.
    #[error("state up to {applied} and a log from {first_index}, but no members are recorded")]
    NoMembers {
        /// The applied index.
        applied: u64,
        /// The first entry of the log.
        first_index: u64,
    },
    /// There is a configuration, but nothing has been applied.
    #[error("members are recorded, but the group was never bootstrapped")]
    NotBootstrapped,
    /// The applied state and the log do not meet. If the log is the older one, it has to be reset
    /// to the checkpoint first.
    #[error("the state ends at {applied}, outside of the log {first_index}..={last_index}")]
    AppliedOutsideLog {
        /// The applied index.
        applied: u64,
        /// The first entry of the log.
        first_index: u64,
        /// The last entry of the log.
        last_index: u64,
    },
    /// The checkpoint is ahead of what is said to have been applied.
    #[error("a checkpoint at {index}, but only {applied} has been applied")]
    CheckpointNotApplied {
        /// The checkpoint's index.
        index: u64,
        /// The applied index.
        applied: u64,
    },
    /// The log holds other entries than those that led to the checkpoint: a snapshot was installed
    /// and the log not restarted. Restart the log after the checkpoint first.
    #[error("the checkpoint at {index} is of term {term}, the log has term {log_term} there")]
    CheckpointNotInLog {
        /// The checkpoint's index.
        index: u64,
        /// The checkpoint's term.
        term: u64,
        /// The term of the entry in the log.
        log_term: u64,
    },
    /// The log lacks entries that were committed. The node must join again under a new id.
    #[error("entries up to {commit} were committed, but the log ends at {last_index}")]
    CommittedEntriesLost {
        /// The recorded commit index.
        commit: u64,
        /// The last entry of the log.
        last_index: u64,
    },
    /// The hard state is older than the log. The node must join again under a new id: it may have
    /// voted in a term that it no longer knows.
    #[error("the recorded term is {term}, but the log ends in term {last_term}")]
    TermLost {
        /// The recorded term.
        term: u64,
        /// The term of the last entry.
        last_term: u64,
    },
    /// The log can't be read.
    #[error("the log can't be read at the start")]
    Log {
        /// What the log said.
        #[from]
        source: crate::log::LogError,
    },
    /// Raft refused the start.
    #[error("raft refuses to start")]
    Raft {
        /// What raft said.
        #[from]
        source: raft::Error,
    },
}

#[cfg(test)]
mod tests;
