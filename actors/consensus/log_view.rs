//! The store's log as consensus reads it, and consensus' batches as the store takes them.

use std::sync::Arc;

use bytes::Bytes;
use ipfs_kit_consensus as raft;
use ipfs_kit_store::raft_log::{self, RaftLog, RaftLogError};

/// Reads of the persisted log.
pub struct StoredLog(pub Arc<RaftLog>);

impl raft::LogView for StoredLog {
    fn first_index(&self) -> u64 {
        self.0.first_index()
    }

    fn last_index(&self) -> u64 {
        self.0.last_index()
    }

    fn term(&self, index: u64) -> Result<u64, raft::LogError> {
        self.0.term(index).map_err(|error| log_error(index, error))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_bytes: u64,
    ) -> Result<Vec<raft::LogEntry>, raft::LogError> {
        let stored = self.0.entries(low, high, max_bytes).map_err(|error| log_error(low, error))?;
        stored.into_iter().map(from_stored).collect()
    }
}

fn from_stored(entry: raft_log::Entry) -> Result<raft::LogEntry, raft::LogError> {
    let raft_log::Entry { index, term, kind, data, .. } = entry;
    let unknown = || raft::LogError::Corrupt {
        index,
        source: raft::DecodeError::Unknown { field: "entry kind", value: kind.into() },
    };
    let kind = raft::EntryKind::from_u8(kind).ok_or_else(unknown)?;
    Ok(raft::LogEntry { index, term, kind, data })
}

fn log_error(index: u64, error: RaftLogError) -> raft::LogError {
    match error {
        RaftLogError::Compacted { .. } => raft::LogError::Compacted { index },
        RaftLogError::Beyond { .. } => raft::LogError::Missing { index },
        other => raft::LogError::Read { index, source: Box::new(other) },
    }
}

/// A batch as the store takes it.
pub fn to_stored(batch: &raft::Batch) -> raft_log::Batch {
    raft_log::Batch {
        restart_after: batch
            .snapshot
            .as_ref()
            .map(|manifest| raft_log::Position { index: manifest.index, term: manifest.term }),
        entries: batch
            .entries
            .iter()
            .map(|entry| raft_log::Entry {
                index: entry.index,
                term: entry.term,
                kind: entry.kind as u8,
                data: entry.data.clone(),
                context: Bytes::new(),
            })
            .collect(),
        hard_state: batch.hard_state.map(|hard| raft_log::HardState {
            term: hard.term,
            vote: hard.vote,
            commit: hard.commit,
        }),
    }
}
