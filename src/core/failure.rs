//! The leader's judgement of who is there, from heartbeats.
//!
//! A member has a lease that each heartbeat renews. When the lease has ended and a grace has passed, the
//! member is declared lost; its next heartbeat brings it back. Only these changes are committed, never a
//! heartbeat.
//!
//! - A new leader has heard nobody yet: everyone gets a full lease and grace from that moment.
//! - A leader that was itself asleep (a paused process, a stopped machine) blames nobody for the silence.
//! - A member that is leaving stays so, however silent: declaring it lost would undo the operator's word.
//! - Of two live runs with one identity, the one that was there first stays, as long as its heartbeats go
//!   on. A newer run waits until the older one has been silent for two intervals, said goodbye or lost its
//!   connection, and then replaces it; an older run never comes back.

use std::collections::BTreeMap;

use crate::id::{Incarnation, NodeId};
use crate::limits;
use crate::member::Liveness;

/// The detector's settings, in milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// How often members send heartbeats.
    pub interval_ms: u64,
    /// How long a heartbeat is good for.
    pub lease_ms: u64,
    /// What is added before a member counts as lost.
    pub grace_ms: u64,
    /// After this long without the committed change, a judgement is proposed again.
    pub proposal_timeout_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { interval_ms: 3_000, lease_ms: 10_000, grace_ms: 5_000, proposal_timeout_ms: 5_000 }
    }
}

impl Config {
    /// Whether a run that a member refuses, because another run has its identity there, has no place in
    /// the cluster any more: nobody there has accepted it for a whole lease, or ever. A run that is
    /// accepted elsewhere goes on; the leader decides between the two.
    pub fn is_displaced(&self, accepted_ms_ago: Option<u64>) -> bool {
        accepted_ms_ago.is_none_or(|ago_ms| ago_ms >= self.lease_ms)
    }
}

/// What the detector is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    /// This node leads now.
    BecameLeader {
        /// This node; it never declares itself lost.
        own: NodeId,
        /// All members as committed.
        members: Vec<(NodeId, Liveness)>,
    },
    /// It leads no more.
    LostLeadership,
    /// A member's word; answered by exactly one [`Effect::Answer`].
    Heartbeat {
        /// Who.
        node: NodeId,
        /// Which run.
        incarnation: Incarnation,
        /// Where that run is, for people who have to find a second one.
        addrs: Vec<String>,
    },
    /// A run ends in good order: its lease ends now, the grace begins.
    Goodbye {
        /// Who.
        node: NodeId,
        /// Which run.
        incarnation: Incarnation,
    },
    /// The last connection to a member broke. If no heartbeat comes on another one within two intervals,
    /// its lease ends.
    Disconnected {
        /// Who.
        node: NodeId,
    },
    /// A member came or changed, as committed; `None`: it is gone for good.
    MemberChanged {
        /// Who.
        node: NodeId,
        /// The committed judgement.
        liveness: Option<Liveness>,
    },
    /// The time asked for by [`Effect::WakeAt`] has come.
    Tick,
}

/// What the detector wishes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Commit this judgement.
    SetLiveness {
        /// Who.
        node: NodeId,
        /// The judgement.
        liveness: Liveness,
    },
    /// The answer to the heartbeat of this step.
    Answer {
        /// Who.
        node: NodeId,
        /// Which run.
        incarnation: Incarnation,
        /// What to say.
        verdict: Verdict,
    },
    /// Call again at this time; replaces the time asked for before.
    WakeAt(u64),
    /// Something for people.
    Note(Note),
}

/// What a run is told about itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is the member's run.
    Welcome,
    /// An earlier run was heard a moment ago and may only just have ended: ask again.
    Wait {
        /// After which time, in milliseconds.
        retry_ms: u64,
    },
    /// Another run has this identity: stop.
    IdentityInUse {
        /// The other run.
        other: Incarnation,
        /// Where it is.
        addrs: Vec<String>,
    },
    /// No such member, or this node does not lead any more.
    NotAMember,
}

/// Something that people should know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Note {
    /// Two live runs have one identity; the newer one was told to stop.
    IdentityInUse {
        /// The identity.
        node: NodeId,
        /// The run that stays.
        kept: Incarnation,
        /// The run that was refused.
        refused: Incarnation,
    },
    /// The detector did not run for a while; everyone gets a full lease again.
    Overslept {
        /// For how long, in milliseconds.
        gap_ms: u64,
    },
    /// A leaving member is not heard of; its copies are still being moved, from others.
    SilentWhileLeaving {
        /// Who.
        node: NodeId,
    },
}

/// The run that a member has now.
#[derive(Clone, Debug)]
struct Run {
    incarnation: Incarnation,
    heard_ms: u64,
    addrs: Vec<String>,
    /// It said goodbye or its connection broke since it was last heard.
    interrupted: bool,
}

/// A newer run that has announced itself while the present one may still be there.
#[derive(Clone, Copy, Debug)]
struct Challenger {
    incarnation: Incarnation,
    /// The present run was heard after the challenger: both are alive.
    refuted: bool,
}

#[derive(Clone, Debug)]
struct Session {
    committed: Liveness,
    run: Option<Run>,
    challenger: Option<Challenger>,
    /// When the lease ends.
    lease_ends_ms: u64,
    /// Until when an answer to a proposal is awaited.
    proposed_until_ms: Option<u64>,
    /// Its silence was noted.
    noted: bool,
}

impl Session {
    fn new(committed: Liveness, lease_ends_ms: u64) -> Self {
        Self {
            committed,
            run: None,
            challenger: None,
            lease_ends_ms,
            proposed_until_ms: None,
            noted: false,
        }
    }
}

/// The detector; see the module. It has one bounded entry for each member.
#[derive(Debug)]
pub struct FailureDetector {
    config: Config,
    own: Option<NodeId>,
    sessions: BTreeMap<NodeId, Session>,
    stepped_ms: u64,
}

impl FailureDetector {
    /// A detector of a node that does not lead yet.
    pub fn new(config: Config) -> Self {
        Self { config, own: None, sessions: BTreeMap::new(), stepped_ms: 0 }
    }

    /// Takes one input at `now_ms` of a clock that never goes back. A step emits at most two effects for
    /// each member, and four more.
    pub fn step(&mut self, now_ms: u64, input: Input, out: &mut Vec<Effect>) {
        if self.own.is_some() {
            self.notice_gap(now_ms, out);
        }
        self.stepped_ms = now_ms;
        match input {
            Input::BecameLeader { own, members } => self.lead(now_ms, own, members),
            Input::LostLeadership => *self = Self::new(self.config),
            Input::Heartbeat { node, incarnation, addrs } => {
                let verdict = self.hear(now_ms, node, incarnation, addrs, out);
                out.push(Effect::Answer { node, incarnation, verdict });
            }
            Input::Goodbye { node, incarnation } => self.interrupt(node, Some(incarnation), now_ms),
            Input::Disconnected { node } => {
                let ends_ms = now_ms.saturating_add(self.patience_ms());
                self.interrupt(node, None, ends_ms);
            }
            Input::MemberChanged { node, liveness } => self.note_member(now_ms, node, liveness),
            Input::Tick => {}
        }
        if self.own.is_some() {
            self.judge(now_ms, out);
            out.push(Effect::WakeAt(self.next_wake_ms(now_ms)));
        }
    }

    /// Milliseconds since a member was last heard; `None` if this leader never heard it.
    pub fn heard_ms_ago(&self, node: NodeId, now_ms: u64) -> Option<u64> {
        let run = self.sessions.get(&node)?.run.as_ref()?;
        Some(now_ms.saturating_sub(run.heard_ms))
    }

    /// The run that a member has now, as far as this leader has heard.
    pub fn incarnation(&self, node: NodeId) -> Option<Incarnation> {
        self.sessions.get(&node)?.run.as_ref().map(|run| run.incarnation)
    }

    /// How long a run may be silent before a newer one replaces it.
    fn patience_ms(&self) -> u64 {
        self.config.interval_ms.saturating_mul(2)
    }

    fn lead(&mut self, now_ms: u64, own: NodeId, members: Vec<(NodeId, Liveness)>) {
        self.own = Some(own);
        let ends_ms = now_ms.saturating_add(self.config.lease_ms);
        let session = |(node, liveness)| (node, Session::new(liveness, ends_ms));
        self.sessions = members.into_iter().take(limits::MEMBERS_MAX).map(session).collect();
    }

    fn note_member(&mut self, now_ms: u64, node: NodeId, liveness: Option<Liveness>) {
        if self.own.is_none() {
            return;
        }
        let Some(liveness) = liveness else {
            self.sessions.remove(&node);
            return;
        };
        let ends_ms = now_ms.saturating_add(self.config.lease_ms);
        let session = self.sessions.entry(node).or_insert_with(|| Session::new(liveness, ends_ms));
        if session.committed != liveness {
            session.committed = liveness;
            session.proposed_until_ms = None;
            session.noted = false;
        }
    }

    /// A step that comes much later than asked for means that this process did not run: heartbeats may be
    /// waiting unread, so the silence proves nothing.
    fn notice_gap(&mut self, now_ms: u64, out: &mut Vec<Effect>) {
        let gap_ms = now_ms.saturating_sub(self.stepped_ms);
        if gap_ms < self.config.lease_ms {
            return;
        }
        out.push(Effect::Note(Note::Overslept { gap_ms }));
        for session in self.sessions.values_mut() {
            session.lease_ends_ms = session.lease_ends_ms.saturating_add(gap_ms);
            if let Some(run) = &mut session.run {
                run.heard_ms = run.heard_ms.saturating_add(gap_ms);
            }
        }
    }

    fn hear(
        &mut self,
        now_ms: u64,
        node: NodeId,
        incarnation: Incarnation,
        mut addrs: Vec<String>,
        out: &mut Vec<Effect>,
    ) -> Verdict {
        let patience_ms = self.patience_ms();
        let lease_ends_ms = now_ms.saturating_add(self.config.lease_ms);
        let Some(session) = self.sessions.get_mut(&node) else { return Verdict::NotAMember };
        addrs.truncate(limits::ADDRS_MAX);
        if let Some(run) = &session.run
            && run.incarnation != incarnation
        {
            let in_use =
                || Verdict::IdentityInUse { other: run.incarnation, addrs: run.addrs.clone() };
            if incarnation < run.incarnation {
                return in_use();
            }
            let free_ms = run.heard_ms.saturating_add(patience_ms);
            if !run.interrupted && now_ms <= free_ms {
                let challenger = session.challenger.filter(|old| old.incarnation == incarnation);
                if challenger.is_some_and(|challenger| challenger.refuted) {
                    let (kept, refused) = (run.incarnation, incarnation);
                    out.push(Effect::Note(Note::IdentityInUse { node, kept, refused }));
                    return in_use();
                }
                session.challenger = Some(Challenger { incarnation, refuted: false });
                return Verdict::Wait { retry_ms: free_ms - now_ms + 1 };
            }
        }
        match &mut session.challenger {
            Some(challenger) if challenger.incarnation > incarnation => challenger.refuted = true,
            challenger => *challenger = None,
        }
        session.run = Some(Run { incarnation, heard_ms: now_ms, addrs, interrupted: false });
        session.lease_ends_ms = lease_ends_ms;
        session.noted = false;
        Verdict::Welcome
    }

    /// The run has ended, or may have: its lease ends no later than `ends_ms`.
    fn interrupt(&mut self, node: NodeId, incarnation: Option<Incarnation>, ends_ms: u64) {
        let Some(session) = self.sessions.get_mut(&node) else { return };
        let Some(run) = &mut session.run else { return };
        if incarnation.is_none_or(|incarnation| incarnation == run.incarnation) {
            run.interrupted = true;
            session.lease_ends_ms = session.lease_ends_ms.min(ends_ms);
        }
    }

    fn judge(&mut self, now_ms: u64, out: &mut Vec<Effect>) {
        let deadline_ms = now_ms.saturating_add(self.config.proposal_timeout_ms);
        for (node, session) in &mut self.sessions {
            let own = self.own == Some(*node);
            let there = own || now_ms < session.lease_ends_ms;
            let silent =
                !own && session.lease_ends_ms.saturating_add(self.config.grace_ms) <= now_ms;
            let verdict = match session.committed {
                Liveness::Lost if own || (there && session.run.is_some()) => Liveness::Alive,
                Liveness::Alive if silent => Liveness::Lost,
                Liveness::Draining if silent && !session.noted => {
                    session.noted = true;
                    out.push(Effect::Note(Note::SilentWhileLeaving { node: *node }));
                    continue;
                }
                _ => continue,
            };
            if session.proposed_until_ms.is_none_or(|until_ms| until_ms <= now_ms) {
                session.proposed_until_ms = Some(deadline_ms);
                out.push(Effect::SetLiveness { node: *node, liveness: verdict });
            }
        }
    }

    fn next_wake_ms(&self, now_ms: u64) -> u64 {
        let grace_ms = self.config.grace_ms;
        let ends = |session: &Session| {
            let lost_ms = session.lease_ends_ms.saturating_add(grace_ms);
            [Some(lost_ms), session.proposed_until_ms]
        };
        let ends = self.sessions.values().flat_map(ends).flatten();
        // At least once an interval, so that a gap is told from patience.
        let regular_ms = now_ms.saturating_add(self.config.interval_ms.max(1));
        ends.filter(|at_ms| *at_ms > now_ms).min().unwrap_or(regular_ms).min(regular_ms)
    }
}

#[cfg(test)]
mod tests;
