//! Applying committed entries: the state changes here and nowhere else.

use ipfs_kit_consensus as raft;
use ipfs_kit_core::codec::{self, Kind};
use ipfs_kit_core::command::Entry;
use ipfs_kit_core::limits;
use ipfs_kit_core::state::{Applied as Effects, Standing};

use super::{ConsensusError, Task};
use crate::events::{Applied, AppliedEntry};

impl Task {
    pub(super) fn apply(&mut self, committed: Vec<raft::Committed>) -> Result<(), ConsensusError> {
        let Some(last) = committed.last().map(raft::Committed::index) else { return Ok(()) };
        let mut entries = Vec::with_capacity(committed.len());
        for entry in committed {
            entries.push(self.apply_one(entry)?);
        }
        let grants = self.core.applied(last)?;
        if self.applied_term == self.core.term() && self.core.is_leader() {
            self.applied_own_term = self.applied_term;
        }
        let epoch = self.deps.handle.state.read(|state| state.epoch());
        (self.deps.on_applied)(Applied { epoch, entries });
        self.grant(grants);
        Ok(())
    }

    fn apply_one(&mut self, committed: raft::Committed) -> Result<AppliedEntry, ConsensusError> {
        let index = committed.index();
        let effects = match committed {
            raft::Committed::Empty { term, .. } => {
                self.applied_term = term;
                self.skip(index)
            }
            raft::Committed::Entry { term, data, .. } => {
                self.applied_term = term;
                let entry = match self.requests.came_back(&data) {
                    Some(entry) => entry,
                    None => decode(index, &data)?,
                };
                self.notice_own(&entry);
                self.deps.handle.state.write(|state| state.apply(index, &entry, Standing::Normal))
            }
            raft::Committed::Membership { term, context, .. } => {
                self.applied_term = term;
                let entry = decode(index, &context)?;
                match self.core.apply_membership(index, raft::Verdict::Accept)? {
                    raft::MembershipOutcome::Changed(conf) => {
                        tracing::info!(voters = ?conf.voters, learners = ?conf.learners, "raft members");
                        self.conf = conf;
                        let standing = Standing::MembershipChange;
                        self.deps.handle.state.write(|state| state.apply(index, &entry, standing))
                    }
                    raft::MembershipOutcome::Unchanged { reason } => {
                        tracing::warn!(%reason, "a membership change had no effect");
                        self.skip(index)
                    }
                }
            }
        };
        for (request, outcome) in &effects.outcomes {
            self.requests.settle(*request, outcome);
        }
        let (hash, clock_ms) =
            self.deps.handle.state.read(|state| (state.hash(), state.clock_ms()));
        Ok(AppliedEntry { index, hash, clock_ms, changes: effects.changes })
    }

    fn skip(&self, index: u64) -> Effects {
        self.deps.handle.state.write(|state| state.skip(index));
        Effects::default()
    }

    /// A command of this very run was proposed after its start, so everything that this node may have
    /// acknowledged before stands before it in the log, and is here now.
    fn notice_own(&mut self, entry: &Entry) {
        if self.suspect_since.is_none() {
            return;
        }
        let own = |request: ipfs_kit_core::command::RequestId| {
            request.node == self.deps.node && request.incarnation == self.deps.incarnation
        };
        if entry.commands.iter().any(|command| own(command.request)) {
            self.trust_tail("it has caught up with the leader");
        }
    }
}

fn decode(index: u64, bytes: &[u8]) -> Result<Entry, ConsensusError> {
    codec::open(Kind::Entry, bytes, limits::ENTRY_BYTES_MAX)
        .map_err(|error| ConsensusError::Apply { index, reason: error.to_string() })
}
