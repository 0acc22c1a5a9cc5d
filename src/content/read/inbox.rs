//! The blocks a cursor waits for and those that came before their turn: few, and only those.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::{Flaw, ReadError};
use crate::cid::{Cid, identity_data};
use crate::limits::MAX_BLOCK_LEN_BYTES;

/// Blocks asked for ahead of need unless the cursor's user says otherwise.
pub(super) const DEFAULT_LOOK_AHEAD: usize = 16;

#[derive(Debug)]
pub(super) struct Inbox {
    look_ahead: usize,
    wanted: BTreeSet<Cid>,
    ready: BTreeMap<Cid, Bytes>,
}

impl Inbox {
    pub(super) const fn new(look_ahead: usize) -> Self {
        Self { look_ahead, wanted: BTreeSet::new(), ready: BTreeMap::new() }
    }

    /// Takes a block out if it is here, as those inside their own CID always are.
    pub(super) fn take(&mut self, cid: &Cid) -> Option<Bytes> {
        self.ready.remove(cid).or_else(|| identity_data(cid))
    }

    /// Puts a block back whose turn comes again at once.
    pub(super) fn put_back(&mut self, cid: Cid, block: Bytes) {
        self.ready.insert(cid, block);
    }

    /// What to ask for, given what is needed from now on. The first is always among it; the blocks
    /// asked for and those here stay within the look-ahead otherwise.
    pub(super) fn want(&mut self, upcoming: impl Iterator<Item = Cid>) -> Vec<Cid> {
        let mut need = Vec::new();
        for cid in upcoming.take(self.look_ahead.max(1)) {
            if self.ready.contains_key(&cid) || identity_data(&cid).is_some() {
                continue;
            }
            let is_new = !self.wanted.contains(&cid);
            let full = self.wanted.len() + self.ready.len() >= self.look_ahead;
            if need.contains(&cid) || (is_new && full && !need.is_empty()) {
                continue;
            }
            self.wanted.insert(cid);
            need.push(cid);
        }
        need
    }

    /// What to ask for beside what was asked for already, given what is needed from now on.
    pub(super) fn want_more(&mut self, upcoming: impl Iterator<Item = Cid>) -> Vec<Cid> {
        let mut more = Vec::new();
        for cid in upcoming.take(self.look_ahead) {
            if self.wanted.len() + self.ready.len() >= self.look_ahead {
                break;
            }
            if self.ready.contains_key(&cid) || identity_data(&cid).is_some() {
                continue;
            }
            if self.wanted.insert(cid) {
                more.push(cid);
            }
        }
        more
    }

    pub(super) fn provide(&mut self, cid: Cid, block: Bytes) -> Result<(), ReadError> {
        if !self.wanted.remove(&cid) {
            return Err(ReadError::NotRequested { cid });
        }
        if block.len() > MAX_BLOCK_LEN_BYTES {
            return Err(ReadError::Malformed { cid, flaw: Flaw::TooLarge });
        }
        self.ready.insert(cid, block);
        Ok(())
    }
}
