//! Pins that need somebody's eye, and why.

use std::collections::BTreeMap;

use crate::id::Cid;
use crate::placement::Explanation;

/// Most pins listed; a cluster with more has one problem, not many.
pub const CONCERNS_MAX: usize = 4096;

/// Why a pin needs an eye.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Concern {
    /// No member that is there has a durable copy. It heals when a holder returns.
    #[error("no live copy is left")]
    NoLiveCopy,
    /// Too few members can hold it.
    #[error("too few members can hold it: {0}")]
    TooFewHolders(Explanation),
    /// Every member that was asked gave up; it is tried again, more and more slowly.
    #[error("it failed on every member that was asked")]
    FailsEverywhere,
    /// A member can't leave, because nobody else can take this pin below its minimum.
    #[error("a leaving member holds a copy that nobody else can take")]
    DrainBlocked,
}

/// Pins that need an eye, a bounded number of them.
#[derive(Default, Debug)]
pub struct Concerns {
    by_pin: BTreeMap<Cid, Concern>,
    unlisted: u64,
}

impl Concerns {
    /// The pins and what is wrong with them.
    pub fn iter(&self) -> impl Iterator<Item = (&Cid, &Concern)> {
        self.by_pin.iter()
    }

    /// How many pins are listed.
    pub fn len(&self) -> usize {
        self.by_pin.len()
    }

    /// Whether all is well as far as is known.
    pub fn is_empty(&self) -> bool {
        self.by_pin.is_empty()
    }

    /// How often a pin was not listed for want of room.
    pub fn unlisted(&self) -> u64 {
        self.unlisted
    }

    /// Lists a pin; says whether that is news.
    pub(super) fn raise(&mut self, cid: &Cid, concern: &Concern) -> bool {
        if let Some(old) = self.by_pin.get_mut(cid) {
            let news = std::mem::discriminant(old) != std::mem::discriminant(concern);
            *old = concern.clone();
            return news;
        }
        if self.by_pin.len() >= CONCERNS_MAX {
            self.unlisted = self.unlisted.saturating_add(1);
            return false;
        }
        self.by_pin.insert(cid.clone(), concern.clone());
        true
    }

    /// Takes a pin off the list; says whether it was on it.
    pub(super) fn clear(&mut self, cid: &Cid) -> bool {
        self.by_pin.remove(cid).is_some()
    }
}
