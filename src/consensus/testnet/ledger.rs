//! Raft's promises, checked against everything that any member ever did.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::log::{LogEntry, LogView};
use crate::raft_core::{Committed, Proposed};
use crate::reads::{ReadGrant, ReadToken};
use crate::{MemLog, RaftCore, RaftId};

#[derive(Debug, Default)]
pub struct Ledger {
    /// Election safety: the one leader of each term.
    leaders: BTreeMap<u64, RaftId>,
    /// Log matching: what stands at an index in a term, and the term before it.
    entries: BTreeMap<(u64, u64), (u64, u64)>,
    /// State machine safety: what has been applied at an index.
    committed: BTreeMap<u64, (u64, u64)>,
    /// Reads that wait, with the last committed index when they were asked.
    reads: BTreeMap<ReadToken, u64>,
    proposed: Vec<Proposed>,
    pub reads_answered: u64,
    pub snapshots_installed: u64,
    pub memberships_applied: u64,
}

fn digest(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

impl Ledger {
    pub fn check_leader(&mut self, core: &RaftCore<MemLog>) {
        let status = core.status();
        if status.is_leader() {
            let leader = *self.leaders.entry(status.term).or_insert(status.id);
            assert_eq!(leader, status.id, "two leaders in term {}", status.term);
        }
    }

    /// The leader of the latest term that had one.
    pub fn last_leader(&self) -> Option<RaftId> {
        self.leaders.last_key_value().map(|(_, leader)| *leader)
    }

    pub fn persisted(&mut self, log: &MemLog, entries: &[LogEntry]) {
        for entry in entries {
            let previous = log.term(entry.index - 1).unwrap();
            let seen = (digest((entry.kind as u8, &entry.data)), previous);
            let known = *self.entries.entry((entry.index, entry.term)).or_insert(seen);
            assert_eq!(known, seen, "logs differ at {} in term {}", entry.index, entry.term);
        }
    }

    pub fn applied(&mut self, entry: &Committed) -> u64 {
        let content = match entry {
            Committed::Entry { term, data, .. } => (*term, digest(data)),
            Committed::Membership { term, change, request, context, .. } => {
                (*term, digest((format!("{change:?}"), request.0, context)))
            }
            Committed::Empty { term, .. } => (*term, 0),
        };
        let index = entry.index();
        let known = *self.committed.entry(index).or_insert(content);
        assert_eq!(known, content, "committed entry {index} has changed");
        digest(content)
    }

    pub fn committed_end(&self) -> u64 {
        self.committed.last_key_value().map_or(1, |(index, _)| *index)
    }

    pub fn proposed(&mut self, proposed: Proposed) {
        self.proposed.push(proposed);
    }

    /// How many of the proposals have been committed.
    pub fn proposals_committed(&self) -> usize {
        self.proposed.iter().filter(|proposed| self.is_committed(proposed)).count()
    }

    pub fn is_committed(&self, proposed: &Proposed) -> bool {
        let at = self.committed.get(&proposed.last_index);
        at.is_some_and(|(term, _)| *term == proposed.term)
    }

    pub fn read_started(&mut self, token: ReadToken) {
        self.reads.insert(token, self.committed_end());
    }

    pub fn granted(&mut self, grants: &[ReadGrant], applied: u64) {
        for grant in grants {
            let at_least = self.reads.remove(&grant.token).expect("a read that was asked once");
            assert!(grant.index >= at_least, "stale read: {} < {at_least}", grant.index);
            assert!(applied >= grant.index, "read before it was applied");
            self.reads_answered += 1;
        }
    }
}
