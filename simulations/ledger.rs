//! What users were told, and what must therefore hold.
//!
//! Every write's answer carries a log index, so most of a history is checked with the index as witness: a
//! state at or beyond an acknowledged index must show the write, until a later one begins. A request whose
//! outcome is not known may or may not have taken effect, at any time.

use std::collections::BTreeMap;

use ipfs_kit_core::id::Cid;
use ipfs_kit_core::invariant::Violation;
use ipfs_kit_core::state::ClusterState;

use crate::content::Content;

/// What is known of one pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// It must be in every state from this index on.
    Present {
        /// Acknowledged at or before this index.
        index: u64,
    },
    /// It must be in no state from this index on.
    Absent {
        /// Ended at this index.
        index: u64,
    },
    /// Something that changes it was begun, and how it ended is not known.
    Unknown,
}

/// One pin that somebody asked for.
#[derive(Clone, Debug)]
pub struct Item {
    /// Its content.
    pub content: Content,
    /// What is known of it.
    pub known: Known,
    /// Whether it ends by itself.
    pub ends: Ends,
}

/// Whether a pin ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// When somebody ends it.
    Never,
    /// When its time has come.
    ByTime,
}

/// All pins that anybody asked for, by root.
#[derive(Debug, Default)]
pub struct Ledger {
    items: BTreeMap<Cid, Item>,
    /// Reads that gave other bytes than were added, or missed what was acknowledged.
    violations: Vec<Violation>,
    /// Requests whose answer is known.
    pub answered: u64,
    /// Requests that failed or whose outcome is not known.
    pub unanswered: u64,
    /// Bytes read back and compared.
    pub verified_bytes: u64,
}

impl Ledger {
    /// Something that changes a pin begins: nothing is known of it until the answer.
    pub fn begin(&mut self, cid: &Cid) {
        if let Some(item) = self.items.get_mut(cid) {
            item.known = Known::Unknown;
        }
    }

    /// A pin of this content may come to be.
    pub fn ask(&mut self, cid: &Cid, content: Content, ends: Ends) {
        let item = Item { content, known: Known::Unknown, ends };
        self.items.insert(cid.clone(), item);
    }

    /// A pin was acknowledged.
    pub fn acknowledge(&mut self, cid: &Cid, index: u64) {
        if let Some(item) = self.items.get_mut(cid)
            && item.ends == Ends::Never
        {
            item.known = Known::Present { index };
        }
    }

    /// The end of a pin was acknowledged.
    pub fn end(&mut self, cid: &Cid, index: u64) {
        if let Some(item) = self.items.get_mut(cid) {
            item.known = Known::Absent { index };
        }
    }

    /// All pins in order.
    #[must_use]
    pub fn items(&self) -> &BTreeMap<Cid, Item> {
        &self.items
    }

    /// A user saw what must not be.
    pub fn accuse(&mut self, id: &'static str, detail: String) {
        self.violations.push(Violation { id, detail });
    }

    /// Takes out what users saw.
    pub fn take_violations(&mut self) -> Vec<Violation> {
        std::mem::take(&mut self.violations)
    }

    /// Compares a state with what users were told.
    #[must_use]
    pub fn check(&self, name: &str, state: &ClusterState) -> Vec<Violation> {
        let mut found = Vec::new();
        for (cid, item) in &self.items {
            let is_there = state.pins().contains_key(cid);
            let broken = match item.known {
                Known::Present { index } => index <= state.index() && !is_there,
                Known::Absent { index } => index <= state.index() && is_there,
                Known::Unknown => false,
            };
            if broken {
                let (known, index) = (item.known, state.index());
                let detail =
                    format!("{cid} is {known:?} and the state of {name} at {index} differs");
                found.push(Violation { id: "PIN-3", detail });
            }
        }
        for cid in state.pins().keys().filter(|cid| !self.items.contains_key(cid)) {
            let detail = format!("{cid} is pinned at {name} and nobody asked for it");
            found.push(Violation { id: "PIN-6", detail });
        }
        found
    }
}

#[cfg(test)]
mod tests;
