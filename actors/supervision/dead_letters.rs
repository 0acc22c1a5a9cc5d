//! Dead letters: what was accepted and never handled. Never silent, always bounded.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::path::ActorPath;

/// Dead letters that a tree remembers; older ones only count.
pub(crate) const DEAD_LETTERS_MAX: usize = 256;
/// One warning per this long, with the number of letters since the last one.
const WARN_EVERY_MS: u64 = 1_000;

/// Why a message was never handled to its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeadReason {
    /// It was still queued when its actor was dropped.
    Dropped,
    /// Its handler was running, or held up the mailbox by awaiting, when the incarnation ended.
    InFlight,
}

/// A message that was accepted and never handled to its end.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DeadLetter {
    /// When it was found dead, since the tree began.
    pub at_ms: u64,
    /// The actor that should have handled it.
    pub to: ActorPath,
    /// The actor that sent it, if it was one.
    pub from: Option<ActorPath>,
    /// The message's type.
    pub message: String,
    /// Why it died.
    pub reason: DeadReason,
}

#[derive(Debug, Default)]
pub(crate) struct DeadLetters(Mutex<Ring>);

#[derive(Debug, Default)]
struct Ring {
    last: VecDeque<DeadLetter>,
    total: u64,
    warned_ms: Option<u64>,
    unwarned: u64,
}

impl DeadLetters {
    pub(crate) fn record(&self, letter: DeadLetter) {
        let mut ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ring.total += 1;
        ring.unwarned += 1;
        let due = ring.warned_ms.is_none_or(|at_ms| letter.at_ms >= at_ms + WARN_EVERY_MS);
        if due {
            ring.warned_ms = Some(letter.at_ms);
            let letters = std::mem::take(&mut ring.unwarned);
            tracing::warn!(
                to = %letter.to, message = %letter.message, reason = ?letter.reason, letters,
                "dead letters"
            );
        }
        if ring.last.len() == DEAD_LETTERS_MAX {
            ring.last.pop_front();
        }
        ring.last.push_back(letter);
    }

    /// The last ones, oldest first, and how many there were in all.
    pub(crate) fn read(&self) -> (Vec<DeadLetter>, u64) {
        let ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (ring.last.iter().cloned().collect(), ring.total)
    }
}
