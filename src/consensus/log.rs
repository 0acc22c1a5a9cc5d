//! The Raft log as this package sees it: what an entry is, and the port through which Raft reads
//! the entries that have been persisted. Writing belongs to the caller, between
//! [`crate::RaftCore::ready`] and [`crate::RaftCore::persisted`].

use std::error::Error as StdError;

use bytes::Bytes;
use raft::eraftpb as pb;
use thiserror::Error;

use crate::codec::DecodeError;
use crate::conf::MembershipEntry;

mod mem;

pub use mem::MemLog;

/// What the data of an entry is. The numbers are part of the log and wire formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum EntryKind {
    /// Opaque bytes of the application. Empty data is the entry that a new leader appends.
    Normal = 0,
    /// An encoded [`MembershipEntry`].
    Membership = 1,
}

impl EntryKind {
    /// The kind with this number.
    pub fn from_u8(value: u8) -> Option<Self> {
        match value {
            0 => Some(Self::Normal),
            1 => Some(Self::Membership),
            _ => None,
        }
    }
}

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Its position; the first entry of a group has index 2, see [`crate::BOOTSTRAP_INDEX`].
    pub index: u64,
    /// The term of the leader that made it.
    pub term: u64,
    /// What `data` is.
    pub kind: EntryKind,
    /// Its content.
    pub data: Bytes,
}

/// What every entry counts against a size limit beside its data, in bytes.
pub const ENTRY_OVERHEAD_BYTES: u64 = 24;

impl LogEntry {
    /// What the entry counts against a size limit.
    pub fn weight_bytes(&self) -> u64 {
        self.data.len() as u64 + ENTRY_OVERHEAD_BYTES
    }

    pub(crate) fn from_raft(entry: &pb::Entry) -> Result<Self, DecodeError> {
        let (kind, data) = match entry.get_entry_type() {
            pb::EntryType::EntryNormal => (EntryKind::Normal, entry.data.clone()),
            pb::EntryType::EntryConfChangeV2 => {
                let change = MembershipEntry::from_raft_bytes(&entry.data)?;
                (EntryKind::Membership, change.encode())
            }
            pb::EntryType::EntryConfChange => {
                return Err(DecodeError::Unknown { field: "raft entry type", value: 1 });
            }
        };
        Ok(Self { index: entry.index, term: entry.term, kind, data })
    }

    pub(crate) fn into_raft(self) -> Result<pb::Entry, DecodeError> {
        let (index, term) = (self.index, self.term);
        let mut entry = pb::Entry { index, term, ..pb::Entry::default() };
        match self.kind {
            EntryKind::Normal => entry.data = self.data,
            EntryKind::Membership => {
                entry.set_entry_type(pb::EntryType::EntryConfChangeV2);
                entry.data = MembershipEntry::decode(self.data)?.to_raft_bytes();
            }
        }
        Ok(entry)
    }
}

/// The promises of a node that must survive a restart beside its log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HardState {
    /// The latest term that the node has seen.
    pub term: u64,
    /// The member that got its vote in that term; zero for nobody.
    pub vote: u64,
    /// The highest index that it knows to be committed.
    pub commit: u64,
}

impl HardState {
    pub(crate) fn from_raft(hard: &pb::HardState) -> Self {
        Self { term: hard.term, vote: hard.vote, commit: hard.commit }
    }

    pub(crate) fn to_raft(self) -> pb::HardState {
        let Self { term, vote, commit } = self;
        pb::HardState { term, vote, commit, ..pb::HardState::default() }
    }
}

/// Why the log can't answer.
#[derive(Debug, Error)]
pub enum LogError {
    /// The entry has been compacted away. State is intact; a snapshot holds what it did.
    #[error("entry {index} has been compacted")]
    Compacted {
        /// The entry asked for.
        index: u64,
    },
    /// The log ends before the entry. The caller asked for what was never written.
    #[error("entry {index} is beyond the end of the log")]
    Missing {
        /// The entry asked for.
        index: u64,
    },
    /// An entry does not decode. The node must stop; repeating does not help.
    #[error("entry {index} is corrupt")]
    Corrupt {
        /// The entry read.
        index: u64,
        /// What is wrong with it.
        #[source]
        source: DecodeError,
    },
    /// Reading failed. The node must stop: what it can't read it can't promise.
    #[error("the log can't be read at entry {index}")]
    Read {
        /// The entry asked for.
        index: u64,
        /// What the store said.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
}

/// Reads of the persisted log. Entries that Raft has not handed out for persisting are not in it;
/// Raft keeps those itself.
///
/// Reads block: they come from memory or from a local disk. `first_index - 1` is the last
/// compacted entry, whose term stays known. An empty log has `last_index == first_index - 1`.
pub trait LogView {
    /// The first entry that can be read.
    fn first_index(&self) -> u64;

    /// The last entry of the log.
    fn last_index(&self) -> u64;

    /// The term of an entry in `first_index - 1 ..= last_index`.
    ///
    /// # Errors
    /// [`LogError`]; anything but `Compacted` stops the node.
    fn term(&self, index: u64) -> Result<u64, LogError>;

    /// The entries `low..high`, cut off where their [`LogEntry::weight_bytes`] exceed `max_bytes`
    /// together; the first one comes whatever its size. `u64::MAX` means all of them.
    ///
    /// # Errors
    /// [`LogError`]; anything but `Compacted` stops the node.
    fn entries(&self, low: u64, high: u64, max_bytes: u64) -> Result<Vec<LogEntry>, LogError>;
}
