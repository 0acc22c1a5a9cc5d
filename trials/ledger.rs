//! What users were told, and what must therefore hold.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ipfs_kit_core::id::Cid;
use tokio::time::Instant;

use crate::content::Content;

/// How long a request whose answer was lost may still take effect: longer than any node goes on with a
/// command that nobody waits for (20 s at the user's node, then 30 s at the one it was passed on to).
pub const LATE: Duration = Duration::from_secs(60);

/// What is known of one pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// It was acknowledged.
    Present,
    /// Its end was acknowledged, or it was never asked for.
    Absent,
    /// A request was begun at this time, and its answer was lost or is on its way: either is legal.
    Unknown(Instant),
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending<T> {
    /// With an answer.
    Answered(T),
    /// Without one.
    Lost,
    /// Nobody was there to be asked: it never began.
    NobodyThere,
}

impl<T> Ending<T> {
    /// The same, with another answer.
    pub fn map<U>(self, other: impl FnOnce(T) -> U) -> Ending<U> {
        match self {
            Self::Answered(answer) => Ending::Answered(other(answer)),
            Self::Lost => Ending::Lost,
            Self::NobodyThere => Ending::NobodyThere,
        }
    }
}

/// One pin that somebody asked for.
#[derive(Clone, Debug)]
pub struct Item {
    /// Its content.
    pub content: Content,
    /// What is known of it.
    pub known: Known,
}

/// Everything that was asked for, by root.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<Inner>);

/// See [`Ledger`].
#[derive(Debug, Default)]
pub struct Inner {
    /// By root.
    pub items: BTreeMap<Cid, Item>,
    /// Requests that were answered.
    pub answered: u64,
    /// Requests that failed or whose answer was lost.
    pub unanswered: u64,
    /// What users saw that must not be.
    pub losses: Vec<String>,
}

impl Ledger {
    /// The ledger, for one look or one entry.
    pub fn open(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something is not as users were told.
    pub fn lose(&self, what: String) {
        self.open().losses.push(what);
    }
}

impl Inner {
    /// A request that may change a pin begins; returns what was known before.
    pub fn begin(&mut self, content: &Content) -> Known {
        let known = Known::Unknown(Instant::now());
        let item = Item { content: content.clone(), known };
        let before = self.items.insert(content.cid.clone(), item);
        before.map_or(Known::Absent, |item| item.known)
    }

    /// It ended. `before` is what was known when it began.
    pub fn end(&mut self, cid: &Cid, before: Known, ending: Ending<Known>) {
        let known = match ending {
            Ending::Answered(known) => {
                self.answered += 1;
                known
            }
            Ending::Lost => {
                self.unanswered += 1;
                Known::Unknown(Instant::now())
            }
            Ending::NobodyThere => before,
        };
        if let Some(item) = self.items.get_mut(cid) {
            item.known = known;
        }
    }

    /// Compares all pins of a cluster at rest with what users were told, and lets what was seen stand for
    /// the answers that never came and can't take effect any more.
    pub fn compare(&mut self, pinned: &BTreeSet<Cid>) {
        for (cid, item) in &mut self.items {
            let is_there = pinned.contains(cid);
            match item.known {
                Known::Present if !is_there => {
                    self.losses.push(format!("{cid} was acknowledged and is not pinned"));
                }
                Known::Absent if is_there => {
                    self.losses.push(format!("the end of {cid} was acknowledged and it is pinned"));
                }
                Known::Unknown(since) if since.elapsed() > LATE => {
                    item.known = if is_there { Known::Present } else { Known::Absent };
                }
                _ => {}
            }
        }
        for cid in pinned.iter().filter(|cid| !self.items.contains_key(cid)) {
            self.losses.push(format!("{cid} is pinned and nobody asked for it"));
        }
    }
}

#[cfg(test)]
mod tests;
