//! What the calls of [`crate::RaftCore`] refuse, and what to do about it.

use thiserror::Error;

use crate::codec::DecodeError;
use crate::id::RaftId;
use crate::log::LogError;
use crate::membership::ChangeRefusal;
use crate::wire::WireError;

/// The core has failed and must not be used any more: everything it would say could rest on what
/// it failed to read. Drop it and start again from the disk. Every call repeats this.
#[derive(Debug, Error)]
pub enum CoreFailure {
    /// The log could not be read; this is the first report of it.
    #[error("consensus stopped: its log can't be read")]
    Log {
        /// What the log said.
        #[source]
        source: LogError,
    },
    /// An entry or message of raft could not be converted; this is the first report of it.
    #[error("consensus stopped: raft made something unknown")]
    Encoding {
        /// What is wrong with it.
        #[from]
        source: DecodeError,
    },
    /// The failure has been reported before.
    #[error("consensus has stopped")]
    Stopped,
}

/// Why entries were not proposed. None of them is in the log.
#[derive(Debug, Error)]
pub enum ProposeError {
    /// This member does not lead. Go to the leader, or retry when there is one.
    #[error("not the leader")]
    NotLeader {
        /// The leader, if there is one.
        leader: Option<RaftId>,
    },
    /// Too much waits for its commit. Retry later, with a delay.
    #[error("{waiting_bytes} bytes in {waiting_entries} entries wait for their commit")]
    Overloaded {
        /// Bytes that wait.
        waiting_bytes: u64,
        /// Entries that wait.
        waiting_entries: u64,
    },
    /// The leadership is being handed over. Retry within an election timeout.
    #[error("the leadership is being handed to {to}")]
    Transferring {
        /// To whom.
        to: RaftId,
    },
    /// A batch is being persisted. Retry after [`crate::RaftCore::persisted`].
    #[error("batch {number} is being persisted")]
    Busy {
        /// The batch.
        number: u64,
    },
    /// The proposal has no entries, or one of them has no data. Retrying does not help.
    #[error("a proposal needs entries, and every entry data")]
    Empty,
    /// An entry or the proposal as a whole is too long. Retrying does not help; a proposal may be
    /// split.
    #[error("{len_bytes} bytes proposed, at most {max_bytes} are allowed")]
    TooLarge {
        /// The length.
        len_bytes: u64,
        /// The limit.
        max_bytes: u64,
    },
    /// Another membership change is under way. Retry when it has been applied.
    #[error("another membership change is under way")]
    MembershipPending,
    /// The membership change is not safe now.
    #[error("unsafe membership change")]
    Unsafe {
        /// Which rule it breaks.
        #[from]
        source: ChangeRefusal,
    },
    /// Raft dropped the proposal for a reason of its own. Retry later.
    #[error("raft dropped the proposal")]
    Dropped {
        /// What raft said.
        #[source]
        source: raft::Error,
    },
    /// The core has failed.
    #[error(transparent)]
    Failed(#[from] CoreFailure),
}

/// Why the leadership is not handed over. State is intact.
#[derive(Debug, Error)]
pub enum TransferError {
    /// This member does not lead.
    #[error("not the leader")]
    NotLeader {
        /// The leader, if there is one.
        leader: Option<RaftId>,
    },
    /// The member is no voter. Promote it first.
    #[error("{to} is no voter")]
    NotVoter {
        /// The member.
        to: RaftId,
    },
    /// A batch is being persisted. Retry after [`crate::RaftCore::persisted`].
    #[error("batch {number} is being persisted")]
    Busy {
        /// The batch.
        number: u64,
    },
    /// The core has failed.
    #[error(transparent)]
    Failed(#[from] CoreFailure),
}

/// Why a message was not taken in. Unless it says otherwise the state is intact, and Raft bears
/// the loss of the message.
#[derive(Debug, Error)]
pub enum MessageError {
    /// The bytes were refused.
    #[error("refused a message from {from}")]
    Wire {
        /// The authenticated sender.
        from: RaftId,
        /// Why.
        #[source]
        source: WireError,
    },
    /// Too much waits while a batch is being persisted.
    #[error("{messages} messages with {len_bytes} bytes wait already")]
    Overloaded {
        /// Messages that wait.
        messages: usize,
        /// Their bytes.
        len_bytes: usize,
    },
    /// A response came from someone who is not (or no longer) a member.
    #[error("{from} is no member")]
    NotMember {
        /// The sender.
        from: RaftId,
    },
    /// A member acknowledged entries that do not exist, or answered with a number that can't be.
    #[error("{from} acknowledged entry {index}, the log ends at {last}")]
    Impossible {
        /// The sender.
        from: RaftId,
        /// What it acknowledged.
        index: u64,
        /// The end of the log.
        last: u64,
    },
    /// The leader remembers that this member held entries which it does not hold. Its disk has
    /// lost what it acknowledged: stop the node, and join again under a new id.
    #[error("the leader knows entry {commit} to be held here, but the log ends at {last}")]
    AcknowledgedEntriesLost {
        /// What the leader knows.
        commit: u64,
        /// The end of the log.
        last: u64,
    },
    /// The state of a snapshot offer arrived, but no leader is known to confirm it to. Keep the
    /// state and step the offer again when there is one.
    #[error("no leader to confirm the snapshot to")]
    NoLeader,
    /// Entries that were handed out have not been applied. Apply them and step the offer again.
    #[error("entries up to {handed_out} are being applied, {applied} has been reached")]
    Applying {
        /// The last index handed out.
        handed_out: u64,
        /// The last index applied.
        applied: u64,
    },
    /// A batch is being persisted. Step the offer again after [`crate::RaftCore::persisted`].
    #[error("batch {number} is being persisted")]
    Busy {
        /// The batch.
        number: u64,
    },
    /// Raft refused the message.
    #[error("raft refused a message from {from}")]
    Raft {
        /// The sender.
        from: RaftId,
        /// What raft said.
        #[source]
        source: raft::Error,
    },
    /// The core has failed.
    #[error(transparent)]
    Failed(#[from] CoreFailure),
}

/// A call came out of turn. The state is intact; the caller has a bug.
#[derive(Debug, Error)]
pub enum CycleError {
    /// A batch has been handed out and not been confirmed.
    #[error("batch {number} has not been confirmed")]
    ReadyOutstanding {
        /// The batch.
        number: u64,
    },
    /// A batch was confirmed that is not the one handed out.
    #[error("batch {given} confirmed, but {expected:?} was handed out")]
    WrongBatch {
        /// The batch handed out, if any.
        expected: Option<u64>,
        /// The one confirmed.
        given: u64,
    },
    /// A batch was confirmed, but the log does not show its entries.
    #[error("batch {number} confirmed, but the log ends at {found} instead of {expected}")]
    NotPersisted {
        /// The batch.
        number: u64,
        /// Where the log should end.
        expected: u64,
        /// Where it ends.
        found: u64,
    },
    /// A membership change was handed out and has to be decided on first.
    #[error("the membership change at {index} has not been decided on")]
    MembershipUndecided {
        /// Its index.
        index: u64,
    },
    /// A membership change was decided on that is not the next one.
    #[error("a decision on {given}, but the next membership change is {expected:?}")]
    WrongMembership {
        /// The index of the next one, if any.
        expected: Option<u64>,
        /// The index given.
        given: u64,
    },
    /// The applied index ran backwards or beyond what was handed out.
    #[error("applied {given}, outside of {applied}..={handed_out}")]
    AppliedOutOfRange {
        /// The index given.
        given: u64,
        /// The index applied before.
        applied: u64,
        /// The last index handed out.
        handed_out: u64,
    },
    /// A checkpoint was announced that this member can't serve.
    #[error("checkpoint at {index} from {held_by}, but {applied} has been applied here")]
    BadCheckpoint {
        /// Its index.
        index: u64,
        /// Who holds it.
        held_by: RaftId,
        /// The applied index.
        applied: u64,
    },
    /// The core has failed.
    #[error(transparent)]
    Failed(#[from] CoreFailure),
}

/// There are too many reads. State is intact; retry later, with a delay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{waiting} reads wait already")]
pub struct TooManyReads {
    /// Reads that wait.
    pub waiting: usize,
}
