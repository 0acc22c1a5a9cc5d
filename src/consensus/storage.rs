//! Raft's view of what is durable: the log port, the recovered start and the newest checkpoint.
//!
//! Raft panics when its storage fails. Here a failure is kept aside and Raft gets a harmless
//! answer; the core looks for it after every call and, having found one, lets nothing out that was
//! computed from that answer.

use std::cell::{Cell, RefCell};

use raft::eraftpb as pb;
use raft::{Error, GetEntriesContext, RaftState, Storage, StorageError};

use crate::conf::ConfState;
use crate::id::RaftId;
use crate::log::{HardState, LogError, LogView};
use crate::snapshot::SnapshotManifest;

pub(crate) struct DurableStore<L> {
    pub log: L,
    pub checkpoint: Option<SnapshotManifest>,
    initial: (HardState, ConfState),
    fault: RefCell<Option<LogError>>,
    /// The oldest state that would serve a follower that no checkpoint serves yet.
    checkpoint_wanted: Cell<Option<u64>>,
}

impl<L: LogView> DurableStore<L> {
    pub fn new(log: L, hard: HardState, conf: ConfState) -> Self {
        Self {
            log,
            checkpoint: None,
            initial: (hard, conf),
            fault: RefCell::new(None),
            checkpoint_wanted: Cell::new(None),
        }
    }

    pub fn fail(&self, error: LogError) {
        let mut fault = self.fault.borrow_mut();
        if fault.is_none() {
            *fault = Some(error);
        }
    }

    pub fn take_fault(&self) -> Option<LogError> {
        self.fault.borrow_mut().take()
    }

    pub fn checkpoint_wanted(&self) -> Option<u64> {
        self.checkpoint_wanted.get()
    }

    pub fn set_checkpoint(&mut self, manifest: SnapshotManifest) {
        if self.checkpoint_wanted.get().is_some_and(|wanted| manifest.index >= wanted) {
            self.checkpoint_wanted.set(None);
        }
        self.checkpoint = Some(manifest);
    }

    fn serves(&self, checkpoint: &SnapshotManifest, request_index: u64, to: u64) -> bool {
        checkpoint.index >= request_index
            && checkpoint.index + 1 >= self.log.first_index()
            && RaftId::new(to).is_some_and(|to| checkpoint.conf.contains(to))
    }
}

impl<L: LogView> Storage for DurableStore<L> {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState::new(self.initial.0.to_raft(), self.initial.1.to_raft()))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<pb::Entry>> {
        if low < self.log.first_index() {
            return Err(Error::Store(StorageError::Compacted));
        }
        let read = self.log.entries(low, high, max_size.into().unwrap_or(u64::MAX));
        let converted = read.and_then(|entries| {
            let convert = |entry: crate::log::LogEntry| {
                let index = entry.index;
                entry.into_raft().map_err(|source| LogError::Corrupt { index, source })
            };
            entries.into_iter().map(convert).collect()
        });
        match converted {
            Ok(entries) => Ok(entries),
            Err(LogError::Compacted { .. }) => Err(Error::Store(StorageError::Compacted)),
            Err(error) => {
                self.fail(error);
                Ok(Vec::new())
            }
        }
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        match self.log.term(index) {
            Ok(term) => Ok(term),
            Err(LogError::Compacted { .. }) => Err(Error::Store(StorageError::Compacted)),
            Err(error) => {
                self.fail(error);
                Ok(0)
            }
        }
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.log.first_index())
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.log.last_index())
    }

    /// A receiver refuses a snapshot whose configuration does not name it, so a checkpoint from
    /// before it joined does not serve it.
    fn snapshot(&self, request_index: u64, to: u64) -> raft::Result<pb::Snapshot> {
        let serving = self.checkpoint.as_ref().filter(|it| self.serves(it, request_index, to));
        if let Some(checkpoint) = serving {
            return Ok(checkpoint.to_raft());
        }
        let newer = self.checkpoint.as_ref().map_or(1, |checkpoint| checkpoint.index + 1);
        let wanted = newer.max(request_index).max(self.log.first_index() - 1);
        self.checkpoint_wanted.set(self.checkpoint_wanted.get().max(Some(wanted)));
        Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable))
    }
}
