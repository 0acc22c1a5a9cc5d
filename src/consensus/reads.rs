//! Linearizable reads: many reads share one round in which the leader proves that it still leads.
//!
//! A read joins the next round, never the one under way: that one may have fixed its index before
//! the read came in. A round that nobody answers is sent again under a new number, with all reads
//! that wait by then.

use std::collections::BTreeMap;
use std::mem;

use crate::id::RaftId;

/// The caller's number for one read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadToken(pub u64);

/// A read that may be served now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadGrant {
    /// The read.
    pub token: ReadToken,
    /// The index that the read must see; it has been applied.
    pub index: u64,
}

#[derive(Debug)]
struct Round {
    context: Vec<u8>,
    term: u64,
    leader: u64,
    started_tick: u64,
    tokens: Vec<ReadToken>,
}

/// The reads of one member.
#[derive(Debug)]
pub(crate) struct Reads {
    id: RaftId,
    incarnation: u64,
    retry_ticks: u64,
    max: usize,
    rounds: u64,
    waiting: Vec<ReadToken>,
    round: Option<Round>,
    confirmed: BTreeMap<u64, Vec<ReadToken>>,
    len: usize,
}

impl Reads {
    pub fn new(id: RaftId, incarnation: u64, retry_ticks: u32, max: usize) -> Self {
        Self {
            id,
            incarnation,
            retry_ticks: retry_ticks.into(),
            max,
            rounds: 0,
            waiting: Vec::new(),
            round: None,
            confirmed: BTreeMap::new(),
            len: 0,
        }
    }

    /// Takes a read in; false if there are too many.
    #[must_use]
    pub fn add(&mut self, token: ReadToken) -> bool {
        if self.len == self.max {
            return false;
        }
        self.len += 1;
        self.waiting.push(token);
        true
    }

    /// Forgets a read, so that no answer comes for it.
    pub fn cancel(&mut self, token: ReadToken) {
        let rounds = self.round.iter_mut().map(|round| &mut round.tokens);
        for list in rounds.chain([&mut self.waiting]).chain(self.confirmed.values_mut()) {
            let before = list.len();
            list.retain(|other| *other != token);
            self.len -= before - list.len();
        }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// Starts a round if one is due, and returns its context. A round dies with its leader.
    pub fn next_round(&mut self, now_tick: u64, term: u64, leader: u64) -> Option<Vec<u8>> {
        if let Some(round) = &mut self.round {
            let alive = (round.term, round.leader) == (term, leader)
                && now_tick < round.started_tick + self.retry_ticks;
            if alive && !round.tokens.is_empty() {
                return None;
            }
            let joined = mem::take(&mut self.waiting);
            self.waiting = mem::take(&mut round.tokens);
            self.waiting.extend(joined);
            self.round = None;
        }
        if self.waiting.is_empty() {
            return None;
        }
        self.rounds += 1;
        let numbers = [self.id.get(), self.incarnation, self.rounds];
        let context = numbers.map(u64::to_be_bytes).concat();
        self.round = Some(Round {
            context: context.clone(),
            term,
            leader,
            started_tick: now_tick,
            tokens: mem::take(&mut self.waiting),
        });
        Some(context)
    }

    /// Notes that the leader has confirmed `index` for the round with this context. Late answers
    /// to earlier rounds are of no use: their reads have moved on.
    pub fn confirm(&mut self, context: &[u8], index: u64) {
        if let Some(round) = self.round.take_if(|round| round.context == context) {
            self.confirmed.entry(index).or_default().extend(round.tokens);
        }
    }

    /// The reads that the applied state can answer.
    pub fn grant(&mut self, applied: u64) -> Vec<ReadGrant> {
        let mut grants = Vec::new();
        while let Some(first) = self.confirmed.first_entry() {
            let index = *first.key();
            if index > applied {
                break;
            }
            let tokens = first.remove();
            self.len -= tokens.len();
            grants.extend(tokens.into_iter().map(|token| ReadGrant { token, index }));
        }
        grants
    }
}

#[cfg(test)]
mod tests;
