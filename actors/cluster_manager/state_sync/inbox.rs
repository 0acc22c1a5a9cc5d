//! What consensus has applied and state-sync has not taken yet.
//!
//! Consensus has a thread of its own and does not wait for the actors'. While that is held up, what is
//! applied joins what waits already: state-sync finds it in one piece, and one word in its mailbox is enough.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::events::{Applied, AppliedEntry};

#[cfg(test)]
mod tests;

/// Changes that may wait; beyond it the state itself is quicker to take.
const CHANGES_MAX: usize = 65_536;
/// Entries likewise.
const ENTRIES_MAX: usize = 8_192;

/// The inbox; clones are handles to the same one. Outlives restarts of state-sync.
#[derive(Clone, Default)]
pub struct Inbox(Arc<Mutex<Waiting>>);

#[derive(Default)]
struct Waiting {
    applied: Option<Applied>,
    changes: usize,
    /// A word is on its way to state-sync.
    told: bool,
}

impl Inbox {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Every change of it is made whole before anything that can fail.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds what was applied, and sees to it that state-sync has been told. `tell` says whether its word
    /// has arrived; where it has not, the next one is told, or state-sync looks by itself.
    pub fn put(&self, applied: Applied, tell: impl FnOnce() -> bool) {
        let mut waiting = self.waiting();
        waiting.join(applied);
        if !mem::replace(&mut waiting.told, true) {
            drop(waiting);
            if !tell() {
                self.waiting().told = false;
            }
        }
    }

    /// Everything that waits.
    pub fn take(&self) -> Option<Applied> {
        mem::take(&mut *self.waiting()).applied
    }
}

impl Waiting {
    fn join(&mut self, applied: Applied) {
        let changes = |entries: &[AppliedEntry]| -> usize {
            entries.iter().map(|entry| entry.changes.len()).sum()
        };
        let Some(waiting) = &mut self.applied else {
            self.changes = changes(&applied.entries);
            self.applied = Some(applied);
            return;
        };
        let whole_state = waiting.entries.is_empty() || applied.entries.is_empty();
        self.changes += changes(&applied.entries);
        let fits = waiting.epoch == applied.epoch
            && self.changes <= CHANGES_MAX
            && waiting.entries.len() + applied.entries.len() <= ENTRIES_MAX;
        if whole_state || !fits {
            // No entries: the state has it all.
            *waiting = Applied { epoch: applied.epoch, entries: Vec::new() };
            return;
        }
        waiting.entries.extend(applied.entries);
    }
}
